//! Sums of usage agree with what clients saw.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::aws_client::{Answer, Aws};
use crate::ledger::Cloud;
use crate::support::{Node, until};

const CLIENTS: usize = 64;

/// Fails if it is told to.
const CODE: &str = "\
import time


def handler(event, context):
    time.sleep(0.005)
    if event[\"fails\"]:
        raise ValueError(\"as it was told\")
    return event
";

/// How calls ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Seen {
    ok: u64,
    failed: u64,
    throttled: u64,
}

impl Seen {
    fn count(&mut self, answer: &Answer) {
        match (answer.status, answer.header("x-amz-function-error")) {
            (200, None) => self.ok += 1,
            (200, Some(_)) => self.failed += 1,
            (429, _) => self.throttled += 1,
            _ => panic!("{answer:?}"),
        }
    }

    fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.throttled += other.throttled;
    }

    /// What the node says.
    fn by(node: &Node) -> Self {
        let usage = node.json(&["usage", "counted"]);
        let of = |sums: &Value| {
            let [calls, errors, throttled] =
                ["calls", "errors", "throttled"].map(|key| sums[key].as_u64().unwrap());
            Self {
                ok: calls - errors,
                failed: errors - throttled,
                throttled,
            }
        };
        let function = &usage["functions"][0];
        let mut versions = Self::default();
        for version in function["versions"].as_array().unwrap() {
            versions.add(of(version));
        }
        assert_eq!(versions, of(function), "{function}");
        versions
    }
}

/// Calls until told to stop, or the node is gone.
fn call(mut aws: Aws, at: usize, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut own = Seen::default();
    let mut number = at;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let event = json!({"fails": number.is_multiple_of(3)});
        let Ok(answer) = aws.invoke("counted", "RequestResponse", &event) else {
            break;
        };
        own.count(&answer);
    }
    seen.lock().unwrap().add(own);
}

/// Has clients call while `meanwhile` runs; answers what they saw.
fn under_load(node: &Node, meanwhile: impl FnOnce(&AtomicBool)) -> Seen {
    let (stop, seen) = (AtomicBool::new(false), Mutex::default());
    let aws = Aws::of(node);
    thread::scope(|scope| {
        for at in 0..CLIENTS {
            let (aws, stop, seen) = (aws.clone(), &stop, &seen);
            scope.spawn(move || call(aws, at, stop, seen));
        }
        thread::sleep(Duration::from_millis(1_500));
        meanwhile(&stop);
    });
    seen.into_inner().unwrap()
}

#[test]
fn sums_are_what_clients_saw_also_across_a_restart_under_load() {
    let mut cloud = Cloud::new("");
    let mut aws = Aws::of(cloud.node());
    aws.create_function("counted", CODE).unwrap().json(201);
    aws.reserve("counted", 16);
    let counted = |cloud: &Cloud, seen: Seen| {
        let all = |seen: Seen| seen.ok + seen.failed + seen.throttled;
        // A call is counted when its instance is free, a moment after its answer.
        let told = until("as many calls are counted", || {
            Some(Seen::by(cloud.node())).filter(|told| all(*told) >= all(seen))
        });
        assert_eq!(told, seen);
    };
    let mut seen = under_load(cloud.node(), |stop| stop.store(true, Ordering::SeqCst));
    assert!(
        seen.ok > 0 && seen.failed > 0 && seen.throttled > 0,
        "{seen:?}"
    );
    counted(&cloud, seen);
    seen.add(under_load(cloud.node(), |_| {
        cloud.node().signal(Signal::TERM);
    }));
    cloud.restart_after_stop();
    counted(&cloud, seen);
}
