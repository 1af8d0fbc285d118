//! Artifacts, functions and usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use fractus_func::limits::ARTIFACT_MAX;
use fractus_func::trace::{Cost, Price};
use fractus_func::{Counters, FunctionName, Manifest, Outcome, RequestId};
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
use crate::functions::{Entry, Function, Functions};
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
    /// Only calls that ended no earlier, in milliseconds since the UNIX epoch.
    since_ms: Option<u64>,
    limit: Option<usize>,
}

/// Sums over calls, and what those cost.
fn costed(counters: &Counters, price: &Price) -> Value {
    let mut told = json!(counters);
    let cost = price
        .request
        .0
        .saturating_mul(counters.calls - counters.throttled);
    let of_time = u128::from(counters.mb_ms) * u128::from(price.gb_second.0) / 1_024_000;
    told["cost"] = cost
        .saturating_add(u64::try_from(of_time).unwrap_or(u64::MAX))
        .into();
    told
}

/// What a revision is called: the number of its published version, or `$LATEST`.
fn label(entry: &Entry, number: u64) -> Option<String> {
    let found = entry
        .versions()
        .find(|function| function.number() == number);
    found.map(|function| function.identity().version.to_string())
}

/// The sums of each function since it was deployed, which are exact.
fn exact_sums(entry: &Entry, price: &Price) -> Value {
    let sums = entry.latest.desk().totals().sums;
    let versions = sums.revisions.iter().map(|(number, counters)| {
        let mut told = costed(counters, price);
        told["version"] = (*number).into();
        told["qualifier"] = json!(label(entry, *number));
        told
    });
    let mut told = costed(&sums.counters, price);
    told["function"] = json!(entry.latest.name());
    told["versions"] = versions.collect();
    told
}

/// The sums over the recent calls of each function.
fn recent_sums(
    sums: BTreeMap<(FunctionName, u64), Counters>,
    functions: &Functions,
    price: &Price,
) -> Vec<Value> {
    let mut told: BTreeMap<FunctionName, (Counters, Vec<Value>)> = BTreeMap::new();
    for ((name, number), counters) in sums {
        let entry = functions.get(name.as_str());
        let (all, versions) = told.entry(name).or_default();
        all.merge(&counters);
        let mut version = costed(&counters, price);
        version["version"] = number.into();
        version["qualifier"] = json!(entry.and_then(|entry| label(&entry, number)));
        versions.push(version);
    }
    let told = told.into_iter().map(|(name, (counters, versions))| {
        let mut told = costed(&counters, price);
        told["function"] = json!(name);
        told["versions"] = versions.into();
        told
    });
    told.collect()
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
    let services = functions.services();
    let query = UsageQuery {
        function: asked.function.as_deref(),
        request_id,
        since_ms: asked.since_ms.unwrap_or(0),
        limit: asked.limit.unwrap_or(100).min(USAGE_PAGE_MAX),
    };
    let records = services.usage.find(query);
    let price = services.price;
    let (sums, complete_ms) = if asked.since_ms.is_some() {
        let (sums, complete_ms) = services.usage.sums(query);
        (recent_sums(sums, functions, &price), complete_ms)
    } else {
        let snapshot = functions.snapshot();
        let wanted = |name: &&FunctionName| {
            asked
                .function
                .as_deref()
                .is_none_or(|wanted| name.as_str() == wanted)
        };
        let entries = snapshot.iter().filter(|(name, _)| wanted(name));
        (
            entries
                .map(|(_, entry)| exact_sums(entry, &price))
                .collect(),
            0,
        )
    };
    // Of a function that is gone there may still be records.
    match asked.function {
        Some(name) if records.is_empty() && functions.get(&name).is_none() => {
            Err(ApiError::no_such_function(&name))
        }
        _ => {
            let records = records.iter().map(|record| {
                let mut told = json!(record);
                let is_refused = matches!(record.outcome, Outcome::Throttled | Outcome::NodeBusy);
                let cost = if is_refused {
                    Cost::default()
                } else {
                    price.call(record.billed_ms, record.memory_mb)
                };
                told["cost"] = json!(cost);
                told
            });
            Ok(Json(json!({
                "functions": sums,
                "complete_since_ms": complete_ms,
                "price": price,
                "records": records.collect::<Vec<_>>(),
            })))
        }
    }
}
