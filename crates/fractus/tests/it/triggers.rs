//! What calls functions by itself: times, queues, and changes of objects, through kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use crate::ledger::{Cloud, moment, now_ms};
use crate::support::{request, until};

const MINUTE_MS: u64 = 60_000;

/// Writes down when it was called.
const TICK: &str = r#"
from kit import note, run


def handler(event, context):
    assert event["source"] == "aws.events" and event["detail"] == {}, event
    with run(event["time"]):
        note("fire", event["time"], event["id"])
"#;

const EVERY_MINUTE: &str = "[[triggers.cron]]\nschedule = \"* * * * *\"\n";

/// Sleeps until a time in milliseconds since the UNIX epoch.
fn sleep_until(at_ms: u64) {
    thread::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms())));
}

/// The database of events and its log.
fn database(data: &Path) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("events.db"))
    };
    let entries = fs::read_dir(data).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(is_one)
        .collect()
}

/// What a node that was killed had kept of its events, to be put back later: then it is as if all
/// since had not reached the disk, or as if the machine had been off since.
struct Past(Vec<(PathBuf, Vec<u8>)>);

impl Past {
    /// Kills the node, keeps that, and starts it again.
    fn of(cloud: &mut Cloud) -> Self {
        cloud.kill();
        cloud.bury();
        let files = database(&cloud.directory.path().join("data"));
        let read = |path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        };
        let past = Self(files.into_iter().map(read).collect());
        cloud.restart();
        past
    }

    /// Kills the node, and starts it again as it was.
    fn put_back(&self, cloud: &mut Cloud) {
        cloud.kill();
        cloud.bury();
        for file in database(&cloud.directory.path().join("data")) {
            fs::remove_file(file).unwrap();
        }
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).unwrap();
        }
        cloud.restart();
    }
}

/// The events of a function's fires, by the minute, each with its id.
fn fires(cloud: &Cloud) -> BTreeMap<String, BTreeSet<String>> {
    let mut fires: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for note in cloud.notes("fire") {
        fires
            .entry(note[0].clone())
            .or_default()
            .insert(note[1].clone());
    }
    fires
}

#[test]
fn a_minute_fires_once_whether_the_node_is_there_or_not() {
    let mut cloud = Cloud::new("");
    // The minute is long enough for what comes.
    if now_ms() % MINUTE_MS > 45_000 {
        sleep_until(now_ms().next_multiple_of(MINUTE_MS));
    }
    cloud.deploy("ticker", TICK, EVERY_MINUTE);
    let first_ms = now_ms().next_multiple_of(MINUTE_MS);
    let past = Past::of(&mut cloud);

    // The node is away when the minute comes.
    sleep_until(first_ms - 500);
    let mut kills = vec![cloud.kill()];
    cloud.bury();
    sleep_until(first_ms + 200);
    cloud.restart();
    until("what was missed is made up for", || {
        (fires(&cloud).len() == 1).then_some(())
    });
    cloud.until_idle();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(cloud.runs().values().map(Vec::len).collect::<Vec<_>>(), [1]);

    // It is killed while the minute comes, at about the time at which its event is written.
    sleep_until(first_ms + MINUTE_MS);
    thread::sleep(moment(first_ms, 20));
    kills.push(cloud.kill());
    cloud.restart();
    until("the next minute", || {
        (fires(&cloud).len() == 2).then_some(())
    });
    cloud.until_idle();
    thread::sleep(Duration::from_secs(2));
    for runs in cloud.runs().values() {
        assert!(
            runs.iter().filter(|run| !run.was_cut(&kills)).count() <= 1,
            "{runs:?} {kills:?}"
        );
        assert!(runs.last().unwrap().ended_ms.is_some());
    }
    assert!(
        fires(&cloud).values().all(|ids| ids.len() == 1),
        "{:?}",
        fires(&cloud)
    );
    let schedule = cloud.node().json(&["events"])["schedules"][0].clone();
    assert_eq!(
        (&schedule["function"], &schedule["missed"]),
        (&"ticker".into(), &0.into())
    );
    assert_eq!(schedule["last_fire_ms"], first_ms + MINUTE_MS);

    // As if it had been down for both: of the two the later is made up for.
    let count = |cloud: &Cloud| cloud.runs().values().map(Vec::len).collect::<Vec<_>>();
    let before = count(&cloud);
    past.put_back(&mut cloud);
    until("what was missed is made up for", || {
        (count(&cloud) == [before[0], before[1] + 1]).then_some(())
    });
    let events = cloud.node().json(&["events"]);
    let schedule = &events["schedules"][0];
    assert_eq!(
        (&schedule["missed"], &events["missed"]),
        (&1.into(), &1.into()),
        "{events}"
    );
    assert_eq!(schedule["last_missed_ms"], first_ms);
    assert!(
        now_ms() < first_ms + 2 * MINUTE_MS,
        "the machine is too slow to tell"
    );
}

#[test]
fn schedules_are_those_of_the_functions_after_a_crash_between_the_two() {
    let mut cloud = Cloud::new("");
    let scheduled = |cloud: &Cloud| {
        let schedules = cloud.events()["schedules"].clone();
        let schedules = schedules.as_array().unwrap().iter();
        schedules
            .map(|one| one["function"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    cloud.deploy("goes", TICK, EVERY_MINUTE);
    cloud.deploy("stays", TICK, EVERY_MINUTE);
    let past = Past::of(&mut cloud);
    cloud.node().ok(&["rm", "goes"]);
    cloud.deploy("comes", TICK, EVERY_MINUTE);
    assert_eq!(scheduled(&cloud), ["comes", "stays"]);
    past.put_back(&mut cloud);
    assert_eq!(scheduled(&cloud), ["comes", "stays"]);
}

/// Works messages off: writes each down, and names those that fail.
const WORK: &str = r#"
import hashlib, json, time

from kit import note, put, run


def shape(record):
    body = record["body"].encode()
    assert record["md5OfBody"] == hashlib.md5(body).hexdigest(), record
    assert record["messageId"] and record["receiptHandle"], record
    assert record["eventSource"] == "aws:sqs" and record["messageAttributes"] == {}, record
    assert record["eventSourceARN"].startswith(f"arn:aws:sqs:{record['awsRegion']}:"), record
    assert int(record["attributes"]["SentTimestamp"]) <= time.time() * 1000, record
    return record["eventSourceARN"].split(":")[-1]


def handler(event, context):
    failed = []
    note("batch", len(event["Records"]))
    for record in event["Records"]:
        message = json.loads(record["body"])
        note("taken", message["n"], shape(record), record["attributes"]["ApproximateReceiveCount"])
        with run(message["n"]):
            time.sleep(message.get("s", 0))
            fails = message.get("fails")
            if fails == "always" or fails == "once" and put(f"first/{message['n']}"):
                failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
"#;

fn send(cloud: &Cloud, queue: &str, message: &Value) {
    let (admin, authorization) = (cloud.node().address("admin"), cloud.node().authorization());
    let line = format!("POST /v1/queues/{queue}/messages");
    let body = json!({"body": message.to_string()}).to_string();
    let (status, _, body) = request(admin, &line, &authorization, body.as_bytes()).unwrap();
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
}

/// How often each message was taken, as it was told.
fn taken(cloud: &Cloud) -> BTreeMap<String, Vec<u64>> {
    let mut taken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for note in cloud.notes("taken") {
        taken
            .entry(note[0].clone())
            .or_default()
            .push(note[2].parse().unwrap());
    }
    for counts in taken.values_mut() {
        counts.sort_unstable();
    }
    taken
}

#[test]
fn messages_come_in_batches_and_those_that_fail_again_or_to_the_dead() {
    let cloud = Cloud::new("");
    let node = cloud.node();
    node.ok(&["queue", "create", "lost"]);
    let settings = [
        "--visibility",
        "1",
        "--max-receives",
        "3",
        "--dead-letter",
        "lost",
    ];
    node.ok(&[&["queue", "create", "work"], &settings[..]].concat());
    let messages = (0..23).map(|n| match n {
        7 => json!({"n": "poison", "fails": "always"}),
        11 => json!({"n": "flaky", "fails": "once"}),
        n => json!({"n": format!("good-{n}")}),
    });
    messages.for_each(|message| send(&cloud, "work", &message));
    let told = node.ok(&["queue", "send", "work", "{\"n\": \"by-hand\"}"]);
    assert_eq!(told.trim().len(), 36, "{told}");
    cloud.deploy(
        "worker",
        WORK,
        "[[triggers.queue]]\nqueue = \"work\"\nbatch = 5\nreport_failures = true\n",
    );
    let ready = |at: usize, name: &str| {
        let queue = node.json(&["queue", "ls"])["queues"][at].clone();
        assert_eq!(queue["name"], name);
        queue["ready"].as_u64().unwrap()
    };
    until("all but the dead letter is worked off", || {
        (cloud.events()["queued"] == 1 && ready(0, "lost") == 1).then_some(())
    });
    assert_eq!(ready(1, "work"), 0);
    let taken = taken(&cloud);
    assert_eq!(taken.len(), 24, "{taken:?}");
    for (n, counts) in &taken {
        let told: &[u64] = match n.as_str() {
            "poison" => &[1, 2, 3],
            "flaky" => &[1, 2],
            _ => &[1],
        };
        assert_eq!(counts, told, "{n}");
    }
    let batches = cloud.notes("batch");
    let sizes: Vec<u64> = batches
        .iter()
        .map(|note| note[0].parse().unwrap())
        .collect();
    assert!(
        sizes.iter().all(|size| *size <= 5) && sizes.contains(&5),
        "{sizes:?}"
    );
    // What went there can be worked off like any other.
    cloud.deploy("undertaker", WORK, "[[triggers.queue]]\nqueue = \"lost\"\n");
    cloud.until_idle();
    let last = cloud
        .notes("taken")
        .into_iter()
        .filter(|note| note[1] == "lost");
    assert_eq!(
        last.map(|note| note[0].clone()).collect::<Vec<_>>(),
        ["poison"]
    );
}

#[test]
fn messages_of_a_batch_that_was_killed_come_again() {
    const MESSAGES: u64 = 40;
    let mut cloud = Cloud::new("");
    cloud
        .node()
        .ok(&["queue", "create", "work", "--visibility", "2"]);
    let limits = "[limits]\ntimeout_s = 20.0\nconcurrency = 4\n";
    let trigger = "[[triggers.queue]]\nqueue = \"work\"\nbatch = 3\nreport_failures = true\n";
    cloud.deploy("worker", WORK, &format!("{limits}{trigger}"));
    for n in 0..MESSAGES {
        send(&cloud, "work", &json!({"n": n, "s": 0.1}));
    }
    let mut kills = Vec::new();
    for round in 1..=2 {
        let before = cloud.runs().len();
        until("messages are worked at", || {
            (cloud.runs().len() >= before + 5).then_some(())
        });
        thread::sleep(moment(round, 150));
        kills.push(cloud.kill());
        cloud.restart();
    }
    cloud.until_idle();
    let (runs, taken) = (cloud.runs(), taken(&cloud));
    assert_eq!(runs.len() as u64, MESSAGES, "messages are lost: {runs:?}");
    let again = taken.values().filter(|counts| counts.len() > 1).count();
    assert!(again > 0, "the node was killed when nothing was worked at");
    for (n, runs) in &runs {
        assert!(runs.last().unwrap().ended_ms.is_some(), "{n}: {runs:?}");
        // A message that was not worked at yet goes back with the others of its batch.
        let most = 1 + kills.len();
        assert!(
            runs.len() <= most && taken[n].len() <= most,
            "{n}: {runs:?} {:?}",
            taken[n]
        );
    }
}

/// Writes changes of objects down.
const WATCH: &str = r#"
import base64

from kit import note


def handler(event, context):
    [record] = event["Records"]
    assert record["eventSource"] == "aws:s3" and record["eventVersion"] == "2.1", record
    assert record["s3"]["bucket"]["arn"] == "arn:aws:s3:::photos", record
    thing = record["s3"]["object"]
    key = base64.urlsafe_b64encode(thing["key"].encode()).decode()
    note("object", record["eventName"], thing.get("size"), thing.get("eTag"), key)
"#;

const WATCHED: &str =
    "[[triggers.object]]\nbucket = \"photos\"\nprefix = \"in/\"\nsuffix = \".jpg\"
on = [\"created\", \"removed\"]\n";

/// The changes that were told of: what, size, tag and key.
fn changes(cloud: &Cloud) -> Vec<[String; 4]> {
    let changes = cloud.notes("object").into_iter().map(|note| {
        let [what, size, tag, key] = [0, 1, 2, 3].map(|at| note[at].clone());
        let key = URL_SAFE.decode(key).unwrap();
        [what, size, tag, String::from_utf8(key).unwrap()]
    });
    changes.collect()
}

#[test]
fn changes_of_objects_call_those_that_watch_them() {
    let cloud = Cloud::new("");
    let node = cloud.node();
    node.ok(&["bucket", "create", "photos"]);
    cloud.deploy("watcher", WATCH, WATCHED);
    let file = cloud.directory.path().join("photo");
    fs::write(&file, b"no photograph").unwrap();
    let key = "in/a b+ü&.jpg";
    for key in ["out/x.jpg", "in/x.png", key] {
        node.ok(&[
            "cp",
            file.to_str().unwrap(),
            &format!("fractus://photos/{key}"),
        ]);
    }
    cloud.until_idle();
    let listed = cloud.admin("/v1/buckets/photos/objects?prefix=in/a");
    let tag = listed["objects"][0]["etag"]
        .as_str()
        .unwrap()
        .trim_matches('"')
        .to_owned();
    assert_eq!(listed["objects"][0]["key"], key);
    let encoded = "in/a+b%2B%C3%BC%26.jpg";
    let created = ["ObjectCreated:Put", "13", &*tag, encoded].map(str::to_owned);
    assert_eq!(changes(&cloud), slice::from_ref(&created));
    for key in ["out/x.jpg", key] {
        node.ok(&["rm", &format!("fractus://photos/{key}")]);
    }
    cloud.until_idle();
    let removed = ["ObjectRemoved:Delete", "None", "None", encoded].map(str::to_owned);
    assert_eq!(changes(&cloud), [created, removed]);
}

#[test]
fn an_object_that_was_acknowledged_has_its_event_whenever_the_node_is_killed() {
    let mut cloud = Cloud::new("");
    cloud.node().ok(&["bucket", "create", "photos"]);
    cloud.deploy("watcher", WATCH, WATCHED);
    let (next, acknowledged) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    for round in 1..=5 {
        let (admin, authorization) = (cloud.node().address("admin"), cloud.node().authorization());
        let put = || {
            loop {
                let key = format!("in/{}.jpg", next.fetch_add(1, Ordering::SeqCst));
                let line = format!("PUT /v1/objects/photos/{key}");
                let Ok((status, _, _)) = request(admin, &line, &authorization, key.as_bytes())
                else {
                    return;
                };
                assert_eq!(status, 201);
                acknowledged.lock().unwrap().insert(key);
            }
        };
        let before = acknowledged.lock().unwrap().len();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(put);
            }
            until("objects are stored", || {
                (acknowledged.lock().unwrap().len() > before).then_some(())
            });
            thread::sleep(moment(round, 100));
            cloud.kill();
        });
        cloud.restart();
    }
    cloud.until_idle();
    let told: BTreeSet<_> = changes(&cloud).into_iter().map(|[.., key]| key).collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(
        acknowledged.len() >= 5 && acknowledged.is_subset(&told),
        "{acknowledged:?} {told:?}"
    );
}
