//! A node that is killed while it is written to: what it acknowledged is there and whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::{Node, cloud, example, fractus, noise, request, until};

const WRITERS: u64 = 3;

/// What writers asked for, and whether it was acknowledged.
#[derive(Default)]
struct Asked {
    objects: Mutex<BTreeMap<u64, bool>>,
    acknowledged: AtomicU64,
    version: AtomicU64,
}

/// The bytes of an object, of any size up to some hundred KiB.
fn content(number: u64) -> Vec<u8> {
    let length = noise(number, 3)
        .iter()
        .fold(0, |sum, byte| sum * 61 + usize::from(*byte));
    noise(number, length % 400_000)
}

/// Stores objects until the node is gone.
fn write(asked: &Asked, admin: SocketAddr, authorization: &str, writer: u64) {
    for number in (writer..).step_by(usize::try_from(WRITERS).unwrap()) {
        asked.objects.lock().unwrap().insert(number, false);
        let line = format!("PUT /v1/objects/crash/object-{number}");
        match request(admin, &line, authorization, &content(number)) {
            Ok((201, _, _)) => {}
            Ok((status, _, answer)) => panic!("{status} {answer:?}"),
            Err(_) => return,
        }
        asked.objects.lock().unwrap().insert(number, true);
        asked.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// Deploys versions until the node is gone.
fn deploy(asked: &Asked, data: &Path) {
    let project = example("hello");
    loop {
        let command = ["deploy", project.to_str().unwrap(), "--json"];
        let output = fractus(data, &command).output().unwrap();
        if !output.status.success() {
            return;
        }
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        asked
            .version
            .store(answer["version"].as_u64().unwrap(), Ordering::SeqCst);
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (directory, node) = cloud();
    let data = directory.path().join("data");
    node.ok(&["bucket", "create", "crash"]);
    let asked = Asked::default();
    let (admin, authorization) = (node.address("admin"), node.authorization());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (asked, authorization) = (&asked, &authorization);
            scope.spawn(move || write(asked, admin, authorization, writer));
        }
        scope.spawn(|| deploy(&asked, &data));
        until("enough is acknowledged", || {
            let enough = asked.acknowledged.load(Ordering::SeqCst) >= 50
                && asked.version.load(Ordering::SeqCst) >= 3;
            enough.then_some(())
        });
        node.signal(Signal::KILL);
        assert_eq!(node.wait().code(), None);
    });

    let node = Node::start(&data);
    let (admin, authorization) = (node.address("admin"), node.authorization());
    for (number, acknowledged) in asked.objects.into_inner().unwrap() {
        let line = format!("GET /v1/objects/crash/object-{number}");
        let (status, _, body) = request(admin, &line, &authorization, b"").unwrap();
        match status {
            200 => assert!(body == content(number), "object {number} is not whole"),
            404 => assert!(!acknowledged, "object {number} is lost"),
            other => panic!("object {number}: {other}"),
        }
    }
    let version = node.json(&["ls"])["functions"][0]["version"]
        .as_u64()
        .unwrap();
    assert!(version >= asked.version.load(Ordering::SeqCst));
    assert!(node.ok(&["invoke", "hello"]).contains("Hello from Fractus"));
}
