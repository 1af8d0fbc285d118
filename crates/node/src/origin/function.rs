//! A deployed function.

use std::sync::Arc;

use fractus_edge::Origin;
use fractus_func::{Body, BoxFuture, CallError, FunctionName, Outcome, RequestId};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use super::problem;
use crate::functions::{Function, Functions};

/// One version of a function. A new version is a new origin, of another generation.
#[derive(Clone, Debug)]
pub(crate) struct FunctionOrigin {
    functions: Arc<Functions>,
    function: Arc<Function>,
}

impl FunctionOrigin {
    /// An origin that calls `function`.
    pub(crate) fn new(functions: Arc<Functions>, function: Arc<Function>) -> Self {
        Self {
            functions,
            function,
        }
    }
}

impl Origin for FunctionOrigin {
    fn generation(&self) -> u64 {
        self.function.generation()
    }

    fn fetch(&self, request: Request<Body>, id: RequestId) -> BoxFuture<'static, Response<Body>> {
        let Self {
            functions,
            function,
        } = self.clone();
        Box::pin(async move {
            let answer = functions.call(&function, request, id).await;
            answer.unwrap_or_else(|error| failure(function.name(), &error, id))
        })
    }
}

fn failure(name: &FunctionName, error: &CallError, id: RequestId) -> Response<Body> {
    let CallError {
        outcome,
        message,
        kind,
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

/// As AWS Lambda marks answers that are a function's failure.
const X_AMZ_FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");

#[cfg(test)]
mod tests;
