//! Invocations: the caller waits, or an event is kept, or the answer is streamed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fractus_func::trace::Trigger;
use fractus_func::{CallError, Outcome};
use fractus_lambda::control::{Constraint, ServiceError};
use fractus_lambda::event_stream;
use fractus_lambda::limits::{CLIENT_CONTEXT_MAX, EVENT_MAX};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use super::answer::{Target, internal, no_such_function};
use super::{Answer, Api, Call};
use crate::admin::Channel;
use crate::clock::now_ms;
use crate::events::{AddError, Event, Source};
use crate::functions::{Function, Tail};
use crate::invocation::{Invocation, Returned};
use crate::limits::LOG_TAIL_WAIT_MS;
use crate::origin::chance;
use crate::traces::{Recorder, X_AMZN_TRACE_ID, context_of};

const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
/// Parts of a streamed answer that a slow client may leave unread.
const UNREAD: usize = 16;

/// What a client asks for in the fields of its request.
struct Wanted {
    kind: Kind,
    client_context: Option<String>,
    has_tail: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    RequestResponse,
    Event,
    DryRun,
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)?
        .to_str()
        .ok()
        .filter(|text| !text.is_empty())
}

impl Wanted {
    fn read(headers: &HeaderMap) -> Result<Self, ServiceError> {
        let kinds = ["Event", "RequestResponse", "DryRun"];
        let kind = match field(headers, "x-amz-invocation-type") {
            None | Some("RequestResponse") => Kind::RequestResponse,
            Some("Event") => Kind::Event,
            Some("DryRun") => Kind::DryRun,
            Some(other) => {
                let member = "invocationType";
                return Err(ServiceError::constraint(
                    member,
                    other,
                    Constraint::Enum(&kinds),
                ));
            }
        };
        let has_tail = match field(headers, "x-amz-log-type") {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => {
                let all = ["None", "Tail"];
                return Err(ServiceError::constraint(
                    "logType",
                    other,
                    Constraint::Enum(&all),
                ));
            }
        };
        let context = field(headers, "x-amz-client-context");
        Ok(Self {
            kind,
            client_context: context.map(client_context).transpose()?,
            has_tail,
        })
    }
}

fn client_context(text: &str) -> Result<String, ServiceError> {
    if text.len() > CLIENT_CONTEXT_MAX {
        return Err(ServiceError::invalid_content(format!(
            "Client context must be smaller than {CLIENT_CONTEXT_MAX} bytes"
        )));
    }
    let wrong = "Client context must be a valid Base64-encoded JSON object.";
    let bytes = STANDARD.decode(text).ok();
    let json = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let json = json.filter(|json| serde_json::from_str::<IgnoredAny>(json).is_ok());
    json.ok_or_else(|| ServiceError::invalid_content(wrong))
}

fn check_json(payload: &[u8]) -> Result<(), ServiceError> {
    if payload.trim_ascii().is_empty() {
        return Ok(());
    }
    let checked = str::from_utf8(payload)
        .map_err(|error| error.to_string())
        .and_then(|text| {
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())
        });
    checked.map(|_| ()).map_err(|why| {
        ServiceError::invalid_content(format!("Could not parse request body into json: {why}"))
    })
}

pub(super) async fn invoke(api: &Arc<Api>, call: Call<'_>) -> Answer {
    let wanted = Wanted::read(&call.head.headers)?;
    let target = api.target(&call)?;
    let function = chosen(api, &target)?;
    check_json(&call.body)?;
    match wanted.kind {
        Kind::RequestResponse => wait(api, call, (&target, function), wanted).await,
        Kind::Event => {
            keep(api, call, &target, wanted.client_context).await?;
            Ok(empty(StatusCode::ACCEPTED))
        }
        Kind::DryRun => {
            let mut response = empty(StatusCode::NO_CONTENT);
            executed(&mut response, &function);
            Ok(response)
        }
    }
}

/// The version that a call runs: of an alias with weights, one by chance.
fn chosen(api: &Api, target: &Target) -> Result<Arc<Function>, ServiceError> {
    let label = target.label();
    let found = target.entry.resolve(label.as_deref(), chance());
    found
        .cloned()
        .ok_or_else(|| no_such_function(&target.arn(api)))
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn executed(response: &mut Response, function: &Function) {
    if let Ok(version) = HeaderValue::from_str(&function.identity().version) {
        response.headers_mut().insert(EXECUTED_VERSION, version);
    }
}

fn invocation(
    api: &Api,
    call: &Call<'_>,
    (target, function): (&Target, Arc<Function>),
    (client_context, tail): (Option<String>, Option<Arc<Tail>>),
) -> Invocation {
    let context = context_of(&call.head.headers);
    Invocation {
        recorder: Recorder::of_call(&function, call.id, Trigger::Invoke, context, None),
        function,
        id: call.id,
        arn: target.arn(api).into(),
        event: call.body.clone(),
        client_context,
        trace: call.head.headers.get(X_AMZN_TRACE_ID).cloned(),
        tail,
    }
}

async fn wait(
    api: &Arc<Api>,
    call: Call<'_>,
    (target, function): (&Target, Arc<Function>),
    wanted: Wanted,
) -> Answer {
    let tail = wanted.has_tail.then(Arc::<Tail>::default);
    let extras = (wanted.client_context, tail.clone());
    let invocation = invocation(api, &call, (target, Arc::clone(&function)), extras);
    let recorder = invocation.recorder.clone();
    let returned = invocation.run(api.control.functions()).await;
    let (payload, has_failed) = match returned {
        Returned::Value(payload) => (payload, false),
        Returned::Failed(payload) => (payload, true),
        Returned::Refused(error) => return Err(refusal(target, &error)),
    };
    let mut response = Response::new(Body::from(payload));
    executed(&mut response, &function);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if has_failed {
        headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    }
    if let Some(recorder) = recorder {
        recorder.tell_caller(headers);
    }
    if let Some(tail) = tail {
        let log = STANDARD.encode(log_of(&tail).await);
        headers.insert(
            LOG_RESULT,
            HeaderValue::from_str(&log).expect("base64 is ASCII"),
        );
    }
    Ok(response)
}

/// The end of a call's log, which is complete when its report is written.
async fn log_of(tail: &Tail) -> Vec<u8> {
    let most = Duration::from_millis(LOG_TAIL_WAIT_MS);
    // What came until then will do.
    tokio::time::timeout(most, tail.closed()).await.ok();
    tail.bytes()
}

/// Why a call did not run, to a client.
fn refusal(target: &Target, error: &CallError) -> ServiceError {
    let message = error.message.clone();
    match error.outcome {
        Outcome::Throttled if target.entry.attachments.reserved.is_some() => {
            let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
            throttled(reason, "Rate Exceeded.")
        }
        Outcome::Throttled | Outcome::NodeBusy => {
            throttled("ConcurrentInvocationLimitExceeded", &message)
        }
        Outcome::BadRequest => ServiceError::invalid_content(message),
        Outcome::RequestTooLarge => ServiceError::request_too_large(message),
        _ => ServiceError::service(message),
    }
}

fn throttled(reason: &'static str, message: &str) -> ServiceError {
    ServiceError {
        retry_after_s: Some(1),
        ..ServiceError::too_many_requests(reason, message)
    }
}

/// Keeps an event, durably.
async fn keep(
    api: &Api,
    call: Call<'_>,
    target: &Target,
    client_context: Option<String>,
) -> Result<(), ServiceError> {
    let length = call.body.len();
    if length > EVENT_MAX {
        return Err(ServiceError::request_too_large(format!(
            "{length} byte payload is too large for the Event invocation type (limit {EVENT_MAX} \
             bytes)"
        )));
    }
    let payload = if call.body.trim_ascii().is_empty() {
        Bytes::from_static(b"{}")
    } else {
        call.body
    };
    let name = target.name().clone();
    let mut event = Event::new(call.id, name, payload, Source::Invoke, now_ms());
    event.qualifier = target.label();
    event.client_context = client_context;
    let headers = &call.head.headers;
    let trace = headers
        .get(X_AMZN_TRACE_ID)
        .and_then(|trace| trace.to_str().ok());
    let told = || context_of(headers).map(|context| context.to_xray());
    event.trace = trace.map(str::to_owned).or_else(told);
    let added = api.control.events().add(event).await;
    added.map_err(|error| match error {
        AddError::Full => throttled("CallerRateLimitExceeded", &error.to_string()),
        error => internal(&error),
    })
}

pub(super) async fn invoke_async(api: &Arc<Api>, call: Call<'_>) -> Answer {
    let target = api.whole(&call)?;
    check_json(&call.body)?;
    keep(api, call, &target, None).await?;
    let mut response = empty(StatusCode::ACCEPTED);
    *response.body_mut() = Body::from("{}");
    Ok(response)
}

pub(super) async fn invoke_with_response_stream(api: &Arc<Api>, call: Call<'_>) -> Answer {
    let wanted = Wanted::read(&call.head.headers)?;
    let target = api.target(&call)?;
    let function = chosen(api, &target)?;
    check_json(&call.body)?;
    if wanted.kind == Kind::DryRun {
        let mut response = empty(StatusCode::NO_CONTENT);
        executed(&mut response, &function);
        return Ok(response);
    }
    let tail = wanted.has_tail.then(Arc::<Tail>::default);
    let extras = (wanted.client_context, tail.clone());
    let invocation = invocation(api, &call, (&target, Arc::clone(&function)), extras);
    let recorder = invocation.recorder.clone();
    let started = invocation.start(api.control.functions()).await;
    let (sender, receiver) = mpsc::channel(UNREAD);
    match started {
        Ok(answering) => {
            tokio::spawn(stream(answering.into_body(), tail, sender));
        }
        Err(Returned::Refused(error)) => return Err(refusal(&target, &error)),
        Err(Returned::Value(payload) | Returned::Failed(payload)) => {
            tokio::spawn(async move {
                let log = log_text(tail.as_deref()).await;
                complete(&sender, Some(&payload), log.as_deref()).await;
            });
        }
    }
    let mut response = Response::new(Body::new(Channel(receiver)));
    executed(&mut response, &function);
    let kind = HeaderValue::from_static(event_stream::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let remapped = HeaderName::from_static("x-amzn-remapped-content-type");
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(remapped, binary);
    if let Some(recorder) = recorder {
        recorder.tell_caller(response.headers_mut());
    }
    Ok(response)
}

async fn log_text(tail: Option<&Tail>) -> Option<String> {
    Some(STANDARD.encode(log_of(tail?).await))
}

/// Passes a body on in messages, until it ends or its reader goes away.
async fn stream(mut body: fractus_func::Body, tail: Option<Arc<Tail>>, to: mpsc::Sender<Bytes>) {
    let mut failure = None;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if !data.is_empty() && to.send(event_stream::payload_chunk(&data)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                failure = Some(error.to_string());
                break;
            }
        }
    }
    let log = log_text(tail.as_deref()).await;
    complete(&to, failure.as_ref().map(String::as_bytes), log.as_deref()).await;
}

async fn complete(to: &mpsc::Sender<Bytes>, failure: Option<&[u8]>, log: Option<&str>) {
    let details = failure.map(String::from_utf8_lossy);
    let error = details.as_deref().map(|details| ("Unhandled", details));
    // Whoever went away does not miss it.
    to.send(event_stream::invoke_complete(error, log))
        .await
        .ok();
}
