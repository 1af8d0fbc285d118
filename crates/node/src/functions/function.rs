//! One deployed version of a function.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fractus_func::{FunctionName, LoadError, Manifest, Program};
use fractus_stdx::ErrorChain;

use crate::clock::now_ms;
use crate::functions::{Desk, Services};
use crate::limits::LOAD_RETRY_MS;
use crate::outbound::Lane;
use crate::registry::NewVersion;

/// A deployed version. The edge's routes hold it, and each call of it does.
#[derive(Debug)]
pub(crate) struct Function {
    number: u64,
    generation: u64,
    deployed: NewVersion,
    env: Vec<(String, String)>,
    lane: Lane,
    /// Shared by the versions of a function.
    desk: Arc<Desk>,
    program: Mutex<Option<Arc<dyn Program>>>,
    /// Held while the program is loaded, by the one who loads it.
    pub(super) loading: Arc<tokio::sync::Mutex<()>>,
    /// When loading it failed for the last time.
    failed: Mutex<Option<Instant>>,
    called_ms: AtomicU64,
}

/// The program cannot be had; the log says why.
#[derive(Debug)]
pub(super) struct Unloadable;

const LOAD_RETRY: Duration = Duration::from_millis(LOAD_RETRY_MS);

impl Function {
    /// Version `number` of a function, whose calls arrive at `desk`.
    pub(super) fn new(number: u64, generation: u64, deployed: NewVersion, desk: Arc<Desk>) -> Self {
        let env = &deployed.manifest.env;
        Self {
            number,
            generation,
            env: env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            lane: Lane::new(&deployed.manifest.access),
            deployed,
            desk,
            program: Mutex::default(),
            loading: Arc::default(),
            failed: Mutex::default(),
            called_ms: AtomicU64::new(0),
        }
    }

    /// The function's name.
    pub(crate) fn name(&self) -> &FunctionName {
        &self.deployed.manifest.name
    }

    /// The version's number, from 1.
    pub(crate) fn version(&self) -> u64 {
        self.number
    }

    /// Tells it apart from all other versions of all functions while the node runs.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Its settings.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.deployed.manifest
    }

    /// What was deployed, and when.
    pub(crate) fn deployed(&self) -> &NewVersion {
        &self.deployed
    }

    /// The environment that its guests see.
    pub(super) fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// The way out of its guests.
    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Where its calls arrive.
    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    fn program(&self) -> MutexGuard<'_, Option<Arc<dyn Program>>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has instances before it is called, and so stays loaded.
    pub(crate) fn is_provisioned(&self) -> bool {
        self.deployed.manifest.instances.provisioned > 0
    }

    /// Its program, if it is in memory.
    pub(crate) fn loaded(&self) -> Option<Arc<dyn Program>> {
        self.program().clone()
    }

    /// Loads the program, once however many ask, and also when all who asked went away. A compiled
    /// form that cannot be loaded is compiled once more; what cannot be loaded then is not tried
    /// again for [`LOAD_RETRY_MS`].
    pub(super) async fn load(
        self: &Arc<Self>,
        services: &Arc<Services>,
    ) -> Result<Arc<dyn Program>, Unloadable> {
        let turn = Arc::clone(&self.loading).lock_owned().await;
        if let Some(program) = self.loaded() {
            return Ok(program);
        }
        if self.failed().is_some_and(|at| at.elapsed() < LOAD_RETRY) {
            return Err(Unloadable);
        }
        let (function, services) = (Arc::clone(self), Arc::clone(services));
        let work = async move {
            let _turn = turn;
            let loaded = function.load_or_mend(&services).await;
            match &loaded {
                Ok(program) => *function.program() = Some(Arc::clone(program)),
                Err(_) => *function.failed() = Some(Instant::now()),
            }
            loaded
        };
        // The task fails only when the node stops.
        tokio::spawn(work).await.unwrap_or(Err(Unloadable))
    }

    async fn load_or_mend(
        self: &Arc<Self>,
        services: &Arc<Services>,
    ) -> Result<Arc<dyn Program>, Unloadable> {
        let name = self.name();
        let why = match self.read(services).await? {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        tracing::warn!(function = %name, error = %ErrorChain(&why), "compiled anew");
        let compiled = services.artifacts.compile_anew(self.deployed.artifact);
        if let Err(error) = compiled.await {
            tracing::error!(function = %name, error = %ErrorChain(&error), "compile");
            return Err(Unloadable);
        }
        self.read(services).await?.map_err(|error| {
            tracing::error!(function = %name, error = %ErrorChain(&error), "load");
            Unloadable
        })
    }

    /// Loads what is compiled, where blocking is allowed.
    async fn read(
        self: &Arc<Self>,
        services: &Arc<Services>,
    ) -> Result<Result<Arc<dyn Program>, LoadError>, Unloadable> {
        let services = Arc::clone(services);
        let function = Arc::clone(self);
        let work = move || {
            let NewVersion {
                artifact, manifest, ..
            } = &function.deployed;
            services.artifacts.load(*artifact, manifest)
        };
        tokio::task::spawn_blocking(work).await.or(Err(Unloadable))
    }

    /// Drops the program; running calls keep theirs. Tells whether it was loaded.
    pub(super) fn unload(&self) -> bool {
        self.program().take().is_some()
    }

    /// Notes that it was called.
    pub(super) fn touch(&self) {
        self.called_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// When it was last called, in milliseconds since the UNIX epoch; 0 for never.
    pub(super) fn called_ms(&self) -> u64 {
        self.called_ms.load(Ordering::Relaxed)
    }
}
