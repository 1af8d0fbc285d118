//! A request's life: checked, routed, looked up, answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use fractus_cache::{
    CacheKey, CacheStatus, Exchange, Forward, Lookup, Timestamp, invalidates, lookup, storable,
    strip_nominated,
};
use fractus_func::{Body, BoxFuture, RequestId};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LOCATION, EXPIRES, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, request};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::answer::{CACHE_STATUS, Refusal, clean, options, seal};
use crate::body::{EdgeBody, Kind};
use crate::conn::{ConnState, lock};
use crate::edge::{Routes, Shared};
use crate::ids::Ids;
use crate::lead::{Errand, Step, hit};
use crate::present::Wish;
use crate::request::{Host, check, forward, is_of_server, path_and_query, written_host};
use crate::serve::Worker;
use crate::store::{self, Asker, Begin, Query};
use crate::upload::upload;
use crate::{Arrived, Origin};

/// Fields that say which trace a request is part of.
static TRACE_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-amzn-trace-id"),
];

/// The requests of one connection.
pub(crate) struct Requests {
    shared: Arc<Shared>,
    ids: Arc<Ids>,
    connection: Arc<ConnState>,
    /// The client's address, as a field.
    peer: HeaderValue,
    /// Our own, for requests that name no host.
    local: HeaderValue,
    /// Requests so far.
    count: AtomicU64,
    known: Mutex<Known>,
}

/// What a connection remembers from one request to the next.
struct Known {
    routes: Arc<Routes>,
    version: u64,
    host: Option<Arc<Host>>,
}

/// Where a request leads.
struct Target {
    origin: Arc<dyn Origin>,
    host: Arc<Host>,
}

impl Requests {
    pub(crate) fn new(worker: &Worker, connection: Arc<ConnState>, peer: SocketAddr) -> Self {
        let field = |text: String| HeaderValue::from_str(&text).expect("an address is ASCII");
        let known = Known {
            routes: Arc::default(),
            version: 0,
            host: None,
        };
        Self {
            shared: Arc::clone(&worker.shared),
            ids: Arc::clone(&worker.ids),
            connection,
            peer: field(peer.ip().to_canonical().to_string()),
            local: field(worker.local.to_string()),
            count: AtomicU64::new(0),
            known: Mutex::new(known),
        }
    }

    pub(crate) fn connection(&self) -> Arc<ConnState> {
        Arc::clone(&self.connection)
    }

    pub(crate) fn ids(&self) -> Arc<Ids> {
        Arc::clone(&self.ids)
    }

    fn begin(
        &self,
        request: Request<Incoming>,
        (id, number): (RequestId, u64),
    ) -> Result<Reply, Refusal> {
        if let Some(refusal) = self.connection.refusal(number) {
            return Err(refusal);
        }
        let (mut parts, incoming) = request.into_parts();
        check(&parts)?;
        if is_of_server(&parts) {
            written_host(&parts)?;
            return Ok(Reply::Ready(options(id)));
        }
        // What the origin will not see must not choose among stored answers either.
        strip_nominated(&mut parts.headers);
        let path = path_and_query(&parts)?;
        let Target { origin, host } = self.target(&parts, path.path())?;
        let asked = Asked {
            shared: &self.shared,
            origin,
            host: &host,
            peer: &self.peer,
            id,
        };
        let says = match lookup(&parts.method, &parts.headers) {
            Lookup::Cache(says) => says,
            Lookup::Forward(reason) => {
                let key = asked.key_if_unsafe(&parts.method, path.as_str());
                let stall = self.shared.config.stall_timeout;
                let body = upload(incoming, &parts.headers, stall, self.connection());
                return Ok(asked.pass(parts, path, (body, reason), After::invalidate(key)));
            }
        };
        let Some(key) = self.shared.store.key(host.authority(), path.as_str()) else {
            let body = crate::body::empty();
            return Ok(asked.pass(parts, path, (body, Forward::Bypass), After::Nothing));
        };
        Ok(asked.look_up(parts, path, key, says))
    }

    fn target(&self, parts: &request::Parts, path: &str) -> Result<Target, Refusal> {
        let written = written_host(parts)?;
        let written = written.as_ref().unwrap_or(&self.local);
        let known = &mut *lock(&self.known);
        if let Some(routes) = self.shared.newer_routes(&mut known.version) {
            known.routes = routes;
        }
        let host = match &known.host {
            Some(host) if host.is(written) => Arc::clone(host),
            _ => {
                let host = Arc::new(Host::new(written)?);
                known.host = Some(Arc::clone(&host));
                host
            }
        };
        let origin = known.routes.find(host.name(), path);
        let origin = origin.map(Arc::clone).ok_or(Refusal::NoRoute)?;
        Ok(Target { origin, host })
    }
}

/// A request that has found its origin.
struct Asked<'a> {
    shared: &'a Arc<Shared>,
    origin: Arc<dyn Origin>,
    host: &'a Host,
    peer: &'a HeaderValue,
    id: RequestId,
}

impl Asked<'_> {
    fn key_if_unsafe(&self, method: &Method, path: &str) -> Option<CacheKey> {
        let key = || self.shared.store.key(self.host.authority(), path);
        if method.is_safe() { None } else { key() }
    }

    /// Sends it to the origin as it is.
    fn pass(
        &self,
        mut parts: request::Parts,
        path: http::uri::PathAndQuery,
        (body, reason): (Body, Forward),
        after: After,
    ) -> Reply {
        let method = parts.method.clone();
        forward(&mut parts, self.host, path, self.peer);
        let answer = self.origin.fetch(Request::from_parts(parts, body), self.id);
        Reply::Passing(Passing {
            shared: Arc::clone(self.shared),
            method,
            reason,
            id: self.id,
            after,
            answer,
        })
    }

    /// Answers it from the cache, or begins what brings its answer there.
    fn look_up(
        self,
        mut parts: request::Parts,
        path: http::uri::PathAndQuery,
        key: CacheKey,
        says: fractus_cache::RequestDirectives,
    ) -> Reply {
        let now = store::now();
        let generation = self.origin.generation();
        let query = Query {
            headers: &parts.headers,
            says,
            generation,
            may_fill: parts.method == Method::GET,
        };
        let begin = match self.shared.store.begin(&key, query, now) {
            Begin::Serve(stored) => {
                let wish = Wish {
                    method: &parts.method,
                    headers: &parts.headers,
                    id: self.id,
                    now,
                };
                return Reply::Ready(hit(&stored, wish));
            }
            Begin::Pass(reason, is_marked) => {
                let after = if is_marked {
                    After::Reconsider(key, generation, Asker::of(&parts.headers), now)
                } else {
                    After::Nothing
                };
                let body = crate::body::empty();
                return self.pass(parts, path, (body, reason), after);
            }
            begin => begin,
        };
        let client = parts.headers.clone();
        forward(&mut parts, self.host, path, self.peer);
        let errand = Arc::new(Errand {
            shared: Arc::clone(self.shared),
            origin: self.origin,
            generation,
            id: self.id,
            key,
            says,
            client,
            ask: parts,
        });
        match Step::of(&errand, begin) {
            Step::Done(response) => Reply::Ready(response),
            step => Reply::Slow(Box::pin(errand.answer(step))),
        }
    }
}

/// An answer, or how it comes about. The common ways need no task, no channel and no future of
/// their own.
enum Reply {
    Ready(Response<Kind>),
    Passing(Passing),
    Slow(BoxFuture<'static, Response<Kind>>),
    Taken,
}

/// What the cache makes of an answer that is not for it.
enum After {
    Nothing,
    /// An unsafe method: what is stored of its target is void if it succeeds (RFC 9111 §4.4).
    Invalidate(CacheKey),
    /// The key is remembered as uncacheable, for an origin's generation and since the request; it
    /// may have changed its mind.
    Reconsider(CacheKey, u64, Asker, Timestamp),
}

impl After {
    fn invalidate(key: Option<CacheKey>) -> Self {
        key.map_or(Self::Nothing, Self::Invalidate)
    }

    fn act(self, shared: &Shared, method: &Method, response: &Response<Body>) {
        match self {
            Self::Nothing => {}
            Self::Invalidate(key) => {
                if invalidates(method, response.status()) {
                    invalidate(shared, &key, response.headers());
                }
            }
            Self::Reconsider(key, generation, asker, requested) => {
                if is_storable(response, asker, requested) {
                    shared.store.unmark_uncacheable(&key, generation, asker);
                }
            }
        }
    }
}

fn invalidate(shared: &Shared, key: &CacheKey, answer: &HeaderMap) {
    shared.store.invalidate(key);
    for name in [LOCATION, CONTENT_LOCATION] {
        let reference = answer.get(name).and_then(|value| value.to_str().ok());
        if let Some(other) = reference.and_then(|text| shared.store.resolve(key, text)) {
            shared.store.invalidate(&other);
        }
    }
}

/// Would the next one be stored? A guess in favour of the common case, that nothing is said.
fn is_storable(response: &Response<Body>, asker: Asker, requested: Timestamp) -> bool {
    let headers = response.headers();
    if !headers.contains_key(CACHE_CONTROL) && !headers.contains_key(EXPIRES) {
        return false;
    }
    let mut request = HeaderMap::new();
    if asker == Asker::Authorized {
        request.insert(AUTHORIZATION, HeaderValue::from_static(""));
    }
    let exchange = Exchange {
        method: &Method::GET,
        request: &request,
        status: response.status(),
        response: headers,
        requested,
        received: store::now(),
    };
    storable(&exchange).is_ok()
}

/// A request that is with its origin, for itself alone.
struct Passing {
    shared: Arc<Shared>,
    method: Method,
    reason: Forward,
    id: RequestId,
    after: After,
    answer: BoxFuture<'static, Response<Body>>,
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Response<Kind>> {
        let mut response = ready!(self.answer.as_mut().poll(cx));
        let status = CacheStatus::forward(self.reason).forward_status(response.status());
        let after = std::mem::replace(&mut self.after, After::Nothing);
        after.act(&self.shared, &self.method, &response);
        let mut response = if clean(&mut response, &self.method) {
            response.map(Kind::Origin)
        } else {
            Refusal::BadOrigin.answer()
        };
        seal(response.headers_mut(), self.id, &status);
        Poll::Ready(response)
    }
}

/// A request being answered.
pub(crate) struct Answering {
    reply: Reply,
    id: RequestId,
    /// Of its connection.
    number: u64,
    connection: Arc<ConnState>,
}

impl Answering {
    /// The answer if the request's body has broken off. What its origin makes of that is none.
    fn refused(&self) -> Option<Response<Kind>> {
        let refusal = self.connection.refusal(self.number)?;
        Some(refusal.sealed(self.id))
    }
}

impl Future for Answering {
    type Output = Result<Response<EdgeBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(refused) = self.refused() {
            self.reply = Reply::Ready(refused);
        }
        let response = match &mut self.reply {
            Reply::Passing(passing) => ready!(passing.poll(cx)),
            Reply::Slow(slow) => ready!(slow.as_mut().poll(cx)),
            Reply::Ready(_) | Reply::Taken => {
                match std::mem::replace(&mut self.reply, Reply::Taken) {
                    Reply::Ready(response) => response,
                    _ => unreachable!("an answer is not polled again after it is taken"),
                }
            }
        };
        // The origin may have come upon it just now.
        let response = self.refused().unwrap_or(response);
        tracing::debug!(
            request = %self.id,
            status = response.status().as_u16(),
            cache = ?response.headers().get(CACHE_STATUS),
            "answered"
        );
        let connection = Arc::clone(&self.connection);
        Poll::Ready(Ok(response.map(|kind| kind.with(connection))))
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<EdgeBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        self.connection.begin_request();
        if TRACE_FIELDS
            .iter()
            .any(|name| request.headers().contains_key(name))
        {
            let now = Instant::now();
            request.extensions_mut().insert(Arrived(now));
        }
        let id = self.ids.draw();
        tracing::debug!(
            request = %id,
            method = %request.method(),
            target = %request.uri(),
            host = ?request.headers().get(HOST),
            peer = ?self.peer,
            "asked"
        );
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let reply = self.begin(request, (id, number));
        let reply = reply.unwrap_or_else(|refusal| Reply::Ready(refusal.sealed(id)));
        Answering {
            reply,
            id,
            number,
            connection: Arc::clone(&self.connection),
        }
    }
}
