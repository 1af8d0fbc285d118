//! What happened during recent calls, span by span, and what it cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use fractus_func::RequestId;
use fractus_func::trace::{Cost, Price, Trace, to_chrome_trace};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::App;
use crate::admin::error::ApiError;
use crate::limits::TRACES_PAGE_MAX;
use crate::traces::untraced;
use crate::usage::UsageQuery;

/// How a trace is told.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Chrome,
}

#[derive(Deserialize)]
pub(super) struct ShowParameters {
    #[serde(default)]
    format: Format,
}

/// The trace of a request. Of one that was not traced only what its usage record tells: `traced` is
/// then false.
pub(super) async fn show(
    State(admin): App,
    Path(text): Path<String>,
    Query(ShowParameters { format }): Query<ShowParameters>,
) -> Result<Json<Value>, ApiError> {
    let id = text.parse::<RequestId>().map_err(|error| {
        ApiError::bad_request(
            error.to_string(),
            "copy it from the X-Request-Id of an answer, or from `fractus usage`",
        )
    })?;
    let services = admin.control.functions().services();
    let kept = services.traces.get(id);
    let is_traced = kept.is_some();
    let trace = if let Some(trace) = kept {
        Arc::unwrap_or_clone(trace)
    } else {
        let records = services.usage.find(UsageQuery {
            function: None,
            request_id: Some(id),
            since_ms: 0,
            limit: 1,
        });
        untraced(records.first().ok_or_else(no_such_trace)?)
    };
    let price = &services.price;
    Ok(Json(match format {
        Format::Chrome => to_chrome_trace(&trace, price),
        Format::Json => json!({
            "traced": is_traced,
            "trace": trace,
            "price": price,
            "costs": trace.costs(price),
            "cost": cost(&trace, price),
        }),
    }))
}

fn no_such_trace() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no-such-trace",
        "the node remembers no call with this id",
        "only recent calls are remembered, and none of before the node's start; answers from the \
         cache are no calls",
    )
}

/// What a call cost.
fn cost(trace: &Trace, price: &Price) -> Cost {
    trace
        .costs(price)
        .first()
        .map_or_else(Cost::default, |root| root.total)
}

#[derive(Deserialize)]
pub(super) struct ListParameters {
    function: Option<String>,
    limit: Option<usize>,
}

/// The newest traces, newest first.
pub(super) async fn list(State(admin): App, Query(asked): Query<ListParameters>) -> Json<Value> {
    let services = admin.control.functions().services();
    let limit = asked.limit.unwrap_or(100).min(TRACES_PAGE_MAX);
    let traces = services.traces.find(asked.function.as_deref(), limit);
    let summaries = traces.iter().map(|trace| {
        let root = trace.spans().first();
        json!({
            "request_id": trace.id,
            "trace_id": trace.trace_id,
            "function": trace.function,
            "version": trace.version,
            "trigger": trace.trigger,
            "started_ms": trace.started_ms,
            "duration_us": trace.duration_us(),
            "status": root.and_then(|root| root.status),
            "error": root.and_then(|root| root.error.as_deref()),
            "spans": trace.spans().len(),
            "cost": cost(trace, &services.price),
        })
    });
    Json(json!({"traces": summaries.collect::<Vec<_>>()}))
}
