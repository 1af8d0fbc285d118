//! Asynchronous invocations through kills: what was acknowledged runs, fails as often as it may,
//! and is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws_client::Aws;
use crate::ledger::{Cloud, Run, moment};
use crate::support::until;

/// Retries within moments.
const QUICK: &str = "drain_s = 1\n[events]\nretry_s = [0.5, 1.0]\n";

/// Writes down that it ran, and fails if it is told to.
const RUN: &str = r#"
import time

from kit import run


def handler(event, context):
    with run(event["n"]):
        time.sleep(event.get("s", 0))
        if event.get("fails"):
            raise ValueError("it always fails")
    return {"n": event["n"]}
"#;

/// Limits of functions that run so many at once.
fn at_once(calls: u32) -> String {
    format!("[limits]\ntimeout_s = 20.0\nconcurrency = {calls}\n")
}

/// Events that were asked for, by number.
#[derive(Debug, Default)]
struct Asked {
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
}

impl Asked {
    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Adds events up to this number, until the node is gone.
    fn add(&self, mut aws: Aws, function: &str, most: u64, event: impl Fn(u64) -> Value) {
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= most {
                return;
            }
            match aws.invoke(function, "Event", &event(number)) {
                Ok(answer) => assert_eq!(answer.status, 202, "{answer:?}"),
                Err(_) => return,
            }
            self.acknowledged.lock().unwrap().insert(number);
        }
    }

    /// The same by several clients at once, and all of the events must be taken.
    fn add_all(&self, cloud: &Cloud, function: &str, most: u64, event: fn(u64) -> Value) {
        let aws = Aws::of(cloud.node());
        thread::scope(|scope| {
            for _ in 0..4 {
                let aws = aws.clone();
                scope.spawn(|| self.add(aws, function, most, event));
            }
        });
        assert_eq!(self.count() as u64, most);
    }
}

/// Runs that came to their end, and what a kill may have cut of them.
fn whole(runs: &[Run], kills: &[u64]) -> usize {
    runs.iter().filter(|run| !run.was_cut(kills)).count()
}

#[test]
fn every_acknowledged_event_runs_however_often_the_node_is_killed() {
    const EVENTS: u64 = 200;
    let mut cloud = Cloud::new(QUICK);
    cloud.deploy("slow", RUN, &at_once(8));
    let (asked, mut kills) = (Asked::default(), Vec::new());
    let event = |n| json!({"n": n, "s": 0.05});
    for round in 1..=7_u64 {
        // In the last rounds nothing is added: what waits is worked off.
        let most = EVENTS.min(round * EVENTS / 5);
        let aws = Aws::of(cloud.node());
        let before = asked.count();
        thread::scope(|scope| {
            for _ in 0..4 {
                let aws = aws.clone();
                scope.spawn(|| asked.add(aws, "slow", most, event));
            }
            until("events are taken", || {
                (asked.count() >= before + 10 || round > 5).then_some(())
            });
            thread::sleep(moment(round, 300));
            kills.push(cloud.kill());
        });
        cloud.restart();
        // Those that failed to be taken are not asked for again.
        asked.next.fetch_max(most, Ordering::SeqCst);
    }
    cloud.until_idle();
    let runs = cloud.runs();
    let acknowledged = asked.acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 50, "{acknowledged:?}");
    for number in &acknowledged {
        assert!(
            runs.contains_key(&number.to_string()),
            "event {number} is lost"
        );
    }
    for (number, runs) in &runs {
        assert!(
            runs.last().unwrap().ended_ms.is_some(),
            "event {number} did not end: {runs:?}"
        );
        let again = whole(runs, &kills);
        assert!(
            again <= 1,
            "event {number} ran {again} times without need: {runs:?} {kills:?}"
        );
        assert!(number.parse::<u64>().unwrap() < EVENTS);
    }
}

#[test]
fn attempts_are_counted_on_after_a_kill() {
    const EVENTS: u64 = 30;
    let mut cloud = Cloud::new(QUICK);
    cloud.deploy("fails", RUN, &at_once(8));
    cloud.deploy_collector("collector", "failures");
    let mut aws = Aws::of(cloud.node());
    let to = json!({"OnFailure": {"Destination": aws.queue_arn("failures")}});
    aws.put_event_config("fails", &json!({"DestinationConfig": to}));
    let event = |n| json!({"n": n, "fails": true});
    Asked::default().add_all(&cloud, "fails", EVENTS, event);

    let mut kills = Vec::new();
    for attempts in 1..=2 {
        until("some have failed so often", || {
            let ran = cloud
                .runs()
                .into_values()
                .filter(|runs| runs.len() >= attempts);
            (ran.count() as u64 >= EVENTS / 3).then_some(())
        });
        thread::sleep(moment(attempts as u64, 300));
        kills.push(cloud.kill());
        cloud.restart();
    }
    cloud.until_idle();
    let (runs, letters) = (cloud.runs(), cloud.letters());
    assert_eq!((runs.len() as u64, letters.len() as u64), (EVENTS, EVENTS));
    for (number, runs) in &runs {
        let counted = whole(runs, &kills);
        assert!(
            runs.len() >= 3 && counted <= 3,
            "event {number}: {runs:?} {kills:?}"
        );
        let told = [["RetriesExhausted", "3", "queue"]
            .map(str::to_owned)
            .to_vec()];
        assert_eq!(letters[number], BTreeSet::from(told), "event {number}");
    }
}

#[test]
fn records_reach_their_destinations_through_kills() {
    const EVENTS: u64 = 120;
    let mut cloud = Cloud::new(QUICK);
    cloud.deploy("works", RUN, &at_once(8));
    cloud.deploy_collector("collector", "failures");
    let mut aws = Aws::of(cloud.node());
    let config = json!({
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {
            "OnSuccess": {"Destination": aws.arn("collector")},
            "OnFailure": {"Destination": aws.queue_arn("failures")},
        },
    });
    aws.put_event_config("works", &config);
    let event = |n: u64| json!({"n": n, "fails": n % 2 == 1});
    Asked::default().add_all(&cloud, "works", EVENTS, event);
    for round in 1..=3_u64 {
        let most = usize::try_from(round * EVENTS / 5).unwrap();
        until("letters are under way", || {
            (cloud.letters().len() >= most).then_some(())
        });
        thread::sleep(moment(round, 100));
        cloud.kill();
        cloud.restart();
    }
    cloud.until_idle();
    let letters = cloud.letters();
    for number in 0..EVENTS {
        let told = match number % 2 {
            0 => ["Success", "1", "function"],
            _ => ["RetriesExhausted", "1", "queue"],
        };
        let told = BTreeSet::from([told.map(str::to_owned).to_vec()]);
        assert_eq!(
            letters.get(&number.to_string()),
            Some(&told),
            "event {number}"
        );
    }
}

#[test]
fn what_no_destination_takes_is_dropped_and_counted() {
    let mut cloud = Cloud::new(QUICK);
    for name in ["works", "gone"] {
        cloud.deploy(name, RUN, "");
    }
    cloud.node().ok(&["queue", "create", "nowhere"]);
    let mut aws = Aws::of(cloud.node());
    let config = json!({
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {
            "OnSuccess": {"Destination": aws.arn("gone")},
            "OnFailure": {"Destination": aws.queue_arn("nowhere")},
        },
    });
    aws.put_event_config("works", &config);
    cloud.node().ok(&["queue", "rm", "nowhere"]);
    cloud.node().ok(&["rm", "gone"]);
    cloud.kill();
    cloud.restart();
    let event = |n: u64| json!({"n": n, "fails": n == 1});
    Asked::default().add_all(&cloud, "works", 2, event);
    cloud.until_idle();
    let events = cloud.node().json(&["events"]);
    let counts = ["added", "done", "failed", "delivered", "dropped"].map(|key| events[key].clone());
    assert_eq!(counts, [2, 1, 1, 0, 2].map(Value::from), "{events}");
    let told = cloud.node().ok(&["events"]);
    assert!(told.contains("2 dropped"), "{told}");
}

#[test]
fn poison_is_tried_three_times_told_of_and_starves_nobody() {
    const GOOD: u64 = 20;
    let cloud = Cloud::new("[events]\nretry_s = [1.0, 3.0]\n");
    cloud.deploy("mixed", RUN, &at_once(1));
    cloud.deploy_collector("collector", "failures");
    cloud.node().ok(&["queue", "create", "dead-letters"]);
    let mut aws = Aws::of(cloud.node());
    let dead_letters = json!({"DeadLetterConfig": {"TargetArn": aws.queue_arn("dead-letters")}});
    aws.configure("mixed", &dead_letters);
    let to = json!({"OnFailure": {"Destination": aws.queue_arn("failures")}});
    aws.put_event_config("mixed", &json!({"DestinationConfig": to}));
    let asked = Asked::default();
    asked.add_all(
        &cloud,
        "mixed",
        3,
        |n| json!({"n": format!("poison-{n}"), "fails": true}),
    );
    asked.next.store(3, Ordering::SeqCst);
    asked.add_all(&cloud, "mixed", 3 + GOOD, |n| json!({"n": n}));
    until("all but the dead letters is done", || {
        (cloud.events()["queued"] == 3 && cloud.letters().len() == 3).then_some(())
    });

    let (runs, letters) = (cloud.runs(), cloud.letters());
    let (poison, good): (BTreeMap<_, _>, BTreeMap<_, _>) =
        runs.into_iter().partition(|(n, _)| n.starts_with("poison"));
    let last_good = good.values().flatten().filter_map(|run| run.ended_ms).max();
    assert!(
        good.values().all(|runs| runs.len() == 1) && good.len() as u64 == GOOD,
        "{good:?}"
    );
    for (n, runs) in &poison {
        let at: Vec<_> = runs.iter().map(|run| run.began_ms).collect();
        let [first, second, third] = at[..] else {
            panic!("{n} ran {} times", runs.len());
        };
        assert!(second - first >= 1_000 && third - second >= 3_000, "{at:?}");
        assert!(
            last_good < Some(third),
            "{n} held up others: {at:?} {good:?}"
        );
        let told = [["RetriesExhausted", "3", "queue"]
            .map(str::to_owned)
            .to_vec()];
        assert_eq!(letters[n], BTreeSet::from(told));
    }

    // A dead letter is the event itself, and says in its attributes why it is there.
    cloud.deploy(
        "reader",
        READER,
        "[[triggers.queue]]\nqueue = \"dead-letters\"\n",
    );
    cloud.until_idle();
    let mut dead = cloud.notes("dead");
    for note in &mut dead {
        note.truncate(3);
    }
    dead.sort();
    let told = |n| {
        [&*format!("poison-{n}"), "200", "it always fails"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(dead, [told(0), told(1), told(2)]);
}

/// Writes dead letters down.
const READER: &str = r#"
import json

from kit import note


def handler(event, context):
    for message in event["Records"]:
        why = message["messageAttributes"]
        code, text = why["ErrorCode"]["stringValue"], why["ErrorMessage"]["stringValue"]
        assert why["RequestID"]["stringValue"], why
        note("dead", json.loads(message["body"])["n"], code, text.replace(" ", "%20"))
"#;

#[test]
fn many_events_wait_for_the_next_start() {
    const EVENTS: u64 = if cfg!(debug_assertions) {
        20_000
    } else {
        100_000
    };
    let mut cloud = Cloud::new("drain_s = 0\n");
    let code = "import time\n\n\ndef handler(event, context):\n    time.sleep(600)\n";
    cloud.deploy(
        "stuck",
        code,
        "[limits]\ntimeout_s = 700.0\nconcurrency = 1\n",
    );
    let asked = Asked::default();
    let aws = Aws::of(cloud.node());
    let begin = std::time::Instant::now();
    thread::scope(|scope| {
        for _ in 0..64 {
            let aws = aws.clone();
            scope.spawn(|| asked.add(aws, "stuck", EVENTS, |n| json!({"n": n})));
        }
    });
    println!("{EVENTS} events taken in {:?}", begin.elapsed());
    assert_eq!(asked.count() as u64, EVENTS);
    cloud.kill();
    cloud.bury();
    let took = cloud.restart();
    println!("started in {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let events = cloud.node().json(&["events"]);
    assert_eq!(
        (&events["queued"], &events["stopped"]),
        (&EVENTS.into(), &false.into())
    );
    assert!(
        cloud
            .node()
            .ok(&["events"])
            .contains(&format!("{EVENTS} wait"))
    );
    // With their function they go.
    cloud.node().ok(&["rm", "stuck"]);
    assert_eq!(cloud.events()["oldest_ms"], Value::Null);
}
