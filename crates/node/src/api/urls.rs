//! Function URLs.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError, url_id};
use fractus_lambda::limits::{CORS_ENTRIES_MAX, CORS_MAX_AGE_S, PAGE_MAX};
use fractus_lambda::model::{Cors, LATEST, Url, UrlAuth, UrlMode, iso_seconds, object};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{
    Target, arn, attach_error, check_range, done, list as told_list, page, read, told,
};
use super::policy::url_auth;
use super::{Answer, Api, Call};
use crate::clock::now_ms;
use crate::routes::url_host;

/// The bodies of `CreateFunctionUrlConfig` and `UpdateFunctionUrlConfig`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change {
    auth_type: Option<String>,
    #[serde(deserialize_with = "object")]
    cors: Option<GivenCors>,
    invoke_mode: Option<String>,
}

/// The rules for browsers as they are given.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct GivenCors {
    allow_credentials: Option<bool>,
    allow_headers: Option<Vec<String>>,
    allow_methods: Option<Vec<String>>,
    allow_origins: Option<Vec<String>>,
    expose_headers: Option<Vec<String>>,
    max_age: Option<i64>,
}

/// A list of the rules: entries at most, and how long each is at most.
fn check_list(
    member: &str,
    list: Option<&Vec<String>>,
    (entries, length): (usize, usize),
) -> Result<(), ServiceError> {
    let list = list.map_or(&[][..], Vec::as_slice);
    let wrong = |text: &str, constraint| Err(ServiceError::constraint(member, text, constraint));
    if list.len() > entries {
        return wrong(&list.len().to_string(), Constraint::LengthMax(entries));
    }
    for text in list {
        if text.is_empty() {
            return wrong(text, Constraint::LengthMin(1));
        }
        if text.chars().count() > length {
            return wrong(text, Constraint::LengthMax(length));
        }
        if text.contains(char::is_control) {
            return wrong(text, Constraint::Pattern(".*"));
        }
    }
    Ok(())
}

impl GivenCors {
    fn check(self) -> Result<Cors, ServiceError> {
        let many = CORS_ENTRIES_MAX;
        for (member, list, bounds) in [
            ("cors.allowHeaders", &self.allow_headers, (many, 1024)),
            ("cors.allowMethods", &self.allow_methods, (6, 6)),
            ("cors.allowOrigins", &self.allow_origins, (many, 253)),
            ("cors.exposeHeaders", &self.expose_headers, (many, 1024)),
        ] {
            check_list(member, list.as_ref(), bounds)?;
        }
        let max_age = self
            .max_age
            .map(|age| check_range("cors.maxAge", age, (0, CORS_MAX_AGE_S)));
        Ok(Cors {
            allow_credentials: self.allow_credentials,
            allow_headers: self.allow_headers,
            allow_methods: self.allow_methods,
            allow_origins: self.allow_origins,
            expose_headers: self.expose_headers,
            max_age: max_age.transpose()?,
        })
    }
}

impl Change {
    fn auth(&self) -> Result<Option<UrlAuth>, ServiceError> {
        self.auth_type
            .as_deref()
            .map(|auth| url_auth("authType", auth))
            .transpose()
    }

    fn mode(&self) -> Result<Option<UrlMode>, ServiceError> {
        let all = ["BUFFERED", "RESPONSE_STREAM"];
        self.invoke_mode
            .as_deref()
            .map_or(Ok(None), |mode| match mode {
                "BUFFERED" => Ok(Some(UrlMode::Buffered)),
                "RESPONSE_STREAM" => Ok(Some(UrlMode::Stream)),
                other => Err(ServiceError::constraint(
                    "invokeMode",
                    other,
                    Constraint::Enum(&all),
                )),
            })
    }
}

/// What a URL hangs on: `$LATEST`, or an alias that is there.
fn key(api: &Api, target: &Target) -> Result<String, ServiceError> {
    match &target.qualifier {
        None => Ok(LATEST.to_owned()),
        Some(Qualifier::Alias(alias)) => {
            if target.entry.attachments.aliases.contains_key(alias) {
                return Ok(alias.clone());
            }
            let arn = target.arn(api);
            Err(ServiceError::not_found(format!(
                "Cannot find alias arn: {arn}"
            )))
        }
        Some(other) => Err(ServiceError::constraint(
            "qualifier",
            &other.to_string(),
            Constraint::Pattern("((?!^\\d+$)^[0-9a-zA-Z-_]+$)"),
        )),
    }
}

fn function_arn(api: &Api, target: &Target, key: &str) -> String {
    let alias = (key != LATEST).then(|| Qualifier::Alias(key.to_owned()));
    arn(api, target.name().as_str(), alias.as_ref())
}

fn describe(api: &Api, arn: &str, url: &Url) -> Value {
    let host = url_host(&url.id, &api.region);
    let mut told = json!({
        "FunctionUrl": format!("http://{host}:{}/", api.edge.port()),
        "FunctionArn": arn,
        "AuthType": url.auth,
        "InvokeMode": url.mode,
        "CreationTime": iso_seconds(url.created_ms),
        "LastModifiedTime": iso_seconds(url.modified_ms),
    });
    if let Some(cors) = &url.cors {
        told["Cors"] = json!(cors);
    }
    told
}

fn missing() -> ServiceError {
    ServiceError::not_found("The resource you requested does not exist.")
}

pub(super) async fn create(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let target = api.target(call)?;
    let key = key(api, &target)?;
    let arn = function_arn(api, &target, &key);
    let auth = request.auth()?;
    let auth = auth.ok_or_else(|| ServiceError::constraint("authType", "", Constraint::NotNull))?;
    let now_ms = now_ms();
    let url = Url {
        id: url_id(&arn),
        auth,
        mode: request.mode()?.unwrap_or_default(),
        cors: request.cors.map(GivenCors::check).transpose()?,
        created_ms: now_ms,
        modified_ms: now_ms,
    };
    let own = arn.clone();
    let made = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let qualified = attachments.qualified.entry(key).or_default();
            if qualified.url.is_some() {
                let message = format!("FunctionUrlConfig exists for this Lambda function: {own}");
                return Err(ServiceError::conflict(message));
            }
            qualified.url = Some(url.clone());
            Ok(url)
        });
    let (_, url) = made.await.map_err(|error| attach_error(error, &arn))?;
    told(call, &describe(api, &arn, &url))
}

pub(super) fn get(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let key = key(api, &target)?;
    let qualified = target.entry.attachments.qualified.get(&key);
    let url = qualified
        .and_then(|qualified| qualified.url.as_ref())
        .ok_or_else(missing)?;
    told(call, &describe(api, &function_arn(api, &target, &key), url))
}

pub(super) fn list(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let qualified = target.entry.attachments.qualified.iter();
    let urls = qualified.filter_map(|(key, one)| Some((key.clone(), (key, one.url.as_ref()?))));
    let (found, next) = page(call, urls, PAGE_MAX)?;
    let described = found
        .into_iter()
        .map(|(key, url)| describe(api, &function_arn(api, &target, key), url));
    told_list(call, "FunctionUrlConfigs", (described.collect(), next))
}

pub(super) async fn update(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let target = api.target(call)?;
    let key = key(api, &target)?;
    let arn = function_arn(api, &target, &key);
    let (auth, mode) = (request.auth()?, request.mode()?);
    let cors = request.cors.map(GivenCors::check).transpose()?;
    let made = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let qualified = attachments.qualified.get_mut(&key);
            let url = qualified.and_then(|qualified| qualified.url.as_mut());
            let url = url.ok_or_else(missing)?;
            url.auth = auth.unwrap_or(url.auth);
            url.mode = mode.unwrap_or(url.mode);
            if let Some(cors) = cors {
                url.cors = Some(cors).filter(|cors| *cors != Cors::default());
            }
            url.modified_ms = now_ms();
            Ok(url.clone())
        });
    let (_, url) = made.await.map_err(|error| attach_error(error, &arn))?;
    told(call, &describe(api, &arn, &url))
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let key = key(api, &target)?;
    let removed = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let qualified = attachments.qualified.get_mut(&key);
            let gone = qualified.and_then(|qualified| qualified.url.take());
            gone.map(|_| ()).ok_or_else(missing)
        });
    removed
        .await
        .map_err(|error| attach_error(error, &target.arn(api)))?;
    done(call)
}
