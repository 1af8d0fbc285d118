//! Aliases: names for versions, with a part of the calls for another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError, alias_name};
use fractus_lambda::limits::{ALIASES_MAX, PAGE_ASKED_MAX};
use fractus_lambda::model::{Alias, Attachments, LATEST, check_description, object};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{
    Target, arn, attach_error, check_revision, done, list as told_list, page, read, told,
};
use super::functions::uuid;
use super::{Answer, Api, Call};
use crate::functions::Entry;

/// The bodies of `CreateAlias` and `UpdateAlias`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    #[serde(deserialize_with = "object")]
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Routing {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

fn alias_arn(api: &Api, function: &str, alias: &str) -> String {
    arn(api, function, Some(&Qualifier::Alias(alias.to_owned())))
}

fn revision_id(arn: &str, alias: &Alias) -> String {
    uuid(fractus_lambda::sigv4::body_sha256(
        format!("{arn} {}", alias.revision).as_bytes(),
    ))
}

fn describe(api: &Api, function: &str, (name, alias): (&str, &Alias)) -> Value {
    let arn = alias_arn(api, function, name);
    let mut told = json!({
        "AliasArn": arn,
        "Name": name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": revision_id(&arn, alias),
    });
    if let Some((version, weight)) = &alias.additional {
        told["RoutingConfig"] = json!({"AdditionalVersionWeights": {version: weight}});
    }
    told
}

fn missing(arn: &str) -> ServiceError {
    ServiceError::not_found(format!("Cannot find alias arn: {arn}"))
}

impl Change {
    /// Brings what was asked for into an alias of `entry`.
    fn apply(&self, entry: &Entry, alias: &mut Alias) -> Result<(), ServiceError> {
        if let Some(version) = &self.function_version {
            check_pattern("functionVersion", version, "(\\$LATEST|[0-9]+)")?;
            alias.version = found_version(entry, version)?;
        }
        if let Some(description) = &self.description {
            check_description(description)?;
            alias.description.clone_from(description);
        }
        if let Some(routing) = &self.routing_config {
            let weights = routing.additional_version_weights.as_ref();
            alias.additional = weights.map_or(Ok(None), |weights| additional(entry, weights))?;
        }
        match &alias.additional {
            Some((version, _)) if alias.version == LATEST || version == LATEST => {
                Err(ServiceError::invalid_parameter(
                    "$LATEST is not supported for an alias pointing to more than 1 version",
                ))
            }
            Some((version, _)) if *version == alias.version => {
                Err(ServiceError::invalid_parameter(
                    "Invalid function version: an alias must point to two different versions",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Whether text is a version's number or, where the pattern has it, `$LATEST`.
fn check_pattern(member: &str, text: &str, pattern: &str) -> Result<(), ServiceError> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number || (text == LATEST && pattern.contains(LATEST)) {
        return Ok(());
    }
    Err(ServiceError::constraint(
        member,
        text,
        Constraint::Pattern(pattern),
    ))
}

/// The label of a version that is there.
fn found_version(entry: &Entry, version: &str) -> Result<String, ServiceError> {
    match entry.version(version) {
        Some(found) => Ok(found.identity().version.to_string()),
        None => Err(ServiceError::not_found(format!(
            "Function not found: {}:{version}",
            entry.latest.identity().arn
        ))),
    }
}

fn additional(
    entry: &Entry,
    weights: &BTreeMap<String, f64>,
) -> Result<Option<(String, f64)>, ServiceError> {
    let mut all = weights.iter();
    let Some((version, weight)) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(ServiceError::invalid_parameter(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    for version in weights.keys() {
        let member = "routingConfig.additionalVersionWeights";
        check_pattern(member, version, "[0-9]+")?;
    }
    if !(0.0..=1.0).contains(weight) {
        return Err(ServiceError::validation(format!(
            "1 validation error detected: Value '{weight}' at \
             'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must \
             satisfy constraint: [Member must have value less than or equal to 1.0, Member must \
             have value greater than or equal to 0.0]"
        )));
    }
    Ok(Some((found_version(entry, version)?, *weight)))
}

pub(super) async fn create(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let target = api.whole(call)?;
    let name = request.name.clone().unwrap_or_default();
    alias_name(&name)?;
    let function = target.name().to_string();
    let arn = alias_arn(api, &function, &name);
    let (own, key) = (arn.clone(), name.clone());
    let made = api
        .control
        .attach(target.name().clone(), move |entry, attachments| {
            if attachments.aliases.contains_key(&key) {
                return Err(ServiceError::conflict(format!(
                    "Alias already exists: {own}"
                )));
            }
            if attachments.aliases.len() >= ALIASES_MAX {
                let message = format!("a function has at most {ALIASES_MAX} aliases");
                return Err(ServiceError::invalid_parameter(message));
            }
            if request.function_version.is_none() {
                let null = Constraint::NotNull;
                return Err(ServiceError::constraint("functionVersion", "", null));
            }
            let mut alias = Alias {
                version: LATEST.to_owned(),
                description: String::new(),
                additional: None,
                revision: 1,
            };
            request.apply(entry, &mut alias)?;
            attachments.aliases.insert(key, alias.clone());
            Ok(alias)
        });
    let (_, alias) = made
        .await
        .map_err(|error| attach_error(error, &target.arn(api)))?;
    told(call, &describe(api, &function, (&name, &alias)))
}

pub(super) fn get(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let name = call.route.parameter("Name");
    let function = target.name().as_str();
    let found = target.entry.attachments.aliases.get(name);
    let alias = found.ok_or_else(|| missing(&alias_arn(api, function, name)))?;
    told(call, &describe(api, function, (name, alias)))
}

pub(super) fn list(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let only = call.query.get("FunctionVersion");
    let aliases = target.entry.attachments.aliases.iter();
    let aliases = aliases.filter(|(_, alias)| only.is_none_or(|only| alias.version == *only));
    let aliases = aliases.map(|(name, alias)| (name.clone(), (name, alias)));
    let (found, next) = page(call, aliases, PAGE_ASKED_MAX)?;
    let function = target.name().as_str();
    let described = found
        .into_iter()
        .map(|(name, alias)| describe(api, function, (name, alias)));
    told_list(call, "Aliases", (described.collect(), next))
}

pub(super) async fn update(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let target = api.whole(call)?;
    let name = call.route.parameter("Name").to_owned();
    let function = target.name().to_string();
    let (own, key) = (alias_arn(api, &function, &name), name.clone());
    let made = api
        .control
        .attach(target.name().clone(), move |entry, attachments| {
            let found = attachments.aliases.get_mut(&key);
            let alias =
                found.ok_or_else(|| ServiceError::not_found(format!("Alias not found: {own}")))?;
            check_revision(request.revision_id.as_deref(), &revision_id(&own, alias))?;
            request.apply(entry, alias)?;
            alias.revision += 1;
            Ok(alias.clone())
        });
    let (_, alias) = made
        .await
        .map_err(|error| attach_error(error, &target.arn(api)))?;
    told(call, &describe(api, &function, (&name, &alias)))
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target: Target = api.whole(call)?;
    let name = call.route.parameter("Name").to_owned();
    let removed = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let Attachments {
                aliases, qualified, ..
            } = attachments;
            aliases.remove(&name);
            qualified.remove(&name);
            Ok(())
        });
    removed
        .await
        .map_err(|error| attach_error(error, &target.arn(api)))?;
    done(call)
}
