//! The way out of a sandbox: an HTTP proxy on the sandbox's own loopback address.
//!
//! A sandbox has no network but its loopback. Where its function may reach anything, the node
//! listens there, on a socket that was opened inside and that no other sandbox can connect to, and
//! the guest's environment names it in `HTTP_PROXY` and its kin. Plain requests go to
//! [`Host::send`], `CONNECT` (so TLS, and any other protocol) to [`Host::connect`]; what a function
//! may reach is decided there, by the node, for every request and tunnel. Names are resolved there
//! too: the sandbox has no resolver.
//!
//! Requests are taken while a call runs, or while an instance is started for one. A tunnel stays
//! open between calls, as connections of a warm instance should, until nothing has moved for a
//! while. All of it ends with the instance.
//!
//! Most HTTP clients heed these variables: `curl`, and for Python `urllib`, `requests`, `httpx` and
//! `boto3`. Node's own `fetch` and `http` do not: there it takes a library that does, or an agent
//! that is given `process.env.HTTPS_PROXY`.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fractus_func::{Access, Body, BodyError, Host, OutboundError, RuntimeKind, Tunnel};
use fractus_stdx::ErrorChain;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::limits::{
    EGRESS_CONNECTION_TIME_MAX, EGRESS_CONNECTIONS_MAX, EGRESS_HEAD_MAX, EGRESS_IDLE_MAX,
    EGRESS_RETRY, READ_CHUNK,
};
use crate::profile::EGRESS_PORT;

/// Whether a function may reach anything, so that its sandboxes have a way out.
pub(crate) fn is_open(access: &Access) -> bool {
    *access != Access::default()
}

/// What tells a guest's HTTP clients of the proxy: nothing where there is none.
pub(crate) fn env(access: &Access, kind: RuntimeKind) -> Vec<(&'static str, String)> {
    if !is_open(access) {
        return Vec::new();
    }
    let proxy = format!("http://127.0.0.1:{EGRESS_PORT}");
    let mut env: Vec<_> = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"]
        .map(|name| (name, proxy.clone()))
        .into();
    let direct = direct_hosts(access, kind).join(",");
    if !direct.is_empty() {
        env.extend(["NO_PROXY", "no_proxy"].map(|name| (name, direct.clone())));
    }
    env
}

/// The hosts that mean the sandbox itself. One that the manifest names is the node's: it is on the
/// other side of the proxy. The Runtime API's is always the sandbox's.
fn direct_hosts(access: &Access, kind: RuntimeKind) -> Vec<&'static str> {
    let is_named = |name: &str| {
        access.private_hosts.iter().any(|entry| {
            let rest = entry.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    };
    let mut hosts = vec!["127.0.0.1", "localhost"];
    hosts.retain(|name| {
        let is_api = *name == "127.0.0.1" && kind == RuntimeKind::Provided;
        is_api || !is_named(name)
    });
    hosts
}

/// Whose call an instance works on, if it works on any.
type Caller = Mutex<Option<Arc<dyn Host>>>;

/// The proxy of one instance. Dropping it cuts all that goes through it.
#[derive(Debug)]
pub(crate) struct Egress {
    caller: Arc<Caller>,
    accepting: AbortHandle,
}

impl Egress {
    /// Serves a sandbox's own listener.
    pub(crate) fn serve(listener: OwnedFd, handle: &Handle) -> io::Result<Self> {
        let _context = handle.enter();
        let listener = TcpListener::from_std(listener.into())?;
        let caller = Arc::<Caller>::default();
        let accepting = handle.spawn(accept(listener, Arc::clone(&caller)));
        Ok(Self {
            caller,
            accepting: accepting.abort_handle(),
        })
    }

    /// From here on the guest works on a call.
    pub(crate) fn enter(&self, host: &Arc<dyn Host>) {
        self.set(Some(Arc::clone(host)));
    }

    /// From here on it works on none.
    pub(crate) fn leave(&self) {
        self.set(None);
    }

    fn set(&self, host: Option<Arc<dyn Host>>) {
        let mut caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *caller, host);
        drop(caller);
        // It may be the last who knows of its call; that ends without the lock.
        drop(before);
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        // The connections are the task's own.
        self.accepting.abort();
        self.leave();
    }
}

/// Serves connections until it is aborted. Beyond so many, the next ones wait to be accepted.
async fn accept(listener: TcpListener, caller: Arc<Caller>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= EGRESS_CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, Arc::clone(&caller)));
                }
                Err(error) => {
                    tracing::debug!(error = %ErrorChain(&error), "accept from a sandbox");
                    sleep(EGRESS_RETRY).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// A tunnel that was granted, until its connection is free of HTTP.
type Granted = Mutex<Option<(OnUpgrade, Tunnel)>>;

/// Serves a connection: requests, or one tunnel.
async fn serve(stream: TcpStream, caller: Arc<Caller>) {
    // All that is lost where it fails is time.
    stream.set_nodelay(true).ok();
    let granted = Arc::<Granted>::default();
    let service = service_fn(|request| {
        let (caller, granted) = (Arc::clone(&caller), Arc::clone(&granted));
        async move { Ok::<_, Infallible>(answer(&caller, &granted, request).await) }
    });
    let requests = http1::Builder::new()
        .timer(TokioTimer::new())
        // It runs between requests too.
        .header_read_timeout(EGRESS_IDLE_MAX)
        .max_buf_size(EGRESS_HEAD_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let whole = async {
        if let Err(error) = requests.await {
            tracing::trace!(error = %ErrorChain(&error), "a way out ended");
        }
        let tunnel = granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((upgrade, tunnel)) = tunnel
            && let Ok(upgraded) = upgrade.await
            && let Err(error) = relay(upgraded, tunnel).await
        {
            tracing::trace!(error = %ErrorChain(&error), "a tunnel ended");
        }
    };
    if timeout(EGRESS_CONNECTION_TIME_MAX, whole).await.is_err() {
        tracing::debug!("a way out was open for too long");
    }
}

async fn answer(caller: &Caller, granted: &Granted, request: Request<Incoming>) -> Response<Body> {
    let host = caller
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some(host) = host else {
        let why = "requests go out while a call runs; this instance works on none";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "no-call", why);
    };
    if request.method() == Method::CONNECT {
        return connect(&*host, granted, request).await;
    }
    if request.uri().scheme().is_none() || request.uri().authority().is_none() {
        let why = "this is the way out of a function: a proxy, which takes requests for whole \
                   URLs, such as `GET http://example.com/ HTTP/1.1`, and CONNECT";
        return refusal(StatusCode::BAD_REQUEST, "not-a-proxy-request", why);
    }
    let body = |body: Incoming| body.map_err(|_| BodyError::Disconnected).boxed_unsync();
    let sending = host.send(request.map(body));
    // What is sent needs no call any more, and must not keep one.
    drop(host);
    match sending.await {
        Ok(response) => response,
        Err(error) => failed(&error),
    }
}

async fn connect(host: &dyn Host, granted: &Granted, request: Request<Incoming>) -> Response<Body> {
    let authority = request
        .uri()
        .authority()
        .map_or("", |authority| authority.as_str());
    match host.connect(authority).await {
        Ok(tunnel) => {
            let tunnel = (hyper::upgrade::on(request), tunnel);
            *granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
            Response::new(text(""))
        }
        Err(error) => {
            let mut response = failed(&error);
            // The phrase is all that most clients show of a tunnel that was refused.
            let told = ErrorChain(&error).to_string();
            if let Ok(phrase) = ReasonPhrase::try_from(told.into_bytes()) {
                response.extensions_mut().insert(phrase);
            }
            response
        }
    }
}

fn failed(error: &OutboundError) -> Response<Body> {
    let (status, code) = match error {
        OutboundError::Denied { .. } => (StatusCode::FORBIDDEN, "host-not-allowed"),
        OutboundError::NoSuchHost(_) => (StatusCode::BAD_GATEWAY, "no-such-host"),
        OutboundError::Failed { .. } => (StatusCode::BAD_GATEWAY, "outbound-failed"),
        OutboundError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "outbound-timeout"),
    };
    refusal(status, code, &ErrorChain(error).to_string())
}

fn refusal(status: StatusCode, code: &'static str, why: &str) -> Response<Body> {
    const X_FRACTUS_ERROR: HeaderName = HeaderName::from_static("x-fractus-error");
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = Response::new(text(&format!("{why}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(X_FRACTUS_ERROR, HeaderValue::from_static(code));
    response
}

fn text(text: &str) -> Body {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Carries bytes both ways until both sides have ended, one failed, or nothing moves.
async fn relay(upgraded: Upgraded, tunnel: Tunnel) -> io::Result<()> {
    let Tunnel { socket, place } = tunnel;
    let not_ours = |_| io::Error::other("the connection is not the one that was accepted");
    let inside = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(not_ours)?;
    let mut outside = TcpStream::from_std(socket.into())?;
    // What was sent before the tunnel was granted.
    outside.write_all(&inside.read_buf).await?;
    let (mut near, mut far) = (inside.io.into_inner(), outside);
    let moved = AtomicU64::new(0);
    let ended = {
        let (near_reads, near_writes) = near.split();
        let (far_reads, far_writes) = far.split();
        let both = async {
            tokio::try_join!(
                pump(near_reads, far_writes, &moved),
                pump(far_reads, near_writes, &moved)
            )
        };
        tokio::select! {
            ended = both => ended.map(drop),
            () = stalled(&moved) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    drop((near, far));
    drop(place);
    ended
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut chunk = vec![0; READ_CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..read]).await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until nothing has moved for a while.
async fn stalled(moved: &AtomicU64) {
    let mut seen = None;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if seen == Some(now) {
            return;
        }
        seen = Some(now);
        sleep(EGRESS_IDLE_MAX).await;
    }
}

#[cfg(test)]
mod tests;
