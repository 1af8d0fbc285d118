//! What is there to be asked: the account, and settings that a node does not have.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fractus_lambda::control::{Constraint, ServiceError};
use fractus_lambda::limits::{UNZIPPED_MAX, ZIP_MAX};
use serde::Deserialize;
use serde_json::json;

use super::answer::{read, told};
use super::functions::code_of;
use super::{Answer, Api, Call};
use crate::limits::CODE_TOTAL_TOLD;

pub(super) fn settings(api: &Api) -> Response {
    let snapshot = api.control.functions().snapshot();
    let versions = snapshot.values().flat_map(|entry| entry.versions());
    let size: u64 = versions.map(|function| code_of(function).1).sum();
    let most = api.control.functions().services().budget.instances();
    let reserved: u32 = snapshot
        .values()
        .filter_map(|entry| entry.attachments.reserved)
        .sum();
    let document = json!({
        "AccountLimit": {
            "TotalCodeSize": CODE_TOTAL_TOLD,
            "CodeSizeUnzipped": UNZIPPED_MAX,
            "CodeSizeZipped": ZIP_MAX,
            "ConcurrentExecutions": most,
            "UnreservedConcurrentExecutions": most.saturating_sub(reserved as usize),
        },
        "AccountUsage": {
            "TotalCodeSize": size,
            "FunctionCount": snapshot.len(),
        },
    });
    Json(document).into_response()
}

/// Nobody signs code here.
pub(super) fn code_signing(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    told(
        call,
        &json!({"FunctionName": target.name(), "CodeSigningConfigArn": ""}),
    )
}

/// Runtimes are the machine's own.
pub(super) fn runtime_management(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    target.version(api)?;
    let document = json!({"UpdateRuntimeOn": "Auto", "FunctionArn": target.arn(api)});
    told(call, &document)
}

/// Nobody looks for functions that call themselves.
pub(super) fn recursion(api: &Api, call: &Call<'_>) -> Answer {
    api.whole(call)?;
    told(call, &json!({"RecursiveLoop": "Allow"}))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Recursion {
    recursive_loop: Option<String>,
}

pub(super) fn put_recursion(api: &Api, call: &Call<'_>) -> Answer {
    let request: Recursion = read(call)?;
    let member = "recursiveLoop";
    match request.recursive_loop.as_deref() {
        Some("Allow") => recursion(api, call),
        Some("Terminate") => {
            api.whole(call)?;
            let message = "RecursiveLoop: this node does not find functions that call themselves, \
                           and cannot end them";
            Err(ServiceError::invalid_parameter(message))
        }
        None => Err(ServiceError::constraint(member, "", Constraint::NotNull)),
        Some(other) => {
            let all = Constraint::Enum(&["Allow", "Terminate"]);
            Err(ServiceError::constraint(member, other, all))
        }
    }
}
