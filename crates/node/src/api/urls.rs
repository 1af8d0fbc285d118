//! Function URLs.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError, url_id};
use fractus_lambda::limits::{CORS_ENTRIES_MAX, CORS_MAX_AGE_S};
use fractus_lambda::model::{Cors, LATEST, Url, UrlAuth, UrlMode, iso_seconds};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Target, arn, attach_error, done, list as told_list, or_latest, page, read, told};
use super::{Answer, Api, Call};
use crate::clock::now_ms;
use crate::routes::url_host;

/// The bodies of `CreateFunctionUrlConfig` and `UpdateFunctionUrlConfig`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change {
    auth_type: Option<String>,
    cors: Option<Cors>,
    invoke_mode: Option<String>,
}

impl Change {
    fn auth(&self) -> Result<Option<UrlAuth>, ServiceError> {
        let all = ["NONE", "AWS_IAM"];
        self.auth_type.as_deref().map_or(Ok(None), |auth| match auth {
            "NONE" => Ok(Some(UrlAuth::None)),
            "AWS_IAM" => Ok(Some(UrlAuth::AwsIam)),
            other => Err(ServiceError::constraint("authType", other, Constraint::Enum(&all))),
        })
    }

    fn mode(&self) -> Result<Option<UrlMode>, ServiceError> {
        let all = ["BUFFERED", "RESPONSE_STREAM"];
        self.invoke_mode.as_deref().map_or(Ok(None), |mode| match mode {
            "BUFFERED" => Ok(Some(UrlMode::Buffered)),
            "RESPONSE_STREAM" => Ok(Some(UrlMode::Stream)),
            other => Err(ServiceError::constraint("invokeMode", other, Constraint::Enum(&all))),
        })
    }

    fn check_cors(&self) -> Result<(), ServiceError> {
        let Some(cors) = &self.cors else {
            return Ok(());
        };
        let lists = [
            &cors.allow_headers,
            &cors.allow_methods,
            &cors.allow_origins,
            &cors.expose_headers,
        ];
        for list in lists.into_iter().flatten() {
            let is_line = |text: &String| !text.contains(|c: char| c.is_control());
            if list.len() > CORS_ENTRIES_MAX || !list.iter().all(is_line) {
                let message = "Cors: a list is too long, or has an entry that no header can have";
                return Err(ServiceError::invalid_parameter(message));
            }
        }
        if cors.max_age.is_some_and(|seconds| seconds > CORS_MAX_AGE_S) {
            let seconds = cors.max_age.unwrap_or_default().to_string();
            let most = Constraint::ValueMax(CORS_MAX_AGE_S.into());
            return Err(ServiceError::constraint("cors.maxAge", &seconds, most));
        }
        Ok(())
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
            Err(ServiceError::not_found(format!("Cannot find alias arn: {arn}")))
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
    request.check_cors()?;
    let auth = request.auth()?;
    let auth = auth.ok_or_else(|| ServiceError::constraint("authType", "", Constraint::NotNull))?;
    let now_ms = now_ms();
    let url = Url {
        id: url_id(&arn),
        auth,
        mode: request.mode()?.unwrap_or_default(),
        cors: request.cors,
        created_ms: now_ms,
        modified_ms: now_ms,
    };
    let own = arn.clone();
    let made = api.control.attach(target.name().clone(), move |_, attachments| {
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
    let key = or_latest(target.label());
    let qualified = target.entry.attachments.qualified.get(&key);
    let url = qualified.and_then(|qualified| qualified.url.as_ref()).ok_or_else(missing)?;
    told(call, &describe(api, &function_arn(api, &target, &key), url))
}

pub(super) fn list(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let qualified = target.entry.attachments.qualified.iter();
    let urls = qualified.filter_map(|(key, one)| Some((key.clone(), (key, one.url.as_ref()?))));
    let (found, next) = page(call, urls)?;
    let described = found
        .into_iter()
        .map(|(key, url)| describe(api, &function_arn(api, &target, key), url));
    told_list(call, "FunctionUrlConfigs", (described.collect(), next))
}

pub(super) async fn update(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let target = api.target(call)?;
    let key = or_latest(target.label());
    let arn = function_arn(api, &target, &key);
    request.check_cors()?;
    let (auth, mode) = (request.auth()?, request.mode()?);
    let made = api.control.attach(target.name().clone(), move |_, attachments| {
        let qualified = attachments.qualified.get_mut(&key);
        let url = qualified.and_then(|qualified| qualified.url.as_mut());
        let url = url.ok_or_else(missing)?;
        url.auth = auth.unwrap_or(url.auth);
        url.mode = mode.unwrap_or(url.mode);
        if let Some(cors) = request.cors {
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
    let key = or_latest(target.label());
    let removed = api.control.attach(target.name().clone(), move |_, attachments| {
        let qualified = attachments.qualified.get_mut(&key);
        let gone = qualified.and_then(|qualified| qualified.url.take());
        gone.map(|_| ()).ok_or_else(missing)
    });
    removed.await.map_err(|error| attach_error(error, &target.arn(api)))?;
    done(call)
}
