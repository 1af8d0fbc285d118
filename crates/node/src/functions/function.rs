//! One deployed version of a function.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fractus_func::{FunctionName, LoadError, Manifest, Program};

use crate::clock::now_ms;
use crate::functions::{Desk, Services};
use crate::outbound::Policy;
use crate::registry::NewVersion;

/// A deployed version. The edge's routes hold it, and each call of it does.
#[derive(Debug)]
pub(crate) struct Function {
    number: u64,
    generation: u64,
    deployed: NewVersion,
    env: Vec<(String, String)>,
    policy: Policy,
    /// Shared by the versions of a function.
    desk: Arc<Desk>,
    program: Mutex<Option<Arc<dyn Program>>>,
    /// Held while the program is loaded, by the one who loads it.
    pub(super) loading: Arc<tokio::sync::Mutex<()>>,
    called_ms: AtomicU64,
}

impl Function {
    /// Version `number` of a function, whose calls arrive at `desk`.
    pub(super) fn new(number: u64, generation: u64, deployed: NewVersion, desk: Arc<Desk>) -> Self {
        let env = &deployed.manifest.env;
        Self {
            number,
            generation,
            env: env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            policy: Policy::new(&deployed.manifest.access),
            deployed,
            desk,
            program: Mutex::default(),
            loading: Arc::default(),
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

    /// What its guests may reach.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where its calls arrive.
    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    fn program(&self) -> MutexGuard<'_, Option<Arc<dyn Program>>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its program, if it is in memory.
    pub(crate) fn loaded(&self) -> Option<Arc<dyn Program>> {
        self.program().clone()
    }

    /// Loads the program, once however many ask, and also when all who asked went away.
    pub(super) async fn load(
        self: &Arc<Self>,
        services: &Arc<Services>,
    ) -> Result<Arc<dyn Program>, LoadError> {
        let turn = Arc::clone(&self.loading).lock_owned().await;
        if let Some(program) = self.loaded() {
            return Ok(program);
        }
        let (function, services) = (Arc::clone(self), Arc::clone(services));
        let path = services.artifacts.compiled(self.deployed.artifact);
        let file = path.clone();
        let work = move || {
            let program = services.runtime.load(&file)?;
            *function.program() = Some(Arc::clone(&program));
            drop(turn);
            Ok(program)
        };
        let gone = |_| LoadError {
            path: path.display().to_string(),
            reason: "the node is shutting down".to_owned(),
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(gone)?
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
