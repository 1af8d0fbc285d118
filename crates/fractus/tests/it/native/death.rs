//! What a node leaves behind when it dies or is stopped: nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use fractus_stdx::Hex;
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::native::client::Client;
use crate::native::{raw, write};
use crate::support::{Node, until};

const PYTHON: &str = "\
import os, time


def handler(event, context):
    time.sleep(event['s'])
    return os.getpid()
";

const NODE: &str = "\
exports.handler = async (event) => {
  await new Promise((resolve) => setTimeout(resolve, event.s * 1000));
  return process.pid;
};
";

/// The Runtime API by hand, and a child that outlives its call.
const PROVIDED: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, time, urllib.request

base = "http://%s/2018-06-01/runtime/invocation/" % os.environ["AWS_LAMBDA_RUNTIME_API"]
subprocess.Popen(["sleep", "1000"], start_new_session=True)
while True:
    with urllib.request.urlopen(base + "next") as invocation:
        time.sleep(json.load(invocation)["s"])
        where = base + invocation.headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
    urllib.request.urlopen(where, data=b"%d" % os.getpid()).read()
"#;

const KINDS: [&str; 3] = ["in-python", "in-node", "by-itself"];

/// Deploys a function of each kind.
fn deploy_all(directory: &TempDir, node: &Node) {
    let code = [
        ("python3", "app.handler", "app.py", PYTHON),
        ("nodejs", "index.handler", "index.js", NODE),
        ("provided", "none", "bootstrap", PROVIDED),
    ];
    for (name, (runtime, handler, file, code)) in KINDS.into_iter().zip(code) {
        let manifest = raw(name, runtime, handler).replace("timeout_s = 20.0", "timeout_s = 600.0");
        let folder = write(
            directory,
            name,
            &[(file, code), ("fractus.toml", &manifest)],
        );
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join(file), executable).unwrap();
        node.ok(&["deploy", folder.to_str().unwrap()]);
    }
}

fn call_all(node: &Node) {
    for name in KINDS {
        let answer = Client::of(node, name).post("", b"{\"s\": 0}").json(200);
        assert!(answer.as_u64().unwrap() > 0, "{answer}");
    }
}

/// A process, and when it started: its number alone may be given again.
type Known = (u32, String);

/// All processes below one, by their parents.
fn below(ancestor: u32) -> BTreeSet<Known> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some((pid, (parent, began))) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            parents.insert(pid, (parent, began));
        }
    }
    let is_below = |pid: u32| {
        let mut at = pid;
        while let Some((parent, _)) = parents.get(&at) {
            if *parent == ancestor {
                return true;
            }
            at = *parent;
        }
        false
    };
    let found = parents.iter().filter(|(pid, _)| is_below(**pid));
    found
        .map(|(pid, (_, began))| (*pid, began.clone()))
        .collect()
}

/// The parent of a process and when it started, unless it is dead.
fn stat(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    (fields[0] != "Z").then(|| (fields[1].parse().unwrap(), fields[19].to_owned()))
}

fn alive(known: &BTreeSet<Known>) -> Vec<&Known> {
    let lives = |(pid, began): &&Known| stat(*pid).is_some_and(|(_, own)| own == *began);
    known.iter().filter(lives).collect()
}

/// A folder, and all below it.
fn folders(root: PathBuf) -> Vec<PathBuf> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let entries = fs::read_dir(&found[at]).into_iter().flatten().flatten();
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        found.extend(entries.filter(is_folder).map(|entry| entry.path()));
        at += 1;
    }
    found
}

/// The control groups of a node, in all trees.
fn groups(data: &Path) -> Vec<PathBuf> {
    let data = fs::canonicalize(data).unwrap();
    let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
    let name = format!("/fractus-{}", Hex(&digest[..8]));
    let mut all = folders(PathBuf::from("/sys/fs/cgroup"));
    all.retain(|folder| folder.to_str().is_some_and(|path| path.contains(&name)));
    all
}

/// The processes in the groups of a node.
fn grouped(data: &Path) -> BTreeSet<u32> {
    let processes = |group: PathBuf| {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let pids = text.lines().map(|line| line.parse::<u32>().unwrap());
        pids.collect::<Vec<_>>()
    };
    groups(data).into_iter().flat_map(processes).collect()
}

/// Waits until an instance of each kind is frozen.
fn until_frozen(data: &Path) {
    let is_frozen = |group: &&PathBuf| {
        let says = |file: &str, word: &str| {
            fs::read_to_string(group.join(file)).is_ok_and(|text| text.trim() == word)
        };
        says("freezer.state", "FROZEN") || says("cgroup.freeze", "1")
    };
    until("instances are frozen", || {
        let groups = groups(data);
        // Where there are no control groups nothing is ever frozen.
        let frozen = groups.iter().filter(is_frozen).count();
        (groups.is_empty() || frozen >= KINDS.len()).then_some(())
    });
}

#[track_caller]
fn assert_no_mounts_nor_scratch(data: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let data = data.to_str().unwrap();
    assert!(!mounts.contains(data), "{mounts}");
    let work = fs::read_dir(Path::new(data).join("native/work")).unwrap();
    assert_eq!(work.count(), 0);
}

/// Has instances of every kind at work, waiting and frozen while `then` runs.
fn in_full_swing(node: &Node, data: &Path, then: impl FnOnce()) {
    let edge = node.address("edge");
    thread::scope(|scope| {
        for name in KINDS {
            scope.spawn(move || {
                let mut client = Client::at(edge, name).unwrap();
                // It ends with the node.
                client.send("POST ", &[], br#"{"s": 500}"#).unwrap_err();
            });
        }
        until("a call of each runs", || {
            let listed = node.json(&["ls"]);
            let functions = listed["functions"].as_array().unwrap();
            functions
                .iter()
                .all(|each| each["running"] == 1)
                .then_some(())
        });
        call_all(node);
        until_frozen(data);
        then();
    });
}

#[test]
fn a_killed_node_leaves_nothing_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut node = Node::start(&data);
    deploy_all(&directory, &node);
    for _ in 0..2 {
        let mut old = BTreeSet::new();
        in_full_swing(&node, &data, || {
            old = below(node.pid());
            assert!(old.len() >= 2 * KINDS.len(), "{old:?}");
            node.signal(Signal::KILL);
        });
        assert_eq!(node.wait().code(), None);
        node = Node::start(&data);
        assert_eq!(alive(&old), Vec::<&Known>::new());
        // Whoever is in a group has started since.
        until("only those of the new node are in its groups", || {
            let own = below(node.pid());
            let is_own = |pid: &u32| own.iter().any(|(known, _)| known == pid);
            grouped(&data).iter().all(is_own).then_some(())
        });
        assert_no_mounts_nor_scratch(&data);
        call_all(&node);
    }
}

#[test]
fn a_node_that_is_stopped_leaves_nothing_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = Node::start(&data);
    deploy_all(&directory, &node);
    call_all(&node);
    call_all(&node);
    let own = below(node.pid());
    assert!(!own.is_empty());
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
    assert_eq!(alive(&own), Vec::<&Known>::new());
    assert_eq!(groups(&data), Vec::<PathBuf>::new());
    assert_no_mounts_nor_scratch(&data);
}

#[test]
fn a_killed_zygote_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = Node::start(&data);
    deploy_all(&directory, &node);
    call_all(&node);
    for _ in 0..3 {
        until_frozen(&data);
        let command = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_zygote = |pid: u32| {
            command(pid)
                .split(|byte| *byte == 0)
                .any(|word| word == b"zygote")
        };
        let below_node = below(node.pid());
        // The one that forks is below the keeper; the instances that it forked look alike.
        let zygote = below_node.iter().find(|(pid, _)| {
            let parent = stat(*pid).map_or(0, |(parent, _)| parent);
            is_zygote(*pid) && !is_zygote(parent)
        });
        let (pid, began) = zygote.unwrap().clone();
        let mut with_it = below(pid);
        with_it.insert((pid, began));
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
        // What it had forked goes with it, a moment later.
        until("it is gone", || alive(&with_it).is_empty().then_some(()));
        let answer = Client::of(&node, "in-python").post("", b"{\"s\": 0}");
        assert!(answer.json(200).as_u64().unwrap() > 0);
    }
    let listed = node.json(&["ls"]);
    for function in listed["functions"].as_array().unwrap() {
        assert!(function["last_error"].is_null(), "{function}");
    }
}
