//! The api and admin listeners: plain HTTP/1 with few clients, so that a router may be convenient
//! rather than fast. Connections, heads and shutdown are bounded here.

mod drain;
mod seats;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use fractus_stdx::ErrorChain;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::drain::drained;
use self::seats::{Answer, Seat, Seats};
use crate::limits::{CONTROL_CONNECTIONS_MAX, CONTROL_HEAD_MS, CONTROL_LEAVE_MS};

/// One of the node's listeners.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// The HTTP data plane.
    Edge,
    /// The AWS-compatible APIs.
    Api,
    /// The admin API.
    Admin,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Edge => "edge",
            Self::Api => "api",
            Self::Admin => "admin",
        })
    }
}

/// Takes an address for a listener; std asks for address reuse, so a restart finds it free.
pub(crate) fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// A listener that is being served.
#[derive(Debug)]
pub(crate) struct Served {
    stop: watch::Sender<bool>,
    done: tokio::task::JoinHandle<()>,
}

/// Answers requests that come to `listener` with `router`, on the runtime of `handle`.
pub(crate) fn serve(handle: &Handle, listener: TcpListener, router: Router) -> io::Result<Served> {
    let _runtime = handle.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (stop, stopped) = watch::channel(false);
    let seats = Seats::new(CONTROL_CONNECTIONS_MAX);
    let done = handle.spawn(accept(listener, router, seats, stopped));
    Ok(Served { stop, done })
}

impl Served {
    /// Takes no more connections and lets requests in flight end, no longer than `grace`.
    pub(crate) async fn shutdown(mut self, grace: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(grace, &mut self.done).await.is_err() {
            // Dropped with its connections.
            self.done.abort();
        }
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    seats: Arc<Seats>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((stream, seats.take().await))
        };
        let accepted = tokio::select! {
            next = next => next,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, seat)) => {
                connections.spawn(connection(stream, router.clone(), seat, stop.clone()));
            }
            // Out of file descriptors, most likely: one of those in use must end first.
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "accept");
                seats.free_one();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    router: Router,
    seat: Arc<Seat>,
    mut stop: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let serving = seat.serve();
        let answered = router.call(drained(request));
        async move {
            let answer = |body| Answer {
                body,
                _serving: serving,
            };
            Ok::<_, Infallible>(answered.await?.map(answer))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(CONTROL_HEAD_MS))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            Some(connection.await)
        }
        () = seat.wanted() => {
            if !seat.has_served() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            let most = Duration::from_millis(CONTROL_LEAVE_MS);
            tokio::time::timeout(most, connection).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(error = %ErrorChain(&error), "connection");
    }
}

/// Waits until the listener is to stop, or nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests;
