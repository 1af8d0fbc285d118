//! Which protections sandboxes have on this machine, and why one is missing: told after building
//! one and looking around in it.

use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use fractus_stdx::ErrorChain;
use rustix::net::SocketType;

use crate::cgroup::{Bounds, Groups, Trees};
use crate::host;
use crate::keeper::{Keeper, SpawnError, Users, await_ready, system};
use crate::landlock;
use crate::opener::Opener;
use crate::profile::{self, Confinement, Program, Root};
use crate::sys::send_fds;
use crate::zygote::Lines;

/// How a protection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// As it should be.
    On,
    /// There, but less than it could be.
    Weak,
    /// Missing.
    Off,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is, in a few words.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was seen, or why it is missing and what to do.
    pub detail: String,
}

impl Finding {
    fn new(name: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
        }
    }

    fn when(name: &'static str, is_on: bool, on: &str, off: &str) -> Self {
        let (state, detail) = if is_on {
            (State::On, on)
        } else {
            (State::Off, off)
        };
        Self::new(name, state, detail)
    }
}

/// Looks at this machine. `folder` is an empty one that sandboxes may read.
pub fn examine(folder: &Path) -> Vec<Finding> {
    let trees = Trees::make(&format!("fractus-doctor-{}", std::process::id()));
    let mut findings = vec![users(), landlock_finding()];
    findings.extend(control_groups(&trees));
    match Groups::open(trees) {
        Ok(groups) => {
            let groups = Arc::new(groups);
            findings.extend(look_around(&groups, folder));
            groups.close();
        }
        Err(error) => findings.push(Finding::new("threads", State::Off, error.to_string())),
    }
    findings.extend(programs(folder));
    findings
}

fn users() -> Finding {
    match Users::here() {
        Users::Own => Finding::new(
            "users",
            State::On,
            "each sandbox has two users of its own, which nobody else on the host has",
        ),
        Users::Shared => Finding::new(
            "users",
            State::Weak,
            "sandboxes share this user, each in a user namespace: run as root to give each its own",
        ),
    }
}

fn landlock_finding() -> Finding {
    match landlock::version() {
        0 => Finding::new(
            "landlock",
            State::Off,
            "the kernel has none, or it is not in the list of security modules (lsm=landlock,…)",
        ),
        version @ 1..=5 => Finding::new(
            "landlock",
            State::Weak,
            format!("version {version}: files, but neither signals nor abstract sockets (6)"),
        ),
        version => Finding::new(
            "landlock",
            State::On,
            format!("version {version}: files, signals, abstract sockets"),
        ),
    }
}

fn control_groups(trees: &Trees) -> Vec<Finding> {
    let (version, why) = match trees {
        Trees::V1(_) => (
            "version 1",
            "this controller is not mounted or may not be written",
        ),
        Trees::V2(..) => (
            "version 2",
            "this controller is not handed down to the node's group",
        ),
        Trees::None(why) => ("", why.as_str()),
    };
    let instead = |controller: &str| match controller {
        "memory" => "the data of each process is limited instead (RLIMIT_DATA)",
        "pids" => "processes of the user are limited instead (RLIMIT_NPROC)",
        "freezer" => "idle instances are not stopped",
        _ => "functions share the processors as all processes do",
    };
    let find = |(name, controller)| {
        if trees.has(controller) {
            Finding::new(name, State::On, format!("control groups, {version}"))
        } else {
            Finding::new(name, State::Off, format!("{why}; {}", instead(controller)))
        }
    };
    let all = [
        ("memory limit", "memory"),
        ("process limit", "pids"),
        ("fair share of processors", "cpu"),
        ("freezing", "freezer"),
    ];
    all.map(find).into()
}

/// What a script in a sandbox tells of itself.
const LOOK: &str = "cat /proc/self/status; for n in user mnt pid net ipc uts cgroup; do \
    echo \"ns_$n: $(readlink /proc/self/ns/$n)\"; done; (echo x > /x) 2>/dev/null && echo writes: 1; \
    test -e /sys/kernel && echo sys: 1";

fn look_around(groups: &Arc<Groups>, folder: &Path) -> Vec<Finding> {
    let told = match probe(groups, folder) {
        Ok(told) => told,
        Err(error) => {
            let why = ErrorChain(&error).to_string();
            let hint = "user namespaces may be off: see /proc/sys/user/max_user_namespaces and \
                        kernel.unprivileged_userns_clone, or run as root";
            return vec![Finding::new(
                "sandbox",
                State::Off,
                format!("{why}; {hint}"),
            )];
        }
    };
    let value = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key));
        line.map(str::trim).unwrap_or_default()
    };
    let mut findings = Vec::new();
    let shared: Vec<_> = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|kind| {
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
            let theirs = value(&format!("ns_{kind}:"));
            theirs.is_empty() || own.to_string_lossy() == theirs
        })
        .collect();
    findings.push(if shared.is_empty() {
        let all = "user, mount, pid, net, ipc, uts and cgroup: each its own";
        Finding::new("namespaces", State::On, all)
    } else {
        Finding::new(
            "namespaces",
            State::Off,
            format!("shared with the host: {shared:?}"),
        )
    });
    let none = ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
        .into_iter()
        .all(|set| value(set).bytes().all(|digit| digit == b'0') && !value(set).is_empty());
    findings.push(Finding::when(
        "capabilities",
        none,
        "none",
        "the sandbox has some",
    ));
    findings.push(Finding::when(
        "no new privileges",
        value("NoNewPrivs:") == "1",
        "set-user-id programs give nothing",
        "not set",
    ));
    findings.push(Finding::when(
        "seccomp",
        value("Seccomp:") == "2",
        "an allow-list of system calls",
        "the kernel has no filters",
    ));
    findings.push(Finding::when(
        "file system",
        value("writes:").is_empty() && value("sys:").is_empty(),
        "read-only but for /tmp, without /sys",
        "more can be written or seen than should be",
    ));
    findings
}

/// Builds a sandbox, and returns what a script prints in it.
fn probe(groups: &Arc<Groups>, folder: &Path) -> Result<String, SpawnError> {
    let keeper = Keeper::start(Users::here(), groups)?;
    let root = Root::base(folder).with_programs();
    let lines = Lines::open(SocketType::STREAM)?;
    let plan = profile::native(&root, keeper.users().privileged());
    let mut process = keeper.spawn(&plan, lines.near.as_fd(), &lines.far())?;
    let Lines {
        near,
        far,
        stdout: (stdout, writer),
        stderr,
    } = lines;
    drop((far, writer, stderr));
    await_ready(near.as_fd())?;
    if let Some(group) = &mut process.group {
        let bounds = Bounds {
            memory: 64 << 20,
            shares: 1024,
        };
        group.bound(bounds).map_err(system("bound a sandbox"))?;
    }
    let with = Confinement {
        guest: keeper.users().guest(),
        landlock: landlock::version(),
        tmp_bytes: 1 << 20,
        data: None,
        processes: None,
    };
    let program = Program {
        path: "/bin/sh".into(),
        arguments: ["sh", "-c", LOOK].map(str::to_owned).into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
    };
    let plan = profile::start(&with, &program)
        .encode()
        .ok_or(SpawnError::TooLarge)?;
    let code = Opener::start(&keeper)?.open(folder)?;
    send_fds(near.as_fd(), &plan, &[code.as_fd()]).map_err(system("send a plan"))?;
    let mut told = String::new();
    fs::File::from(stdout)
        .take(64 << 10)
        .read_to_string(&mut told)
        .map_err(system("read what a sandbox says"))?;
    Ok(told)
}

fn programs(folder: &Path) -> Vec<Finding> {
    let python =
        host::python(folder).map(|found| format!("{} {}", found.program.display(), found.version));
    let node = host::find("node").and_then(|node| fs::canonicalize(node).ok());
    let node = node.map(|node| node.display().to_string());
    let find = |name, found: Option<String>, missing: &str| match found {
        Some(found) => Finding::new(name, State::On, found),
        None => Finding::new(name, State::Off, missing),
    };
    vec![
        find(
            "python3",
            python,
            "not on the path: Python functions cannot be deployed",
        ),
        find("node", node, "not on the path: Node functions cannot run"),
    ]
}
