//! Published versions.

use std::sync::Arc;

use fractus_lambda::control::{Qualifier, ServiceError};
use fractus_lambda::limits::PAGE_ASKED_MAX;
use fractus_lambda::model::check_description;
use serde::Deserialize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{
    Target, attach_error, check_revision, list as told_list, page, read, sortable, told,
};
use super::functions::{code_of, describe_version, revision_id};
use super::{Answer, Api, Call};

/// The body of `PublishVersion`.
#[derive(Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[derive(Default)]
struct Publish {
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

pub(super) async fn publish(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Publish = read(call)?;
    let target = api.whole(call)?;
    if let Some(description) = &request.description {
        check_description(description)?;
    }
    let (code, revision) = (request.code_sha256, request.revision_id);
    let published = api
        .control
        .publish(target.name().clone(), request.description, move |entry| {
            check_revision(revision.as_deref(), &revision_id(&entry.latest))?;
            let is = STANDARD.encode(code_of(&entry.latest).0.0);
            match code {
                Some(code) if code != is => Err(ServiceError::invalid_parameter(format!(
                    "CodeSHA256 ({code}) is different from current CodeSHA256 in $LATEST ({is}). \
                 Please try again with the CodeSHA256 in $LATEST."
                ))),
                _ => Ok(()),
            }
        });
    let (_, version) = published
        .await
        .map_err(|error| attach_error(error, &target.arn(api)))?;
    told(call, &describe_version(api, &version))
}

pub(super) fn list(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let versions = target.entry.versions().map(|function| {
        let number = function.version().published.unwrap_or(0);
        (sortable(number), function)
    });
    let (found, next) = page(call, versions, PAGE_ASKED_MAX)?;
    let described = found
        .into_iter()
        .map(|version| describe_version(api, version));
    told_list(call, "Versions", (described.collect(), next))
}

/// Removes a version that no alias names.
pub(super) async fn delete(api: &Api, target: &Target, number: u64) -> Result<(), ServiceError> {
    let arn = target.arn(api);
    let text = Qualifier::Version(number).to_string();
    let removed = api
        .control
        .unpublish(target.name().clone(), number, move |entry| {
            if !entry.published.contains_key(&number) {
                // It is as well as gone.
                return Ok(());
            }
            let names_it = |alias: &fractus_lambda::model::Alias| {
                alias.version == text || alias.additional.as_ref().is_some_and(|(v, _)| *v == text)
            };
            let aliases = entry.attachments.aliases.iter();
            let names: Vec<_> = aliases
                .filter(|(_, alias)| names_it(alias))
                .map(|(n, _)| n)
                .collect();
            match names.first() {
                Some(alias) => Err(ServiceError::conflict(format!(
                    "Version {number} cannot be deleted: the alias {alias} refers to it"
                ))),
                None => Ok(()),
            }
        });
    removed.await.map_err(|error| attach_error(error, &arn))
}
