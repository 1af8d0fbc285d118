//! What the host sees of sandboxes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether the tests run as root, so that every sandbox has users of its own.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a runtime of this name has control groups.
pub(crate) fn are_there_groups(name: &str) -> bool {
    !folders_of(name).is_empty()
}

/// Groups of a runtime's sandboxes, in the tree that has most.
pub(crate) fn group_count(name: &str) -> usize {
    let count = |folder: &PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .count()
    };
    folders_of(name).iter().map(count).max().unwrap_or(0)
}

/// The folders of a runtime in each tree.
fn folders_of(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if mount.starts_with("/sys/fs/cgroup") {
            find_below(Path::new(mount), name, 4, &mut found);
        }
    }
    found
}

fn find_below(folder: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    if folder.join(name).is_dir() {
        found.push(folder.join(name));
        return;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    if depth > 0 {
        folders.for_each(|below| find_below(&below.path(), name, depth - 1, found));
    }
}

/// A process, as something that can be found again: its number and when it began.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    began: u64,
}

impl Seen {
    /// The parent, and the process; None when there is none of this number, or a zombie.
    fn look(pid: u32) -> Option<(u32, Self)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let began = fields.get(19)?.parse().ok()?;
        let is_zombie = matches!(*fields.first()?, "Z" | "X");
        (!is_zombie).then_some((fields.get(1)?.parse().ok()?, Self { pid, began }))
    }

    /// The process that started it, or that took it over.
    pub(crate) fn parent(self) -> Option<u32> {
        Some(Self::look(self.pid)?.0)
    }

    /// Whether it is still there.
    pub(crate) fn is_there(self) -> bool {
        Self::look(self.pid).is_some_and(|(_, now)| now == self)
    }
}

fn all() -> BTreeMap<u32, (u32, Seen)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, Seen::look(pid)?)))
        .collect()
}

/// All processes below this one.
pub(crate) fn descendants(of: u32) -> Vec<Seen> {
    let all = all();
    let mut found: Vec<Seen> = Vec::new();
    let mut above = vec![of];
    while let Some(parent) = above.pop() {
        for (pid, (_, seen)) in all.iter().filter(|(_, (ppid, _))| *ppid == parent) {
            found.push(*seen);
            above.push(*pid);
        }
    }
    found
}

/// The processes of the sandboxes of a runtime of this name, where there are control groups.
pub(crate) fn processes(name: &str) -> Vec<Seen> {
    let part = format!("/{name}/");
    let is_in = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|own| own.contains(&part))
    };
    let all = all().into_iter().filter(|(pid, _)| is_in(pid));
    all.map(|(_, (_, seen))| seen).collect()
}

/// How many processes have given themselves this name.
pub(crate) fn named_so(name: &str) -> usize {
    let comm = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm"));
    let is_it = |pid: &&u32| comm(pid).is_ok_and(|comm| comm.trim_end() == name);
    all().keys().filter(is_it).count()
}

/// What is mounted here.
pub(crate) fn mount_count() -> usize {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count()
}

/// Descriptors of this process.
pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process.
pub(crate) fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}
