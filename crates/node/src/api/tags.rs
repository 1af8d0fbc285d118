//! Tags of functions and event source mappings, by ARN.

use std::sync::Arc;

use fractus_lambda::control::ServiceError;
use fractus_lambda::model::{Tags, check_tags};
use http::Uri;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Target, attach_error, done, read, told};
use super::{Answer, Api, Call};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Given {
    tags: Option<Tags>,
}

/// The function that the ARN in the path names.
fn target(api: &Api, call: &Call<'_>) -> Result<Target, ServiceError> {
    let arn = call.route.parameter("Resource");
    if !arn.starts_with("arn:") {
        return Err(ServiceError::validation(format!(
            "1 validation error detected: Value '{arn}' at 'resource' failed to satisfy \
             constraint: Member must be an ARN"
        )));
    }
    api.find(api.parse(arn)?.unqualified()?)
}

pub(super) async fn tag(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Given = read(call)?;
    let target = target(api, call)?;
    let tags = request.tags.unwrap_or_default();
    if tags.is_empty() {
        return Err(ServiceError::invalid_parameter("Tags must not be empty"));
    }
    let made = api.control.attach(target.name().clone(), move |_, attachments| {
        attachments.tags.extend(tags);
        check_tags(&attachments.tags)
    });
    made.await.map_err(|error| attach_error(error, &target.arn(api)))?;
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
    let target = target(api, call)?;
    let keys = keys(&call.head.uri);
    if keys.is_empty() {
        return Err(ServiceError::invalid_parameter("tagKeys must not be empty"));
    }
    let made = api.control.attach(target.name().clone(), move |_, attachments| {
        attachments.tags.retain(|name, _| !keys.contains(name));
        Ok(())
    });
    made.await.map_err(|error| attach_error(error, &target.arn(api)))?;
    done(call)
}

pub(super) async fn list(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = target(api, call)?;
    told(call, &json!({"Tags": target.entry.attachments.tags}))
}
