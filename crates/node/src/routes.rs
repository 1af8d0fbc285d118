//! The edge's routes: what leads to which function, bucket or upstream.

use std::net::SocketAddr;
use std::sync::Arc;

use fractus_blob::Store;
use fractus_edge::Origin;
use fractus_func::{FunctionName, Manifest, RouteSpec, RouteTable, RouteTableError};

use crate::config::Upstream;
use crate::functions::{Current, Functions};
use crate::openlambda::{self, OpenLambda};
use crate::origin::{BucketOrigin, FunctionOrigin, UpstreamOrigin};
use crate::outbound::Outbound;

/// The edge's route table.
pub(crate) type Table = RouteTable<Arc<dyn Origin>>;

/// What leads elsewhere than to a function; stays as it is while the node runs.
#[derive(Debug)]
pub(crate) struct Fixed {
    /// The origin of public buckets.
    pub(crate) buckets: Arc<dyn Origin>,
    /// Servers elsewhere.
    pub(crate) upstreams: Vec<(RouteSpec, Arc<dyn Origin>)>,
    /// The API of an `OpenLambda` worker.
    pub(crate) worker: Arc<dyn Origin>,
}

impl Fixed {
    /// All that the configuration gives, each with a generation of its own.
    pub(crate) fn new(
        functions: &Functions,
        store: &Store,
        outbound: &Outbound,
        upstreams: Vec<Upstream>,
        worker: OpenLambda,
    ) -> Self {
        let upstreams = upstreams.into_iter().map(|Upstream { route, url }| {
            let generation = functions.generation();
            let origin = UpstreamOrigin::new(outbound.clone(), &route.path, url, generation);
            (route, Arc::new(origin) as Arc<dyn Origin>)
        });
        Self {
            upstreams: upstreams.collect(),
            buckets: Arc::new(BucketOrigin::new(store.clone(), functions.generation())),
            worker: Arc::new(worker),
        }
    }
}

fn route(host: Option<String>, path: String) -> RouteSpec {
    RouteSpec { host, path }
}

/// The routes that every function has: below `/run/NAME`, and by a host of its own if its name can
/// be part of one.
fn own_routes(name: &FunctionName) -> Vec<RouteSpec> {
    let mut routes = vec![
        route(None, format!("/run/{name}")),
        route(None, format!("/run/{name}/")),
    ];
    if name.is_dns_label() {
        routes.push(route(Some(format!("{name}.localhost")), "/".to_owned()));
    }
    routes
}

/// The host of a function's URL.
pub(crate) fn url_host(id: &str, region: &str) -> String {
    format!("{id}.lambda-url.{region}.localhost")
}

/// A route of the manifest that belongs to something else, if there is one.
pub(crate) fn reserved(manifest: &Manifest) -> Option<&RouteSpec> {
    let own = format!("{}.localhost", manifest.name);
    manifest.routes.iter().find(|route| {
        let under = |folder: &str| {
            route.path.starts_with(folder) || folder.trim_end_matches('/') == route.path
        };
        let others_host = |host: &String| host.ends_with(".localhost") && *host != own;
        let is_workers = |path: &str| match path.strip_suffix('/') {
            Some(_) => route.path.starts_with(path),
            None => route.path == path,
        };
        under("/run/")
            || under("/b/")
            || route.host.as_ref().is_some_and(others_host)
            || route.host.is_none() && openlambda::PATHS.into_iter().any(is_workers)
    })
}

/// The table of all routes, or the first that is taken twice.
pub(crate) fn table(
    fixed: &Fixed,
    functions: &Arc<Functions>,
    current: &Current,
) -> Result<Table, RouteTableError> {
    let mut table = Table::default();
    let buckets = route(None, "/b/".to_owned());
    table.insert(&buckets, Arc::clone(&fixed.buckets))?;
    for path in openlambda::PATHS {
        table.insert(&route(None, path.to_owned()), Arc::clone(&fixed.worker))?;
    }
    for (route, origin) in &fixed.upstreams {
        table.insert(route, Arc::clone(origin))?;
    }
    let region = &functions.services().region;
    for (name, entry) in current {
        let origin = |qualifier: Option<&str>| -> Arc<dyn Origin> {
            Arc::new(FunctionOrigin::new(functions, entry, qualifier))
        };
        let own = origin(None);
        let routes = &entry.latest.manifest().routes;
        for route in own_routes(name).iter().chain(routes) {
            table.insert(route, Arc::clone(&own))?;
        }
        for (qualifier, qualified) in &entry.attachments.qualified {
            if let Some(url) = &qualified.url {
                let host = route(Some(url_host(&url.id, region)), "/".to_owned());
                table.insert(&host, origin(Some(qualifier)))?;
            }
        }
    }
    Ok(table)
}

/// Where a function is reached when the edge listens on `edge`.
pub(crate) fn urls(manifest: &Manifest, edge: SocketAddr) -> Vec<String> {
    let own = own_routes(&manifest.name);
    let url = |route: &RouteSpec| match &route.host {
        Some(host) => format!("http://{host}:{}{}", edge.port(), route.path),
        None => format!("http://{edge}{}", route.path),
    };
    own[1..].iter().chain(&manifest.routes).map(url).collect()
}
