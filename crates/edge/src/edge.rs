//! The handle that the node holds.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fractus_func::RouteTable;

use crate::serve::{ServeError, Serving};
use crate::store::Store;
use crate::{EdgeConfig, Origin, Stats};

/// Routes to origins.
pub(crate) type Routes = RouteTable<Arc<dyn Origin>>;

/// An edge: its routes and its cache. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Edge {
    shared: Arc<Shared>,
}

/// What handles, listeners and running fills hold in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EdgeConfig,
    pub(crate) store: Arc<Store>,
    routes: RwLock<Arc<Routes>>,
    /// Goes up with each change of `routes`, so that connections see it without the lock.
    routes_version: AtomicU64,
    connections: AtomicUsize,
}

impl Edge {
    /// An edge without routes: it answers 404 to everything.
    pub fn new(config: EdgeConfig) -> Self {
        let store = Arc::new(Store::new(&config));
        let shared = Shared {
            config,
            store,
            routes: RwLock::default(),
            routes_version: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Replaces all routes at once. Requests that come later see the new ones; those under way end
    /// at the origin they began with.
    pub fn set_routes(&self, routes: RouteTable<Arc<dyn Origin>>) {
        let shared = &self.shared;
        let mut place = shared
            .routes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(routes);
        shared.routes_version.fetch_add(1, Ordering::Release);
    }

    /// Serves a listener on threads of its own until the answer is dropped or shut down. An edge
    /// may serve several.
    pub fn serve(&self, listener: TcpListener) -> Result<Serving, ServeError> {
        Serving::start(&self.shared, listener)
    }

    /// Makes every stored answer for a path useless, whatever its host and query, and every answer
    /// that is being fetched for it now. When it returns no request that begins later gets an older
    /// answer. Does nothing for what is no path.
    ///
    /// It takes no lock and searches nothing; memory of the answers is freed as they are asked for
    /// or evicted. It may hit other paths too, one in [`EPOCH_SLOTS`](crate::limits::EPOCH_SLOTS):
    /// they are fetched again.
    pub fn invalidate(&self, path: &str) {
        self.shared.store.invalidate_path(path);
    }

    /// Drops everything that is stored and keeps running fills from being stored.
    pub fn purge(&self) {
        self.shared.store.purge();
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let connections = self.shared.connections.load(Ordering::Relaxed);
        Stats {
            connections: connections as u64,
            ..self.shared.store.stats()
        }
    }
}

impl Shared {
    /// The routes if they are newer than `version`, which is brought up to date.
    pub(crate) fn newer_routes(&self, version: &mut u64) -> Option<Arc<Routes>> {
        let current = self.routes_version.load(Ordering::Acquire);
        if current == *version {
            return None;
        }
        *version = current;
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&routes))
    }

    /// Counts a connection in, unless there are too many.
    pub(crate) fn open_connection(&self) -> bool {
        let open = self.connections.fetch_add(1, Ordering::Relaxed);
        if open >= self.config.connections_max {
            self.close_connection();
            return false;
        }
        true
    }

    pub(crate) fn close_connection(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
