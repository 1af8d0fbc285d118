//! Reserved and provisioned concurrency.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError};
use fractus_lambda::limits::PAGE_MAX;
use fractus_lambda::model::{LATEST, Provisioned, iso_time};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Target, arn, attach_error, done, list as told_list, page, read, told};
use super::{Answer, Api, Call};
use crate::clock::now_ms;
use crate::functions::Entry;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Reserve {
    reserved_concurrent_executions: Option<i64>,
}

pub(super) async fn put(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Reserve = read(call)?;
    let target = api.whole(call)?;
    let member = "reservedConcurrentExecutions";
    let asked = request.reserved_concurrent_executions;
    let asked = asked.ok_or_else(|| ServiceError::constraint(member, "", Constraint::NotNull))?;
    if asked < 0 {
        let least = Constraint::ValueMin(0);
        return Err(ServiceError::constraint(member, &asked.to_string(), least));
    }
    let most = api.control.functions().services().budget.instances();
    let reserved = usize::try_from(asked).ok().filter(|asked| *asked <= most);
    let reserved = reserved.and_then(|reserved| u32::try_from(reserved).ok());
    let reserved = reserved.ok_or_else(|| {
        ServiceError::invalid_parameter(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's \
             UnreservedConcurrentExecution below its minimum value: the node runs {most} calls at \
             once."
        ))
    })?;
    set(api, &target, Some(reserved)).await?;
    told(call, &json!({"ReservedConcurrentExecutions": reserved}))
}

pub(super) fn get(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let document = match target.entry.attachments.reserved {
        Some(reserved) => json!({"ReservedConcurrentExecutions": reserved}),
        None => json!({}),
    };
    told(call, &document)
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    set(api, &target, None).await?;
    done(call)
}

async fn set(api: &Api, target: &Target, reserved: Option<u32>) -> Result<(), ServiceError> {
    let changed = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            attachments.reserved = reserved;
            Ok(())
        });
    let changed = changed
        .await
        .map_err(|error| attach_error(error, &target.arn(api)));
    changed.map(|_| ())
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Provision {
    provisioned_concurrent_executions: Option<i64>,
}

/// The alias or version that instances are provisioned for.
fn qualifier(target: &Target) -> Result<String, ServiceError> {
    match target.label() {
        Some(label) if label != LATEST => Ok(label),
        _ => Err(ServiceError::invalid_parameter(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        )),
    }
}

fn describe(entry: &Entry, qualifier: &str, provisioned: Provisioned) -> Value {
    let wanted = provisioned.instances;
    // A version has at least as many when it is loaded, and it is loaded at once.
    let version = entry.resolve(Some(qualifier), 1.0);
    let is_ready = version.is_some_and(|function| function.loaded().is_some());
    let ready = if is_ready { wanted } else { 0 };
    json!({
        "RequestedProvisionedConcurrentExecutions": wanted,
        "AvailableProvisionedConcurrentExecutions": ready,
        "AllocatedProvisionedConcurrentExecutions": ready,
        "Status": if is_ready { "READY" } else { "IN_PROGRESS" },
        "LastModified": iso_time(provisioned.modified_ms),
    })
}

pub(super) async fn provision(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Provision = read(call)?;
    let target = api.target(call)?;
    let label = qualifier(&target)?;
    target.version(api)?;
    let member = "provisionedConcurrentExecutions";
    let asked = request.provisioned_concurrent_executions;
    let asked = asked.ok_or_else(|| ServiceError::constraint(member, "", Constraint::NotNull))?;
    let instances = u32::try_from(asked).ok().filter(|instances| *instances > 0);
    let instances = instances.ok_or_else(|| {
        ServiceError::constraint(member, &asked.to_string(), Constraint::ValueMin(1))
    })?;
    let key = label.clone();
    let changed = api
        .control
        .attach(target.name().clone(), move |entry, attachments| {
            let limit = entry.concurrency();
            if instances > limit {
                return Err(ServiceError::invalid_parameter(format!(
                    "Requested Provisioned Concurrency should not be greater than the \
                 reservedConcurrentExecution for function ({limit})"
                )));
            }
            let version = |qualifier: &str| {
                let function = entry.resolve(Some(qualifier), 1.0);
                function.map(|function| &function.identity().version)
            };
            let is_taken = attachments.qualified.iter().any(|(other, qualified)| {
                *other != key && qualified.provisioned.is_some() && version(other) == version(&key)
            });
            if is_taken {
                return Err(ServiceError::conflict(
                    "Alias can't be used for Provisioned Concurrency configuration on an already \
                 Provisioned version",
                ));
            }
            let provisioned = Provisioned {
                instances,
                modified_ms: now_ms(),
            };
            attachments.qualified.entry(key).or_default().provisioned = Some(provisioned);
            Ok(provisioned)
        });
    let changed = changed
        .await
        .map_err(|error| attach_error(error, &target.arn(api)));
    let (entry, provisioned) = changed?;
    told(call, &describe(&entry, &label, provisioned))
}

fn found(api: &Api, target: &Target) -> Result<(String, Provisioned), ServiceError> {
    let label = qualifier(target)?;
    target.version(api)?;
    let qualified = target.entry.attachments.qualified.get(&label);
    let provisioned = qualified.and_then(|qualified| qualified.provisioned);
    let provisioned = provisioned.ok_or_else(|| {
        ServiceError::no_provisioned_concurrency(
            "No Provisioned Concurrency Config found for this function",
        )
    })?;
    Ok((label, provisioned))
}

pub(super) fn provisioned(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let (label, provisioned) = found(api, &target)?;
    told(call, &describe(&target.entry, &label, provisioned))
}

pub(super) fn list_provisioned(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let qualified = target.entry.attachments.qualified.iter();
    let provisioned =
        qualified.filter_map(|(key, one)| Some((key.clone(), (key, one.provisioned?))));
    let (found, next) = page(call, provisioned, PAGE_MAX)?;
    let described = found.into_iter().map(|(label, provisioned)| {
        let mut told = describe(&target.entry, label, provisioned);
        let qualifier = Qualifier::parse(label).ok();
        told["FunctionArn"] = arn(api, target.name().as_str(), qualifier.as_ref()).into();
        told
    });
    told_list(
        call,
        "ProvisionedConcurrencyConfigs",
        (described.collect(), next),
    )
}

pub(super) async fn release(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let label = qualifier(&target)?;
    let changed = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            if let Some(qualified) = attachments.qualified.get_mut(&label) {
                qualified.provisioned = None;
            }
            Ok(())
        });
    changed
        .await
        .map_err(|error| attach_error(error, &target.arn(api)))?;
    done(call)
}
