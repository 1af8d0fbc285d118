//! An edge in front of one scripted origin.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use fractus_edge::{Edge, EdgeConfig, Origin, Serving};
use fractus_func::{RouteSpec, RouteTable};

use crate::client::Client;
use crate::origin::Scripted;

/// A served edge; everything is cut when it is dropped.
pub(crate) struct Started {
    pub(crate) edge: Edge,
    pub(crate) serving: Serving,
    pub(crate) origin: Arc<Scripted>,
}

impl Started {
    pub(crate) async fn client(&self) -> Client {
        Client::new(self.serving.local_addr()).await
    }
}

/// Two threads, so that what is shared is shared.
pub(crate) fn config() -> EdgeConfig {
    EdgeConfig {
        threads: 2,
        cache_bytes: 64 << 20,
        object_max_bytes: 4 << 20,
        ..EdgeConfig::default()
    }
}

pub(crate) fn start(origin: Arc<Scripted>) -> Started {
    start_with(config(), origin)
}

pub(crate) fn start_with(config: EdgeConfig, origin: Arc<Scripted>) -> Started {
    let edge = Edge::new(config);
    edge.set_routes(routes("/", &origin));
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let serving = edge.serve(listener).expect("serves");
    Started {
        edge,
        serving,
        origin,
    }
}

/// All paths below one lead to an origin.
pub(crate) fn routes(path: &str, origin: &Arc<Scripted>) -> RouteTable<Arc<dyn Origin>> {
    let mut table = RouteTable::default();
    add_route(&mut table, path, origin);
    table
}

pub(crate) fn add_route(
    table: &mut RouteTable<Arc<dyn Origin>>,
    path: &str,
    origin: &Arc<Scripted>,
) {
    let route = RouteSpec {
        host: None,
        path: path.to_owned(),
    };
    let origin: Arc<dyn Origin> = Arc::clone(origin) as Arc<dyn Origin>;
    table.insert(&route, origin).expect("a free route");
}

/// Waits until something holds; fails the test if it does not come to hold.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "it never came to be that {what}");
}
