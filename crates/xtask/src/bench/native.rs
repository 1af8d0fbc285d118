//! Native functions: starting them, calling them, keeping many of them, against the tools that
//! one would build such a thing from.

mod boxes;
mod cold;
mod load;
mod many;
mod peer;
mod python;
mod rust;
mod serve;
mod warm;
mod wire;

pub(crate) use self::peer::{Peer, run as play};

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use self::python::Python;
use super::Setup;
use super::report::Report;

/// What a node that was just started may take to come to rest.
const SETTLE: Duration = Duration::from_secs(2);

/// What all parts need.
struct Bench<'a> {
    setup: &'a Setup<'a>,
    /// This program, in release mode.
    program: PathBuf,
    python: Python,
}

/// A part that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Functions that have never run, against sandboxes of others
    Cold,
    /// Functions that run already, against other servers
    Warm,
    /// A thousand instances, and how fast they are made
    Many,
}

pub(super) fn run(setup: &Setup<'_>) -> Result<Report> {
    let mut report = Report::default();
    let bench = Bench {
        setup,
        program: peer::program(setup)?,
        python: Python::find(setup, &mut report)?,
    };
    report.note(format!("Python {}", bench.python.version));
    let asked = &setup.options.part;
    let is_asked = |part| asked.is_empty() || asked.contains(&part);
    if is_asked(Part::Cold) {
        cold::run(&bench, &mut report)?;
    }
    if is_asked(Part::Warm) {
        warm::run(&bench, &mut report)?;
    }
    if is_asked(Part::Many) {
        many::run(&bench, &mut report);
    }
    Ok(report)
}
