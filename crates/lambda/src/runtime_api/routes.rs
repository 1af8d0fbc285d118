//! What the guest may ask for.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::Answer;
use super::answer::{AnswerBody, End, trailer_error};
use super::reply::{Refusal, Reply, accepted, invocation};
use super::state::{Claim, Shared};
use crate::ErrorShape;
use crate::limits::{DRAIN_MAX, ERROR_BODY_MAX};

const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// Names the type of an error, in a head or in trailers.
pub(super) const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
/// The first part of all paths of this version.
const VERSION: &str = "/2018-06-01/runtime/";
/// Paths of other APIs of AWS Lambda that a guest may try.
const EXTENSION_VERSIONS: [&str; 3] = ["/2020-01-01/", "/2020-08-15/", "/2022-07-01/"];

#[derive(Debug, Eq, PartialEq)]
enum Route<'a> {
    Next,
    Response(&'a str),
    Error(&'a str),
    InitError,
}

/// Answers one request.
pub(super) async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let result = match route(&head.method, head.uri.path()) {
        Err(refusal) => Err((refusal, Some(body))),
        Ok(Route::Next) => return next(&shared).await,
        Ok(Route::InitError) => init_error(&shared, &head.headers, body).await,
        Ok(Route::Error(id)) => error(&shared, id, &head.headers, body).await,
        Ok(Route::Response(id)) => match shared.claim(id) {
            Err(refusal) => Err((refusal, Some(body))),
            Ok(claim) if is_streaming(&head.headers) => streamed(claim, &shared, &head, body).await,
            Ok(claim) => whole(claim, &shared, body).await,
        },
    };
    match result {
        Ok(()) => accepted(),
        Err((refusal, rest)) => {
            // Nobody looks at what is left, but its sender must get to the end of it.
            if let Some(mut rest) = rest {
                drain(&mut rest, DRAIN_MAX).await;
            }
            refusal.reply()
        }
    }
}

/// A refusal, and the body that was not read to its end.
type Refused = (Refusal, Option<Incoming>);

fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, Refusal> {
    let Some(rest) = path.strip_prefix(VERSION) else {
        let known = EXTENSION_VERSIONS.iter().any(|v| path.starts_with(v));
        return Err(if known {
            Refusal::NoExtensions
        } else {
            Refusal::UnknownPath
        });
    };
    let (route, of) = match rest {
        "invocation/next" => (Route::Next, Method::GET),
        "init/error" => (Route::InitError, Method::POST),
        "restore/next" | "restore/error" => return Err(Refusal::NoSnapshot),
        _ => {
            let rest = rest.strip_prefix("invocation/");
            let route = match rest.and_then(|rest| rest.split_once('/')) {
                Some((id, "response")) => Route::Response(id),
                Some((id, "error")) => Route::Error(id),
                _ => return Err(Refusal::UnknownPath),
            };
            (route, Method::POST)
        }
    };
    if *method == of {
        Ok(route)
    } else if of == Method::GET {
        Err(Refusal::Method("GET"))
    } else {
        Err(Refusal::Method("POST"))
    }
}

fn is_streaming(headers: &HeaderMap) -> bool {
    headers
        .get(RESPONSE_MODE)
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"))
}

async fn next(shared: &Shared) -> Reply {
    match shared.next().await {
        Ok(next) => invocation(next),
        Err(refusal) => refusal.reply(),
    }
}

async fn init_error(shared: &Shared, headers: &HeaderMap, body: Incoming) -> Result<(), Refused> {
    let error = report(headers, body).await?;
    shared.init_failed(error).map_err(|refusal| (refusal, None))
}

async fn error(
    shared: &Arc<Shared>,
    id: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<(), Refused> {
    let claim = match shared.claim(id) {
        Ok(claim) => claim,
        Err(refusal) => return Err((refusal, Some(body))),
    };
    let error = report(headers, body).await?;
    claim.finish(Err(error)).map_err(|refusal| (refusal, None))
}

/// Reads an error report; of one that is too long, the beginning.
async fn report(headers: &HeaderMap, mut body: Incoming) -> Result<ErrorShape, Refused> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.or(Err((Refusal::Truncated, None)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        read.extend_from_slice(&data);
        if read.len() > ERROR_BODY_MAX {
            drain(&mut body, DRAIN_MAX).await;
            break;
        }
    }
    let named = headers
        .get(ERROR_TYPE)
        .and_then(|value| value.to_str().ok());
    Ok(ErrorShape::from_report(&read, named))
}

async fn whole(claim: Claim, shared: &Shared, mut body: Incoming) -> Result<(), Refused> {
    let max = shared.limits.response_max;
    match collect(&mut body, max).await {
        Ok(answer) => claim
            .finish(Ok(Answer::Whole(answer)))
            .map_err(|refusal| (refusal, None)),
        Err(refusal @ Refusal::TooLarge(max)) => {
            // The caller hears of it before the rest is read. If it has gone, nobody does.
            claim.finish(Err(ErrorShape::response_too_large(max))).ok();
            Err((refusal, Some(body)))
        }
        // The claim falls back: the guest may try again.
        Err(refusal) => Err((refusal, None)),
    }
}

async fn collect(body: &mut Incoming, max: usize) -> Result<Bytes, Refusal> {
    let too_large = Refusal::TooLarge(u64::try_from(max).unwrap_or(u64::MAX));
    let announced = body.size_hint().exact();
    let announced = announced.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > max) {
        return Err(too_large);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.or(Err(Refusal::Truncated))?.into_data() else {
            continue;
        };
        if data.len() > max - first.len() - all.len() {
            return Err(too_large);
        }
        if first.is_empty() && all.is_empty() {
            // Most answers are one frame, which need not be copied.
            first = data;
            continue;
        }
        if !first.is_empty() {
            all.reserve(announced.unwrap_or(0).max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

async fn streamed(
    mut claim: Claim,
    shared: &Shared,
    head: &Parts,
    mut body: Incoming,
) -> Result<(), Refused> {
    let first = match begin(&mut body).await {
        Err(refusal) => return Err((refusal, None)),
        Ok(Err(error)) => {
            return claim.finish(Err(error)).map_err(|refusal| (refusal, None));
        }
        Ok(Ok(first)) => first,
    };
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let (sender, end) = oneshot::channel();
    let max = shared.limits.stream_max;
    let stream = AnswerBody::new(first, body, max, sender);
    let answer = Answer::Stream {
        content_type: content_type.map(str::to_owned),
        body: stream.boxed_unsync(),
    };
    // If the driver has withdrawn, what is dropped here comes back as abandoned.
    let begun = claim.answer(Ok(answer));
    match end.await {
        Ok(End::Whole) => claim.end(Ok(())),
        Ok(End::Failed(error)) => claim.end(Err(error)),
        Ok(End::TooLarge(rest)) => {
            claim.end(Err(ErrorShape::response_too_large(max)));
            return Err((Refusal::TooLarge(max), Some(rest)));
        }
        Ok(End::Abandoned(mut rest)) => {
            if let Err(refusal) = begun {
                return Err((refusal, Some(rest)));
            }
            if !drain(&mut rest, max).await {
                return Err((Refusal::TooLarge(max), None));
            }
            claim.end(Ok(()));
        }
        // The connection is lost, and with it whoever would read this. The claim says so.
        Err(_lost) => return Err((Refusal::Truncated, None)),
    }
    Ok(())
}

/// Reads the first bytes of a stream; there are none if it is empty. An error may come first.
async fn begin(body: &mut Incoming) -> Result<Result<Bytes, ErrorShape>, Refusal> {
    while let Some(frame) = body.frame().await {
        match frame.or(Err(Refusal::Truncated))?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Ok(Ok(data)),
            Err(other) => {
                let error = other.trailers_ref().and_then(trailer_error);
                return Ok(error.map_or(Ok(Bytes::new()), Err));
            }
        }
    }
    Ok(Ok(Bytes::new()))
}

/// Reads a body to throw it away, up to so many bytes. Whether it came to a good end.
async fn drain(body: &mut Incoming, max: u64) -> bool {
    let mut left = max;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let Some(less) = left.checked_sub(bytes) else {
            return false;
        };
        left = less;
    }
    true
}
