//! What functions did, written down so that it outlives any kill: each step of theirs is an object
//! of a bucket, whose key says all there is to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Node, noise, request, until};

/// What handlers are written with. A run is `with run(n):`, and `note` writes anything else down.
const KIT: &str = r#"
import contextlib, http.client, json, os, time, uuid
from urllib.parse import urlsplit


def put(key):
    """Makes an empty object; False if there is one already."""
    connection = http.client.HTTPConnection(urlsplit(os.environ["HTTP_PROXY"]).netloc, timeout=10)
    with contextlib.closing(connection):
        where = "http://store.internal/ledger/" + key
        connection.request("PUT", where, b"", {"If-None-Match": "*"})
        answer = connection.getresponse()
        text = answer.read()
    if answer.status not in (200, 201, 204, 412):
        raise RuntimeError(f"{key}: {answer.status} {text}")
    return answer.status != 412


def note(*words):
    put("/".join([*map(str, words), uuid.uuid4().hex]))


@contextlib.contextmanager
def run(n):
    own = uuid.uuid4().hex
    put(f"began/{n}/{own}/{time.time_ns() // 1_000_000}")
    try:
        yield
    finally:
        put(f"ended/{n}/{own}/{time.time_ns() // 1_000_000}")
"#;

/// Writes down each record of an invocation that comes: as an event of its own, or as messages of a
/// queue.
const COLLECT: &str = r#"
import json

from kit import note


def keep(record, way):
    context = record["requestContext"]
    count = context["approximateInvokeCount"]
    note("letter", record["requestPayload"]["n"], context["condition"], count, way)


def handler(event, context):
    if "Records" not in event:
        keep(event, "function")
    for message in event.get("Records", []):
        keep(json.loads(message["body"]), "queue")
"#;

/// An end that is on its way to the disk when the node is killed is not remembered.
const SETTLE_MS: u64 = 1_000;

/// Now, in milliseconds since the UNIX epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Some time up to `most_ms` milliseconds.
pub(crate) fn moment(seed: u64, most_ms: u64) -> Duration {
    let [low, high] = noise(seed, 2)[..] else {
        unreachable!("two bytes were asked for");
    };
    Duration::from_millis(u64::from(u16::from_le_bytes([low, high])) % (most_ms + 1))
}

/// A node that may be killed and started again, and where its data is.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) directory: TempDir,
    node: Option<Node>,
}

/// One call of a handler, in milliseconds since the UNIX epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) began_ms: u64,
    /// None if it was killed.
    pub(crate) ended_ms: Option<u64>,
}

impl Run {
    /// Whether the node may not know that it ended, since it was killed at one of these times.
    pub(crate) fn was_cut(&self, kills: &[u64]) -> bool {
        let end = self.ended_ms.map_or(u64::MAX, |ended| ended + SETTLE_MS);
        kills
            .iter()
            .any(|kill| (self.began_ms..=end).contains(kill))
    }
}

impl Cloud {
    /// Starts a node on an empty directory; `config` is its configuration.
    pub(crate) fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("node.toml"), config).unwrap();
        let mut cloud = Self {
            directory,
            node: None,
        };
        cloud.start();
        cloud.node().ok(&["bucket", "create", "ledger"]);
        cloud
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    /// Starts the node; answers how long that took.
    fn start(&mut self) -> Duration {
        let config = self.directory.path().join("node.toml");
        let flags = ["--config", config.to_str().unwrap()];
        let begin = Instant::now();
        self.node = Some(Node::start_with(
            &self.directory.path().join("data"),
            &flags,
        ));
        begin.elapsed()
    }

    /// Kills the node; answers when, in milliseconds since the UNIX epoch.
    pub(crate) fn kill(&self) -> u64 {
        let at_ms = now_ms();
        self.node().signal(Signal::KILL);
        at_ms
    }

    /// Waits until the node that was killed is gone.
    pub(crate) fn bury(&mut self) {
        assert_eq!(self.node.take().unwrap().wait().code(), None);
    }

    /// Starts the node again; answers how long that took.
    pub(crate) fn restart(&mut self) -> Duration {
        if self.node.is_some() {
            self.bury();
        }
        self.start()
    }

    /// Waits until the node that was asked to stop has done so in order, and starts it again.
    pub(crate) fn restart_after_stop(&mut self) {
        assert_eq!(self.node.take().unwrap().wait().code(), Some(0));
        self.start();
    }

    /// Deploys a function in Python. `more` is put behind its manifest.
    #[track_caller]
    pub(crate) fn deploy(&self, name: &str, code: &str, more: &str) {
        let folder = self.directory.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let manifest = format!(
            "name = \"{name}\"\nruntime = \"python3\"\nhandler = \"app.handler\"\n\
             [access]\nwrites = [\"ledger\"]\n{more}"
        );
        for (file, text) in [
            ("fractus.toml", &*manifest),
            ("app.py", code),
            ("kit.py", KIT),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        self.node().ok(&["deploy", folder.to_str().unwrap()]);
    }

    /// Deploys a function that writes down what comes to a destination, to itself or to this queue.
    pub(crate) fn deploy_collector(&self, name: &str, queue: &str) {
        self.node()
            .ok(&["queue", "create", queue, "--visibility", "1"]);
        let trigger =
            format!("[limits]\ntimeout_s = 20.0\n[[triggers.queue]]\nqueue = \"{queue}\"\n");
        self.deploy(name, COLLECT, &trigger);
    }

    /// What the admin API says of a path.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Value {
        let (address, authorization) = (self.node().address("admin"), self.node().authorization());
        let (status, _, body) =
            request(address, &format!("GET {path}"), &authorization, b"").unwrap();
        assert_eq!(status, 200, "{path}");
        serde_json::from_slice(&body).unwrap()
    }

    /// How events stand.
    pub(crate) fn events(&self) -> Value {
        self.admin("/v1/events")
    }

    /// Waits until no event and no message is left.
    #[track_caller]
    pub(crate) fn until_idle(&self) {
        until("nothing waits any more", || {
            let events = self.events();
            let none = |key| events[key].as_u64() == Some(0);
            (none("queued") && none("in_flight") && none("delivering")).then_some(())
        });
    }

    /// The words of all that was written down under one.
    pub(crate) fn notes(&self, kind: &str) -> Vec<Vec<String>> {
        let (mut notes, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/buckets/ledger/objects?prefix={kind}/&after={after}");
            let page = self.admin(&path);
            for object in page["objects"].as_array().unwrap() {
                object["key"].as_str().unwrap().clone_into(&mut after);
                notes.push(after.split('/').skip(1).map(str::to_owned).collect());
            }
            if page["truncated"] == false {
                return notes;
            }
        }
    }

    /// All runs, by what they were called with, in order.
    pub(crate) fn runs(&self) -> BTreeMap<String, Vec<Run>> {
        // What ended after the list of it was read is not looked at; what began before is.
        let ended = self.notes("ended");
        let mut runs: BTreeMap<String, BTreeMap<String, Run>> = BTreeMap::new();
        for note in self.notes("began") {
            let run = runs
                .entry(note[0].clone())
                .or_default()
                .entry(note[1].clone());
            run.or_default().began_ms = note[2].parse().unwrap();
        }
        for note in ended {
            let run = runs
                .get_mut(&note[0])
                .and_then(|runs| runs.get_mut(&note[1]));
            run.unwrap().ended_ms = Some(note[2].parse().unwrap());
        }
        let in_order = |runs: BTreeMap<_, Run>| {
            let mut runs: Vec<_> = runs.into_values().collect();
            runs.sort_by_key(|run| run.began_ms);
            runs
        };
        runs.into_iter()
            .map(|(n, runs)| (n, in_order(runs)))
            .collect()
    }

    /// The records that came to collectors: by what the event was called with, condition, count
    /// and way.
    pub(crate) fn letters(&self) -> BTreeMap<String, BTreeSet<Vec<String>>> {
        let mut letters: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
        for note in self.notes("letter") {
            letters
                .entry(note[0].clone())
                .or_default()
                .insert(note[1..4].to_vec());
        }
        letters
    }
}
