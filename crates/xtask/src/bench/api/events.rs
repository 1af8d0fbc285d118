//! Asynchronous calls: how many are taken a second, each on disk before it is, and how soon they
//! begin.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::super::fractus::Node;
use super::super::numbers::{median, percentile};
use super::super::report::{Report, Row, Table, Unit};
use super::send::{Answered, Pace, Sent};
use super::sign::{Request, Signer};
use super::{Bench, EVENT, deploy, drain};

/// Connections that hand over events as fast as they are taken.
const CONNECTIONS: usize = 64;

/// Events a second that are to be taken.
const TAKEN_MIN: f64 = 5_000.0;

/// Events whose start is looked at, and the time from one to the next in microseconds.
const BEGUN: usize = 500;
const EVERY: u64 = 10_000;

/// Longest time until half of them have begun, in microseconds.
const BEGUN_MAX: f64 = 5_000.0;

/// Calls before: the function runs already, and has come to rest.
const WARM: usize = 20;

/// How long lines of a log may take to be there.
const LOGGED: Duration = Duration::from_secs(10);

const NOTHING: &str = "\
def lambda_handler(event, context):
    return None
";

const CLOCK: &str = "\
import time


def lambda_handler(event, context):
    print('begun', event['number'], time.time_ns() / 1e3)
";

/// A line of a function's log.
#[derive(Debug, Deserialize)]
struct Line {
    line: String,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let directory = TempDir::new()?;
    let node = Node::new(bench.setup, "fractus", "/", |node| {
        deploy(node, directory.path(), "nothing", NOTHING, "")?;
        deploy(node, directory.path(), "clock", CLOCK, "")
    })?;
    let running = node.start()?;
    let mut signer = Signer::start(bench.setup, &node)?;
    let taken = taken(bench, &node, &mut signer)?;
    let rate = taken.figure("fractus", "taken/s");
    report.claim("events taken a second", rate, 1.0, Some(TAKEN_MIN));
    report.add(taken);
    let begun = begun(bench, &node, &mut signer)?;
    let p50 = begun.figure("after it was sent", "p50");
    let what = "5 ms against the p50 from an event's sending to its start";
    report.claim(what, Some(BEGUN_MAX), 1.0, p50);
    report.add(begun);
    drop(running);
    Ok(())
}

/// Events for a function that does nothing, as fast as they are taken; it is called meanwhile.
fn taken(bench: &Bench<'_>, node: &Node, signer: &mut Signer) -> Result<Table> {
    let request = Request::event("nothing", EVENT);
    let mut load = |pace| {
        let sent = bench.repeat((node, &mut *signer), &request, (CONNECTIONS, 202), pace)?;
        // The next round begins where this one did.
        let asked = Instant::now();
        drain(node)?;
        Ok::<_, anyhow::Error>((sent, asked.elapsed()))
    };
    load(Pace::total(WARM))?;
    let rounds = bench.setup.options.rounds;
    let samples = (0..rounds).map(|round| {
        eprintln!("round {} of {rounds}: events", round + 1);
        load(Pace::during(bench.seconds()))
    });
    let samples = samples.collect::<Result<Vec<_>>>()?;
    let of = |part: fn(&(Sent, Duration)) -> f64| Some(median(samples.iter().map(part)));
    Ok(Table {
        title: format!("Events for a function that does nothing, connections: {CONNECTIONS}"),
        columns: &[
            ("taken/s", Unit::Count),
            ("p50", Unit::Micros),
            ("p99", Unit::Micros),
            ("until all are done", Unit::Micros),
        ],
        rows: vec![Row {
            name: "fractus".to_owned(),
            values: vec![
                of(|it| it.0.rate()),
                of(|it| it.0.p50()),
                of(|it| it.0.p99()),
                of(|it| it.1.as_secs_f64() * 1e6),
            ],
        }],
        compared: false,
    })
}

/// How long events take to their start at a node that does nothing else.
fn begun(bench: &Bench<'_>, node: &Node, signer: &mut Signer) -> Result<Table> {
    let pace = |total| Pace {
        every: EVERY,
        ..Pace::total(total)
    };
    let mut clock = |numbers: std::ops::Range<usize>| {
        let requests = numbers.clone().map(|number| {
            let event = format!("{{\"number\":{number}}}");
            signer.sign(&Request::event("clock", event))
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        bench.send(node, &requests, (1, 202), pace(numbers.len()))
    };
    clock(BEGUN..BEGUN + WARM)?;
    drain(node)?;
    thread::sleep(super::SETTLE);
    let sent = clock(0..BEGUN)?;
    let starts = starts(node)?;
    let after = |since: fn(&Answered) -> f64| -> Vec<f64> {
        let both = sent.0.iter().zip(&starts);
        both.map(|(sent, start)| start - since(sent)).collect()
    };
    let row = |name: &str, times: &[f64]| Row {
        name: name.to_owned(),
        values: vec![
            Some(median(times.iter().copied())),
            Some(percentile(times.iter().copied(), 99)),
        ],
    };
    Ok(Table {
        title: format!("From an event to its start in Python, {BEGUN} events, one every 10 ms"),
        columns: &[("p50", Unit::Micros), ("p99", Unit::Micros)],
        rows: vec![
            row("after it was sent", &after(|it| it.0)),
            row("after its client knew it taken", &after(|it| it.0 + it.1)),
        ],
        compared: false,
    })
}

/// When each of the events began, in microseconds since the UNIX epoch, by the function's log.
fn starts(node: &Node) -> Result<Vec<f64>> {
    let began = Instant::now();
    loop {
        let text = node.tell(&["logs", "clock", "--json", "--lines", "10000"])?;
        let mut starts = vec![None; BEGUN];
        for line in text.lines() {
            let Line { line } = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let Some(told) = line.strip_prefix("begun ") else {
                continue;
            };
            let (number, at) = told.split_once(' ').context("a number and a time")?;
            if let Some(start) = starts.get_mut(number.parse::<usize>()?) {
                *start = Some(at.trim().parse::<f64>()?);
            }
        }
        if let Some(starts) = starts.into_iter().collect::<Option<Vec<_>>>() {
            return Ok(starts);
        }
        ensure!(began.elapsed() < LOGGED, "not all starts were logged");
        thread::sleep(Duration::from_millis(100));
    }
}
