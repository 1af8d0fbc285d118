//! A node's life: start, run, stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fractus_blob::Store;
use fractus_edge::{Edge, EdgeConfig, ServeError, Serving};
use fractus_func::{Memory, Runtime};
use fractus_lambda::sigv4::SigningKeys;
use fractus_sandbox::{SandboxConfig, SandboxRuntime};
use fractus_stdx::{ErrorChain, Hex};
use fractus_wasm::{WasmConfig, WasmRuntime};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::watch;

use crate::admin::{self, Admin, GuestObjects};
use crate::api::{self, Api};
use crate::artifacts::{ArtifactError, Artifacts};
use crate::clock::now_ms;
use crate::config::Config;
use crate::control::{Control, DeployError};
use crate::data_dir::{Addresses, Credentials, DataDir, DataDirError};
use crate::descriptors;
use crate::events::{Clock, Events, EventsConfig, OpenError};
use crate::functions::{Budget, Functions, Services};
use crate::invoker::FunctionInvoker;
use crate::limits::{
    ACCOUNT, CONTROL_GRACE_MS, CONTROL_THREADS, COUNTERS_SAVE_MS, SETTLE_MS, SWEEP_MS,
};
use crate::listener::{self, Listener, Served};
use crate::logs::Logs;
use crate::openlambda::OpenLambda;
use crate::outbound::{Outbound, OutboundConfig};
use crate::registry::{Registry, RegistryError};
use crate::routes::Fixed;
use crate::runtimes::Runtimes;
use crate::traces::{Exporter, Traces};
use crate::usage::Usage;

/// A running node. Stop it with [`Node::shutdown`]; dropping it instead cuts what is in flight, as
/// a crash would.
#[derive(Debug)]
pub struct Node {
    /// Dropped first: no request comes in any more.
    edge: Serving,
    api: Served,
    admin: Served,
    service: Arc<Admin>,
    drain: Duration,
    runtime: tokio::runtime::Runtime,
    /// Dropped last: another node may have the directory then.
    data: DataDir,
}

/// A node that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory is taken or cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A listener's address is taken or not this machine's.
    #[error(
        "the {listener} listener cannot have {address}; stop who has it, or choose another with \
         --{listener} ADDRESS"
    )]
    Bind {
        /// Which listener.
        listener: Listener,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A listener or one of its threads could not be served.
    #[error("the edge cannot serve")]
    Serve(#[source] ServeError),
    /// A thread or its event loop could not be made.
    #[error("cannot start a thread")]
    Threads(#[source] io::Error),
    /// The object store did not open.
    #[error("the object store cannot be opened")]
    Store(#[source] fractus_blob::OpenError),
    /// The registry did not open.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database of events did not open.
    #[error("the events cannot be opened")]
    Events(#[source] OpenError),
    /// The runtime of functions did not start.
    #[error("functions cannot be run on this machine")]
    Runtime(#[source] fractus_wasm::StartError),
    /// The artifacts cannot be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// What was deployed cannot be served any more, such as after a change of configuration.
    #[error("what is deployed cannot be served")]
    Restore(#[source] DeployError),
}

/// The listeners, bound but not yet served.
struct Listeners {
    edge: TcpListener,
    api: TcpListener,
    admin: TcpListener,
    addresses: Addresses,
}

impl Node {
    /// Starts a node and returns when it is ready. Blocks: for recovery, and to compile what was
    /// compiled by another version. Not to be called from async code.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let started_ms = now_ms();
        let data = DataDir::open(&config.data)?;
        let credentials = data.credentials()?;
        let listeners = Listeners::bind(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let drain = config.drain;
        let control = assemble(
            config,
            &data,
            listeners.addresses.edge,
            &runtime,
            &credentials,
        )?;
        runtime
            .block_on(control.restore())
            .map_err(StartError::Restore)?;
        let node = Self::serve(
            listeners,
            control,
            credentials,
            data,
            runtime,
            (drain, started_ms),
        )?;
        let Addresses {
            pid: _,
            edge,
            api,
            admin,
        } = node.addresses();
        tracing::info!(%edge, %api, %admin, data = %node.data().display(), "ready");
        Ok(node)
    }

    fn serve(
        listeners: Listeners,
        control: Arc<Control>,
        credentials: Credentials,
        data: DataDir,
        runtime: tokio::runtime::Runtime,
        (drain, started_ms): (Duration, u64),
    ) -> Result<Self, StartError> {
        let edge = control
            .edge()
            .serve(listeners.edge)
            .map_err(StartError::Serve)?;
        let handle = runtime.handle();
        let aws = Api::new(
            Arc::clone(&control),
            credentials.keys(),
            listeners.addresses.edge,
        );
        let api = listener::serve(handle, listeners.api, api::router(aws));
        let api = api.map_err(StartError::Threads)?;
        let service = Arc::new(Admin {
            control,
            token: credentials.admin_token,
            addresses: listeners.addresses,
            data: data.path().to_owned(),
            started_ms,
            draining: watch::Sender::new(false),
        });
        // Whoever is told by the admin listener that the node is ready finds it announced.
        data.announce(&listeners.addresses)?;
        let router = admin::router(Arc::clone(&service));
        let admin = listener::serve(handle, listeners.admin, router);
        let admin = admin.or_else(|error| {
            data.withdraw()?;
            Err(StartError::Threads(error))
        })?;
        {
            let _context = runtime.enter();
            let invoker = FunctionInvoker::new(&service.control);
            service.control.events().start(Arc::new(invoker));
        }
        runtime.spawn(maintain(Arc::clone(&service.control)));
        Ok(Self {
            edge,
            api,
            admin,
            service,
            drain,
            runtime,
            data,
        })
    }

    /// Where the node listens.
    pub fn addresses(&self) -> Addresses {
        self.service.addresses
    }

    /// The data directory, absolute.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Stops the node: takes no more requests, lets those in flight end within the drain time,
    /// writes down what is in memory, and gives the data directory back. Blocks; not to be called
    /// from async code.
    pub fn shutdown(self) {
        let Self {
            edge,
            api,
            admin,
            service,
            drain,
            runtime,
            data,
        } = self;
        service.draining.send_replace(true);
        if let Err(error) = data.withdraw() {
            tracing::warn!(error = %ErrorChain(&error), "node.json stays behind");
        }
        runtime.block_on(async {
            let begin = Instant::now();
            let cut = edge.shutdown(drain).await;
            if cut > 0 {
                tracing::warn!(cut, "connections were cut at the end of the drain time");
            }
            service
                .control
                .events()
                .stop(drain.saturating_sub(begin.elapsed()))
                .await;
            let left = drain.saturating_sub(begin.elapsed());
            let grace = left.max(Duration::from_millis(CONTROL_GRACE_MS));
            tokio::join!(api.shutdown(grace), admin.shutdown(grace));
            settle(service.control.functions()).await;
            let traces = &service.control.functions().services().traces;
            // What cannot be sent in that time nobody waits for.
            let patience = Duration::from_millis(CONTROL_GRACE_MS);
            tokio::time::timeout(patience, traces.flush()).await.ok();
        });
        service.control.save_counters();
        service.control.functions().services().logs.flush();
        runtime.shutdown_timeout(Duration::from_millis(CONTROL_GRACE_MS));
        drop(service);
        tracing::info!("stopped");
        drop(data);
    }
}

/// Waits for the reports of calls whose answers are sent, so that they are counted.
async fn settle(functions: &Functions) {
    let deadline = Instant::now() + Duration::from_millis(SETTLE_MS);
    while functions.services().budget.running() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |listener, address| {
            listener::bind(address).map_err(|source| StartError::Bind {
                listener,
                address,
                source,
            })
        };
        let (edge, edge_address) = bind(Listener::Edge, config.edge)?;
        let (api, api_address) = bind(Listener::Api, config.api)?;
        let (admin, admin_address) = bind(Listener::Admin, config.admin)?;
        Ok(Self {
            edge,
            api,
            admin,
            addresses: Addresses {
                pid: std::process::id(),
                edge: edge_address,
                api: api_address,
                admin: admin_address,
            },
        })
    }
}

/// Opens everything below the listeners and puts it together.
fn assemble(
    config: Config,
    data: &DataDir,
    edge_address: SocketAddr,
    runtime: &tokio::runtime::Runtime,
    credentials: &Credentials,
) -> Result<Arc<Control>, StartError> {
    // What is made here may start tasks of its own.
    let _context = runtime.enter();
    let store_config = fractus_blob::Config {
        max_bytes: config.store_max_bytes,
        ..fractus_blob::Config::default()
    };
    let store = Store::open(&data.folder("store")?, store_config).map_err(StartError::Store)?;
    let registry = Registry::open(&data.path().join("registry.db"))?;
    let wasm = WasmConfig {
        threads: config.threads,
    };
    let wasm: Arc<dyn Runtime> = Arc::new(WasmRuntime::new(&wasm).map_err(StartError::Runtime)?);
    let budget = Arc::new(Budget::new(config.instances, config.guest_memory_bytes));
    let runtimes = Runtimes::new(wasm, sandboxes(data, &budget));
    let artifacts = Artifacts::open(data.folder("artifacts")?, runtimes)?;
    let outbound = Outbound::new(store.clone(), &OutboundConfig::default());
    let collector = config.traces;
    let exporter = collector.map(|collector| Exporter::start(outbound.clone(), collector));
    let functions = Arc::new(Functions::new(Services {
        artifacts: Arc::new(artifacts),
        outbound: outbound.clone(),
        logs: Logs::open(data.folder("logs")?).map_err(StartError::Threads)?,
        usage: Usage::default(),
        traces: Traces::new(exporter),
        price: config.price,
        budget,
        region: credentials.region.as_str().into(),
        keys: Arc::new(SigningKeys::new([credentials.keys()])),
    }));
    let defaults = EdgeConfig::default();
    let edge = Edge::new(EdgeConfig {
        threads: config.threads,
        cache_bytes: config.cache_bytes,
        connections_max: descriptors::for_connections(defaults.connections_max),
        ..defaults
    });
    let worker = OpenLambda::new(&credentials.admin_token, functions.generation());
    let fixed = Fixed::new(
        &functions,
        &store,
        &outbound,
        config.upstreams,
        worker.clone(),
    );
    let events = EventsConfig {
        retry_delays_ms: config
            .event_retries
            .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        account: ACCOUNT.to_owned(),
        region: credentials.region.clone(),
        ..EventsConfig::default()
    };
    let path = data.path().join("events.db");
    let events = Events::open(&path, events, Clock::wall()).map_err(StartError::Events)?;
    let kept = (registry, store, events);
    let control = Arc::new(Control::new(functions, kept, (edge, edge_address), fixed));
    worker.command(&control);
    outbound.change_objects_with(Arc::new(GuestObjects(Arc::downgrade(&control))));
    Ok(control)
}

/// The runtime of native functions, or why this machine has none: the node does without.
fn sandboxes(data: &DataDir, budget: &Arc<Budget>) -> Result<Arc<dyn Runtime>, String> {
    let started = data
        .folder("native")
        .map_err(|error| ErrorChain(&error).to_string());
    let started = started.and_then(|folder| {
        let name = Sha256::digest(data.path().as_os_str().as_encoded_bytes());
        let config = SandboxConfig {
            folder,
            name: format!("fractus-{}", Hex(&name[..8])),
            memory: Arc::clone(budget) as Arc<dyn Memory>,
        };
        let runtime = SandboxRuntime::start(config);
        runtime.map_err(|error| ErrorChain(&error).to_string())
    });
    match started {
        Ok(runtime) => Ok(Arc::new(runtime)),
        Err(why) => {
            tracing::warn!(why, "native functions cannot run here");
            Err(why)
        }
    }
}

/// Unloads what is idle and writes counters down, for as long as the node runs.
async fn maintain(control: Arc<Control>) {
    let mut sweeps = tokio::time::interval(Duration::from_millis(SWEEP_MS));
    let mut saves = tokio::time::interval(Duration::from_millis(COUNTERS_SAVE_MS));
    loop {
        tokio::select! {
            _ = sweeps.tick() => control.functions().evict_idle(now_ms()),
            _ = saves.tick() => {
                let saving = Arc::clone(&control);
                let saved = tokio::task::spawn_blocking(move || saving.save_counters()).await;
                if saved.is_err() {
                    return;
                }
            }
        }
    }
}
