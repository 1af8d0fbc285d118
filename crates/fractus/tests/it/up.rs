//! A node's life, and what is told when it cannot have one.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::process::Signal;

use crate::support::{Node, cloud, component, example, failed, fractus, get, request, until};

const FREE: &str = "127.0.0.1:0";

#[test]
fn a_node_tells_where_it_is_and_ends_when_asked() {
    for signal in [Signal::TERM, Signal::INT] {
        let (directory, node) = cloud();
        let data = directory.path().join("data");
        assert_eq!(node.file("node.json")["pid"], node.pid());
        for listener in ["edge", "api", "admin"] {
            assert_ne!(node.address(listener).port(), 0);
        }
        let credentials = node.file("credentials.json");
        for name in [
            "access_key_id",
            "secret_access_key",
            "admin_token",
            "region",
        ] {
            assert!(credentials[name].is_string(), "{name}");
        }
        let mode = fs::metadata(data.join("credentials.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(get(node.address("admin"), "/healthz").0, 200);
        assert!(node.ok(&["status"]).contains("healthy"));

        node.signal(signal);
        assert_eq!(node.wait().code(), Some(0));
        assert!(!data.join("node.json").exists());
    }
}

#[test]
fn a_data_directory_has_one_node() {
    let (directory, node) = cloud();
    let second = fractus(&directory.path().join("data"), &["up"])
        .output()
        .unwrap();
    let told = failed(&second, 1);
    assert!(
        told.contains("another node") && told.contains(&node.pid().to_string()),
        "{told}"
    );
}

#[test]
fn a_taken_port_is_named() {
    let (directory, node) = cloud();
    let taken = node.address("edge").to_string();
    let other = directory.path().join("other");
    let up = ["up", "--edge", &taken, "--api", FREE, "--admin", FREE];
    let told = failed(&fractus(&other, &up).output().unwrap(), 1);
    assert!(told.contains(&taken) && told.contains("edge"), "{told}");
}

#[test]
fn a_port_is_not_given_to_two_listeners() {
    let directory = tempfile::tempdir().unwrap();
    let up = ["up", "--api", "127.0.0.1:8999", "--admin", "0.0.0.0:8999"];
    let told = failed(&fractus(directory.path(), &up).output().unwrap(), 2);
    assert!(
        told.contains("--api and --admin cannot both have port 8999"),
        "{told}"
    );
}

#[test]
fn who_only_holds_connections_keeps_no_operator_out() {
    let (_directory, node) = cloud();
    let admin = node.address("admin");
    let idle: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(admin).unwrap())
        .collect();
    let begin = Instant::now();
    node.ok(&["status"]);
    assert!(begin.elapsed() < Duration::from_secs(2));
    drop(idle);
}

#[test]
fn without_the_token_nothing_changes() {
    let (_directory, node) = cloud();
    let admin = node.address("admin");
    for headers in ["", "Authorization: Bearer wrong\r\n"] {
        let body = br#"{"public": true}"#;
        let (status, _, answer) = request(admin, "PUT /v1/buckets/taken", headers, body).unwrap();
        assert_eq!(status, 401);
        assert!(!answer.is_empty());
    }
    assert_eq!(
        node.json(&["bucket", "ls"])["buckets"],
        serde_json::json!([])
    );
}

#[test]
fn a_configuration_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fractus.conf");
    let told = |text: &str| {
        fs::write(&file, text).unwrap();
        let up = ["up", "--config", file.to_str().unwrap()];
        failed(
            &fractus(&directory.path().join("data"), &up)
                .output()
                .unwrap(),
            1,
        )
    };
    assert!(told("edges = \"127.0.0.1:0\"\n").contains("edges"));
    assert!(told("threads = 0\n").contains("threads"));
    let up = ["up", "--config", "/nowhere/fractus.conf"];
    let missing = failed(&fractus(directory.path(), &up).output().unwrap(), 1);
    assert!(missing.contains("/nowhere/fractus.conf"), "{missing}");
}

#[test]
fn without_a_node_commands_say_so() {
    let directory = tempfile::tempdir().unwrap();
    for command in [
        &["ls"][..],
        &["status"],
        &["invoke", "hello"],
        &["logs", "hello"],
        &["deploy", "x.wasm"],
        &["cp", "/etc/hostname", "fractus://b/k"],
    ] {
        let told = failed(&fractus(directory.path(), command).output().unwrap(), 1);
        assert!(
            told.contains("no node runs on") && told.contains("fractus up"),
            "{told}"
        );
    }
}

#[test]
fn after_a_crash_the_stale_address_is_explained() {
    let (directory, node) = cloud();
    let data = directory.path().join("data");
    node.signal(Signal::KILL);
    assert_eq!(node.wait().code(), None);
    assert!(data.join("node.json").exists());
    let told = failed(&fractus(&data, &["ls"]).output().unwrap(), 1);
    assert!(
        told.contains("no answer from") && told.contains("fractus up"),
        "{told}"
    );
    let again = Node::start(&data);
    again.ok(&["ls"]);
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let data = Path::new("/nonexistent");
    for command in [
        &["fly"][..],
        &["invoke", "not.a.name"],
        &["cp", "a", "b"],
        &["cp", "fractus://a/b", "fractus://c/d"],
        &["cp", "-", "fractus://b/"],
    ] {
        failed(&fractus(data, command).output().unwrap(), 2);
    }
}

#[test]
fn a_directory_of_somebody_elses_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letter"), "dear").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let up = ["up", "--edge", FREE, "--api", FREE, "--admin", FREE];
    let told = failed(&fractus(directory.path(), &up).output().unwrap(), 1);
    assert!(told.contains("is no data directory"), "{told}");
    let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn guests_that_compute_do_not_keep_a_node_from_ending() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = directory.path().join("fractus.conf");
    fs::write(&config, "drain_s = 1\n").unwrap();
    let node = Node::start_with(&data, &["--config", config.to_str().unwrap()]);
    component(&node, "faults");
    let project = directory.path().join("project");
    fs::create_dir(&project).unwrap();
    let wasm = example("faults/target/wasm32-wasip2/release/faults.wasm");
    fs::copy(wasm, project.join("faults.wasm")).unwrap();
    let manifest = "name = \"faults\"\nartifact = \"faults.wasm\"\n[limits]\ntimeout_s = 120.0\n\
                    cpu_s = 120.0\n";
    fs::write(project.join("fractus.toml"), manifest).unwrap();
    node.ok(&["deploy", project.to_str().unwrap()]);
    let edge = node.address("edge");
    thread::scope(|scope| {
        for number in 0..3 {
            let line = format!("GET /run/faults/loop?{number}");
            scope.spawn(move || request(edge, &line, "", b""));
        }
        until("the calls run", || {
            (node.json(&["ls"])["functions"][0]["running"] == 3).then_some(())
        });
        let begin = Instant::now();
        node.signal(Signal::TERM);
        assert_eq!(node.wait().code(), Some(0));
        assert!(begin.elapsed() < Duration::from_secs(10));
    });
    let again = Node::start(&data);
    let counters = &again.json(&["ls"])["functions"][0]["counters"];
    assert_eq!(counters["calls"], 3);
}

/// Starts a call that takes `ms`, and returns once it runs.
fn slow_call<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    node: &Node,
    ms: u32,
) -> ScopedJoinHandle<'scope, io::Result<(u16, String, Vec<u8>)>> {
    let edge = node.address("edge");
    let line = format!("GET /run/faults/sleep?ms={ms}");
    let call = scope.spawn(move || request(edge, &line, "", b""));
    until("the call runs", || {
        let running = node.json(&["ls"])["functions"][0]["running"] == 1;
        running.then_some(())
    });
    call
}

#[test]
fn work_in_flight_is_finished_unless_asked_twice() {
    let faults = example("faults");
    let (_directory, node) = cloud();
    node.ok(&["deploy", faults.to_str().unwrap()]);
    thread::scope(|scope| {
        let call = slow_call(scope, &node, 1000);
        node.signal(Signal::TERM);
        assert_eq!(call.join().unwrap().unwrap().0, 200);
    });
    assert_eq!(node.wait().code(), Some(0));

    let (directory, node) = cloud();
    node.ok(&["deploy", faults.to_str().unwrap(), "--timeout", "600"]);
    thread::scope(|scope| {
        let call = slow_call(scope, &node, 500_000);
        node.signal(Signal::TERM);
        let file = directory.path().join("data/node.json");
        until("the node stops", || (!file.exists()).then_some(()));
        node.signal(Signal::TERM);
        assert_eq!(node.wait().code(), Some(1));
        assert!(call.join().unwrap().is_err());
    });
}
