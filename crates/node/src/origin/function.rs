//! A deployed function, and who may call it from the edge.

use std::sync::Arc;

use bytes::Bytes;
use fractus_edge::{Arrived, Origin};
use fractus_func::trace::Trigger;
use fractus_func::{Body, BoxFuture, CallError, FunctionName, Outcome, RequestId, SignedBy};
use fractus_lambda::limits::RESPONSE_MAX;
use fractus_lambda::model::{Cors, LATEST, Url, UrlAuth, UrlMode};
use fractus_lambda::sigv4::{ContentHash, Scope, Signature};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE, HeaderMap, ORIGIN, RETRY_AFTER, VARY,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use sha2::{Digest as _, Sha256};

use super::{full, problem};
use crate::clock::now_ms;
use crate::functions::{Asked, Entry, Function, Functions};
use crate::limits::ACCOUNT;
use crate::traces::{Recorder, context_of};

/// A function by one of its ways in. A change of the function is a new origin, of another
/// generation.
#[derive(Clone, Debug)]
pub(crate) struct FunctionOrigin {
    functions: Arc<Functions>,
    entry: Arc<Entry>,
    /// The alias whose URL this is; None for `$LATEST`.
    qualifier: Option<Arc<str>>,
    guard: Guard,
}

/// Who may come in.
#[derive(Clone, Debug)]
enum Guard {
    /// Anyone: it was deployed to be called.
    Open,
    /// Nobody: it was made by AWS Lambda's API and has no URL.
    Closed,
    /// As its URL says; `is_public` if its policy lets anyone call it.
    Url { url: Arc<Url>, is_public: bool },
}

impl Guard {
    /// The guard of a function's ways in, or of those of an alias' URL. Where there is a URL its
    /// rules hold for all ways, so that none leads around them.
    fn of(entry: &Entry, qualifier: Option<&str>) -> Self {
        let qualified = entry.attachments.qualified.get(qualifier.unwrap_or(LATEST));
        match qualified.and_then(|q| Some((q, q.url.as_ref()?))) {
            Some((qualified, url)) => Self::Url {
                is_public: qualified.policy.allows_url(url.auth),
                url: Arc::new(url.clone()),
            },
            None if entry.latest.deployed().settings.is_some() => Self::Closed,
            None => Self::Open,
        }
    }
}

impl FunctionOrigin {
    /// An origin that calls the function, or the alias `qualifier` of it.
    pub(crate) fn new(
        functions: &Arc<Functions>,
        entry: &Arc<Entry>,
        qualifier: Option<&str>,
    ) -> Self {
        let qualifier = qualifier.filter(|qualifier| *qualifier != LATEST);
        Self {
            functions: Arc::clone(functions),
            entry: Arc::clone(entry),
            guard: Guard::of(entry, qualifier),
            qualifier: qualifier.map(Into::into),
        }
    }

    fn function(&self) -> Option<&Arc<Function>> {
        match &self.qualifier {
            None => Some(&self.entry.latest),
            Some(alias) => self.entry.resolve(Some(alias), chance()),
        }
    }

    async fn answer(&self, request: Request<Body>, id: RequestId) -> Response<Body> {
        let Some(function) = self.function() else {
            return forbidden();
        };
        match &self.guard {
            Guard::Open => self.call(function, request, id).await,
            Guard::Closed => problem(
                StatusCode::NOT_FOUND,
                "no-url",
                "this function has no URL: create one with CreateFunctionUrlConfig",
            ),
            Guard::Url { url, is_public } => {
                let origin = request.headers().get(ORIGIN).cloned();
                let cors = url.cors.as_ref().zip(origin);
                if let Some((cors, origin)) = &cors
                    && request.method() == Method::OPTIONS
                    && request
                        .headers()
                        .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
                {
                    return preflight(cors, origin);
                }
                let mut answer = self.guarded(function, (url, *is_public), request, id).await;
                if let Some((cors, origin)) = &cors {
                    allow_origin(answer.headers_mut(), cors, origin);
                }
                let id = HeaderValue::from_str(&id.to_string()).expect("an id is ASCII");
                answer.headers_mut().insert(X_AMZN_REQUEST_ID, id);
                answer
            }
        }
    }

    async fn guarded(
        &self,
        function: &Arc<Function>,
        (url, is_public): (&Url, bool),
        request: Request<Body>,
        id: RequestId,
    ) -> Response<Body> {
        let request = match url.auth {
            UrlAuth::None if is_public => request,
            UrlAuth::None => return forbidden(),
            UrlAuth::AwsIam => {
                let limit = function.manifest().limits.request_bytes();
                match self.authenticated(request, limit).await {
                    Ok(request) => request,
                    Err(answer) => return answer,
                }
            }
        };
        let answer = self.call(function, request, id).await;
        let mut answer = match url.mode {
            UrlMode::Stream => answer,
            UrlMode::Buffered => whole(answer).await,
        };
        if url.auth == UrlAuth::AwsIam {
            // What one caller may see is not for the next one.
            let never = HeaderValue::from_static("no-store");
            answer.headers_mut().insert(CDN_CACHE_CONTROL, never);
        }
        answer
    }

    /// The request, if the node's keys signed it.
    async fn authenticated(
        &self,
        request: Request<Body>,
        limit: u64,
    ) -> Result<Request<Body>, Response<Body>> {
        let (mut head, body) = request.into_parts();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let Ok(body) = Limited::new(body, limit).collect().await else {
            let text = "the request's body is too large or broke off";
            return Err(problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request-too-large",
                text,
            ));
        };
        let body = body.to_bytes();
        let Some(by) = self.signer(&head, &body) else {
            return Err(forbidden());
        };
        head.extensions.insert(by);
        Ok(Request::from_parts(head, full(body)))
    }

    fn signer(&self, head: &Parts, body: &Bytes) -> Option<SignedBy> {
        let services = self.functions.services();
        let signature = Signature::parse(head, now_ms() / 1000).ok()??;
        let scope = Scope {
            region: &services.region,
            services: &["lambda"],
        };
        let hash = Sha256::digest(body).into();
        let signed = signature.check(Some(&hash), &services.keys, &scope).ok()?;
        // A body that nobody signed may be anyone's.
        let is_whole = matches!(
            signed.content_sha256,
            ContentHash::Hex(_) | ContentHash::Absent(_)
        );
        is_whole.then(|| SignedBy {
            access_key_id: signed.access_key_id,
            account: ACCOUNT.to_owned(),
        })
    }

    async fn call(
        &self,
        function: &Arc<Function>,
        request: Request<Body>,
        id: RequestId,
    ) -> Response<Body> {
        let methods = &function.manifest().methods;
        if !methods.is_empty() && !methods.iter().any(|one| one == request.method().as_str()) {
            return wrong_method(request.method(), methods);
        }
        let context = context_of(request.headers());
        let arrived = request.extensions().get().map(|Arrived(at)| *at);
        let recorder = Recorder::of_call(function, id, Trigger::Http, context, arrived);
        let asked = Asked {
            recorder: recorder.clone(),
            ..Asked::default()
        };
        let answer = self.functions.call(function, request, id, asked).await;
        let mut answer = answer.unwrap_or_else(|error| match (&self.guard, &error.kind) {
            // Visitors learn nothing of what went wrong within.
            (Guard::Url { .. }, Some(_)) => failed(error.outcome.code()),
            _ => failure(function.name(), &error, id),
        });
        if let Some(recorder) = recorder {
            recorder.tell_caller(answer.headers_mut());
        }
        answer
    }
}

impl Origin for FunctionOrigin {
    fn generation(&self) -> u64 {
        self.entry.generation
    }

    fn fetch(&self, request: Request<Body>, id: RequestId) -> BoxFuture<'static, Response<Body>> {
        let origin = self.clone();
        Box::pin(async move { origin.answer(request, id).await })
    }
}

/// A random number from 0 inclusive to 1 exclusive; 0 where the system gives none.
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(0.0, |bits| f64::from(bits) / 2_f64.powi(32))
}

/// As AWS Lambda refuses a call of a URL.
fn forbidden() -> Response<Body> {
    let mut answer = problem(StatusCode::FORBIDDEN, "forbidden", "");
    *answer.body_mut() = full(Bytes::from_static(b"{\"Message\":\"Forbidden\"}"));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let kind = HeaderValue::from_static("AccessDeniedException");
    headers.insert(HeaderName::from_static("x-amzn-errortype"), kind);
    answer
}

/// The text is that of `OpenLambda`.
fn wrong_method(sent: &Method, allowed: &[String]) -> Response<Body> {
    let text = format!(
        "HTTP method not allowed. Sent: {sent}, Allowed: [{}]",
        allowed.join(" ")
    );
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", &text);
    if let Ok(allow) = HeaderValue::from_str(&allowed.join(", ")) {
        answer.headers_mut().insert(ALLOW, allow);
    }
    answer
}

/// An answer whose body is all there, or one that says why it is not.
async fn whole(answer: Response<Body>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    match Limited::new(body, RESPONSE_MAX).collect().await {
        Ok(body) => Response::from_parts(head, full(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => failed(Outcome::ResponseTooLarge.code()),
        Err(_) => failed(Outcome::NoResponse.code()),
    }
}

/// Lets a browser's script read an answer, if its origin may (Fetch standard, CORS protocol).
fn allow_origin(headers: &mut HeaderMap, cors: &Cors, origin: &HeaderValue) {
    let origins = cors.allow_origins.as_deref().unwrap_or_default();
    let is_any = origins.iter().any(|one| one == "*");
    if !is_any
        && !origins
            .iter()
            .any(|one| one.as_bytes() == origin.as_bytes())
    {
        return;
    }
    let sends_credentials = cors.allow_credentials == Some(true);
    let allowed = if is_any && !sends_credentials {
        HeaderValue::from_static("*")
    } else {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        origin.clone()
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if sends_credentials {
        let yes = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    insert_list(
        headers,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        cors.expose_headers.as_deref(),
    );
}

fn insert_list(headers: &mut HeaderMap, name: HeaderName, list: Option<&[String]>) {
    let list = list.filter(|list| !list.is_empty());
    let value = list.and_then(|list| HeaderValue::from_str(&list.join(",")).ok());
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// The answer to a browser that asks before it sends.
fn preflight(cors: &Cors, origin: &HeaderValue) -> Response<Body> {
    let mut answer = Response::new(full(Bytes::new()));
    let headers = answer.headers_mut();
    allow_origin(headers, cors, origin);
    insert_list(
        headers,
        ACCESS_CONTROL_ALLOW_METHODS,
        cors.allow_methods.as_deref(),
    );
    insert_list(
        headers,
        ACCESS_CONTROL_ALLOW_HEADERS,
        cors.allow_headers.as_deref(),
    );
    if let Some(seconds) = cors.max_age {
        headers.insert(ACCESS_CONTROL_MAX_AGE, seconds.into());
    }
    answer
}

fn failure(name: &FunctionName, error: &CallError, id: RequestId) -> Response<Body> {
    let CallError {
        outcome,
        message,
        kind,
        stack: _,
    } = error;
    let status = StatusCode::from_u16(outcome.http_status());
    let status = status.expect("outcomes have statuses between 200 and 599");
    let mut response = if let Some(kind) = kind {
        function_error(status, outcome.code(), kind, message)
    } else {
        let text = format!("function {name}: {message} (request {id})");
        problem(status, outcome.code(), &text)
    };
    if matches!(outcome, Outcome::Throttled | Outcome::NodeBusy) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// As AWS Lambda tells visitors of a URL that its function failed.
fn failed(code: &'static str) -> Response<Body> {
    let mut response = problem(StatusCode::BAD_GATEWAY, code, "");
    *response.body_mut() = full(Bytes::from_static(b"Internal Server Error"));
    let unhandled = HeaderValue::from_static("Unhandled");
    response
        .headers_mut()
        .insert(X_AMZ_FUNCTION_ERROR, unhandled);
    response
}

/// A failure that the guest has a name for, in the form that AWS Lambda gives such.
fn function_error(
    status: StatusCode,
    code: &'static str,
    kind: &str,
    message: &str,
) -> Response<Body> {
    let shape = serde_json::json!({"errorType": kind, "errorMessage": message});
    let mut response = problem(status, code, &shape.to_string());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_AMZ_FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    response
}

/// The call's id, as AWS Lambda tells it.
const X_AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// As AWS Lambda marks answers that are a function's failure.
const X_AMZ_FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
/// What the edge, and only it, is told of an answer (RFC 9213).
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

#[cfg(test)]
mod tests;
