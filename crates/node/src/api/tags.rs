//! Tags of functions and event source mappings, by ARN.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, ServiceError, mapping_arn};
use fractus_lambda::model::{Tags, check_tags};
use http::Uri;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Target, attach_error, done, read, told};
use super::{Answer, Api, Call, mappings};
use crate::limits::ACCOUNT;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Given {
    tags: Option<Tags>,
}

/// What has tags.
enum Tagged<'a> {
    Function(Target),
    /// An event source mapping, by its id.
    Mapping(&'a str),
}

/// What the ARN in the path names.
fn tagged<'a>(api: &Api, call: &'a Call<'_>) -> Result<Tagged<'a>, ServiceError> {
    let arn = call.route.parameter("Resource");
    let own = mapping_arn(&api.region, ACCOUNT, "");
    if let Some(uuid) = arn.strip_prefix(&own) {
        return Ok(Tagged::Mapping(uuid));
    }
    let pattern = Constraint::Pattern(
        "arn:(aws[a-zA-Z-]*):lambda:[a-z0-9-]+:\\d{12}:(function:[a-zA-Z0-9-_]+(:(\\$LATEST|\
         [a-zA-Z0-9-_]+))?|event-source-mapping:[a-z0-9-]+)",
    );
    if !arn.starts_with("arn:") {
        return Err(ServiceError::constraint("resource", arn, pattern));
    }
    let reference = api.parse(arn).map_err(|error| match error.kind {
        "ValidationException" => ServiceError::constraint("resource", arn, pattern),
        _ => error,
    })?;
    Ok(Tagged::Function(api.find(reference.unqualified()?)?))
}

impl Tagged<'_> {
    async fn change(
        self,
        api: &Arc<Api>,
        change: impl FnOnce(&mut Tags) -> Result<(), ServiceError> + Send + 'static,
    ) -> Result<(), ServiceError> {
        match self {
            Self::Mapping(uuid) => mappings::change_tags(api, uuid, change).await,
            Self::Function(target) => {
                let made = api
                    .control
                    .attach(target.name().clone(), move |_, attachments| {
                        change(&mut attachments.tags)
                    });
                let made = made
                    .await
                    .map_err(|error| attach_error(error, &target.arn(api)));
                made.map(|_| ())
            }
        }
    }
}

pub(super) async fn tag(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Given = read(call)?;
    let tagged = tagged(api, call)?;
    let given = request.tags.unwrap_or_default();
    if given.is_empty() {
        return Err(ServiceError::invalid_parameter(
            "An error occurred and the request cannot be \
                                                    processed: there are no tags in it",
        ));
    }
    let change = |tags: &mut Tags| {
        tags.extend(given);
        check_tags(tags)
    };
    tagged.change(api, change).await?;
    done(call)
}

/// The values of `tagKeys`, which comes once for each.
fn keys(uri: &Uri) -> Vec<String> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let pairs = pairs.map(|pairs| pairs.0).unwrap_or_default();
    let keys = pairs.into_iter().filter(|(name, _)| name == "tagKeys");
    keys.map(|(_, value)| value).collect()
}

pub(super) async fn untag(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let tagged = tagged(api, call)?;
    let keys = keys(&call.head.uri);
    if keys.is_empty() {
        return Err(ServiceError::constraint("tagKeys", "", Constraint::NotNull));
    }
    let change = move |tags: &mut Tags| {
        tags.retain(|name, _| !keys.contains(name));
        Ok(())
    };
    tagged.change(api, change).await?;
    done(call)
}

pub(super) async fn list(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let tags = match tagged(api, call)? {
        Tagged::Function(target) => target.entry.attachments.tags.clone(),
        Tagged::Mapping(uuid) => mappings::tags(api, uuid).await?,
    };
    told(call, &json!({"Tags": tags}))
}
