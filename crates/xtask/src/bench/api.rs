//! AWS Lambda's API on a node: what a signed call costs beyond one on the edge, how fast events
//! are taken and begun, and what many functions or many events weigh.

mod backlog;
mod events;
mod functions;
mod invoke;
mod send;
mod sign;

pub(crate) use self::send::{Sending, run as send};

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use self::send::{Pace, Sent};
use self::sign::{Request, Signer};
use super::fractus::Node;
use super::native::{SETTLE, program, python};
use super::report::Report;
use super::{Part, Setup};

/// What every call is sent.
const EVENT: &str = r#"{"order":"2b0f2d3c-5a0e-4a43-9d0e-6f1f3d1c8a55","customer":"c-1071","items":[{"sku":"A-100","count":2},{"sku":"B-205","count":1}],"express":true,"note":"leave it at the door if nobody is at home"}"#;

/// What all parts need.
struct Bench<'a> {
    setup: &'a Setup<'a>,
    /// This program, in release mode.
    program: PathBuf,
}

pub(super) fn run(setup: &Setup<'_>) -> Result<Report> {
    let mut report = Report::default();
    let bench = Bench {
        setup,
        program: program(setup)?,
    };
    if setup.is_asked(Part::Invoke) {
        invoke::run(&bench, &mut report).context("invoke")?;
    }
    if setup.is_asked(Part::Events) {
        events::run(&bench, &mut report).context("events")?;
    }
    if setup.is_asked(Part::Functions) {
        functions::run(&bench, &mut report).context("functions")?;
    }
    if setup.is_asked(Part::Backlog) {
        backlog::run(&bench, &mut report).context("backlog")?;
    }
    Ok(report)
}

impl Bench<'_> {
    /// Seconds of load in one round: here all rounds together take the time that was asked for,
    /// since there is so much to measure.
    fn seconds(&self) -> f64 {
        let options = &self.setup.options;
        std::time::Duration::from_secs(options.duration).as_secs_f64() / f64::from(options.rounds)
    }

    /// Sends signed requests to a node's api listener.
    fn send(
        &self,
        node: &Node,
        requests: &[String],
        (connections, status): (usize, u16),
        pace: Pace,
    ) -> Result<Sent> {
        let sending = Sending {
            address: node.api,
            connections,
            status,
            pace,
        };
        sending.by(&self.program, requests)
    }

    /// Signs one request and sends it so often as the pace says.
    fn repeat(
        &self,
        (node, signer): (&Node, &mut Signer),
        request: &Request<'_>,
        expected: (usize, u16),
        pace: Pace,
    ) -> Result<Sent> {
        self.send(node, &[signer.sign(request)?], expected, pace)
    }
}

/// Deploys a Python function whose event is what its caller sends.
fn deploy(node: &Node, directory: &Path, name: &str, code: &str, limits: &str) -> Result<()> {
    let directory = directory.join(name);
    let manifest = format!(
        "name = \"{name}\"\nruntime = \"python3\"\nhandler = \"app.lambda_handler\"\n\
         payload = \"raw\"\n\n[limits]\n{limits}"
    );
    python::write(&directory, &[("app.py", code), ("fractus.toml", &manifest)])?;
    node.deploy(&directory, name)
}

/// What a node tells of its events.
#[derive(Debug, Deserialize)]
struct Waiting {
    queued: u64,
    in_flight: u64,
}

impl Waiting {
    fn of(node: &Node) -> Result<Self> {
        let text = node.tell(&["events", "--json"])?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// Events that are not done.
    fn all(&self) -> u64 {
        self.queued + self.in_flight
    }
}

/// Waits until a node has done all that it was told to do later.
fn drain(node: &Node) -> Result<()> {
    const LIMIT: std::time::Duration = std::time::Duration::from_mins(2);
    let began = std::time::Instant::now();
    while Waiting::of(node)?.all() > 0 {
        ensure!(began.elapsed() < LIMIT, "events are not done");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}
