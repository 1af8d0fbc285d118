//! Functions that are made and changed by AWS's API on a node that is killed meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use crate::aws_client::Aws;
use crate::ledger::{Cloud, moment};
use crate::support::until;

/// Versions of each function.
const VERSIONS: u64 = 4;

/// How far a function has come. Its versions count from 1, and each answers with its number.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    asked: u64,
    acknowledged: u64,
}

type Made = Mutex<BTreeMap<String, Progress>>;

/// Code that answers with a number, and takes some time to send.
fn code(version: u64) -> String {
    let ballast = "# so that the request has more than one packet\n".repeat(5_000);
    format!("{ballast}def handler(event, context):\n    return {version}\n")
}

/// Makes functions until the node is gone.
fn make(made: &Made, mut aws: Aws, prefix: &str) {
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        for version in 1..=VERSIONS {
            let note = |note: &dyn Fn(&mut Progress)| {
                note(made.lock().unwrap().entry(name.clone()).or_default());
            };
            note(&|progress| progress.asked = version);
            let code = code(version);
            let (answer, status) = if version == 1 {
                (aws.create_function(&name, &code), 201)
            } else {
                (aws.update_code(&name, &code), 200)
            };
            let Ok(answer) = answer else {
                return;
            };
            assert_eq!(answer.json(status)["Version"], version.to_string());
            note(&|progress| progress.acknowledged = version);
        }
    }
}

/// What a function answers, unless it is not there.
fn call(aws: &mut Aws, name: &str) -> Option<u64> {
    let answer = aws.invoke(name, "RequestResponse", &json!({})).unwrap();
    if answer.status == 404 {
        return None;
    }
    assert_eq!(
        answer.header("x-amz-function-error"),
        None,
        "{name}: {answer:?}"
    );
    answer.json(200).as_u64()
}

/// A function is there with all that was acknowledged of it, and what was not is whole or is not.
fn check(aws: &mut Aws, name: &str, progress: Progress) {
    let Progress {
        asked,
        acknowledged,
    } = progress;
    let latest = call(aws, name).unwrap_or(0);
    assert!(
        (acknowledged..=asked).contains(&latest),
        "{name}: {latest}, {progress:?}"
    );
    if latest == 0 {
        return;
    }
    let versions: Vec<_> = (1..=latest).collect();
    assert_eq!(aws.versions(name), versions, "{name}: {progress:?}");
    for version in versions {
        assert_eq!(
            call(aws, &format!("{name}?Qualifier={version}")),
            Some(version),
            "{name}"
        );
    }
}

#[test]
fn a_deploy_is_whole_or_is_not_however_the_node_is_killed() {
    let mut cloud = Cloud::new("");
    for round in 1..=4 {
        let made = Made::default();
        let aws = Aws::of(cloud.node());
        thread::scope(|scope| {
            for maker in ["a", "b", "c"] {
                let (made, aws) = (&made, aws.clone());
                scope.spawn(move || make(made, aws, &format!("made-{round}-{maker}")));
            }
            until("some are made", || {
                let made = made.lock().unwrap();
                let acknowledged: u64 = made.values().map(|one| one.acknowledged).sum();
                (acknowledged >= 8).then_some(())
            });
            thread::sleep(moment(round, 200));
            cloud.kill();
        });
        cloud.restart();
        let made = made.into_inner().unwrap();
        let mut aws = Aws::of(cloud.node());
        for (name, progress) in made {
            check(&mut aws, &name, progress);
        }
        let listed = cloud.node().json(&["ls"]);
        let none_failed = |each: &Value| each["last_error"].is_null();
        assert!(
            listed["functions"]
                .as_array()
                .unwrap()
                .iter()
                .all(none_failed),
            "{listed}"
        );
    }
}
