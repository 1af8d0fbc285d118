//! A function that has never run, from the request to its answer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::super::fractus::Node;
use super::super::numbers::{median, percentile};
use super::super::report::{Report, Row, Table, Unit};
use super::boxes::{Inside, with_one_cgroup_version};
use super::load::{Client, get};
use super::python::{self, HANDLER, HANDLER_BOTO3};
use super::{Bench, SETTLE};
use crate::process::output;

const OURS: &str = "fractus";
const BWRAP: &str = "awslambdaric, bwrap";
const CRUN: &str = "awslambdaric, crun";
const IMPORT: &str = "python3 -c 'import boto3', from bytecode";
const IMPORT_SOURCE: &str = "python3 -c 'import boto3', from source";

/// Somebody who starts functions.
struct Starter<'a> {
    name: &'static str,
    /// Starts so many, from a number on, and tells microseconds from request to answer.
    start: Box<dyn Fn(usize, usize) -> Result<Vec<f64>> + 'a>,
}

/// What is started.
struct Case {
    title: String,
    handler: &'static str,
    /// What a function of ours asks for; empty for nothing.
    requirements: String,
    /// What the others find packages in; without it they are left out.
    packages: Option<PathBuf>,
    /// Starts of each contestant over all rounds.
    starts: usize,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let plain = Case {
        title: "A Python function that has never run, request to answer".to_owned(),
        handler: HANDLER,
        requirements: String::new(),
        packages: bench.python.peers.clone(),
        starts: 100,
    };
    let table = case(bench, &plain, report)?;
    let p50 = |name| table.figure(name, "p50");
    let (p99, limits) = (table.figure(OURS, "p99"), [4_000.0, 10_000.0]);
    report.claim("4 ms against our cold p50", Some(limits[0]), 1.0, p50(OURS));
    report.claim("10 ms against our cold p99", Some(limits[1]), 1.0, p99);
    for peer in [BWRAP, CRUN] {
        let what = format!("cold p50 of {peer} against ours");
        report.claim(&what, p50(peer), 10.0, p50(OURS));
    }
    report.add(table);
    let Some(boto3) = report.found(python::boto3(bench.setup)) else {
        return Ok(());
    };
    let heavy = Case {
        title: format!("The same with boto3 {} imported", boto3.version),
        handler: HANDLER_BOTO3,
        requirements: format!("boto3=={}\n", boto3.version),
        packages: Some(boto3.path),
        starts: 40,
    };
    let table = case(bench, &heavy, report)?;
    let p50 = |name| table.figure(name, "p50");
    let what = "a fresh import of boto3 from source against our cold p50 with it";
    report.claim(what, p50(IMPORT_SOURCE), 100.0, p50(OURS));
    for peer in [BWRAP, CRUN] {
        let what = format!("cold p50 with boto3 of {peer} against ours");
        report.claim(&what, p50(peer), 10.0, p50(OURS));
    }
    report.add(table);
    Ok(())
}

/// Everybody who can start the case's function, in rounds.
fn case(bench: &Bench<'_>, case: &Case, report: &mut Report) -> Result<Table> {
    let directory = TempDir::new()?;
    let mut candidates = vec![ours(bench, case, directory.path())];
    candidates.extend(others(bench, case, directory.path())?);
    let starters: Vec<_> = candidates
        .into_iter()
        .filter_map(|candidate| report.found(candidate.map_err(|error| error.context("cold"))))
        .collect();
    let rounds = bench.setup.options.rounds as usize;
    let count = case.starts.div_ceil(rounds);
    let mut times: Vec<Vec<f64>> = starters.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..starters.len() {
            let index = (round + turn) % starters.len();
            let Starter { name, start } = &starters[index];
            eprintln!("round {} of {rounds}: {name}", round + 1);
            times[index].extend(start(round * count, count).context(*name)?);
        }
    }
    report.note(format!("starts of each: {}", rounds * count));
    let rows = starters.iter().zip(&times).map(|(starter, times)| Row {
        name: starter.name.to_owned(),
        values: vec![
            Some(median(times.iter().copied())),
            Some(percentile(times.iter().copied(), 99)),
        ],
    });
    Ok(Table {
        title: case.title.clone(),
        columns: &[("p50", Unit::Micros), ("p99", Unit::Micros)],
        rows: rows.collect(),
        compared: true,
    })
}

/// Those who start an interpreter for each call.
fn others<'a>(
    bench: &Bench<'a>,
    case: &Case,
    directory: &Path,
) -> Result<Vec<Result<Starter<'a>>>> {
    let Some(packages) = &case.packages else {
        return Ok(Vec::new());
    };
    let code = directory.join("code");
    python::write(&code, &[("app.py", case.handler)])?;
    let inside = Inside {
        python: &bench.python,
        program: &bench.program,
        code,
        packages: packages.clone(),
    };
    let bundle = directory.join("bundle");
    let bwrap = inside.bwrap(bench.setup);
    let crun = inside.crun(bench.setup, &bundle);
    let mut others = vec![
        bwrap.map(|command| peer(bench, BWRAP, command)),
        crun.map(|command| peer(bench, CRUN, command)),
        Ok(peer(bench, "awslambdaric, no sandbox", inside.bare())),
    ];
    if !case.requirements.is_empty() {
        others.push(Ok(import(bench, IMPORT, packages)));
        others.push(Ok(import(bench, IMPORT_SOURCE, packages)));
    }
    Ok(others)
}

/// A node with as many functions as are started. Each is asked for once, over a connection that is
/// open already, at a node that was started anew and has come to rest.
fn ours<'a>(bench: &Bench<'a>, case: &Case, directory: &Path) -> Result<Starter<'a>> {
    let rounds = bench.setup.options.rounds as usize;
    let functions = case.starts.div_ceil(rounds) * rounds;
    let node = Node::new(bench.setup, OURS, "/", |node| {
        for number in 0..functions {
            let path = directory.join(format!("cold-{number}"));
            // Each is another code, too: nothing of one is warm for another.
            let handler = format!("{}\n\nNUMBER = {number}\n", case.handler);
            let manifest = format!("name = \"cold-{number}\"\nhandler = \"app.handler\"\n");
            let mut files = vec![("app.py", handler.as_str()), ("fractus.toml", &manifest)];
            if !case.requirements.is_empty() {
                files.push(("requirements.txt", &case.requirements));
            }
            python::write(&path, &files)?;
            node.deploy(&path, &format!("cold-{number}"))?;
        }
        Ok(())
    })?;
    let start = move |first: usize, count: usize| {
        let running = node.start()?;
        thread::sleep(SETTLE);
        let mut client = Client::connect(node.contestant.address, get("/"))?;
        let mut times = Vec::new();
        for number in first..first + count {
            client.aim(get(&format!("/run/cold-{number}")));
            let asked = Instant::now();
            let answer = client.ask()?;
            times.push(asked.elapsed().as_secs_f64() * 1e6);
            ensure!(answer.status() == Some(200), "{}", answer.head);
        }
        drop(running);
        Ok(times)
    };
    Ok(Starter {
        name: OURS,
        start: Box::new(start),
    })
}

/// A command that serves one request on its standard input.
fn peer<'a>(bench: &Bench<'a>, name: &'static str, command: Vec<String>) -> Starter<'a> {
    let program = bench.program.display().to_string();
    let start = move |_, count: usize| {
        let words = [
            &program,
            "peer",
            "cold",
            "--count",
            &count.to_string(),
            "--",
        ];
        let words = words.map(str::to_owned).into_iter();
        let mut timed: Vec<_> = words.chain(command.iter().cloned()).collect();
        if name == CRUN {
            timed = with_one_cgroup_version(timed);
        }
        let text = output(Command::new(&timed[0]).args(&timed[1..]))?;
        serde_json::from_str(&text).with_context(|| text.clone())
    };
    Starter {
        name,
        start: Box::new(start),
    }
}

/// What importing the package costs an interpreter, with nothing around it. A package has no
/// bytecode where its code came out of an archive without and lies on a read-only file system.
fn import<'a>(bench: &Bench<'a>, name: &'static str, packages: &Path) -> Starter<'a> {
    let (interpreter, packages) = (bench.python.interpreter.clone(), packages.to_owned());
    let start = move |_, count: usize| {
        let once = |_| {
            let mut command = Command::new(&interpreter);
            command.args(["-c", "import boto3"]).stdin(Stdio::null());
            if name == IMPORT_SOURCE {
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                // A place for bytecode where there is none.
                command.env("PYTHONPYCACHEPREFIX", "/nonexistent");
            }
            let began = Instant::now();
            let status = command.env("PYTHONPATH", &packages).status()?;
            ensure!(status.success(), "{status}");
            Ok(began.elapsed().as_secs_f64() * 1e6)
        };
        (0..count).map(once).collect()
    };
    Starter {
        name,
        start: Box::new(start),
    }
}
