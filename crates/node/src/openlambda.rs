//! What a node offers to users of `OpenLambda`: the API of its worker on the edge, beside
//! `/run/NAME`. `OpenLambda` lets anyone deploy; here all but `GET /status` asks for the bearer
//! token of `DIR/credentials.json`, as the admin API does.

mod package;
mod repack;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use fractus_edge::Origin;
use fractus_func::limits::ARTIFACT_MAX;
use fractus_func::{Body, BodyError, BoxFuture, FunctionName, NameError, RequestId};
use fractus_lambda::model::Tags;
use fractus_lambda::openlambda::{
    NOT_IMPLEMENTED, READY, REGISTRY_METHOD, bad_name, deleted, not_found, not_uploaded, uploaded,
};
use fractus_stdx::ErrorChain;
use http::header::{ALLOW, CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::package::{Package, PackageError, config_of, package};
use self::repack::RepackError;
use crate::admin::{ApiError, is_authorized};
use crate::control::{Control, Deploy, Deployment, Expected};
use crate::limits::{OL_UPLOAD_WAIT_MS, OL_UPLOADS_MAX};
use crate::origin::{problem, unstored};

const STATUS: &str = "/status";
const STATS: &str = "/stats";
const REGISTRY: &str = "/registry/";

/// The paths of the API, which no function may have for all hosts. One that ends with `/` stands
/// for all below it.
pub(crate) const PATHS: [&str; 4] = [STATUS, STATS, "/registry", REGISTRY];

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The API of an `OpenLambda` worker. Clones share everything.
#[derive(Clone)]
pub(crate) struct OpenLambda(Arc<Worker>);

struct Worker {
    /// What it commands; nothing before it was told.
    control: OnceLock<Weak<Control>>,
    /// The bearer token of who may.
    token: String,
    /// Where changes are made: an edge's thread has its clients to serve.
    runtime: Handle,
    /// Uploads that may be in memory at once.
    uploads: Arc<Semaphore>,
    generation: u64,
}

/// A request that is not done, and why.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl fmt::Debug for OpenLambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.debug_struct("OpenLambda").finish_non_exhaustive()
    }
}

impl OpenLambda {
    /// The API for whoever has `token`. To be called within the runtime in which changes are made.
    pub(crate) fn new(token: &str, generation: u64) -> Self {
        Self(Arc::new(Worker {
            control: OnceLock::new(),
            token: token.to_owned(),
            runtime: Handle::current(),
            uploads: Arc::new(Semaphore::new(OL_UPLOADS_MAX)),
            generation,
        }))
    }

    /// Tells it, once, what it commands. Until then it refuses.
    pub(crate) fn command(&self, control: &Arc<Control>) {
        let first = self.0.control.set(Arc::downgrade(control));
        debug_assert!(first.is_ok(), "a node has one control");
    }
}

impl Origin for OpenLambda {
    fn generation(&self) -> u64 {
        self.0.generation
    }

    fn fetch(&self, request: Request<Body>, _id: RequestId) -> BoxFuture<'static, Response<Body>> {
        let worker = Arc::clone(&self.0);
        Box::pin(async move {
            let answer = worker.answer(request).await;
            answer.unwrap_or_else(Refusal::response)
        })
    }
}

impl Worker {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if path == STATUS {
            return Ok(text(StatusCode::OK, READY));
        }
        if !is_authorized(&head.headers, &self.token) {
            return Ok(unauthorized());
        }
        let control = self.control.get().and_then(Weak::upgrade);
        let control = control.ok_or_else(Refusal::stopping)?;
        if path == STATS {
            return Ok(json(&stats(&control)));
        }
        let rest = path.strip_prefix(REGISTRY).unwrap_or("");
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        match rest.split_once('/') {
            None if rest.is_empty() && is_read => {
                let snapshot = control.functions().snapshot();
                Ok(json(&snapshot.keys().collect::<Vec<_>>()))
            }
            None if rest.is_empty() => Ok(wrong_method("GET, HEAD")),
            Some((name, "config")) if is_read => configuration(&control, &name_of(name)?),
            _ if is_read => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "not-implemented",
                NOT_IMPLEMENTED,
            )),
            _ if head.method == Method::POST => {
                let name = name_of(rest)?;
                let told = uploaded(name.as_str());
                self.upload(control, name, &head, body).await?;
                Ok(text(StatusCode::CREATED, told))
            }
            _ if head.method == Method::DELETE => self.remove(control, name_of(rest)?).await,
            _ => Ok(wrong_method("GET, HEAD, POST, DELETE")),
        }
    }

    async fn upload(
        &self,
        control: Arc<Control>,
        name: FunctionName,
        head: &Parts,
        body: Body,
    ) -> Result<(), Refusal> {
        let announced = head.headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > ARTIFACT_MAX) {
            return Err(Refusal::too_large());
        }
        let uploads = Arc::clone(&self.uploads).acquire_owned();
        let wait = Duration::from_millis(OL_UPLOAD_WAIT_MS);
        let Ok(Ok(permit)) = tokio::time::timeout(wait, uploads).await else {
            let told = "the node takes as many uploads as it may; try again";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Refusal::new(status, "node-busy", told));
        };
        let archive = read(body).await?;
        let deploying = self.runtime.spawn(deploy(control, name, archive, permit));
        deploying.await.map_err(|_stops| Refusal::stopping())?
    }

    async fn remove(
        &self,
        control: Arc<Control>,
        name: FunctionName,
    ) -> Result<Response<Body>, Refusal> {
        let of = name.clone();
        let removing = self.runtime.spawn(async move { control.remove(of).await });
        let removed = removing.await.map_err(|_stops| Refusal::stopping())?;
        if removed.map_err(ApiError::from)? {
            tracing::info!(function = %name, "removed");
            Ok(text(StatusCode::OK, deleted(name.as_str())))
        } else {
            Err(Refusal::no_such_function(&name))
        }
    }
}

/// An upload's bytes.
async fn read(body: Body) -> Result<Bytes, Refusal> {
    let error = match Limited::new(body, ARTIFACT_MAX).collect().await {
        Ok(body) => return Ok(body.to_bytes()),
        Err(error) => error,
    };
    if error.is::<LengthLimitError>() {
        return Err(Refusal::too_large());
    }
    let is_late = matches!(error.downcast_ref(), Some(BodyError::Stalled));
    Err(if is_late {
        let text = "no more of the archive came in time";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "body-stalled", text)
    } else {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "the archive's upload broke off",
        )
    })
}

/// Makes the newest revision of a function of an archive.
async fn deploy(
    control: Arc<Control>,
    name: FunctionName,
    archive: Bytes,
    _permit: OwnedSemaphorePermit,
) -> Result<(), Refusal> {
    let packing = tokio::task::spawn_blocking(move || package(name, &archive)).await;
    let Package { manifest, zip } = packing.map_err(|_stops| Refusal::stopping())??;
    let kept = control.artifacts().keep(&zip).await;
    let artifact = kept.map_err(Refusal::not_deployed)?;
    drop(zip);
    let deploy = Deploy {
        manifest,
        artifact,
        settings: None,
        expected: Expected::Anything,
        tags: Tags::new(),
        publish: false,
    };
    match control.deploy(deploy).await {
        Ok(Deployment { entry, .. }) => {
            let function = &entry.latest;
            tracing::info!(function = %function.name(), version = function.number(), "deployed");
            Ok(())
        }
        Err(error) => {
            control.forget_unused(artifact).await;
            Err(Refusal::not_deployed(error))
        }
    }
}

/// Calls of each function that was called, and their mean time in whole milliseconds, under the
/// names that `OpenLambda` has for its counters.
fn stats(control: &Control) -> BTreeMap<String, u64> {
    let snapshot = control.functions().snapshot();
    let mut stats = BTreeMap::new();
    for (name, entry) in snapshot.iter() {
        let counters = entry.latest.desk().totals().sums.counters;
        let took_us = counters.queue_us + counters.run_us;
        if let Some(mean_us) = took_us.checked_div(counters.calls) {
            stats.insert(format!("{name}.cnt"), counters.calls);
            stats.insert(format!("{name}.ms-avg"), mean_us / 1000);
        }
    }
    stats
}

fn configuration(control: &Control, name: &FunctionName) -> Result<Response<Body>, Refusal> {
    let entry = control.functions().get(name.as_str());
    let entry = entry.ok_or_else(|| Refusal::no_such_function(name))?;
    Ok(json(&config_of(entry.latest.manifest())))
}

/// A function's name. `OpenLambda` allows some that are none here, and is not quoted for those.
fn name_of(text: &str) -> Result<FunctionName, Refusal> {
    text.parse().map_err(|error: NameError| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let told = if text.bytes().all(plain) {
            error.to_string()
        } else {
            bad_name(text)
        };
        Refusal::new(StatusCode::BAD_REQUEST, "bad-name", told)
    })
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
        }
    }

    fn too_large() -> Self {
        let text = not_uploaded(&format!("an archive has at most {ARTIFACT_MAX} bytes"));
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "artifact-too-large", text)
    }

    fn no_such_function(name: &FunctionName) -> Self {
        let text = not_found(name.as_str());
        Self::new(StatusCode::NOT_FOUND, "no-such-function", text)
    }

    fn stopping() -> Self {
        let text = "the node is starting or stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", text)
    }

    fn not_deployed(error: impl Into<ApiError>) -> Self {
        let mut refusal = Self::from(error.into());
        refusal.text = not_uploaded(&refusal.text);
        refusal
    }

    fn response(self) -> Response<Body> {
        let mut response = problem(self.status, self.code, self.text.trim_end());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, second);
        }
        response
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let (status, code, text) = error.into_parts();
        Self { status, code, text }
    }
}

impl From<PackageError> for Refusal {
    fn from(error: PackageError) -> Self {
        let text = not_uploaded(&ErrorChain(&error).to_string());
        match error {
            PackageError::Repack(RepackError::TooLarge) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "artifact-too-large", text)
            }
            _ => Self::new(StatusCode::BAD_REQUEST, "invalid-artifact", text),
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    unstored(status, TEXT, text.into())
}

fn json(value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("names, numbers and texts are JSON");
    unstored(StatusCode::OK, JSON, text.into())
}

fn unauthorized() -> Response<Body> {
    let text = "send `Authorization: Bearer TOKEN` with the admin_token of DIR/credentials.json";
    let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorized", text);
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    response
}

fn wrong_method(allowed: &'static str) -> Response<Body> {
    let text = REGISTRY_METHOD.trim_end();
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", text);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

#[cfg(test)]
mod tests;
