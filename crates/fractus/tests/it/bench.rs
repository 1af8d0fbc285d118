//! Experiments on a node.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{cloud, example, failed, fractus, until, wait};

#[test]
fn a_burst_on_a_function_leaves_its_figures() {
    let (directory, node) = cloud();
    node.ok(&["deploy", example("hello").to_str().unwrap()]);
    let out = directory.path().join("out");
    let burst = |more: &[&str]| {
        let to = ["--out", out.to_str().unwrap(), "--function", "hello"];
        node.run(&[["bench", "burst"].as_slice(), &to, more].concat())
    };
    let brief = ["--concurrency", "4", "--duration", "300ms"];
    let told = burst(&brief);
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("4 requests outstanding, of hello"), "{told}");
    let file = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let figures: serde_json::Value = serde_json::from_str(&file("burst-sleep.json")).unwrap();
    let answers = figures["answers"].as_u64().unwrap();
    assert!(answers >= 4, "{figures}");
    assert_eq!(figures["errors"], serde_json::json!({}));
    let lines = file("burst-sleep.csv").lines().count();
    assert_eq!(lines as u64, answers + 1);
    assert!(file("burst-sleep.svg").contains("4 requests outstanding"));

    let told = burst(&[brief.as_slice(), &["--json"]].concat());
    let figures: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(figures["parameters"]["concurrency"], 4);
}

#[test]
fn an_interrupted_burst_shows_what_was_seen() {
    let (directory, node) = cloud();
    node.ok(&["deploy", example("hello").to_str().unwrap()]);
    let out = directory.path().join("out");
    let mut burst = fractus(
        &directory.path().join("data"),
        &["bench", "burst", "--function", "hello", "--json", "--out"],
    )
    .arg(&out)
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    // Once the node has answered, the experiment has begun.
    until("the node was called", || {
        let calls = node.json(&["ls"])["functions"][0]["counters"]["calls"].as_u64();
        calls.filter(|calls| *calls > 0)
    });
    kill_process(Pid::from_child(&burst), Signal::INT).unwrap();
    assert!(wait(&mut burst).success());
    let figures: serde_json::Value = serde_json::from_reader(burst.stdout.take().unwrap()).unwrap();
    assert!(figures["answers"].as_u64().unwrap() > 0, "{figures}");
    assert!(figures["elapsed_us"].as_u64().unwrap() < 60_000_000);
    assert!(out.join("burst-sleep.svg").is_file());
}

#[test]
fn a_burst_needs_a_function_that_is_there() {
    let (directory, node) = cloud();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let burst = ["bench", "burst", "--out", out, "--function", "none"];
    assert!(failed(&node.run(&burst), 1).contains("none"));
    let burst = ["bench", "burst", "--out", out, "--work", "fast"];
    assert!(failed(&node.run(&burst), 2).contains("200ms"));
}

#[test]
fn a_burst_brings_its_own_function_and_takes_it_away() {
    let (directory, node) = cloud();
    let out = directory.path().join("out");
    let burst = |more: &[&str]| {
        let to = ["bench", "burst", "--out", out.to_str().unwrap()];
        node.json(&[to.as_slice(), more].concat())
    };
    let figures = burst(&["--concurrency", "4", "--work", "50ms", "--duration", "1s"]);
    assert_eq!(figures["errors"], serde_json::json!({}), "{figures}");
    let instances = figures["instances"]["distinct"].as_u64().unwrap();
    assert!((1..=4).contains(&instances), "{figures}");
    assert!(figures["overall"]["p50_us"].as_u64().unwrap() >= 50_000);
    assert_eq!(figures["floor"], serde_json::Value::Null);

    let figures = burst(&[
        "--concurrency",
        "2",
        "--work",
        "20ms",
        "--duration",
        "300ms",
        "--spin",
    ]);
    assert!(figures["answers"].as_u64().unwrap() >= 2, "{figures}");
    assert!(
        figures["floor"]["ratio"].as_f64().unwrap() > 0.0,
        "{figures}"
    );
    assert_eq!(node.json(&["ls"])["functions"], serde_json::json!([]));
}
