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
//! No function rides on another's rights or takes all connections: a version of a function has
//! pools of its own ([`Lane`]), one for each reach, which hold so many of the node's connections
//! and no more. A pool hands a connection only to requests for the same scheme, host and port. So
//! whatever a request gets was made for the very host that its own policy allowed (1), under the
//! very reach it has (2). A connection to a private address lies in the private pool, and only a
//! policy that names this host in `private_hosts` leads there, whatever `hosts` says.
//!
//! A native function's tunnels ([`Outbound::tunnel`]) pass the same two places and take the same
//! connections; only what goes through them is not looked into.
//!
//! Redirects are the guest's to follow: each is a request of its own.

mod address;
mod client;
mod connect;
mod host;
mod policy;
mod store;
mod traced;

use std::future::ready;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fractus_blob::Store;
use fractus_func::{Access, Body, BoxFuture, OutboundError, Tunnel};
use http::{Method, Request, Response};

use self::client::Client;
use self::connect::{Connector, Places, Resolve, SystemResolver};
use self::policy::{Policy, Reach, Target};
pub(crate) use self::store::Objects;
use crate::limits::{
    OUTBOUND_CONNECT_MS, OUTBOUND_CONNECTIONS_MAX, OUTBOUND_FUNCTION_CONNECTIONS_MAX,
    OUTBOUND_HEAD_MS, OUTBOUND_STALL_MS, OUTBOUND_UPLOAD_MS,
};

/// Bounds of outgoing HTTP; the default is right for a node.
#[derive(Clone, Debug)]
pub(crate) struct OutboundConfig {
    /// Connections to public addresses at once, and as many to private ones.
    pub(crate) connections: usize,
    /// Of those, the connections of one function.
    pub(crate) function_connections: usize,
    /// A connection is made within this time.
    pub(crate) connect: Duration,
    /// An answer's head comes within this time after the request's body last moved.
    pub(crate) head: Duration,
    /// A request's body is sent within this time.
    pub(crate) upload: Duration,
    /// Next bytes of an answer's body come within this time.
    pub(crate) stall: Duration,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            connections: OUTBOUND_CONNECTIONS_MAX,
            function_connections: OUTBOUND_FUNCTION_CONNECTIONS_MAX,
            connect: Duration::from_millis(OUTBOUND_CONNECT_MS),
            head: Duration::from_millis(OUTBOUND_HEAD_MS),
            upload: Duration::from_millis(OUTBOUND_UPLOAD_MS),
            stall: Duration::from_millis(OUTBOUND_STALL_MS),
        }
    }
}

/// Outgoing HTTP of one node. Cheap to clone; the clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    store: Store,
    /// What changes objects; made after this.
    objects: Arc<OnceLock<Arc<dyn Objects>>>,
    config: OutboundConfig,
    public: Connector,
    private: Connector,
    /// Of upstreams.
    forwarding: Client,
}

/// A function's way out: what it may reach, and connections of its own, made when it first needs
/// them.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    policy: Policy,
    places: OnceLock<Places>,
    public: OnceLock<Client>,
    private: OnceLock<Client>,
}

impl Lane {
    /// A way to what a manifest allows.
    pub(crate) fn new(access: &Access) -> Self {
        Self {
            policy: Policy::new(access),
            ..Self::default()
        }
    }
}

impl Outbound {
    /// Outgoing HTTP, with `http://store.internal/` answered from `store`.
    pub(crate) fn new(store: Store, config: &OutboundConfig) -> Self {
        Self::with_resolver(store, config, &SystemResolver::shared())
    }

    fn with_resolver(store: Store, config: &OutboundConfig, resolver: &Arc<dyn Resolve>) -> Self {
        let private = Connector::new(Reach::Private, config, resolver);
        Self {
            store,
            objects: Arc::default(),
            config: config.clone(),
            public: Connector::new(Reach::Public, config, resolver),
            forwarding: Client::new(private.clone(), config),
            private,
        }
    }

    /// Takes what changes objects on functions' behalf, once.
    pub(crate) fn change_objects_with(&self, objects: Arc<dyn Objects>) {
        drop(self.objects.set(objects));
    }

    fn client<'a>(&self, lane: &'a Lane, reach: Reach) -> &'a Client {
        let client = match reach {
            Reach::Public => &lane.public,
            Reach::Private => &lane.private,
        };
        client.get_or_init(|| Client::new(self.connector(lane, reach), &self.config))
    }

    /// What connects for a function, within the places that it has.
    fn connector(&self, lane: &Lane, reach: Reach) -> Connector {
        let limit = self.config.function_connections;
        let own = lane.places.get_or_init(|| Places::new(limit, "a function"));
        let connector = match reach {
            Reach::Public => &self.public,
            Reach::Private => &self.private,
        };
        connector.within(own.clone())
    }

    /// Sends a function's request to where its policy lets it. Hop-by-hop fields and Host are
    /// removed from the request, hop-by-hop fields from the answer.
    pub(crate) fn send(
        &self,
        lane: &Lane,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let target = match Target::of(request.uri()) {
            Ok(target) => target,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        if store::is_store(&target) {
            let store = (&self.store, self.objects.get());
            return store::answer(store, &lane.policy, &target, request);
        }
        if request.method() == Method::CONNECT {
            let why = "functions open no tunnels; use another method than CONNECT".to_owned();
            return Box::pin(ready(Err(target.denied(why))));
        }
        match lane.policy.reach(&target) {
            Ok(reach) => self.client(lane, reach).send(target, request),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    /// Connects a function to a host and port where its policy lets it.
    pub(crate) fn tunnel(
        &self,
        lane: &Lane,
        authority: &str,
    ) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        let target = match Target::of_tunnel(authority) {
            Ok(target) if store::is_store(&target) => Err(store::elsewhere(&target)),
            other => other,
        };
        let reach = target.and_then(|target| Ok((lane.policy.reach(&target)?, target)));
        match reach {
            Ok((reach, target)) => {
                let connector = self.connector(lane, reach);
                Box::pin(async move { connector.tunnel(target).await })
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    /// Sends a request to where the operator's configuration says; no policy is asked.
    pub(crate) fn forward(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        match Target::of(request.uri()) {
            Ok(target) => self.forwarding.send(target, request),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests;
