//! The AWS Lambda protocols: the Runtime API that a function's runtime asks for its calls, and the
//! shapes of events, answers and errors. It knows no way of running functions and reads no clock.
//!
//! Start at [`runtime_api`] (what a guest talks to, and the node's side of it), then [`url_event`]
//! and [`answer_from_json`] (HTTP to a function and back), [`stream_response`] (a streamed answer
//! to HTTP) and [`ErrorShape`] (what a failure looks like). The API that manages functions is in
//! [`control`] (which operation a request asks for, names, errors), [`sigv4`] (who asks) and
//! [`event_stream`] (the form of a streamed answer).

pub mod control;
mod error;
mod event;
pub mod event_stream;
pub mod limits;
pub mod model;
pub mod openlambda;
mod runtime_api;
pub mod sigv4;

pub use error::{ErrorShape, Exit};
pub use event::{
    ObjectEvent, StreamPrelude, UrlContext, answer_from_json, event_request, http_answer,
    is_http_event, plain_answer, prelude_head, raw_answer, raw_event, stream_response, url_event,
};
pub use runtime_api::{Answer, ApiLimits, Driver, Invocation, RuntimeApi, runtime_api};
