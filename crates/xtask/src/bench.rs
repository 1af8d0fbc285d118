//! `cargo xtask bench`: Fractus and its peers side by side, on this machine, in one run.
//!
//! A benchmark is a list of [`contestant::Contestant`]s and a measurement; [`rounds`] takes every
//! contestant in every round, so that a machine that slows down slows down for all of them. Only
//! one contestant runs at a time. Figures are medians of the rounds.

mod api;
mod cold;
mod contestant;
mod edge;
mod fractus;
mod hello;
mod http;
mod load;
mod machine;
pub(crate) mod native;
mod numbers;
mod peers;
mod report;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use self::contestant::Contestant;
use self::report::Report;

/// What to measure and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to measure
    #[arg(required = true, value_enum)]
    names: Vec<Name>,
    /// Seconds of load on each contestant in each round; for `api`, in all rounds together
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    duration: u64,
    /// Rounds; figures are their medians
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only this part of `native` or `api`; may be repeated
    #[arg(long, value_enum, value_name = "PART")]
    part: Vec<Part>,
    /// Write the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail unless the claims made of these figures hold
    #[arg(long)]
    check: bool,
    /// Keep servers to core 0 and the load generator to core 1 (`edge` always does)
    #[arg(long)]
    pin: bool,
    /// Install missing tools with apt-get, npm and cargo
    #[arg(long)]
    install: bool,
    /// A built `fractus`; without it, the release profile is built
    #[arg(long, value_name = "PATH")]
    fractus: Option<PathBuf>,
    /// A `wasmtime` other than the one on the PATH
    #[arg(long, value_name = "PATH")]
    wasmtime: Option<PathBuf>,
    /// A `workerd` other than the one npm installs
    #[arg(long, value_name = "PATH")]
    workerd: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Requests each answered by a fresh instance, against wasmtime and workerd
    Hello,
    /// Process start to first answer, instance start, idle memory
    Cold,
    /// Cache hits of 1 KB and 64 KB on one core, against nginx
    Edge,
    /// Python and other programs in sandboxes, against bwrap, crun, awslambdaric and gunicorn
    Native,
    /// AWS Lambda's API: signed calls against the edge's, events, 10,000 functions
    Api,
    /// All of them
    All,
}

/// A part of a benchmark that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// `native`: functions that have never run, against sandboxes of others
    Cold,
    /// `native`: functions that run already, against other servers
    Warm,
    /// `native`: a thousand instances, and how fast they are made
    Many,
    /// `api`: signed calls against those on the edge
    Invoke,
    /// `api`: asynchronous calls, taken and begun
    Events,
    /// `api`: ten thousand functions
    Functions,
    /// `api`: a node that is killed while events wait
    Backlog,
}

type Bench = fn(&Setup<'_>) -> Result<Report>;

const BENCHES: &[(Name, Bench)] = &[
    (Name::Hello, hello::run),
    (Name::Cold, cold::run),
    (Name::Edge, edge::run),
    (Name::Native, native::run),
    (Name::Api, api::run),
];

/// Where things are and what was asked for.
struct Setup<'a> {
    root: &'a Path,
    options: &'a Options,
}

impl Setup<'_> {
    /// Where tools and scratch of benchmarks lie.
    fn scratch(&self) -> PathBuf {
        self.root.join("target/bench")
    }

    /// Whether a part is to be measured.
    fn is_asked(&self, part: Part) -> bool {
        let asked = &self.options.part;
        asked.is_empty() || asked.contains(&part)
    }
}

/// Runs the chosen benchmarks and prints their tables as Markdown.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let setup = Setup { root, options };
    println!(
        "Machine: {}.\n\nCommand: `{}`.",
        machine::description()?,
        command()
    );
    if let Some(warning) = machine::busy()? {
        eprintln!("{warning}");
    }
    let mut figures = serde_json::Map::new();
    let mut missed = 0;
    for (name, bench) in BENCHES {
        if !options.names.contains(name) && !options.names.contains(&Name::All) {
            continue;
        }
        let report = bench(&setup).with_context(|| format!("bench {name:?}"))?;
        print!("\n{}", report.markdown());
        missed += report.missed();
        figures.insert(format!("{name:?}").to_lowercase(), report.json());
    }
    if let Some(path) = &options.json {
        fs::write(path, format!("{:#}\n", serde_json::Value::Object(figures)))
            .with_context(|| path.display().to_string())?;
    }
    ensure!(missed == 0 || !options.check, "{missed} claims do not hold");
    Ok(())
}

/// What was typed.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

/// Measures every contestant in every round, each round beginning with another one.
fn rounds<T>(
    contestants: &[Contestant],
    rounds: u32,
    measure: impl Fn(&Contestant) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut samples: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds as usize {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let contestant = &contestants[index];
            eprintln!("round {} of {rounds}: {}", round + 1, contestant.name);
            samples[index].push(measure(contestant).with_context(|| contestant.name.clone())?);
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::contestant::Contestant;
    use super::rounds;

    #[test]
    fn rounds_alternate() {
        let contestants = ["a", "b", "c"].map(|name| Contestant::new(name, "true", "/").unwrap());
        let order = RefCell::new(String::new());
        let samples = rounds(&contestants, 2, |contestant| {
            order.borrow_mut().push_str(&contestant.name);
            Ok(contestant.name.clone())
        })
        .unwrap();
        assert_eq!(order.into_inner(), "abcbca");
        assert_eq!(samples, [["a", "a"], ["b", "b"], ["c", "c"]]);
    }
}
