//! Artifacts, functions and usage.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use fractus_func::limits::ARTIFACT_MAX;
use fractus_func::{FunctionName, Manifest, RequestId};
use fractus_lambda::model::Tags;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::App;
use crate::admin::body::{self, blocking};
use crate::admin::error::ApiError;
use crate::artifacts::{ArtifactError, Digest};
use crate::control::{Control, Deploy, Deployment, Expected};
use crate::functions::Function;
use crate::limits::USAGE_PAGE_MAX;
use crate::usage::UsageQuery;

fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse()
        .map_err(|error: crate::artifacts::DigestError| {
            ApiError::bad_request(error.to_string(), "name the artifact by its SHA-256")
        })
}

pub(super) async fn put_artifact(
    State(admin): App,
    Path(text): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let digest = digest(&text)?;
    let artifacts = admin.control.artifacts();
    if let Some(size) = artifacts.size(digest) {
        return Ok((
            StatusCode::OK,
            Json(json!({"artifact": text, "size": size})),
        ));
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > ARTIFACT_MAX as u64) {
        return Err(ArtifactError::TooLarge.into());
    }
    let mut upload = artifacts.upload(digest).await?;
    while let Some(bytes) = body::next(&mut body).await? {
        upload.write(&bytes).await?;
    }
    let size = upload.finish().await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"artifact": text, "size": size})),
    ))
}

/// What a deploy asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVersion {
    manifest: Manifest,
    artifact: String,
}

pub(super) async fn deploy(
    State(admin): App,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let NewVersion { manifest, artifact } = body::json(body).await?;
    let digest = digest(&artifact)?;
    if manifest.name.as_str() != name {
        return Err(ApiError::bad_request(
            format!(
                "the manifest is of `{}` and the path of another function",
                manifest.name
            ),
            "post it to the versions of its own function",
        ));
    }
    let deploy = Deploy {
        manifest,
        artifact: digest,
        settings: None,
        expected: Expected::Anything,
        tags: Tags::new(),
        publish: false,
    };
    let Deployment {
        entry,
        published: _,
        compiled,
        description,
    } = admin.control.deploy(deploy).await?;
    let function = &entry.latest;
    tracing::info!(
        function = %function.name(),
        version = function.number(),
        compile_ms = compiled.compile_ms,
        "deployed"
    );
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "name": name,
            "version": function.number(),
            "artifact": artifact,
            "runtime": description.runtime,
            "packages": description.packages,
            "size": compiled.size,
            "compiled_size": compiled.compiled_size,
            "compile_ms": compiled.compile_ms,
            "urls": admin.control.urls(function.manifest()),
        })),
    ))
}

/// A function as the API tells it. Blocks for the size of its compiled form.
fn describe(control: &Control, function: &Function) -> Value {
    let deployed = function.deployed();
    let ledger = function.desk().totals();
    let artifacts = control.artifacts();
    json!({
        "name": function.name(),
        "version": function.number(),
        "created_ms": deployed.created_ms,
        "size": deployed.size,
        // None where the artifact cannot be read or not be run any more.
        "runtime": deployed.kind,
        "compiled_size": artifacts.compiled_size(deployed.artifact).unwrap_or(0),
        "memory_mb": deployed.manifest.limits.memory_mb,
        "loaded": function.loaded().is_some(),
        "running": function.desk().running(),
        "waiting": function.desk().waiting(),
        "counters": ledger.sums.counters,
        "last_error": ledger.last_error,
        "urls": control.urls(&deployed.manifest),
    })
}

pub(super) async fn list(State(admin): App) -> Result<Json<Value>, ApiError> {
    let control = Arc::clone(&admin.control);
    let functions = blocking(move || {
        let current = control.functions().snapshot();
        let described = current
            .values()
            .map(|entry| describe(&control, &entry.latest));
        Ok(described.collect::<Vec<_>>())
    });
    Ok(Json(json!({"functions": functions.await?})))
}

pub(super) async fn show(
    State(admin): App,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = admin.control.functions().get(&name);
    let entry = found.ok_or_else(|| ApiError::no_such_function(&name))?;
    let control = Arc::clone(&admin.control);
    blocking(move || Ok(describe(&control, &entry.latest)))
        .await
        .map(Json)
}

pub(super) async fn remove(
    State(admin): App,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::no_such_function(&name);
    let function: FunctionName = name.parse().or(Err(missing()))?;
    if !admin.control.remove(function).await? {
        return Err(missing());
    }
    tracing::info!(function = %name, "removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Which usage records are asked for.
#[derive(Deserialize)]
pub(super) struct UsageParameters {
    function: Option<String>,
    request_id: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn usage(
    State(admin): App,
    Query(asked): Query<UsageParameters>,
) -> Result<Json<Value>, ApiError> {
    let id = asked
        .request_id
        .as_deref()
        .map(str::parse::<RequestId>)
        .transpose();
    let request_id = id.map_err(|error| {
        ApiError::bad_request(
            error.to_string(),
            "copy it from the X-Request-Id of an answer",
        )
    })?;
    let functions = admin.control.functions();
    let records = functions.services().usage.find(UsageQuery {
        function: asked.function.as_deref(),
        request_id,
        limit: asked.limit.unwrap_or(100).min(USAGE_PAGE_MAX),
    });
    // Of a function that is gone there may still be records.
    match asked.function {
        Some(name) if records.is_empty() && functions.get(&name).is_none() => {
            Err(ApiError::no_such_function(&name))
        }
        _ => Ok(Json(json!({"records": records}))),
    }
}
