//! What instances are made from: the keeper, the zygotes, and spares that stand ready.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fractus_func::RuntimeKind;
use fractus_stdx::ErrorChain;
use rustix::net::SocketType;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::cgroup::{Groups, Trees};
use crate::host::{self, Interpreter};
use crate::keeper::{Keeper, SpawnError, Users, await_ready, system};
use crate::landlock;
use crate::limits::{
    PIDS_MAX, REFILL_AFTER_MS, SPARE_FOR_EACH, SPARES_MAX, SPARES_MIN, SPARES_YIELD,
    STARTS_AT_ONCE, TURN_MAX, ZYGOTE_IDLE_MS, ZYGOTES_MAX, ZYGOTES_MEMORY_MAX,
};
use crate::opener::Opener;
use crate::profile::{Confinement, Program, RUNTIME, Root, native, started};
use crate::zygote::{Fork, Lines, Package, Zygote};

const BOOTSTRAP_PY: &str = include_str!("guest/bootstrap.py");
const BOOTSTRAP_MJS: &str = include_str!("guest/bootstrap.mjs");
const ENTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/enter.so"));

/// All that instances are made from.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) keeper: Keeper,
    pub(crate) opener: Opener,
    pub(crate) groups: Arc<Groups>,
    pub(crate) landlock: u32,
    /// Python functions' interpreter.
    pub(crate) python: Option<Interpreter>,
    /// Node's program.
    pub(crate) node: Option<PathBuf>,
    /// Our own bootstraps, on the host.
    runtime: PathBuf,
    forest: Mutex<Forest>,
    native: Arc<Nursery>,
    nodejs: Arc<Nursery>,
    pub(crate) handle: Handle,
    /// Spares of the base zygote, which fit every Python function.
    stock: usize,
}

/// The zygotes and their spares; the base is the first.
#[derive(Debug, Default)]
struct Forest {
    nurseries: Vec<Arc<Nursery>>,
    /// Package sets for which a zygote was tried or is being made.
    tried: BTreeSet<Vec<String>>,
}

/// What makes processes of one sort, and those that stand ready.
#[derive(Debug)]
pub(crate) struct Nursery {
    source: Source,
    /// How many spares it has at least, once one was needed.
    least: usize,
    spares: Mutex<VecDeque<Fork>>,
    wanted: AtomicUsize,
    filling: AtomicBool,
    /// Turns to make a process on demand: more at once would only wait for each other.
    turns: Semaphore,
    used: Mutex<Instant>,
}

#[derive(Debug)]
enum Source {
    Zygote(Arc<Zygote>),
    Native,
    NodeJs,
}

impl Nursery {
    fn new(source: Source, least: usize) -> Arc<Self> {
        Arc::new(Self {
            source,
            least,
            spares: Mutex::default(),
            wanted: AtomicUsize::new(least),
            filling: AtomicBool::new(false),
            turns: Semaphore::new(STARTS_AT_ONCE),
            used: Mutex::new(Instant::now()),
        })
    }

    fn spares(&self) -> MutexGuard<'_, VecDeque<Fork>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The zygote, if that is where its processes come from.
    pub(crate) fn zygote(&self) -> Option<&Arc<Zygote>> {
        match &self.source {
            Source::Zygote(zygote) => Some(zygote),
            Source::Native | Source::NodeJs => None,
        }
    }

    fn has_ended(&self) -> bool {
        self.zygote().is_some_and(|zygote| zygote.has_ended())
    }

    /// How many spares stay however long nobody needs one: those that are small and fit all.
    fn kept(&self) -> usize {
        match &self.source {
            Source::Zygote(zygote) if zygote.is_base() => self.least,
            Source::Native => self.least,
            Source::Zygote(_) | Source::NodeJs => 0,
        }
    }

    /// A turn to make a process on demand.
    pub(crate) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, SpawnError> {
        let turn = tokio::time::timeout(TURN_MAX, self.turns.acquire()).await;
        let turn = turn.map_err(|late| system("have a sandbox made in time")(late.into()))?;
        turn.or(Err(SpawnError::Gone("the node")))
    }

    /// Waits for as long as processes are made for calls that wait, but not for ever.
    fn let_callers_go_first(&self) {
        let until = Instant::now() + SPARES_YIELD;
        while self.turns.available_permits() < STARTS_AT_ONCE && Instant::now() < until {
            std::thread::sleep(SPARES_YIELD / 100);
        }
    }

    /// Waits while instances start one after the other, as long as half of the spares are left: the
    /// making of another one would slow them down.
    fn let_starts_pass(&self, wanted: usize) {
        while self.spares().len() > wanted / 2 && self.idle_ms() < REFILL_AFTER_MS {
            std::thread::sleep(SPARES_YIELD / 40);
        }
    }

    fn idle_ms(&self) -> u128 {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.elapsed().as_millis()
    }
}

impl Machine {
    /// Starts the keeper, and ends what an earlier node left. `folder` is for small files of ours,
    /// `name` this node's, by which a later one
    /// knows what it left; `memory` is what instances may have, if that is bounded.
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        memory: Option<usize>,
        handle: Handle,
    ) -> Result<Arc<Self>, SpawnError> {
        let groups = Groups::open(Trees::make(name));
        let groups = Arc::new(groups.map_err(system("start a thread"))?);
        let keeper = Keeper::start(Users::here(), &groups)?;
        let runtime = folder.join("runtime");
        write_runtime(&runtime).map_err(system("write the bootstraps"))?;
        Ok(Arc::new(Self {
            opener: Opener::start(&keeper)?,
            keeper,
            groups,
            landlock: landlock::version(),
            python: host::python(folder),
            node: host::find("node").and_then(|node| std::fs::canonicalize(node).ok()),
            runtime,
            forest: Mutex::default(),
            native: Nursery::new(Source::Native, SPARES_MIN),
            nodejs: Nursery::new(Source::NodeJs, 1),
            handle,
            stock: (memory.unwrap_or(0) / SPARE_FOR_EACH).clamp(SPARES_MIN, SPARES_MAX),
        }))
    }

    fn forest(&self) -> MutexGuard<'_, Forest> {
        self.forest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How instances are confined, with `/tmp` of so many bytes.
    pub(crate) fn confinement(&self, tmp_bytes: u64, memory_bytes: u64) -> Confinement {
        let trees = self.groups.trees();
        Confinement {
            guest: self.keeper.users().guest(),
            landlock: self.landlock,
            tmp_bytes,
            data: (!trees.has("memory")).then_some(memory_bytes),
            processes: (!trees.has("pids")).then_some(PIDS_MAX),
        }
    }

    /// Where processes for a function come from: for Python the zygote that has most of its
    /// packages and none besides.
    pub(crate) fn nursery(
        &self,
        kind: RuntimeKind,
        packages: &[Package],
    ) -> Result<Arc<Nursery>, SpawnError> {
        match kind {
            RuntimeKind::NodeJs => return Ok(Arc::clone(&self.nodejs)),
            RuntimeKind::Python3 => {}
            RuntimeKind::Provided | RuntimeKind::Wasm => return Ok(Arc::clone(&self.native)),
        }
        let mut forest = self.forest();
        if let Some(best) = forest.best(packages) {
            return Ok(best);
        }
        let base = Nursery::new(Source::Zygote(Arc::new(self.base_zygote()?)), self.stock);
        forest.nurseries.push(Arc::clone(&base));
        Ok(base)
    }

    /// As [`Machine::nursery`], if nothing has to be started for it.
    pub(crate) fn nursery_if_ready(
        &self,
        kind: RuntimeKind,
        packages: &[Package],
    ) -> Option<Arc<Nursery>> {
        if kind == RuntimeKind::Python3 {
            return self.forest.try_lock().ok()?.best(packages);
        }
        self.nursery(kind, packages).ok()
    }

    fn base_zygote(&self) -> Result<Zygote, SpawnError> {
        let Some(python) = &self.python else {
            return Err(SpawnError::Gone("python3"));
        };
        // By its first argument it finds its library.
        let path = python.program.to_string_lossy().into_owned();
        let arguments = [path.as_str(), "-I", "-S", "-B"];
        let script = format!("{RUNTIME}/bootstrap.py");
        let library = format!("{RUNTIME}/enter.so");
        let arguments = arguments.map(str::to_owned).into_iter();
        let program = Program {
            path: python.program.clone(),
            arguments: arguments
                .chain([script, "zygote".to_owned(), library])
                .collect(),
            env: base_env(),
        };
        let root = Root::base(&self.runtime).with_python(python);
        Zygote::base(&self.keeper, &self.groups, &root, &program)
    }

    /// Makes a zygote with these packages, unless there is one or that was tried before. Blocks.
    pub(crate) fn grow(self: &Arc<Self>, packages: &[Package]) {
        // Code of packages runs with what privileges a zygote has over its own namespaces. Where
        // its user is the node's, files of the node's would be in reach.
        if packages.is_empty() || !self.keeper.users().privileged() {
            return;
        }
        let names: Vec<_> = packages
            .iter()
            .map(|package| package.name.clone())
            .collect();
        let Ok(above) = self.nursery(RuntimeKind::Python3, packages) else {
            return;
        };
        let Some(zygote) = above.zygote() else { return };
        let has = zygote.has();
        let more: Vec<_> = packages
            .iter()
            .filter(|p| !has.contains(p.name.as_str()))
            .cloned()
            .collect();
        drop(has);
        if more.is_empty() || !zygote.may_branch() || !self.forest().tried.insert(names.clone()) {
            return;
        }
        match zygote.branch(&self.opener, &more) {
            Ok((zygote, imported)) => {
                let memory = zygote.memory();
                tracing::info!(?names, imported = ?imported.imported, memory, "a zygote is ready");
                for (module, why) in &imported.failed {
                    tracing::debug!(module, why, "a zygote could not import");
                }
                let least = (self.stock / 4).max(SPARES_MIN);
                let nursery = Nursery::new(Source::Zygote(Arc::new(zygote)), least);
                self.forest().nurseries.push(Arc::clone(&nursery));
                self.fill(&nursery);
                self.prune();
            }
            Err(error) => {
                tracing::warn!(?names, error = %ErrorChain(&error), "no zygote for these packages");
            }
        }
    }

    /// Lets go of the zygotes that were used least recently, beyond their number and memory; those
    /// of running instances live on until these end.
    fn prune(&self) {
        let mut forest = self.forest();
        loop {
            let above_base = forest.nurseries.iter().enumerate().skip(1);
            let memory: u64 = above_base
                .clone()
                .filter_map(|(_, nursery)| nursery.zygote())
                .map(|zygote| zygote.memory())
                .sum();
            let count = forest.nurseries.len() - 1;
            if count <= ZYGOTES_MAX && (memory <= ZYGOTES_MEMORY_MAX || count <= 1) {
                return;
            }
            let oldest = above_base.max_by_key(|(_, nursery)| nursery.idle_ms());
            let Some((oldest, _)) = oldest else { return };
            let gone = forest.nurseries.remove(oldest);
            if let Some(zygote) = gone.zygote() {
                let names: Vec<_> = zygote.has().into_iter().map(str::to_owned).collect();
                forest
                    .tried
                    .retain(|tried| tried.iter().any(|name| !names.contains(name)));
            }
        }
    }

    /// A process that has no function yet: a spare, or a new one. Blocks for the latter.
    pub(crate) fn take(self: &Arc<Self>, nursery: &Arc<Nursery>) -> Result<Fork, SpawnError> {
        match self.take_spare(nursery) {
            Some(spare) => Ok(spare),
            None => self.make(nursery, false),
        }
    }

    /// A spare, if one stands ready. Others are made for those that are taken.
    pub(crate) fn take_spare(self: &Arc<Self>, nursery: &Arc<Nursery>) -> Option<Fork> {
        *nursery.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let spare = loop {
            let spare = nursery.spares().pop_front();
            match spare {
                Some(spare) if spare.process.ended().is_some() => {}
                other => break other,
            }
        };
        if spare.is_none() {
            // Somebody waits: more shall stand ready the next time.
            let wanted = nursery.wanted.load(Ordering::Relaxed);
            nursery
                .wanted
                .store((wanted + 1).min(SPARES_MAX), Ordering::Relaxed);
        }
        self.fill_soon(nursery);
        spare
    }

    /// Makes spares in the background.
    pub(crate) fn fill_soon(self: &Arc<Self>, nursery: &Arc<Nursery>) {
        if nursery.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let (machine, nursery) = (Arc::clone(self), Arc::clone(nursery));
        self.handle.spawn_blocking(move || {
            machine.fill(&nursery);
            nursery.filling.store(false, Ordering::Release);
        });
    }

    fn fill(&self, nursery: &Arc<Nursery>) {
        let wanted = match nursery.source {
            // Each is a whole interpreter.
            Source::NodeJs => 1,
            Source::Zygote(_) | Source::Native => nursery.wanted.load(Ordering::Relaxed),
        };
        while nursery.spares().len() < wanted {
            nursery.let_callers_go_first();
            nursery.let_starts_pass(wanted);
            match self.make(nursery, true) {
                Ok(fork) => nursery.spares().push_back(fork),
                Err(error) => {
                    tracing::warn!(error = %ErrorChain(&error), "no spare sandbox");
                    return;
                }
            }
        }
    }

    /// Lets go of spares that nobody has needed for long, but for a few.
    pub(crate) fn drop_idle_spares(&self) {
        let nurseries = self.forest().nurseries.clone();
        for nursery in nurseries.iter().chain([&self.native, &self.nodejs]) {
            if nursery.idle_ms() > ZYGOTE_IDLE_MS {
                nursery.wanted.store(nursery.least, Ordering::Relaxed);
                nursery.spares().truncate(nursery.kept());
            }
        }
    }

    fn make(&self, nursery: &Nursery, is_spare: bool) -> Result<Fork, SpawnError> {
        match &nursery.source {
            Source::Zygote(zygote) => zygote.fork(is_spare),
            Source::Native => self.make_native(),
            Source::NodeJs => self.make_nodejs(),
        }
    }

    fn make_native(&self) -> Result<Fork, SpawnError> {
        let mut root = Root::base(&self.runtime).with_programs();
        if let Some(python) = &self.python {
            root = root.with_python(python);
        }
        // A message arrives whole, however large the environment in it is.
        let lines = Lines::open(SocketType::SEQPACKET)?;
        let plan = native(&root, self.keeper.users().privileged());
        let process = self.keeper.spawn(&plan, lines.near.as_fd(), &lines.far())?;
        drop(lines.far);
        await_ready(lines.near.as_fd())?;
        Ok(Fork {
            process,
            socket: lines.near,
            frames: None,
            stdout: lines.stdout.0,
            stderr: lines.stderr.0,
        })
    }

    fn make_nodejs(&self) -> Result<Fork, SpawnError> {
        let Some(node) = &self.node else {
            return Err(SpawnError::Gone("node"));
        };
        let mut root = Root::base(&self.runtime);
        root.share(node);
        let program = Program {
            path: node.clone(),
            arguments: vec![
                node.to_string_lossy().into_owned(),
                format!("{RUNTIME}/bootstrap.mjs"),
            ],
            env: base_env(),
        };
        // As for native programs: what tells it to begin has the environment in it.
        let lines = Lines::open(SocketType::SEQPACKET)?;
        let (frames, far) = crate::sys::socket_pair(SocketType::STREAM)
            .map_err(system("open a sandbox's socket"))?;
        // What its `/tmp` may hold and its memory are bounded once it has a function.
        let with = self.confinement(0, u64::MAX >> 1);
        let plan = started(&root, self.keeper.users().privileged(), &with, &program);
        let [socket, stdout, stderr] = lines.far();
        let fds = [socket, stdout, stderr, far.as_fd()];
        let process = self.keeper.spawn(&plan, lines.near.as_fd(), &fds)?;
        drop((lines.far, far));
        await_ready(lines.near.as_fd())?;
        Ok(Fork {
            process,
            socket: lines.near,
            frames: Some(frames),
            stdout: lines.stdout.0,
            stderr: lines.stderr.0,
        })
    }

    /// Ends all spares and zygotes, and removes the groups: the node stops.
    pub(crate) fn close(&self) {
        *self.forest() = Forest::default();
        for nursery in [&self.native, &self.nodejs] {
            nursery.spares().clear();
        }
        self.groups.close();
    }
}

impl Forest {
    /// The zygote that has most of these packages and none besides; None when there is none at all.
    fn best(&mut self, packages: &[Package]) -> Option<Arc<Nursery>> {
        let names: BTreeSet<&str> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        loop {
            let fitting = self.nurseries.iter().filter_map(|nursery| {
                let has = nursery.zygote()?.has();
                has.is_subset(&names).then_some((has.len(), nursery))
            });
            let (_, best) = fitting.max_by_key(|(count, _)| *count)?;
            if !best.has_ended() {
                return Some(Arc::clone(best));
            }
            tracing::error!("a zygote ended, and all that were forked from it");
            if self.nurseries[0].has_ended() {
                // The base: none outlives it.
                self.nurseries.clear();
            }
            self.nurseries.retain(|nursery| !nursery.has_ended());
            self.tried.clear();
        }
    }
}

/// What every program's environment has.
fn base_env() -> Vec<(String, String)> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin"),
        ("LANG", "C.UTF-8"),
        ("TZ", ":UTC"),
        ("HOME", "/tmp"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn write_runtime(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let files: [(&str, &[u8]); 3] = [
        ("bootstrap.py", BOOTSTRAP_PY.as_bytes()),
        ("bootstrap.mjs", BOOTSTRAP_MJS.as_bytes()),
        ("enter.so", ENTER),
    ];
    files
        .into_iter()
        .try_for_each(|(name, content)| std::fs::write(folder.join(name), content))
}

/// The environment that every guest has, whatever its manifest says.
pub(crate) fn guest_env() -> Vec<(String, String)> {
    base_env()
}
