//! One deployed version of a function.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fractus_func::{FunctionName, Identity, LoadError, Manifest, Program, RuntimeKind};
use fractus_lambda::control::function_arn;
use fractus_lambda::model::LATEST;
use fractus_stdx::ErrorChain;

use crate::clock::now_ms;
use crate::functions::{Desk, Services};
use crate::limits::{ACCOUNT, LOAD_RETRY_MS};
use crate::outbound::Lane;
use crate::registry::Revision;

/// Which revision of its function something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Version {
    /// The revision's number, from 1.
    pub(crate) number: u64,
    /// The number under which it was published, if it was.
    pub(crate) published: Option<u64>,
    /// Instances that are to be ready before they are called, where that is not as its manifest
    /// says.
    pub(crate) provisioned: Option<u32>,
}

impl Version {
    /// A revision that was not published.
    pub(crate) fn latest(number: u64) -> Self {
        Self {
            number,
            published: None,
            provisioned: None,
        }
    }
}

/// A deployed revision. The edge's routes hold it, and each call of it does.
#[derive(Debug)]
pub(crate) struct Function {
    version: Version,
    identity: Identity,
    /// As deployed, but for the instances that are provisioned.
    manifest: Manifest,
    deployed: Revision,
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
    /// A revision of a function, whose calls arrive at `desk`.
    pub(super) fn new(
        version: Version,
        region: &Arc<str>,
        deployed: Revision,
        desk: Arc<Desk>,
    ) -> Self {
        let env = &deployed.manifest.env;
        let mut manifest = deployed.manifest.clone();
        if let Some(instances) = version.provisioned {
            manifest.instances.provisioned = instances;
        }
        let label = version
            .published
            .map_or_else(|| LATEST.into(), |n| n.to_string().into());
        Self {
            version,
            identity: Identity {
                version: label,
                arn: function_arn(region, ACCOUNT, manifest.name.as_str(), None).into(),
                region: Arc::clone(region),
            },
            manifest,
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
        &self.manifest.name
    }

    /// The revision's number, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.version.number
    }

    /// Which revision it is.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Who it is to its guests and to clients of AWS's API.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its settings.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it is run by processes rather than by components.
    pub(crate) fn is_native(&self) -> bool {
        self.deployed.kind != Some(RuntimeKind::Wasm)
    }

    /// Whether its calls are traced though their callers did not ask.
    pub(crate) fn is_traced(&self) -> bool {
        let settings = self.deployed.settings.as_ref();
        settings.is_some_and(|settings| settings.traced)
    }

    /// What was deployed, and when.
    pub(crate) fn deployed(&self) -> &Revision {
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
        self.manifest.instances.provisioned > 0
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
            let artifact = function.deployed.artifact;
            let (manifest, identity) = (&function.manifest, &function.identity);
            services.artifacts.load(artifact, manifest, identity)
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
