//! One pool of connections, and what an exchange over it must not do: hang, or leave a connection
//! in a state that the next exchange suffers from.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fractus_cache::strip_hop_by_hop;
use fractus_func::{Body, BodyError, BoxFuture, OutboundError};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error as ThisError;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::OutboundConfig;
use super::connect::{ConnectError, Connector};
use super::policy::Target;
use crate::limits::{OUTBOUND_BUFFER_MAX, OUTBOUND_IDLE_MAX, OUTBOUND_IDLE_MS};

/// A pool of connections of one reach, of a function or for upstreams.
#[derive(Clone)]
pub(super) struct Client {
    pool: legacy::Client<HttpsConnector<Connector>, Watched>,
    head: Duration,
    upload: Duration,
    stall: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(connector: Connector, config: &OutboundConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(OUTBOUND_IDLE_MS))
            .pool_max_idle_per_host(OUTBOUND_IDLE_MAX)
            .http1_max_buf_size(OUTBOUND_BUFFER_MAX)
            .build(connector);
        Self {
            pool,
            head: config.head,
            upload: config.upload,
            stall: config.stall,
        }
    }

    /// Sends a request whose host was checked and whose URL says the same as `target`.
    pub(super) fn send(
        &self,
        target: Target,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let client = self.clone();
        Box::pin(async move { client.exchange(&target, request).await })
    }

    async fn exchange(
        self,
        target: &Target,
        request: Request<Body>,
    ) -> Result<Response<Body>, OutboundError> {
        let request = prepared(target, request, self.upload);
        // A server may close an idle connection just as it is used again. What has no body and may
        // be repeated is repeated once (RFC 9110 §9.2.2).
        let repeatable = request.body().is_end_stream() && request.method().is_idempotent();
        let again = repeatable.then(|| head_of(&request, self.upload));
        let first = self.attempt(request).await;
        let answer = match (first, again) {
            (Err(Failure::Lost(_)), Some(request)) => self.attempt(request).await,
            (first, _) => first,
        };
        match answer {
            Ok(response) => Ok(self.received(response)),
            Err(failure) => Err(failure.explain(target)),
        }
    }

    /// Waits for the answer's head as long as the request's body moves, and then a little.
    async fn attempt(&self, request: Request<Watched>) -> Result<Response<Incoming>, Failure> {
        let moves = Arc::clone(&request.body().moves);
        let mut answer = self.pool.request(request);
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(self.head, &mut answer).await {
                let answer = answer.map_err(Failure::of)?;
                let is_final = !answer.status().is_informational();
                return if is_final {
                    Ok(answer)
                } else {
                    Err(Failure::Switched)
                };
            }
            let moved = moves.load(Ordering::Relaxed);
            if moved == seen {
                return Err(Failure::Timeout);
            }
            seen = moved;
        }
    }

    fn received(&self, response: Response<Incoming>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        strip_hop_by_hop(&mut head.headers);
        head.extensions.clear();
        // Which version the server speaks concerns this connection only.
        head.version = Version::HTTP_11;
        let body = Answer {
            body,
            stall: self.stall,
            waiting: None,
        };
        Response::from_parts(head, body.boxed_unsync())
    }
}

/// The request as it goes out: only what is the sender's to say.
fn prepared(target: &Target, request: Request<Body>, upload: Duration) -> Request<Watched> {
    let (mut head, body) = request.into_parts();
    strip_hop_by_hop(&mut head.headers);
    // The pool writes Host from the URL that was checked.
    head.headers.remove(HOST);
    frame(&head.method, &mut head.headers, &body);
    let mut prepared = Request::new(Watched::new(body, upload));
    *prepared.method_mut() = head.method;
    *prepared.uri_mut() = target.apply(head.uri);
    *prepared.headers_mut() = head.headers;
    prepared
}

/// Makes Content-Length say what the body is. A length that the body does not have would end the
/// message elsewhere for the server than for us, and the rest would be read as the next request on
/// this connection, which may be another function's.
fn frame(method: &Method, headers: &mut HeaderMap, body: &Body) {
    let length = match body.size_hint().exact() {
        Some(0) if method.is_safe() || method == Method::DELETE => None,
        Some(length) => Some(HeaderValue::from(length)),
        // The sender's word on a body of unknown length is held to while it is written.
        None => single_length(headers).map(HeaderValue::from),
    };
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length);
    }
}

fn single_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let digits = line.to_str().ok()?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// A copy of a request that has no body.
fn head_of(request: &Request<Watched>, upload: Duration) -> Request<Watched> {
    let empty = Empty::new().map_err(|never| match never {});
    let mut copy = Request::new(Watched::new(empty.boxed_unsync(), upload));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// Why there is no answer.
enum Failure {
    /// There was no connection.
    Connect(legacy::Error),
    /// The connection ended before the answer's head.
    Lost(legacy::Error),
    /// Any other: a broken answer, a request body that broke off.
    Broken(legacy::Error),
    /// The server changed to another protocol, for which nobody asked.
    Switched,
    /// No head in time.
    Timeout,
}

/// An answer of status 101 to a request without Upgrade.
#[derive(Debug, ThisError)]
#[error("the server changed to another protocol unasked")]
struct SwitchedError;

impl Failure {
    fn of(error: legacy::Error) -> Self {
        if error.is_connect() {
            return Self::Connect(error);
        }
        let ended = cause::<hyper::Error>(&error)
            .is_some_and(|error| error.is_incomplete_message() || error.is_canceled());
        let reset = cause::<io::Error>(&error).is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            )
        });
        if ended || reset {
            Self::Lost(error)
        } else {
            Self::Broken(error)
        }
    }

    fn explain(self, target: &Target) -> OutboundError {
        let error: Box<dyn Error + Send + Sync> = match self {
            Self::Timeout => return OutboundError::Timeout(target.to_string()),
            Self::Connect(error) => {
                let known = cause::<ConnectError>(&error);
                match known.and_then(|known| known.told(target)) {
                    Some(told) => return told,
                    None => error.into(),
                }
            }
            Self::Lost(error) | Self::Broken(error) => error.into(),
            Self::Switched => SwitchedError.into(),
        };
        OutboundError::Failed {
            authority: target.to_string(),
            source: error,
        }
    }
}

/// The first cause of a kind.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// A request's body that counts how often it gave something, and does not go on for ever.
struct Watched {
    body: Body,
    moves: Arc<AtomicU64>,
    deadline: Instant,
    /// Runs since the body was first waited for.
    ending: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(body: Body, upload: Duration) -> Self {
        Self {
            body,
            moves: Arc::default(),
            deadline: Instant::now() + upload,
            ending: None,
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_ready() {
            this.moves.fetch_add(1, Ordering::Relaxed);
            return polled;
        }
        let deadline = this.deadline;
        let ending = this
            .ending
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ending
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(BodyError::Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that does not wait for ever.
struct Answer {
    body: Incoming,
    stall: Duration,
    /// Runs while nothing arrives.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.or(Err(BodyError::Disconnected))));
        }
        let stall = this.stall;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(stall)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(BodyError::Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
