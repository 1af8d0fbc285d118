//! What the kernel says of this machine and its processes.

use std::collections::BTreeMap;
use std::fs;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Ticks a second in `/proc/PID/stat`: the same on every Linux we run on, whatever the kernel's HZ.
const TICKS: u64 = 100;

/// One line about the machine.
pub(super) fn description() -> Result<String> {
    let cpu = read("/proc/cpuinfo")?;
    let model = field(&cpu, "model name").unwrap_or("unknown CPU");
    let memory = field(&read("/proc/meminfo")?, "MemTotal")
        .and_then(kilobytes)
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let cores = available_parallelism()?;
    let gib = memory >> 30;
    Ok(format!(
        "{cores} cores of {model}, {gib} GiB of memory, Linux {}",
        kernel.trim()
    ))
}

/// A warning when something else keeps the machine busy.
pub(super) fn busy() -> Result<Option<String>> {
    const QUIET: f64 = 0.5;
    let text = read("/proc/loadavg")?;
    let load = text
        .split(' ')
        .next()
        .and_then(|load| load.parse::<f64>().ok());
    let busy = load.filter(|load| *load > QUIET);
    Ok(
        busy.map(|load| {
            format!("warning: load is {load} already; figures will be worse than true")
        }),
    )
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident pages, shared ones in full.
    pub(super) rss: u64,
    /// Resident pages, shared ones by share.
    pub(super) pss: u64,
}

pub(super) fn memory(pid: u32) -> Result<Memory> {
    rollup(&read(&format!("/proc/{pid}/smaps_rollup"))?).context("smaps_rollup")
}

fn rollup(text: &str) -> Option<Memory> {
    let bytes = |name| field(text, name).and_then(kilobytes);
    Some(Memory {
        rss: bytes("Rss")?,
        pss: bytes("Pss")?,
    })
}

/// Processes that descend from one, itself among them, and their memory: pages that they share
/// are counted once.
pub(super) fn tree_memory(pid: u32) -> Result<(usize, Memory)> {
    let processes = processes()?;
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = processes.iter().filter(|(_, stat)| stat.parent == parent);
        found.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    let mut sum = Memory { rss: 0, pss: 0 };
    let mut count = 0;
    for pid in found {
        // Processes end while we look.
        if let Ok(own) = memory(pid) {
            sum.rss += own.rss;
            sum.pss += own.pss;
            count += 1;
        }
    }
    Ok((count, sum))
}

/// CPU time of a process and of its descendants that still run, all threads counted.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let processes = processes()?;
    let ticks = tree_ticks(&processes, pid).with_context(|| format!("process {pid} is gone"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// All processes of the machine.
fn processes() -> Result<BTreeMap<u32, Stat>> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while we look.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        processes.insert(
            pid,
            stat(&text).with_context(|| format!("/proc/{pid}/stat"))?,
        );
    }
    Ok(processes)
}

/// What a process's `stat` says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(text: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything; what follows the last one is numbers.
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
    })
}

fn tree_ticks(processes: &BTreeMap<u32, Stat>, root: u32) -> Option<u64> {
    let own = processes.get(&root)?.ticks;
    let children = processes.iter().filter(|(_, stat)| stat.parent == root);
    Some(
        own + children
            .filter_map(|(&child, _)| tree_ticks(processes, child))
            .sum::<u64>(),
    )
}

/// The value of a line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.trim())
}

fn kilobytes(value: &str) -> Option<u64> {
    Some(value.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Memory, Stat, cpu, rollup, stat, tree_memory, tree_ticks};

    #[test]
    fn a_stat_line_is_read_past_a_strange_name() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 4 0 1234 0 0\n";
        assert_eq!(
            stat(line),
            Some(Stat {
                parent: 7,
                ticks: 300
            })
        );
        assert_eq!(stat("42 (short) S"), None);
    }

    #[test]
    fn descendants_count() {
        let processes = [(1, 0, 5), (2, 1, 10), (3, 2, 20), (4, 1, 40)];
        let processes: BTreeMap<_, _> = processes
            .map(|(pid, parent, ticks)| (pid, Stat { parent, ticks }))
            .into();
        assert_eq!(tree_ticks(&processes, 2), Some(30));
        assert_eq!(tree_ticks(&processes, 1), Some(75));
        assert_eq!(tree_ticks(&processes, 9), None);
    }

    #[test]
    fn our_own_time_can_be_told() {
        cpu(std::process::id()).unwrap();
    }

    #[test]
    fn we_are_a_process_with_memory() {
        let (count, memory) = tree_memory(std::process::id()).unwrap();
        assert!(count > 0 && memory.pss > 0 && memory.rss >= memory.pss);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "5581-7ffd ---p 00000000 00:00 0 [rollup]\nRss:     2048 kB\nPss:    1024 kB\n";
        assert_eq!(
            rollup(text),
            Some(Memory {
                rss: 2 << 20,
                pss: 1 << 20
            })
        );
        assert_eq!(rollup("Rss: 1 kB\n"), None);
    }
}
