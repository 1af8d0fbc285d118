//! Many instances: how fast they are made, and what they hold while nobody calls.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::super::fractus::Node;
use super::super::numbers::{float, median};
use super::super::report::{Report, Row, Table, Unit};
use super::load::{Client, Found, Load, get};
use super::python::{self, HANDLER};
use super::{Bench, SETTLE};

/// Instances that idle at once.
const INSTANCES: usize = 1_000;

/// How long a call keeps its instance, in seconds: until all of them are there.
const KEPT: f64 = 8.0;

/// Calls of instances that are awake, and of some that are frozen.
const AWAKE: usize = 200;
const FROZEN: usize = 20;

/// After this time without a call an instance is frozen.
const FROZEN_AFTER: Duration = Duration::from_secs(2);

/// Clients that make the node create one instance after the other.
const CREATORS: usize = 4;

/// Seconds for which they do.
const CREATION: f64 = 10.0;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    if let Some(table) = report.found(idle(bench)) {
        report.add(table);
    }
    let table = report.found(created(bench));
    let rate = table
        .as_ref()
        .and_then(|table| table.figure("fractus", "created/s"));
    report.claim("creations a second", rate, 1.0, Some(500.0));
    if let Some(table) = table {
        report.add(table);
    }
}

/// Sleeps as long as the query says.
const SLEEPER: &str = "\
import time


def handler(event, context):
    query = event.get('queryStringParameters') or {}
    time.sleep(float(query.get('s', 0)))
    return {'statusCode': 200, 'body': ''}
";

/// A node with one function in Python.
fn node(bench: &Bench<'_>, code: &str, manifest: &str) -> Result<Node> {
    let directory = TempDir::new()?;
    let manifest = format!("name = \"many\"\nhandler = \"app.handler\"\n{manifest}");
    let files = [("app.py", code), ("fractus.toml", &manifest)];
    python::write(directory.path(), &files)?;
    Node::new(bench.setup, "fractus", "/run/many", |node| {
        node.deploy(directory.path(), "many")
    })
}

/// Memory of instances that have answered and wait, and what waking one takes.
fn idle(bench: &Bench<'_>) -> Result<Table> {
    let manifest = format!(
        "\n[limits]\nconcurrency = {INSTANCES}\nmemory_mb = 32\ntimeout_s = 120\n\n\
         [instances]\nidle_s = 3600\n"
    );
    let node = node(bench, SLEEPER, &manifest)?;
    let running = node.start()?;
    thread::sleep(SETTLE);
    let (processes_before, before) = running.tree_memory()?;
    // Shorter than a call: each connection asks once.
    let target = format!("/run/many?s={KEPT}");
    let found = load(bench, &node, &target, INSTANCES, KEPT / 2.0)?;
    ensure!(found.refused == 0, "{} calls were refused", found.refused);
    thread::sleep(FROZEN_AFTER);
    let (processes, after) = running.tree_memory()?;
    let count = processes.saturating_sub(processes_before);
    ensure!(
        count >= INSTANCES,
        "{count} processes for {INSTANCES} instances"
    );
    let awake = calls(&node, AWAKE, Duration::ZERO)?;
    let frozen = calls(&node, FROZEN, FROZEN_AFTER)?;
    drop(running);
    let instances = float(u64::try_from(INSTANCES)?);
    let each = |bytes: u64| Some(float(bytes) / instances);
    let longest = found.max - KEPT * 1e6;
    let values = vec![
        each(after.pss.saturating_sub(before.pss)),
        Some(longest),
        Some(instances / (longest / 1e6)),
        Some(awake),
        Some(frozen),
    ];
    Ok(Table {
        title: format!("{INSTANCES} Python instances, called at once and then idle"),
        columns: &[
            ("PSS each", Unit::Bytes),
            ("until the last had started", Unit::Micros),
            ("created/s", Unit::Count),
            ("call of one awake, p50", Unit::Micros),
            ("call of one frozen, p50", Unit::Micros),
        ],
        rows: vec![Row {
            name: "fractus".to_owned(),
            values,
        }],
        compared: false,
    })
}

/// The median of calls with a pause before each.
fn calls(node: &Node, count: usize, pause: Duration) -> Result<f64> {
    let mut client = Client::connect(node.contestant.address, get(&node.contestant.target))?;
    let mut times = Vec::new();
    for _ in 0..count {
        thread::sleep(pause);
        let asked = Instant::now();
        let answer = client.ask()?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
        ensure!(answer.status() == Some(200), "{}", answer.head);
    }
    Ok(median(times))
}

/// A fresh instance for each call, one after the other.
fn created(bench: &Bench<'_>) -> Result<Table> {
    let node = node(bench, HANDLER, "\n[instances]\nidle_s = 0\n")?;
    let mut samples = Vec::new();
    for _ in 0..bench.setup.options.rounds {
        let running = node.start()?;
        thread::sleep(SETTLE);
        samples.push(load(bench, &node, "/run/many", CREATORS, CREATION).context("creations")?);
        drop(running);
    }
    let of = |part: fn(&Found) -> f64| Some(median(samples.iter().map(part)));
    let values = vec![of(|it| it.rate), of(|it| it.p50), of(|it| it.p99)];
    Ok(Table {
        title: format!("A fresh sandbox for each call, {CREATORS} clients, {CREATION} s"),
        columns: &[
            ("created/s", Unit::Count),
            ("p50", Unit::Micros),
            ("p99", Unit::Micros),
        ],
        rows: vec![Row {
            name: "fractus".to_owned(),
            values,
        }],
        compared: false,
    })
}

fn load(
    bench: &Bench<'_>,
    node: &Node,
    target: &str,
    connections: usize,
    seconds: f64,
) -> Result<Found> {
    let load = Load {
        address: node.contestant.address,
        target: target.to_owned(),
        connections,
        seconds,
        lenient: true,
        post: false,
    };
    load.by(&bench.program)
}
