//! A node that is killed while it is written to: what it acknowledged is there and whole.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fractus_stdx::Hex;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use crate::support::{Node, cloud, component, fractus, get, noise, request, until};

const WRITERS: usize = 3;

/// What was asked for, by number, and whether it was acknowledged.
#[derive(Default)]
struct Asked {
    objects: Mutex<BTreeMap<u64, bool>>,
    functions: Mutex<BTreeMap<u64, bool>>,
    numbers: AtomicU64,
}

impl Asked {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    fn acknowledged(of: &Mutex<BTreeMap<u64, bool>>) -> usize {
        let asked = of.lock().unwrap();
        asked.values().filter(|acknowledged| **acknowledged).count()
    }
}

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// An artifact has come in part.
    Uploading,
    /// An artifact is there, its compiled form is not.
    Compiling,
    /// Whenever enough was acknowledged.
    Any,
}

impl Moment {
    fn is_now(self, artifacts: &Path) -> bool {
        let [wasm, compiled, new] = ["wasm", "compiled", "new"].map(|kind| count(artifacts, kind));
        match self {
            Self::Uploading => new > 0 && wasm == compiled,
            Self::Compiling => wasm > compiled,
            Self::Any => true,
        }
    }
}

/// The files of a folder that may be changing.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn count(folder: &Path, extension: &str) -> usize {
    let is_one = |path: &&PathBuf| path.extension() == Some(OsStr::new(extension));
    files(folder).iter().filter(is_one).count()
}

/// The bytes of an object, of any size up to some hundred KiB.
fn content(number: u64) -> Vec<u8> {
    let length = noise(number, 3)
        .iter()
        .fold(0, |sum, byte| sum * 61 + usize::from(*byte));
    noise(number, length % 400_000)
}

/// Stores objects until the node is gone.
fn write(asked: &Asked, admin: SocketAddr, authorization: &str) {
    loop {
        let number = asked.number();
        asked.objects.lock().unwrap().insert(number, false);
        let line = format!("PUT /v1/objects/crash/object-{number}");
        match request(admin, &line, authorization, &content(number)) {
            Ok((201, _, _)) => {}
            Ok((status, _, answer)) => panic!("{status} {answer:?}"),
            Err(_) => return,
        }
        asked.objects.lock().unwrap().insert(number, true);
    }
}

/// `hello` with a custom section of its own, so that each has a digest of its own and takes some
/// time to send.
fn variant(hello: &[u8], number: u64) -> Vec<u8> {
    let name = b"variant";
    let mut section = vec![u8::try_from(name.len()).unwrap()];
    section.extend_from_slice(name);
    section.extend(noise(number, 3_000_000));
    let mut wasm = hello.to_owned();
    wasm.push(0);
    let mut size = section.len();
    // LEB128, in which the size goes.
    while size >= 0x80 {
        wasm.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    wasm.push(u8::try_from(size).unwrap());
    wasm.extend(section);
    wasm
}

/// Deploys functions until the node is gone, each with an artifact of its own.
fn deploy(asked: &Asked, data: &Path, hello: &[u8]) {
    let file = data.with_file_name("variant.wasm");
    loop {
        let number = asked.number();
        fs::write(&file, variant(hello, number)).unwrap();
        asked.functions.lock().unwrap().insert(number, false);
        let name = format!("crash-{number}");
        let command = ["deploy", file.to_str().unwrap(), "--name", &name];
        if !fractus(data, &command).output().unwrap().status.success() {
            return;
        }
        asked.functions.lock().unwrap().insert(number, true);
    }
}

/// Kills a node at a moment of its being written to.
fn kill(node: Node, asked: &Asked, data: &Path, hello: &[u8], moment: Moment) {
    let (admin, authorization) = (node.address("admin"), node.authorization());
    let before = (
        Asked::acknowledged(&asked.objects),
        Asked::acknowledged(&asked.functions),
    );
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| write(asked, admin, &authorization));
        }
        scope.spawn(|| deploy(asked, data, hello));
        until("enough is acknowledged", || {
            let enough = Asked::acknowledged(&asked.objects) >= before.0 + 20
                && Asked::acknowledged(&asked.functions) >= before.1 + 2;
            enough.then_some(())
        });
        let artifacts = data.join("artifacts");
        until("the moment to kill", || {
            moment.is_now(&artifacts).then_some(())
        });
        node.signal(Signal::KILL);
        assert_eq!(node.wait().code(), None);
    });
}

fn check_objects(node: &Node, asked: &Asked) {
    let (admin, authorization) = (node.address("admin"), node.authorization());
    for (number, acknowledged) in &*asked.objects.lock().unwrap() {
        let line = format!("GET /v1/objects/crash/object-{number}");
        let (status, _, body) = request(admin, &line, &authorization, b"").unwrap();
        match status {
            200 => assert!(body == content(*number), "object {number} is not whole"),
            404 => assert!(!acknowledged, "object {number} is lost"),
            other => panic!("object {number}: {other}"),
        }
    }
}

/// Every function answers, from files that are whole and were so before anybody called; and no
/// other file is there.
fn check_functions(node: &Node, asked: &Asked, artifacts: &Path) {
    let identities = || {
        let mut found: Vec<_> = files(artifacts)
            .into_iter()
            .map(|path| (fs::metadata(&path).unwrap().ino(), path))
            .collect();
        found.sort();
        found
    };
    let before = identities();
    let mut there = 0;
    for (number, acknowledged) in &*asked.functions.lock().unwrap() {
        let (status, _, body) = get(node.address("edge"), &format!("/run/crash-{number}"));
        match status {
            200 => assert_eq!(body, b"Hello from Fractus\n"),
            404 => assert!(!acknowledged, "function {number} is lost"),
            other => panic!("function {number}: {other}"),
        }
        there += usize::from(status == 200);
    }
    // A file that could not be used would have been replaced.
    assert_eq!(identities(), before);
    assert_eq!(before.len(), 2 * there, "{before:?}");
    for (_, path) in before {
        if path.extension() == Some(OsStr::new("wasm")) {
            let digest = Sha256::digest(fs::read(&path).unwrap());
            assert_eq!(path.file_stem().unwrap(), Hex(&digest).to_string().as_str());
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let (directory, mut node) = cloud();
    let data = directory.path().join("data");
    node.ok(&["bucket", "create", "crash"]);
    let hello = fs::read(component(&node, "hello")).unwrap();
    node.ok(&["rm", "hello"]);
    let asked = Asked::default();
    for moment in [Moment::Compiling, Moment::Uploading, Moment::Any] {
        kill(node, &asked, &data, &hello, moment);
        node = Node::start(&data);
        check_objects(&node, &asked);
        check_functions(&node, &asked, &data.join("artifacts"));
    }
}
