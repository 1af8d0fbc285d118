//! Control groups: what bounds and measures a sandbox. Version 1 with its many trees, version 2
//! with one, or none where neither may be written.
//!
//! Moving a process into a group may take the kernel many milliseconds, so groups are made once
//! and used again ([`Groups::take`]), and spares are moved before anyone waits for them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fractus_stdx::ErrorChain;

use crate::limits::{GROUP_EMPTY_MS, GROUP_SHARES_PER_CORE, GROUPS_GONE_MS, PIDS_MAX};

/// The controllers that we use, with version 1's file names.
const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "cpuacct", "freezer"];

/// Which version of control groups there is, and where ours are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Trees {
    /// A folder for each controller.
    V1(BTreeMap<&'static str, PathBuf>),
    /// One folder, and the controllers in it.
    V2(PathBuf, Vec<&'static str>),
    /// None, and why.
    None(String),
}

impl Trees {
    /// Makes a folder named `name` in each tree, where this process may.
    pub(crate) fn make(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let found = find(&mounts, &own);
        let mut made = BTreeMap::new();
        let mut why = "no control groups are mounted".to_owned();
        for (controller, parent) in found.v1 {
            let folder = parent.join(name);
            match fs::create_dir_all(&folder) {
                Ok(()) => {
                    made.insert(controller, folder);
                }
                Err(error) => why = format!("cannot make {}: {error}", folder.display()),
            }
        }
        if made.contains_key("memory") && made.contains_key("pids") {
            return Self::V1(made);
        }
        let (Some(parent), Some(root)) = (found.v2, found.v2_root) else {
            return Self::None(why);
        };
        // The root has no processes in the way, but only root may use it.
        make_v2(&parent, name, false)
            .or_else(|_| make_v2(&root, name, false))
            .or_else(|_| make_v2(&parent, name, true))
            .unwrap_or_else(Self::None)
    }

    /// Whether a controller bounds sandboxes.
    pub(crate) fn has(&self, controller: &str) -> bool {
        match self {
            Self::V1(trees) => trees.contains_key(controller),
            Self::V2(_, controllers) => controllers.contains(&controller),
            Self::None(_) => false,
        }
    }

    /// Whether groups can be made.
    pub(crate) fn are_there(&self) -> bool {
        !matches!(self, Self::None(_))
    }

    /// The distinct folders.
    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::V1(trees) => {
                let mut folders: Vec<&Path> = trees.values().map(PathBuf::as_path).collect();
                folders.sort_unstable();
                folders.dedup();
                folders
            }
            Self::V2(folder, _) => vec![folder],
            Self::None(_) => Vec::new(),
        }
    }
}

/// Where this process's own groups are.
#[derive(Debug, Default)]
struct Found {
    v1: Vec<(&'static str, PathBuf)>,
    v2: Option<PathBuf>,
    /// Where version 2 is mounted.
    v2_root: Option<PathBuf>,
}

fn find(mounts: &str, own: &str) -> Found {
    let group_of = |controller: &str| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            let names_it = names.split(',').any(|name| name == controller);
            names_it.then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mut found = Found::default();
    for line in mounts.lines() {
        let mut parts = line.split(' ').skip(1);
        let (Some(place), Some(kind), Some(options)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        match kind {
            "cgroup" => {
                let has = |c: &&&str| options.split(',').any(|option| option == **c);
                for controller in CONTROLLERS.iter().filter(has) {
                    if let Some(own) = group_of(controller) {
                        found.v1.push((controller, Path::new(place).join(own)));
                    }
                }
            }
            "cgroup2" => {
                found.v2 = group_of("").map(|own| Path::new(place).join(own));
                found.v2_root = Some(PathBuf::from(place));
            }
            _ => {}
        }
    }
    found
}

/// A group of version 2 below another. Where processes sit in the parent, no controller can be
/// handed down: then this process `moves` into a leaf of its own first, or there is none.
fn make_v2(parent: &Path, name: &str, moves: bool) -> Result<Trees, String> {
    let failed = |what: &str, error: &io::Error| format!("{what} in {}: {error}", parent.display());
    let there = fs::read_to_string(parent.join("cgroup.controllers"))
        .map_err(|error| failed("no control group to use", &error))?;
    let wanted = ["memory", "pids", "cpu"];
    let offered: Vec<_> = wanted
        .into_iter()
        .filter(|controller| there.split_whitespace().any(|has| has == *controller))
        .collect();
    if !offered.contains(&"memory") {
        return Err(format!(
            "{} is not given the memory controller",
            parent.display()
        ));
    }
    let request = format!("+{}", offered.join(" +"));
    let hand_down = |folder: &Path| fs::write(folder.join("cgroup.subtree_control"), &request);
    if let Err(error) = hand_down(parent) {
        if !moves {
            return Err(failed("cannot hand controllers down", &error));
        }
        let leaf = parent.join("fractus-node");
        fs::create_dir_all(&leaf).map_err(|error| failed("cannot make a group", &error))?;
        let own = std::process::id().to_string();
        fs::write(leaf.join("cgroup.procs"), own)
            .and_then(|()| hand_down(parent))
            .map_err(|error| failed("cannot hand controllers down", &error))?;
    }
    let folder = parent.join(name);
    fs::create_dir_all(&folder)
        .and_then(|()| hand_down(&folder))
        .map_err(|error| failed("cannot make a group", &error))?;
    let mut controllers = offered;
    controllers.extend(["cpuacct", "freezer"]);
    Ok(Trees::V2(folder, controllers))
}

/// The groups of a node's sandboxes.
#[derive(Debug)]
pub(crate) struct Groups {
    trees: Trees,
    free: Arc<Mutex<Vec<Group>>>,
    made: AtomicU32,
    /// Whether groups may be made; held while one is.
    is_open: RwLock<bool>,
    /// Takes groups whose processes were killed; None once the node stops.
    killed: Mutex<Option<mpsc::Sender<Group>>>,
    /// Waits until they are empty.
    reaper: Mutex<Option<thread::JoinHandle<()>>>,
}

/// The groups of one sandbox, one in each tree. Empty of processes when it goes back.
#[derive(Debug)]
pub(crate) struct Group {
    /// The folder in each tree, without repetition.
    folders: Vec<PathBuf>,
    v2: bool,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    freezer: Option<PathBuf>,
    /// CPU time used, held open: read for each call.
    usage: Option<File>,
    /// The most memory that was used, held open.
    peak: Option<File>,
    /// Whether it may serve another sandbox when its processes are gone.
    is_reusable: bool,
    /// What it had counted when it was bounded: a group is used for many sandboxes.
    out_of_memory: u64,
    cpu_before: u64,
}

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) memory: u64,
    /// Share of the processors against others, 1024 for one processor's worth.
    pub(crate) shares: u64,
}

impl Groups {
    /// Groups in these trees. Whatever an earlier node of the same name left there is ended and
    /// removed first.
    pub(crate) fn open(trees: Trees) -> io::Result<Self> {
        let free = Arc::default();
        let (sender, killed) = mpsc::channel();
        let into = Arc::clone(&free);
        let reaper = thread::Builder::new().name("group-reaper".to_owned());
        let reaper = reaper.spawn(move || reap(&killed, &into))?;
        let groups = Self {
            trees,
            free,
            made: AtomicU32::new(0),
            is_open: RwLock::new(true),
            killed: Mutex::new(Some(sender)),
            reaper: Mutex::new(Some(reaper)),
        };
        groups.sweep();
        groups.bound_processes();
        groups.weigh_all();
        Ok(groups)
    }

    /// The trees.
    pub(crate) fn trees(&self) -> &Trees {
        &self.trees
    }

    /// Bounds the memory of all sandboxes together, in bytes: instances are admitted by what they
    /// needed before, so that they may want more.
    pub(crate) fn bound_memory(&self, bytes: u64) {
        let (tree, file) = match &self.trees {
            Trees::V1(trees) => (trees.get("memory"), "memory.limit_in_bytes"),
            Trees::V2(folder, _) => (Some(folder), "memory.max"),
            Trees::None(_) => (None, ""),
        };
        let Some(tree) = tree else { return };
        if let Err(error) = fs::write(tree.join(file), bytes.to_string()) {
            tracing::warn!(error = %ErrorChain(&error), "memory of all sandboxes is not bounded");
        }
    }

    /// Gives all sandboxes together the weight of a few processes for each processor. They share it
    /// by their memory; one of little memory alone would weigh next to nothing against the host's.
    fn weigh_all(&self) {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        let shares = GROUP_SHARES_PER_CORE * cores;
        let written = match &self.trees {
            Trees::V1(trees) => trees
                .get("cpu")
                .map(|tree| fs::write(tree.join("cpu.shares"), shares.to_string())),
            Trees::V2(folder, controllers) if controllers.contains(&"cpu") => {
                let weight = weight_of(shares).to_string();
                Some(fs::write(folder.join("cpu.weight"), weight))
            }
            Trees::V2(..) | Trees::None(_) => None,
        };
        if let Some(Err(error)) = written {
            tracing::warn!(error = %ErrorChain(&error), "sandboxes weigh as much as one process");
        }
    }

    /// Bounds all sandboxes together: whatever they do, the host can still make processes.
    fn bound_processes(&self) {
        let most = fs::read_to_string("/proc/sys/kernel/pid_max").ok();
        let most: Option<u64> = most.and_then(|text| text.trim().parse().ok());
        let tree = match &self.trees {
            Trees::V1(trees) => trees.get("pids").map(PathBuf::as_path),
            Trees::V2(folder, controllers) => controllers.contains(&"pids").then_some(&**folder),
            Trees::None(_) => None,
        };
        if let (Some(most), Some(tree)) = (most, tree) {
            let bounded = fs::write(tree.join("pids.max"), (most / 2).to_string());
            if let Err(error) = bounded {
                tracing::warn!(error = %ErrorChain(&error), "processes of all sandboxes are not bounded");
            }
        }
    }

    fn sweep(&self) {
        for tree in self.trees.folders() {
            for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    end_all(&entry.path());
                }
            }
        }
        let deadline = Instant::now() + Duration::from_millis(GROUPS_GONE_MS);
        for tree in self.trees.folders() {
            for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove_by(&entry.path(), deadline);
                }
            }
        }
    }

    /// A group that is empty; made when none is free.
    pub(crate) fn take(&self) -> io::Result<Group> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match free {
            Some(group) => Ok(group),
            None => self.make(),
        }
    }

    fn make(&self) -> io::Result<Group> {
        let is_open = self.is_open.read().unwrap_or_else(PoisonError::into_inner);
        if !*is_open {
            return Err(io::Error::other("the node stops"));
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("s{number}");
        let folders: Vec<_> = self.trees.folders().iter().map(|f| f.join(&name)).collect();
        for folder in &folders {
            fs::create_dir_all(folder)?;
        }
        let of = |controller: &str| match &self.trees {
            Trees::V1(trees) => trees.get(controller).map(|folder| folder.join(&name)),
            Trees::V2(folder, controllers) => controllers
                .contains(&controller)
                .then(|| folder.join(&name)),
            Trees::None(_) => None,
        };
        let v2 = matches!(self.trees, Trees::V2(..));
        let open = |folder: Option<PathBuf>, v1: &str, in_v2: &str, write: bool| {
            let path = folder?.join(if v2 { in_v2 } else { v1 });
            File::options().read(true).write(write).open(path).ok()
        };
        let peak = |write| {
            open(
                of("memory"),
                "memory.max_usage_in_bytes",
                "memory.peak",
                write,
            )
        };
        let resettable = peak(true);
        // Before Linux 6.12 the peak of version 2 stays: it would be that of somebody before.
        let is_reusable = resettable.is_some() || of("memory").is_none();
        let peak = resettable.or_else(|| peak(false));
        if let Some(pids) = of("pids") {
            fs::write(pids.join("pids.max"), PIDS_MAX.to_string())?;
        }
        Ok(Group {
            v2,
            usage: open(of("cpuacct"), "cpuacct.usage", "cpu.stat", false),
            peak,
            memory: of("memory"),
            cpu: of("cpu"),
            freezer: of("freezer"),
            folders,
            is_reusable,
            out_of_memory: 0,
            cpu_before: 0,
        })
    }

    /// Gives a group back. Its processes were killed; it is used again when they are gone.
    pub(crate) fn give_back(&self, group: Group) {
        let killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(killed) = &*killed {
            // Without a reaper the node stops, and removes all groups.
            killed.send(group).ok();
        }
    }

    /// Removes all groups: the node stops.
    pub(crate) fn close(&self) {
        // Spares may be made meanwhile.
        *self.is_open.write().unwrap_or_else(PoisonError::into_inner) = false;
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let reaper = self
            .reaper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reaper) = reaper {
            reaper.join().ok();
        }
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.sweep();
        for tree in self.trees.folders() {
            fs::remove_dir(tree).ok();
        }
    }
}

/// Takes killed groups, and hands them on when they are empty.
fn reap(killed: &mpsc::Receiver<Group>, free: &Mutex<Vec<Group>>) {
    let mut waiting: Vec<(Group, Instant)> = Vec::new();
    loop {
        let next = if waiting.is_empty() {
            killed.recv().or(Err(mpsc::RecvTimeoutError::Disconnected))
        } else {
            killed.recv_timeout(Duration::from_millis(1))
        };
        match next {
            Ok(group) => {
                // Processes die when they are thawed.
                group.freeze(false).ok();
                waiting.push((group, Instant::now()));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        for (mut group, since) in std::mem::take(&mut waiting) {
            if group.is_empty() {
                group.unbound();
                if group.is_reusable {
                    free.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(group);
                } else {
                    group
                        .folders
                        .iter()
                        .for_each(|folder| drop(fs::remove_dir(folder)));
                }
            } else if since.elapsed() < Duration::from_millis(GROUP_EMPTY_MS) {
                waiting.push((group, since));
            } else {
                // It is left alone; the next start removes it.
                tracing::warn!(folders = ?group.folders, "killed processes do not end");
                group.folders.iter().for_each(|folder| end_all(folder));
            }
        }
    }
}

/// Shares as weights of version 2, where 100 is one process's.
fn weight_of(shares: u64) -> u64 {
    (shares * 100 / 1024).clamp(1, 10_000)
}

/// Ends every process in a group.
fn end_all(folder: &Path) {
    for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if folder.join(file).exists() {
            fs::write(folder.join(file), thawed).ok();
        }
    }
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in list.lines().filter_map(|pid| pid.parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

fn remove_by(folder: &Path, deadline: Instant) {
    while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < deadline {
        end_all(folder);
        thread::sleep(Duration::from_millis(2));
    }
}

fn number(file: &File, key: Option<&str>) -> Option<u64> {
    let mut buffer = [0; 512];
    let read = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(&buffer[..read]).ok()?;
    match key {
        None => text.trim().parse().ok(),
        Some(key) => text.lines().find_map(|line| {
            let rest = line.strip_prefix(key)?;
            rest.trim().parse().ok()
        }),
    }
}

impl Group {
    /// Moves a process in, before it runs anything of a function's.
    pub(crate) fn attach(&self, pid: u32) -> io::Result<()> {
        let pid = pid.to_string();
        self.folders
            .iter()
            .try_for_each(|folder| fs::write(folder.join("cgroup.procs"), &pid))
    }

    /// Whether no process is in it.
    fn is_empty(&self) -> bool {
        self.folders.iter().all(|folder| {
            fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|list| list.is_empty())
        })
    }

    /// Sets its share of the processors.
    pub(crate) fn weigh(&self, shares: u64) -> io::Result<()> {
        let Some(cpu) = &self.cpu else {
            return Ok(());
        };
        if self.v2 {
            fs::write(cpu.join("cpu.weight"), weight_of(shares).to_string())
        } else {
            fs::write(cpu.join("cpu.shares"), shares.max(2).to_string())
        }
    }

    /// Sets what it may use.
    pub(crate) fn bound(&mut self, bounds: Bounds) -> io::Result<()> {
        if let Some(memory) = &self.memory {
            let bytes = bounds.memory.to_string();
            if self.v2 {
                fs::write(memory.join("memory.max"), &bytes)?;
                // Absent where there is no swap.
                fs::write(memory.join("memory.swap.max"), "0").ok();
            } else {
                fs::write(memory.join("memory.limit_in_bytes"), &bytes)?;
                fs::write(memory.join("memory.memsw.limit_in_bytes"), &bytes).ok();
                // Buffers of sockets, which are not among the rest in this version.
                fs::write(memory.join("memory.kmem.tcp.limit_in_bytes"), &bytes).ok();
            }
        }
        self.weigh(bounds.shares)?;
        self.out_of_memory = self.kills();
        self.cpu_before = self.cpu_total().unwrap_or(0);
        self.forget_peak();
        Ok(())
    }

    /// Lifts the bound on memory, so that the next sandbox may start in it.
    fn unbound(&mut self) {
        self.weigh(1024).ok();
        let Some(memory) = &self.memory else { return };
        if self.v2 {
            fs::write(memory.join("memory.max"), "max").ok();
        } else {
            fs::write(memory.join("memory.memsw.limit_in_bytes"), "-1").ok();
            fs::write(memory.join("memory.limit_in_bytes"), "-1").ok();
        }
    }

    fn kills(&self) -> u64 {
        let Some(memory) = &self.memory else { return 0 };
        let file = if self.v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let mut text = String::new();
        let read = File::open(memory.join(file)).and_then(|mut f| f.read_to_string(&mut text));
        if read.is_err() {
            return 0;
        }
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Whether the kernel killed a process in it for want of memory, since it was bounded.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.kills() > self.out_of_memory
    }

    /// CPU time used since it was bounded, in microseconds; None where it is not measured.
    pub(crate) fn cpu_us(&self) -> Option<u64> {
        self.cpu_total()?.checked_sub(self.cpu_before)
    }

    fn cpu_total(&self) -> Option<u64> {
        let usage = self.usage.as_ref()?;
        if self.v2 {
            number(usage, Some("usage_usec "))
        } else {
            number(usage, None).map(|ns| ns / 1000)
        }
    }

    /// The most memory used since [`Group::forget_peak`], in bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        number(self.peak.as_ref()?, None)
    }

    /// Memory used from here on counts for the next [`Group::peak`].
    pub(crate) fn forget_peak(&mut self) {
        if let Some(peak) = &mut self.peak {
            peak.rewind().and_then(|()| peak.write_all(b"0")).ok();
        }
    }

    /// Memory in use, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        let memory = self.memory.as_ref()?;
        let file = if self.v2 {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        };
        fs::read_to_string(memory.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Stops its processes where they are, or lets them go on.
    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        let Some(freezer) = &self.freezer else {
            return Ok(());
        };
        if self.v2 {
            fs::write(
                freezer.join("cgroup.freeze"),
                if frozen { "1" } else { "0" },
            )
        } else {
            let state = if frozen { "FROZEN" } else { "THAWED" };
            fs::write(freezer.join("freezer.state"), state)
        }
    }
}

#[cfg(test)]
mod tests;
