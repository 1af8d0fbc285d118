//! What is there to be asked: the account, and settings that a node does not have.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fractus_lambda::limits::{UNZIPPED_MAX, ZIP_MAX};
use serde_json::json;

use super::answer::told;
use super::functions::code_of;
use super::{Answer, Api, Call};
use crate::limits::CODE_TOTAL_TOLD;

pub(super) fn settings(api: &Api) -> Response {
    let snapshot = api.control.functions().snapshot();
    let versions = snapshot.values().flat_map(|entry| entry.versions());
    let size: u64 = versions.map(|function| code_of(function).1).sum();
    let most = api.control.functions().services().budget.instances();
    let reserved: u32 = snapshot.values().filter_map(|entry| entry.attachments.reserved).sum();
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
    told(call, &json!({"FunctionName": target.name(), "CodeSigningConfigArn": ""}))
}

/// Runtimes are the machine's own.
pub(super) fn runtime_management(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    target.version(api)?;
    let document = json!({"UpdateRuntimeOn": "Auto", "FunctionArn": target.arn(api)});
    told(call, &document)
}

pub(super) fn recursion(api: &Api, call: &Call<'_>) -> Answer {
    api.whole(call)?;
    told(call, &json!({"RecursiveLoop": "Allow"}))
}
