//! What is left when the node, a zygote or an instance is killed: nothing, after the next start at
//! the latest.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::life::join_all;
use crate::support::{Bench, Seen, are_there_groups, child, descendants, mount_count, processes};

const PROVIDED: &str = "#!/bin/bash
exec 4<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}
printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&4
sleep 1000
";

/// A node that has instances of all kinds, which work, wait or are frozen, until it is killed.
#[tokio::test]
async fn a_node_that_waits_to_be_killed() {
    let Some(told) = child::told() else { return };
    let (name, folder) = told.split_once(' ').unwrap();
    let mut folder = TempDir::new_in(folder).unwrap();
    folder.disable_cleanup(true);
    let shown = folder.path().display().to_string();
    let bench = Bench::open(name, Arc::new(folder), 64 << 30);
    let probe = bench.probe(|_| {});
    let waits = (0..3).map(|_| probe.python("time.sleep(0.1); open('/tmp/x', 'w').write('x')"));
    join_all(waits.collect())
        .await
        .into_iter()
        .for_each(|told| drop(told.unwrap()));
    let node = bench.function(&[("index.js", "exports.handler = async () => 1")], |_| {});
    node.get("/").await.unwrap();
    let groups = are_there_groups(name);
    bench
        .until("some wait", |b| b.runtime.standing().idle.0 >= 4)
        .await;
    bench
        .until("they are frozen", |b| {
            !groups || b.runtime.standing().idle.1 >= 4
        })
        .await;
    let busy = bench.probe_for(100.0);
    let forks = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: time.sleep(100)
while True: pass";
    let native = bench.function(&[("bootstrap", PROVIDED)], |_| {});
    let (one, other) = (busy.python(forks), native.get("/"));
    let shows = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("\nready in {shown}");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        told = one => panic!("{told:?}"),
        told = other => panic!("{told:?}"),
        () = shows => {}
    }
}

/// Starts such a node; answers where its folder is.
fn start(name: &str, folder: &Path) -> (Child, TempDir) {
    let told = format!("{name} {}", folder.display());
    let mut command = child::command("crash::a_node_that_waits_to_be_killed", &told);
    let mut node = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let ready = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ready in ").map(str::to_owned));
    // It is ours to remove now.
    let made = ready.expect("it gets ready");
    let temporary = tempfile::Builder::new().tempdir_in(folder).unwrap();
    std::fs::remove_dir(temporary.path()).unwrap();
    std::fs::rename(made, temporary.path()).unwrap();
    (node, temporary)
}

/// All namespaces of a kind that any process is in.
fn namespaces(kind: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let links = entries.map(|entry| std::fs::read_link(entry.path().join("ns").join(kind)));
    links
        .flatten()
        .map(|link| link.display().to_string())
        .collect()
}

async fn are_gone(all: &[Seen], within: Duration) {
    let deadline = Instant::now() + within;
    while let Some(left) = all.iter().find(|seen| seen.is_there()) {
        let name = std::fs::read_to_string(format!("/proc/{}/cmdline", left.pid));
        assert!(Instant::now() < deadline, "{left:?} is left: {name:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn a_killed_node_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let public = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), public).unwrap();
    let name = format!("fractus-it-{}-killed", std::process::id());
    let mounts = mount_count();
    let (mut node, folder) = start(&name, scratch.path());
    let below = descendants(node.id());
    // The keeper, the zygote, three that wait, one of Node's, two that work, and spares.
    assert!(below.len() > 10, "{below:?}");
    if are_there_groups(&name) {
        assert!(processes(&name).len() >= 10);
    }
    std::fs::write(folder.path().join("work/left-over"), "x").unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    let bench = Bench::open(&name, Arc::new(folder), 64 << 30);
    are_gone(&below, Duration::from_secs(1)).await;
    assert_eq!(mount_count(), mounts);
    assert_eq!(entries(&bench.path().join("work")), BTreeSet::new());
    // The new one works, with the files that the old one prepared.
    let probe = bench.probe(|_| {});
    assert_eq!(
        probe
            .python("answer = [CALLS, os.listdir('/tmp')]")
            .await
            .unwrap()[0],
        1
    );
    drop(probe);
    let last = descendants(std::process::id());
    let own: Vec<Seen> = processes(&name);
    drop(bench);
    are_gone(&own, Duration::from_secs(5)).await;
    assert!(!are_there_groups(&name), "a control group is left");
    drop(last);
}

#[tokio::test]
async fn what_is_not_frozen_dies_with_the_node_and_namespaces_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let public = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), public).unwrap();
    let name = format!("fractus-it-{}-dies", std::process::id());
    let (mut node, folder) = start(&name, scratch.path());
    let below = descendants(node.id());
    let frozen: BTreeSet<u32> = below
        .iter()
        .map(|seen| seen.pid)
        .filter(|pid| is_frozen(*pid))
        .collect();
    let nets: Vec<String> = below
        .iter()
        .filter_map(|seen| std::fs::read_link(format!("/proc/{}/ns/net", seen.pid)).ok())
        .map(|link| link.display().to_string())
        .collect();
    let own = std::fs::read_link("/proc/self/ns/net")
        .unwrap()
        .display()
        .to_string();
    assert!(
        nets.iter().filter(|net| **net != own).count() > 5,
        "{nets:?}"
    );
    node.kill().unwrap();
    node.wait().unwrap();
    // A zygote cannot go before the frozen ones that it forked, but nothing of it runs.
    let awake = |seen: &&Seen| !frozen.contains(&seen.pid) && !find(&[**seen], "").is_empty();
    let deadline = Instant::now() + Duration::from_secs(2);
    while let Some(left) = below.iter().filter(awake).find(|seen| seen.is_there()) {
        assert!(Instant::now() < deadline, "{left:?} runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(Bench::open(&name, Arc::new(folder), 64 << 30));
    are_gone(&below, Duration::from_secs(1)).await;
    let left = namespaces("net");
    let leaked: Vec<_> = nets
        .iter()
        .filter(|net| **net != own && left.contains(*net))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(!are_there_groups(&name), "a control group is left");
}

fn is_frozen(pid: u32) -> bool {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    own.lines().any(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            return false;
        };
        let (file, frozen) = match controllers {
            "freezer" => (
                format!("/sys/fs/cgroup/freezer{path}/freezer.state"),
                "FROZEN",
            ),
            "" => (format!("/sys/fs/cgroup{path}/cgroup.freeze"), "1"),
            _ => return false,
        };
        std::fs::read_to_string(file).is_ok_and(|state| state.trim() == frozen)
    })
}

/// Those that run and have this in their command line.
fn find(below: &[Seen], part: &str) -> Vec<Seen> {
    let has = |seen: &&Seen| {
        let line = std::fs::read(format!("/proc/{}/cmdline", seen.pid)).unwrap_or_default();
        !line.is_empty() && String::from_utf8_lossy(&line).contains(part)
    };
    below.iter().filter(has).copied().collect()
}

fn kill(seen: Seen) {
    let pid = Pid::from_raw(seen.pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_killed_instance_ends_its_call_and_no_other() {
    let bench = Bench::new();
    if !are_there_groups(&bench.name) {
        return;
    }
    let probe = bench.probe_for(5.0);
    let other = bench.probe(|_| {});
    other.python("answer = 1").await.unwrap();
    // PR_SET_NAME, which shows outside.
    let code = "
libc.prctl(15, b'to-be-killed')
if os.fork() == 0:
    time.sleep(30)
print('begun', flush=True)
time.sleep(30)";
    let killer = async {
        while !probe.has_logged("begun") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let comm = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        let is_it = |seen: &Seen| comm(seen.pid).is_ok_and(|name| name == "to-be-killed\n");
        processes(&bench.name)
            .into_iter()
            .filter(is_it)
            .for_each(kill);
    };
    let (ended, ()) = tokio::join!(probe.python(code), killer);
    assert_eq!(
        ended.unwrap_err().kind.as_deref(),
        Some("Runtime.ExitError")
    );
    assert_eq!(probe.python("answer = CALLS").await.unwrap(), 1);
    assert_eq!(other.python("answer = CALLS").await.unwrap(), 2);
}

#[tokio::test]
async fn a_killed_zygote_is_replaced() {
    let bench = Bench::new();
    if !are_there_groups(&bench.name) {
        return;
    }
    let probe = bench.probe(|manifest| manifest.instances.idle_s = 0);
    probe.python("answer = 1").await.unwrap();
    let mut below = processes(&bench.name);
    below.sort_unstable();
    // The first one; its instances were forked from it.
    let zygote = find(&below, "zygote")[0];
    kill(zygote);
    are_gone(&[zygote], Duration::from_secs(1)).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut good = 0;
    while good < 10 {
        match probe.python("answer = CALLS").await {
            Ok(calls) => {
                assert_eq!(calls, 1);
                good += 1;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_killed_keeper_is_replaced() {
    let bench = Bench::new();
    if !are_there_groups(&bench.name) {
        return;
    }
    let script = bench.function(
        &[("index.js", "exports.handler = async () => 1")],
        |manifest| {
            manifest.instances.idle_s = 0;
        },
    );
    let probe = bench.probe(|manifest| manifest.instances.idle_s = 0);
    script.get("/").await.unwrap();
    probe.python("answer = 1").await.unwrap();
    let own = processes(&bench.name);
    let parents = own
        .iter()
        .filter_map(|seen| seen.parent())
        .collect::<BTreeSet<u32>>();
    let keepers = find(&descendants(std::process::id()), "fractus-keeper");
    let keeper = keepers
        .into_iter()
        .find(|seen| parents.contains(&seen.pid))
        .unwrap();
    kill(keeper);
    are_gone(&own, Duration::from_secs(2)).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut good = 0;
    while good < 5 {
        let (one, other) = (probe.python("answer = CALLS").await, script.get("/").await);
        if one.is_ok() && other.is_ok() {
            good += 1;
        } else {
            assert!(Instant::now() < deadline, "{one:?} {other:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
