//! Native functions: starting them, calling them, keeping many of them, against the tools that
//! one would build such a thing from.

mod boxes;
mod cold;
mod load;
mod many;
mod peer;
pub(super) mod python;
mod rust;
mod serve;
mod warm;
mod wire;

pub(super) use self::load::Client;
pub(super) use self::peer::program;
pub(crate) use self::peer::{Peer, run as play};

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use self::python::Python;
use super::report::Report;
use super::{Part, Setup};

/// What a node that was just started may take to come to rest.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// What all parts need.
struct Bench<'a> {
    setup: &'a Setup<'a>,
    /// This program, in release mode.
    program: PathBuf,
    python: Python,
}

pub(super) fn run(setup: &Setup<'_>) -> Result<Report> {
    let mut report = Report::default();
    let bench = Bench {
        setup,
        program: program(setup)?,
        python: Python::find(setup, &mut report)?,
    };
    report.note(format!("Python {}", bench.python.version));
    if setup.is_asked(Part::Cold) {
        cold::run(&bench, &mut report)?;
    }
    if setup.is_asked(Part::Warm) {
        warm::run(&bench, &mut report)?;
    }
    if setup.is_asked(Part::Many) {
        many::run(&bench, &mut report);
    }
    Ok(report)
}
