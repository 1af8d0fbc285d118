//! A node that is killed while 100,000 events wait, and starts again.

use std::time::Instant;

use anyhow::Result;
use tempfile::TempDir;

use super::super::contestant::Server;
use super::super::fractus::Node;
use super::super::numbers::float;
use super::super::report::{Report, Row, Table, Unit};
use super::send::Pace;
use super::sign::{Request, Signer};
use super::{Bench, EVENT, Waiting, deploy};

/// Events that wait.
const EVENTS: usize = 100_000;

/// Connections that bring them.
const CONNECTIONS: usize = 64;

/// The one call that runs is not over before the node is killed.
const SLEEPER: &str = "\
import time


def lambda_handler(event, context):
    time.sleep(600)
";
const LIMITS: &str = "concurrency = 1\ntimeout_s = 900\n";

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let directory = TempDir::new()?;
    let node = Node::new(bench.setup, "fractus", "/", |node| {
        deploy(node, directory.path(), "sleeper", SLEEPER, LIMITS)
    })?;
    let (nothing, running) = start(&node, "0")?;
    let mut signer = Signer::start(bench.setup, &node)?;
    let request = Request::event("sleeper", EVENT);
    let expected = (CONNECTIONS, 202);
    let pace = Pace::total(EVENTS);
    let sent = bench.repeat((&node, &mut signer), &request, expected, pace)?;
    let rate = sent.rate();
    report.note(format!(
        "{rate:.0} events a second were taken while one call ran"
    ));
    running.kill()?;
    let (full, running) = start(&node, "100,000")?;
    let there = float(Waiting::of(&node)?.all());
    // The call that began again would outlast every patience.
    running.kill()?;
    let what = "events that wait after the node was killed, of 100,000";
    report.claim(what, Some(there), 1.0, Some(float(EVENTS as u64)));
    report.add(Table {
        title: "A node that was killed, by the events that wait".to_owned(),
        columns: &[("exec to ready", Unit::Micros), ("RSS", Unit::Bytes)],
        rows: vec![nothing, full],
        compared: false,
    });
    Ok(())
}

fn start(node: &Node, name: &str) -> Result<(Row, Server)> {
    let began = Instant::now();
    let running = node.start()?;
    let ready = began.elapsed().as_secs_f64() * 1e6;
    let row = Row {
        name: name.to_owned(),
        values: vec![Some(ready), Some(float(running.memory()?.rss))],
    };
    Ok((row, running))
}
