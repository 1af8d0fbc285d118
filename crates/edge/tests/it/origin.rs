//! An origin that does what a test's closure says.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use fractus_edge::Origin;
use fractus_func::{Body, BodyError, BoxFuture, RequestId};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use tokio::sync::mpsc;

type Script = dyn Fn(Request<Body>, usize) -> BoxFuture<'static, Response<Body>> + Send + Sync;

/// Answers by a closure, which is told the request and how many came before.
pub(crate) struct Scripted {
    script: Box<Script>,
    calls: AtomicUsize,
    pub(crate) generation: AtomicU64,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(crate) fn new<F, A>(script: F) -> Arc<Self>
    where
        F: Fn(Request<Body>, usize) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Arc::new(Self {
            script: Box::new(move |request, number| Box::pin(script(request, number))),
            calls: AtomicUsize::new(0),
            generation: AtomicU64::new(1),
        })
    }

    /// One that answers at once.
    pub(crate) fn plain(
        script: impl Fn(&Request<Body>, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(move |request, number| std::future::ready(script(&request, number)))
    }

    /// Requests that have come.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Origin for Scripted {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn fetch(&self, request: Request<Body>, _id: RequestId) -> BoxFuture<'static, Response<Body>> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        (self.script)(request, number)
    }
}

/// An answer with fields given as lines.
pub(crate) fn answer(status: u16, fields: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    with_body(status, fields, body)
}

pub(crate) fn with_body(status: u16, fields: &str, body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for line in fields.lines() {
        let (name, value) = line.split_once(": ").expect("a field");
        response = response.header(name, value);
    }
    response.body(body).expect("a response")
}

/// What a request's field says.
pub(crate) fn field(request: &Request<Body>, name: &str) -> String {
    let lines = request.headers().get_all(name).iter();
    let lines: Vec<_> = lines.map(|line| line.to_str().expect("a text")).collect();
    lines.join(" & ")
}

/// A body that is sent piece by piece.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Result<Bytes, BodyError>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Pieces(receiver).boxed_unsync())
}

struct Pieces(mpsc::UnboundedReceiver<Result<Bytes, BodyError>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = self.0.poll_recv(cx);
        next.map(|next| next.map(|piece| piece.map(Frame::data)))
    }
}

/// A body that makes `count` pieces of 64 KiB as they are asked for, and counts them.
pub(crate) fn endless(count: usize, made: &Arc<AtomicUsize>) -> Body {
    let made = Arc::clone(made);
    Made { count, made }.boxed_unsync()
}

struct Made {
    count: usize,
    made: Arc<AtomicUsize>,
}

impl http_body::Body for Made {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let piece = || Ok(Frame::data(Bytes::from(vec![7; 64 << 10])));
        Poll::Ready((number < self.count).then(piece))
    }
}
