//! Invocations of functions with an event, as AWS Lambda's API and the node's own events make them,
//! whatever a function's handler speaks.

use std::sync::Arc;

use bytes::Bytes;
use fractus_func::{Body, CallError, EventCall, FunctionName, Outcome, RequestId, SpeaksHttp};
use fractus_lambda::limits::RESPONSE_MAX;
use fractus_lambda::{ErrorShape, event_request, http_answer, is_http_event, plain_answer};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use serde::Serialize;

use crate::functions::{Asked, Function, Functions, Tail};
use crate::traces::{Recorder, X_AMZN_TRACE_ID};

/// A function to be called with an event.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The version that is called.
    pub(crate) function: Arc<Function>,
    pub(crate) id: RequestId,
    /// The ARN by which it is called.
    pub(crate) arn: Arc<str>,
    /// The event: JSON, or nothing for an empty object.
    pub(crate) event: Bytes,
    /// JSON.
    pub(crate) client_context: Option<String>,
    /// The caller's `X-Amzn-Trace-Id`.
    pub(crate) trace: Option<HeaderValue>,
    /// Records it, if it is traced.
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// Keeps the end of the log.
    pub(crate) tail: Option<Arc<Tail>>,
}

/// What became of an invocation.
#[derive(Debug)]
pub(crate) enum Returned {
    /// What the function returned: JSON.
    Value(Bytes),
    /// The function failed: its error in AWS Lambda's form, JSON.
    Failed(Bytes),
    /// It did not run.
    Refused(CallError),
}

/// The beginning of what a function returns.
#[derive(Debug)]
pub(crate) struct Answering {
    id: RequestId,
    response: Response<Body>,
    is_http: bool,
    is_http_event: bool,
}

impl Invocation {
    /// Calls, and waits for all that is returned.
    pub(crate) async fn run(self, functions: &Functions) -> Returned {
        match self.start(functions).await {
            Ok(answering) => answering.whole().await,
            Err(returned) => returned,
        }
    }

    /// Calls, and waits for the beginning of what is returned.
    pub(crate) async fn start(self, functions: &Functions) -> Result<Answering, Returned> {
        let is_component = !self.function.is_native();
        let is_http_event = is_http_event(&self.event);
        let name = self.function.name();
        let request = if is_component {
            let request = event_request(&self.event, &host(name));
            let request = request.map_err(refused)?;
            request.map(full)
        } else {
            let mut request = Request::new(full(self.event.clone()));
            *request.method_mut() = Method::POST;
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            request
        };
        let (mut head, body) = request.into_parts();
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let uri = format!("http://{}{target}", host(name)).parse();
        head.uri = uri
            .map_err(|error: http::uri::InvalidUri| refused(ErrorShape::invalid_request(error)))?;
        if let Some(trace) = self.trace {
            head.headers.insert(X_AMZN_TRACE_ID, trace);
        }
        head.headers
            .insert(CONTENT_LENGTH, body_length(&body).into());
        let asked = Asked {
            event: Some(EventCall {
                arn: self.arn,
                client_context: self.client_context,
            }),
            tail: self.tail,
            recorder: self.recorder,
        };
        let request = Request::from_parts(head, body);
        match functions
            .call(&self.function, request, self.id, asked)
            .await
        {
            Ok(response) => Ok(Answering {
                id: self.id,
                is_http: is_component || response.extensions().get::<SpeaksHttp>().is_some(),
                response,
                is_http_event,
            }),
            Err(error) => Err(failed(error, self.id)),
        }
    }
}

/// A host for requests that come from no client.
fn host(name: &FunctionName) -> String {
    let plain = |c: char| {
        if c == '_' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    };
    let label: String = name.as_str().chars().map(plain).collect();
    format!("{label}.localhost")
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn body_length(body: &Body) -> u64 {
    http_body::Body::size_hint(body).exact().unwrap_or(0)
}

fn refused(shape: ErrorShape) -> Returned {
    Returned::Refused(CallError::new(Outcome::BadRequest, shape.error_message))
}

/// An error as AWS Lambda's Python tells it: with the call.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    shape: &'a ErrorShape,
    #[serde(rename = "requestId")]
    id: RequestId,
}

fn told(shape: &ErrorShape, id: RequestId) -> Returned {
    let told = serde_json::to_vec(&Told { shape, id });
    Returned::Failed(told.expect("texts are always JSON").into())
}

/// An error of the function's as its caller is told it, and any other as it is.
fn failed(error: CallError, id: RequestId) -> Returned {
    let own = match error.outcome {
        Outcome::Throttled
        | Outcome::NodeBusy
        | Outcome::StartFailed
        | Outcome::BadRequest
        | Outcome::RequestTooLarge
        | Outcome::Cancelled => return Returned::Refused(error),
        Outcome::Timeout | Outcome::CpuLimit => "Sandbox.Timedout",
        Outcome::MemoryLimit => "Runtime.OutOfMemory",
        Outcome::ResponseTooLarge => "Function.ResponseSizeTooLarge",
        Outcome::Ok
        | Outcome::Trap
        | Outcome::NoResponse
        | Outcome::GuestError
        | Outcome::InitFailed
        | Outcome::Exited => "Runtime.ExitError",
    };
    let mut shape = ErrorShape::new(error.kind.unwrap_or_else(|| own.to_owned()), error.message);
    shape.stack_trace = error.stack;
    told(&shape, id)
}

/// Why a body is not whole, in AWS Lambda's words.
fn broken_off(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ErrorShape {
    if error.is::<LengthLimitError>() {
        return ErrorShape::response_too_large(RESPONSE_MAX as u64);
    }
    ErrorShape::new("Runtime.TruncatedResponse", error.to_string())
}

impl Answering {
    /// The body as it comes, for callers that take it so.
    pub(crate) fn into_body(self) -> Body {
        self.response.into_body()
    }

    /// All that is returned.
    async fn whole(self) -> Returned {
        let (head, body) = self.response.into_parts();
        let body = match Limited::new(body, RESPONSE_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return told(&broken_off(&*error), self.id),
        };
        let value = if !self.is_http {
            body
        } else if self.is_http_event {
            http_answer(&head, &body).into()
        } else if head.status.is_client_error() || head.status.is_server_error() {
            let kind = format!("Http.{}", head.status.as_u16());
            let shape = ErrorShape::new(kind, String::from_utf8_lossy(&body));
            return told(&shape, self.id);
        } else {
            plain_answer(body)
        };
        Returned::Value(value)
    }
}
