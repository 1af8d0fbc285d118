//! The runtime that the node holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fractus_func::{
    CompileError, Description, Identity, LoadError, Manifest, Memory, Program, Runtime, RuntimeKind,
};
use thiserror::Error;

use crate::cgroup::Trees;
use crate::code::{Library, Prepared};
use crate::fleet::Fleet;
use crate::function::{Function, Loaded, layer_env, warm_up};
use crate::keeper::SpawnError;
use crate::limits::{WARM_AT_START_MAX, ZYGOTE_MEMORY_MAX, ZYGOTES_MEMORY_MAX};
use crate::machine::Machine;
use crate::packages::Python;
use crate::zygote::Package;

/// What the runtime needs of its node.
#[derive(Debug)]
pub struct SandboxConfig {
    /// A folder of its own.
    pub folder: PathBuf,
    /// The node's name, unlike that of any other node on the machine: by it a node knows what an
    /// earlier one left behind.
    pub name: String,
    /// The memory that instances take.
    pub memory: Arc<dyn Memory>,
}

/// Runs Python, Node and native programs, each instance in a sandbox of its own. Dropping it ends
/// all instances.
#[derive(Debug)]
pub struct SandboxRuntime {
    library: Arc<Library>,
    fleet: Arc<Fleet>,
    fingerprint: String,
    threads: Option<tokio::runtime::Runtime>,
}

/// Native functions cannot run on this machine.
#[derive(Debug, Error)]
pub enum StartError {
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the threads of native functions")]
    Threads(#[source] std::io::Error),
    /// The keeper of sandboxes could not be started.
    #[error("no sandboxes can be made here")]
    Machine(#[source] Machinery),
}

/// What failed when the runtime started.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct Machinery(SpawnError);

/// How native functions are kept apart on this machine, for people.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Waiting instances, and how many of them are frozen.
    pub idle: (usize, usize),
}

impl SandboxRuntime {
    /// Starts the runtime, and ends what an earlier node of the same name left behind.
    pub fn start(config: SandboxConfig) -> Result<Self, StartError> {
        let SandboxConfig {
            folder,
            name,
            memory,
        } = config;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sandbox")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let handle = threads.handle().clone();
        let machine = Machine::start(&folder, &name, memory.total(), handle)
            .map_err(|error| StartError::Machine(Machinery(error)))?;
        tell_what_is_missing(&machine);
        if let Some(total) = memory.total() {
            let zygotes = ZYGOTES_MEMORY_MAX + ZYGOTE_MEMORY_MAX;
            machine.groups.bound_memory(total as u64 + zygotes);
        }
        let python = machine.python.as_ref().map(Python::from);
        let tag = python.as_ref().map_or("", |python| python.tag.as_str());
        let fingerprint = format!("native-1-{tag}");
        let library = Library::open(&folder, python).map_err(|source| StartError::Folder {
            path: folder,
            source,
        })?;
        Ok(Self {
            library,
            fleet: Fleet::new(machine, memory),
            fingerprint,
            threads: Some(threads),
        })
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        Standing {
            idle: self.fleet.counts(),
        }
    }
}

/// The packages of what was prepared, as they lie in the library.
fn packages(library: &Library, prepared: &Prepared) -> Vec<Package> {
    let package = |package: &crate::packages::Package| Package {
        name: package.folder.clone(),
        folder: library.package_folder(&package.folder),
        modules: package.modules.clone(),
    };
    prepared.packages.iter().map(package).collect()
}

/// Has the zygotes and spares made of what was deployed before the node started.
fn warm_all(library: &Library, machine: &Arc<Machine>, compiled: &[PathBuf]) {
    let mut sorts: BTreeMap<(RuntimeKind, Vec<Package>), Vec<String>> = BTreeMap::new();
    for path in compiled.iter().take(WARM_AT_START_MAX) {
        let Ok(prepared) = Prepared::read(path) else {
            continue;
        };
        let kind = prepared.kinds.first().copied();
        let sort = (
            kind.unwrap_or(RuntimeKind::Provided),
            packages(library, &prepared),
        );
        sorts.entry(sort).or_default().extend(prepared.modules);
    }
    for ((kind, packages), modules) in sorts {
        warm_up(machine, kind, packages, modules);
    }
}

/// Says at start what sandboxes lack here; `fractus doctor` tells more.
fn tell_what_is_missing(machine: &Machine) {
    let trees = machine.groups.trees();
    if let Trees::None(why) = trees {
        tracing::warn!(
            why,
            "no control groups: limits of resources (rlimits) bound sandboxes"
        );
    } else if !trees.has("freezer") || !trees.has("cpu") {
        tracing::warn!("some controllers of control groups are missing: see `fractus doctor`");
    }
    if machine.landlock == 0 {
        tracing::warn!("this kernel has no Landlock: sandboxes do without");
    }
    if machine.python.is_none() {
        tracing::info!("no python3 on the path: Python functions cannot be deployed");
    }
}

impl Runtime for SandboxRuntime {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn compile(&self, artifact: &[u8]) -> Result<Vec<u8>, CompileError> {
        let prepared = self.library.prepare(artifact)?;
        // The first call finds a spare, and imports are paid before it.
        let kind = prepared.kinds.first().copied();
        let (kind, modules) = (
            kind.unwrap_or(RuntimeKind::Provided),
            prepared.modules.clone(),
        );
        warm_up(
            self.fleet.machine(),
            kind,
            packages(&self.library, &prepared),
            modules,
        );
        Ok(prepared.to_bytes())
    }

    fn describe(&self, compiled: &Path, manifest: &Manifest) -> Result<Description, CompileError> {
        let prepared =
            Prepared::read(compiled).map_err(|error| CompileError::Archive(error.to_string()))?;
        Ok(Description {
            runtime: prepared.kind_for(manifest)?,
            packages: prepared.packages.len(),
        })
    }

    fn load(
        &self,
        compiled: &Path,
        manifest: &Manifest,
        identity: &Identity,
    ) -> Result<Arc<dyn Program>, LoadError> {
        let failed = |reason: String| LoadError {
            path: compiled.display().to_string(),
            reason,
        };
        let prepared = Prepared::read(compiled)?;
        let kind = prepared
            .kind_for(manifest)
            .map_err(|e| failed(e.to_string()))?;
        let lease = self
            .library
            .lease(&prepared)
            .map_err(|e| failed(e.to_string()))?;
        let packages = packages(&self.library, &prepared);
        warm_up(
            self.fleet.machine(),
            kind,
            packages.clone(),
            prepared.modules,
        );
        let layers = layer_env(&lease, prepared.python.as_deref());
        let mounts = (lease, packages, layers);
        let function = Function::new(&self.fleet, kind, manifest, identity, mounts);
        let function = Arc::new(function);
        if manifest.instances.provisioned > 0 {
            self.fleet.register(&function);
            function.provision();
        }
        Ok(Arc::new(Loaded(function)))
    }

    fn reclaim(&self) -> bool {
        self.fleet.evict()
    }

    fn forget(&self, compiled: &Path) {
        self.library.forget(compiled);
    }

    fn retain(&self, compiled: &[PathBuf]) {
        self.library.retain(compiled);
        let (library, machine) = (Arc::clone(&self.library), Arc::clone(self.fleet.machine()));
        let (compiled, handle) = (compiled.to_vec(), machine.handle.clone());
        handle.spawn_blocking(move || warm_all(&library, &machine, &compiled));
    }
}

impl Drop for SandboxRuntime {
    fn drop(&mut self) {
        self.fleet.clear();
        self.fleet.machine().close();
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
