//! Outgoing HTTP: what functions ask for, held to their manifests, and what upstream routes ask
//! for, which the operator wrote.
//!
//! A function's request is checked in two places that no spelling or DNS answer gets around:
//!
//! 1. For each request, its host (in one canonical form, [`host`]) and port are looked for in the
//!    [`Policy`], which says what class of address it may [`Reach`]; a host that is named nowhere
//!    ends here.
//! 2. For each connection, the name is resolved once, each address is classed ([`address`]), and
//!    the connection goes to an address that passed ([`connect`]); nothing resolves it again.
//!
//! Connections are shared, and still no function rides on another's rights: there is one pool for
//! each reach, and a pool hands a connection only to requests for the same scheme, host and port.
//! So whatever a request gets was made for the very host that its own policy allowed (1), under the
//! very reach it has (2). A connection to a private address lies in the private pool, and only a
//! policy that names this host in `private_hosts` leads there, whatever `hosts` says.
//!
//! Redirects are the guest's to follow: each is a request of its own.

mod address;
mod client;
mod connect;
mod host;
mod policy;
mod store;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use fractus_blob::Store;
use fractus_func::{Body, BoxFuture, OutboundError};
use http::{Method, Request, Response};

use self::client::Client;
use self::connect::{Connector, Resolve, SystemResolver};
pub(crate) use self::policy::Policy;
use self::policy::{Reach, Target};
use crate::limits::{
    OUTBOUND_CONNECT_MS, OUTBOUND_CONNECTIONS_MAX, OUTBOUND_HEAD_MS, OUTBOUND_STALL_MS,
};

/// Bounds of outgoing HTTP; the default is right for a node.
#[derive(Clone, Debug)]
pub(crate) struct OutboundConfig {
    /// Connections to public addresses at once, and as many to private ones.
    pub(crate) connections: usize,
    /// A connection is made within this time.
    pub(crate) connect: Duration,
    /// An answer's head comes within this time after the request's body last moved.
    pub(crate) head: Duration,
    /// Next bytes of an answer's body come within this time.
    pub(crate) stall: Duration,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            connections: OUTBOUND_CONNECTIONS_MAX,
            connect: Duration::from_millis(OUTBOUND_CONNECT_MS),
            head: Duration::from_millis(OUTBOUND_HEAD_MS),
            stall: Duration::from_millis(OUTBOUND_STALL_MS),
        }
    }
}

/// Outgoing HTTP of one node. Cheap to clone; the clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    store: Store,
    public: Client,
    private: Client,
}

impl Outbound {
    /// Outgoing HTTP, with `http://store.internal/` answered from `store`.
    pub(crate) fn new(store: Store, config: &OutboundConfig) -> Self {
        Self::with_resolver(store, config, &SystemResolver::shared())
    }

    fn with_resolver(store: Store, config: &OutboundConfig, resolver: &Arc<dyn Resolve>) -> Self {
        let client = |reach| Client::new(Connector::new(reach, config, resolver), config);
        Self {
            store,
            public: client(Reach::Public),
            private: client(Reach::Private),
        }
    }

    /// Sends a function's request to where `policy` lets it. Hop-by-hop fields and Host are removed
    /// from the request, hop-by-hop fields from the answer.
    pub(crate) fn send(
        &self,
        policy: &Policy,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let target = match Target::of(request.uri()) {
            Ok(target) => target,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        if store::is_store(&target) {
            return store::answer(&self.store, policy, &target, request);
        }
        if request.method() == Method::CONNECT {
            let why = "functions open no tunnels; use another method than CONNECT".to_owned();
            return Box::pin(ready(Err(target.denied(why))));
        }
        match policy.reach(&target) {
            Ok(Reach::Public) => self.public.send(target, request),
            Ok(Reach::Private) => self.private.send(target, request),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    /// Sends a request to where the operator's configuration says; no policy is asked.
    pub(crate) fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        match Target::of(request.uri()) {
            Ok(target) => self.private.send(target, request),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests;
