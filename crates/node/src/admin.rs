//! The admin API: JSON over HTTP on the admin listener. All but `GET /healthz` asks for the bearer
//! token of `DIR/credentials.json`; without it nothing is told and nothing changes.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use fractus_stdx::ErrorChain;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::control::Control;
use crate::data_dir::Addresses;
use crate::limits::{COUNTED_MAX, COUNTED_PER_BUCKET_MAX};

mod body;
mod buckets;
mod error;
mod events;
mod functions;
mod logs;
mod metrics;
mod objects;
mod traces;

pub(crate) use crate::admin::body::Channel;
pub(crate) use crate::admin::error::ApiError;
pub(crate) use crate::admin::events::md5_of;
pub(crate) use crate::admin::objects::GuestObjects;

/// What the admin API speaks for.
#[derive(Debug)]
pub(crate) struct Admin {
    /// What it commands.
    pub(crate) control: Arc<Control>,
    /// Who may command: the bearer token.
    pub(crate) token: String,
    /// Where the node listens.
    pub(crate) addresses: Addresses,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// When the node was started, in milliseconds since the UNIX epoch.
    pub(crate) started_ms: u64,
    /// Becomes true when the node begins to stop.
    pub(crate) draining: watch::Sender<bool>,
}

type App = State<Arc<Admin>>;

/// The routes of the API.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    let protected = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/artifacts/{digest}", put(functions::put_artifact))
        .route("/v1/functions", get(functions::list))
        .route(
            "/v1/functions/{name}",
            get(functions::show).delete(functions::remove),
        )
        .route("/v1/functions/{name}/versions", post(functions::deploy))
        .route("/v1/functions/{name}/logs", get(logs::read))
        .route("/v1/usage", get(functions::usage))
        .route("/v1/traces", get(traces::list))
        .route("/v1/traces/{id}", get(traces::show))
        .route("/v1/events", get(events::show))
        .route("/v1/queues", get(events::queues))
        .route(
            "/v1/queues/{name}",
            put(events::put_queue).delete(events::delete_queue),
        )
        .route(
            "/v1/queues/{name}/messages",
            post(events::send).delete(events::purge_queue),
        )
        .route("/metrics", get(metrics::show))
        .route("/v1/buckets", get(buckets::list))
        .route(
            "/v1/buckets/{bucket}",
            put(buckets::put).delete(buckets::delete),
        )
        .route("/v1/buckets/{bucket}/objects", get(buckets::objects))
        .route(
            "/v1/objects/{bucket}/{*key}",
            get(objects::get).put(objects::put).delete(objects::delete),
        )
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin),
            authorize,
        ));
    Router::new()
        .route("/healthz", get(healthz))
        .merge(protected)
        .with_state(admin)
}

/// Whether a request brings the bearer token. How long it takes tells nothing of the token.
pub(crate) fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    given.is_some_and(|given| given.ct_eq(token.as_bytes()).into())
}

async fn authorize(State(admin): App, request: Request, next: Next) -> Response {
    if is_authorized(request.headers(), &admin.token) {
        next.run(request).await
    } else {
        ApiError::unauthorized().into_response()
    }
}

async fn no_such_endpoint() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no-such-endpoint",
        "the admin API has no such path",
        "compare the versions of the command line and of the node",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "the admin API has no such method on this path",
        "compare the versions of the command line and of the node",
    )
}

async fn healthz(State(admin): App) -> (StatusCode, &'static str) {
    if *admin.draining.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn status(State(admin): App) -> Result<Json<Value>, ApiError> {
    let control = &admin.control;
    let budget = &control.functions().services().budget;
    let store = control.store().clone();
    let (counted, health) = body::blocking(move || {
        let counted = buckets::count(&store, COUNTED_PER_BUCKET_MAX, COUNTED_MAX)?;
        Ok((counted, store.health()))
    })
    .await?;
    let cache = control.edge().stats();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": admin.addresses.pid,
        "started_ms": admin.started_ms,
        "edge": admin.addresses.edge,
        "api": admin.addresses.api,
        "admin": admin.addresses.admin,
        "data": admin.data,
        "functions": control.functions().snapshot().len(),
        "buckets": counted.len(),
        "objects": counted.iter().map(|bucket| bucket.objects).sum::<usize>(),
        "objects_capped": counted.iter().any(|bucket| bucket.capped),
        "store_bytes": health.bytes,
        "running": budget.running(),
        "guest_memory": budget.memory(),
        "cache": {
            "entries": cache.entries,
            "bytes": cache.bytes,
            "capacity": cache.capacity,
            "hits": cache.hits,
            "misses": cache.misses,
        },
        "store_health": {
            "stopped": health.stopped.as_ref().map(|fault| ErrorChain(fault).to_string()),
            "damaged": health.damaged.len(),
            "volumes": health.volumes,
        },
    })))
}
