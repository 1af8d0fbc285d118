use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fractus_node::{Addresses, Node};
use fractus_stdx::ErrorChain;
use serde_json::json;

use crate::client::{send, try_send};
use crate::node::{TestNode, component, config, wait_for};

#[test]
fn a_node_announces_itself_while_it_runs() {
    let node = TestNode::start();
    assert_eq!(Addresses::read(&node.data()).unwrap(), node.addresses);
    assert_eq!(node.addresses.pid, std::process::id());
    let health = send(node.addresses.admin, "GET", "/healthz", &[], &[]).expect(200);
    assert_eq!(health.text(), "ok\n");
    let status = node.admin("GET", "/v1/status", &[]).expect(200).json();
    assert_eq!(status["edge"], node.addresses.edge.to_string());
    assert_eq!(status["running"], 0);
    assert!(status["store_health"]["stopped"].is_null());
    let addresses = node.addresses;
    let dir = node.stop();
    assert!(!dir.path().join("data/node.json").exists());
    for address in [addresses.edge, addresses.api, addresses.admin] {
        assert!(try_send(address, "GET", "/", &[], &[]).is_err());
    }
}

#[test]
fn a_directory_has_one_node_and_a_crashed_one_is_no_hindrance() {
    let node = TestNode::start();
    let second = Node::start(config(node.dir())).unwrap_err().to_string();
    assert!(second.contains("another node (pid"), "{second}");
    assert!(second.contains("choose another --data"), "{second}");
    let dir = node.stop();
    fs::write(dir.path().join("data/node.json"), "{\"pid\":1}").unwrap();
    let node = Node::start(config(dir.path())).unwrap();
    assert_eq!(Addresses::read(node.data()).unwrap(), node.addresses());
    node.shutdown();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for listener in ["edge", "api", "admin"] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        match listener {
            "edge" => config.edge = address,
            "api" => config.api = address,
            _ => config.admin = address,
        }
        let error = Node::start(config).unwrap_err();
        let error = ErrorChain(&error).to_string();
        assert!(
            error.contains(&format!("the {listener} listener cannot have {address}")),
            "{error}"
        );
        assert!(error.contains(&format!("--{listener} ADDRESS")), "{error}");
    }
}

#[test]
fn a_restart_keeps_everything() {
    let node = TestNode::start();
    node.deploy_hello();
    node.deploy_faults();
    for _ in 0..5 {
        node.edge("/run/hello").expect(200);
    }
    node.edge("/run/faults/trap").expect(500);
    node.edge("/run/faults/print?lines=2").expect(200);
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(201);
    node.admin("PUT", "/v1/objects/photos/cat", b"meow")
        .expect(201);
    let token = node.data().join("credentials.json");
    let credentials = fs::read(&token).unwrap();

    let node = node.restart();
    assert_eq!(fs::read(&token).unwrap(), credentials);
    let hello = node
        .admin("GET", "/v1/functions/hello", &[])
        .expect(200)
        .json();
    assert_eq!(
        (&hello["version"], &hello["counters"]["calls"]),
        (&json!(1), &json!(5))
    );
    assert_eq!(hello["loaded"], false);
    let faults = node
        .admin("GET", "/v1/functions/faults", &[])
        .expect(200)
        .json();
    assert_eq!(faults["last_error"]["outcome"], "trap");
    let lines = node.logs("faults");
    assert!(lines.iter().any(|line| line["line"] == "line 2 on stderr"));
    let last = lines.last().unwrap()["seq"].as_u64().unwrap();
    node.edge("/run/faults/print?lines=1").expect(200);
    let first_new = wait_for("a new line", || {
        node.logs("faults")
            .into_iter()
            .find(|line| line["seq"].as_u64() > Some(last))
    });
    assert_eq!(first_new["seq"], last + 1);
    node.edge("/run/hello").expect(200);
    assert_eq!(node.edge("/b/photos/cat").expect(200).text(), "meow");
}

#[test]
fn what_another_runtime_compiled_is_compiled_anew_before_the_node_is_ready() {
    let node = TestNode::start();
    node.deploy_hello();
    let dir = node.stop();
    let artifacts = dir.path().join("data/artifacts");
    let compiled = || {
        let files = fs::read_dir(&artifacts)
            .unwrap()
            .map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|e| e == "compiled"))
            .collect::<Vec<_>>()
    };
    let [ours] = &compiled()[..] else {
        panic!("one compiled file");
    };
    fs::rename(
        ours,
        artifacts.join(format!("{}.older.compiled", "0".repeat(64))),
    )
    .unwrap();
    let node = Node::start(config(dir.path())).unwrap();
    assert_eq!(compiled(), std::slice::from_ref(ours));
    send(node.addresses().edge, "GET", "/run/hello", &[], &[]).expect(200);
    node.shutdown();
}

#[test]
fn a_program_damaged_on_disk_is_compiled_anew_when_it_is_called() {
    let node = TestNode::start();
    node.deploy_hello();
    let dir = node.stop();
    let artifacts = fs::read_dir(dir.path().join("data/artifacts")).unwrap();
    let mut files = artifacts.map(|file| file.unwrap().path());
    let compiled = files
        .find(|path| path.extension().is_some_and(|e| e == "compiled"))
        .unwrap();
    let whole = fs::read(&compiled).unwrap();
    for torn in [&whole[..whole.len() / 2], b""] {
        fs::write(&compiled, torn).unwrap();
        let node = Node::start(config(dir.path())).unwrap();
        for _ in 0..2 {
            send(node.addresses().edge, "GET", "/run/hello", &[], &[]).expect(200);
        }
        node.shutdown();
        assert_eq!(fs::metadata(&compiled).unwrap().len(), whole.len() as u64);
    }
}

#[test]
fn health_is_not_told_before_the_node_is_announced() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // An address of this test's own, so that its port can be known before the node has it.
    let [.., high, low] = std::process::id().to_be_bytes();
    config.admin = ([127, 66, high, low], 9090).into();
    // What cannot be replaced by a file.
    fs::create_dir_all(dir.path().join("data/node.json/x")).unwrap();
    let admin = config.admin;
    let (stop, healthy) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let answer = try_send(admin, "GET", "/healthz", &[], &[]);
                if answer.is_ok_and(|answer| answer.status == 200) {
                    healthy.store(true, Ordering::Relaxed);
                }
            }
        });
        let error = Node::start(config).unwrap_err().to_string();
        assert!(error.contains("node.json"), "{error}");
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!healthy.load(Ordering::Relaxed));
}

#[test]
fn guests_that_compute_do_not_keep_a_node_from_stopping() {
    let node = TestNode::with(|config| config.drain = Duration::from_secs(1));
    let limits = json!({"timeout_s": 120.0, "cpu_s": 120.0});
    let manifest = json!({"name": "faults", "limits": limits});
    node.deploy(&manifest, &component("faults")).expect(201);
    let edge = node.addresses.edge;
    let call =
        |number: u8| move || try_send(edge, "GET", &format!("/run/faults/loop?{number}"), &[], &[]);
    let calls = [call(1), call(2), call(3)].map(thread::spawn);
    wait_for("the calls to run", || {
        let faults = node.admin("GET", "/v1/functions/faults", &[]).json();
        (faults["running"] == 3).then_some(())
    });
    let begin = Instant::now();
    let dir = node.stop();
    assert!(begin.elapsed() < Duration::from_secs(10));
    for call in calls {
        let answer = call.join().unwrap();
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status != 200));
    }
    let node = TestNode::on(dir);
    let faults = node.admin("GET", "/v1/functions/faults", &[]).json();
    assert_eq!(faults["counters"]["calls"], 3);
}

#[test]
fn calls_in_flight_end_before_the_node_stops() {
    let node = TestNode::start();
    let manifest = json!({"name": "faults", "limits": {"timeout_s": 10.0}});
    node.deploy(&manifest, &component("faults")).expect(201);
    let edge = node.addresses.edge;
    let call = thread::spawn(move || send(edge, "GET", "/run/faults/sleep?ms=1000", &[], &[]));
    wait_for("the call to run", || {
        let status = node.admin("GET", "/v1/status", &[]).json();
        (status["running"] == 1).then_some(())
    });
    let dir = node.stop();
    assert_eq!(call.join().unwrap().expect(200).text(), "slept 1000 ms\n");
    let node = Node::start(config(dir.path())).unwrap();
    node.shutdown();
}
