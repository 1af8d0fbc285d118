//! From a name to a TCP connection with an address that was checked.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fractus_func::{BoxFuture, OutboundError, Tunnel};
use fractus_stdx::ErrorChain;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use super::OutboundConfig;
use super::address::{AddressClass, classify};
use super::host::Host;
use super::policy::{Reach, Target};
use crate::limits::OUTBOUND_LOOKUPS_MAX;

/// Finds a name's addresses.
pub(super) trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses, in the order in which to try them.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver: `/etc/hosts`, then DNS.
#[derive(Debug)]
pub(super) struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl SystemResolver {
    pub(super) fn shared() -> Arc<dyn Resolve> {
        Arc::new(Self {
            lookups: Arc::new(Semaphore::new(OUTBOUND_LOOKUPS_MAX)),
        })
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (lookups, name) = (Arc::clone(&self.lookups), name.to_owned());
        Box::pin(async move {
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            // A lookup cannot be broken off, so its thread counts until it comes back.
            let lookup = move || {
                let _permit = permit;
                (name.as_str(), 0)
                    .to_socket_addrs()
                    .map(|found| found.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup).await?
        })
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    /// All connections are in use.
    #[error("all {limit} connections that {whose} may have at once are in use")]
    Busy { limit: usize, whose: &'static str },
    /// The name has no address.
    #[error("no address for {0}")]
    NoSuchHost(Box<str>),
    /// The name could not be resolved.
    #[error("no address for {name}")]
    Resolve {
        name: Box<str>,
        #[source]
        source: io::Error,
    },
    /// No address passed the check; this is the first.
    #[error("{address} is {kind}")]
    Forbidden { address: IpAddr, kind: &'static str },
    /// Not in time.
    #[error("no connection in time")]
    Timeout,
    /// No address took the connection; this is the last.
    #[error("cannot connect to {address}")]
    Refused {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

impl ConnectError {
    /// What whoever wanted to go to `target` is told; None if that is only that it failed.
    pub(super) fn told(&self, target: &Target) -> Option<OutboundError> {
        match self {
            Self::Forbidden { address, kind } => {
                let entry = target.entry();
                Some(target.denied(format!(
                    "it leads to {address}, {kind}, which no entry of `hosts` opens; if that is \
                     meant, write `private_hosts = [\"{entry}\"]` under `[access]` in fractus.toml"
                )))
            }
            Self::NoSuchHost(name) => Some(OutboundError::NoSuchHost(name.to_string())),
            Self::Resolve { name, source } => {
                Some(OutboundError::NoSuchHost(format!("{name} ({source})")))
            }
            Self::Timeout => Some(OutboundError::Timeout(target.to_string())),
            Self::Busy { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Connections that somebody may have at once. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    limit: usize,
    whose: &'static str,
}

impl Places {
    pub(super) fn new(limit: usize, whose: &'static str) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
            whose,
        }
    }

    async fn take(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, ConnectError> {
        let taken = timeout_at(deadline, Arc::clone(&self.free).acquire_owned()).await;
        let Self { limit, whose, .. } = *self;
        taken
            .ok()
            .and_then(Result::ok)
            .ok_or(ConnectError::Busy { limit, whose })
    }
}

/// Connects to addresses of one [`Reach`].
#[derive(Clone, Debug)]
pub(super) struct Connector {
    reach: Reach,
    resolver: Arc<dyn Resolve>,
    /// The node's.
    places: Places,
    /// Those of the function that asks, if it is one; taken first, so that who has none left waits
    /// in nobody's way.
    own: Option<Places>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(reach: Reach, config: &OutboundConfig, resolver: &Arc<dyn Resolve>) -> Self {
        Self {
            reach,
            resolver: Arc::clone(resolver),
            places: Places::new(config.connections, "the node"),
            own: None,
            timeout: config.connect,
        }
    }

    /// The same for a function that has so many places of the node's.
    pub(super) fn within(&self, own: Places) -> Self {
        let own = Some(own);
        Self {
            own,
            ..self.clone()
        }
    }

    async fn connect(self, target: Target) -> Result<Link, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let own = match &self.own {
            Some(own) => Some(own.take(deadline).await?),
            None => None,
        };
        let place = Place {
            _own: own,
            _nodes: self.places.take(deadline).await?,
        };
        let resolved = timeout_at(deadline, self.addresses(&target.host)).await;
        let addresses = resolved.or(Err(ConnectError::Timeout))??;
        let mut failure = ConnectError::Timeout;
        for (at, address) in addresses.iter().enumerate() {
            let address = SocketAddr::new(*address, target.port);
            let left = deadline.saturating_duration_since(Instant::now());
            let share = u32::try_from(addresses.len() - at).map_or(left, |tries| left / tries);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(Link::new(tcp, place)),
                Ok(Err(source)) => failure = ConnectError::Refused { address, source },
                Err(_elapsed) => failure = ConnectError::Timeout,
            }
        }
        Err(failure)
    }

    /// A connection whose bytes are its user's own affair.
    pub(super) async fn tunnel(self, target: Target) -> Result<Tunnel, OutboundError> {
        let authority = target.to_string();
        let failed = |source| OutboundError::Failed {
            authority: authority.clone(),
            source,
        };
        let connected = self.connect(target.clone()).await;
        let link = connected.map_err(|error| {
            let told = error.told(&target);
            told.unwrap_or_else(|| failed(error.into()))
        })?;
        let socket = link.tcp.into_std().map_err(|error| failed(error.into()))?;
        Ok(Tunnel {
            socket: socket.into(),
            place: Box::new(link.place),
        })
    }

    /// The addresses of a host that may be connected to; at least one.
    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, ConnectError> {
        let mut found = match host {
            // The private pool is entered with an address only if the manifest holds it.
            Host::Address(address) if self.reach == Reach::Private => return Ok(vec![*address]),
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.lookup(name).await?,
        };
        let first = found[0];
        found.retain(|address| self.reach.allows(classify(*address)));
        match classify(first) {
            AddressClass::Private(kind) | AddressClass::Special(kind) if found.is_empty() => {
                Err(ConnectError::Forbidden {
                    address: first,
                    kind,
                })
            }
            _ => Ok(found),
        }
    }

    /// The addresses of a name; at least one.
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let found = self.resolver.resolve(name).await;
        let found = found.map_err(|source| ConnectError::Resolve {
            name: name.into(),
            source,
        })?;
        if found.is_empty() {
            return Err(ConnectError::NoSuchHost(name.into()));
        }
        Ok(found)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(TokioIo::new(connector.connect(Target::of(&uri)?).await?)) })
    }
}

/// The place that a connection takes up, free again when it ends.
#[derive(Debug)]
struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _nodes: OwnedSemaphorePermit,
}

/// A connection and its place.
#[derive(Debug)]
pub(super) struct Link {
    tcp: TcpStream,
    place: Place,
}

impl Link {
    fn new(tcp: TcpStream, place: Place) -> Self {
        // Heads and last blocks of bodies must not wait for acknowledgements; a socket that cannot
        // be told so still works.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(error = %ErrorChain(&error), "set TCP_NODELAY");
        }
        Self { tcp, place }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
