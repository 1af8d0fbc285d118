//! Functions that run already, under load: what each call costs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::super::contestant::{Contestant, argument};
use super::super::fractus::Node;
use super::super::numbers::{float, median};
use super::super::report::{Report, Row, Table, Unit};
use super::super::{rounds, tools};
use super::load::{Client, Found, Load, post};
use super::python::{self, APP, HANDLER};
use super::{Bench, rust, serve};

/// Connections kept alive at once, in one table each.
const CONNECTIONS: [usize; 2] = [1, 16];

/// Seconds of load before the measured ones.
const WARM_UP: f64 = 1.0;

const COLUMNS: &[(&str, Unit)] = &[
    ("p50", Unit::Micros),
    ("p99", Unit::Micros),
    ("req/s", Unit::Count),
    ("CPU per request", Unit::Micros),
];

const OURS: &str = "fractus, handler";
const OURS_WSGI: &str = "fractus, WSGI";
const LOOP: &str = "awslambdaric, bare loop";
const GUNICORN: &str = "gunicorn sync, WSGI";
const OURS_RUST: &str = "fractus, lambda_runtime";
const LOOP_RUST: &str = "lambda_runtime, bare loop";
const CARGO_LAMBDA: &str = "lambda_runtime, cargo-lambda";

/// What one run of load shows.
struct Sample {
    found: Found,
    /// CPU time of the server for each request, in microseconds.
    cpu: f64,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let directory = TempDir::new()?;
    let bootstrap = report.found(rust::bootstrap(bench.setup));
    for connections in CONNECTIONS {
        let contestants = contestants(bench, directory.path(), bootstrap.as_deref(), connections)?;
        let contestants = report.present(contestants);
        let table = Table {
            title: format!("Warm, connections kept alive: {connections}"),
            columns: COLUMNS,
            rows: compare(bench, &contestants, connections)?,
            compared: true,
        };
        claims(&table, connections, report);
        report.add(table);
    }
    report.note(
        "the bare loop hands every call the same event and its answer on as it is; gunicorn's sync \
         worker closes the connection after each answer",
    );
    Ok(())
}

fn claims(table: &Table, connections: usize, report: &mut Report) {
    let cpu = |name| table.figure(name, "CPU per request");
    let p50 = |name| table.figure(name, "p50");
    let with = format!("with {connections} connections");
    if connections == 1 {
        report.claim("400 µs against our warm p50", Some(400.0), 1.0, p50(OURS));
    }
    let pairs = [
        (OURS, LOOP),
        (OURS_WSGI, GUNICORN),
        (OURS_RUST, CARGO_LAMBDA),
    ];
    for (ours, other) in pairs {
        let what = format!("requests/s per core of {ours} against {other}, {with}");
        report.claim(&what, cpu(other), 1.0, cpu(ours));
        let what = format!("requests/s of {ours} against {other}, {with}");
        let rate = |name| table.figure(name, "req/s");
        report.claim(&what, rate(ours), 1.0, rate(other));
    }
}

fn contestants(
    bench: &Bench<'_>,
    directory: &Path,
    bootstrap: Option<&Path>,
    connections: usize,
) -> Result<Vec<Result<Contestant>>> {
    let handler = directory.join("handler");
    let manifest = "name = \"hello\"\nhandler = \"app.handler\"\n";
    python::write(&handler, &[("app.py", HANDLER), ("fractus.toml", manifest)])?;
    let app = directory.join("app");
    let manifest = "name = \"hello\"\n";
    python::write(&app, &[("app.py", APP), ("fractus.toml", manifest)])?;
    let mut contestants = vec![
        ours(bench, OURS, &handler),
        bare_loop(bench, LOOP, &handler, &bench.python.runtime(), connections),
        ours(bench, OURS_WSGI, &app),
        gunicorn(bench, &app, connections),
    ];
    if let Some(bootstrap) = bootstrap {
        let code = bootstrap.parent().context("it lies in a directory")?;
        let runtime = [argument(bootstrap)];
        contestants.extend([
            ours(bench, OURS_RUST, code),
            cargo_lambda(bench, code, &runtime, connections),
            bare_loop(bench, LOOP_RUST, code, &runtime, connections),
        ]);
    }
    Ok(contestants)
}

/// A node that serves the function in a directory.
fn ours(bench: &Bench<'_>, name: &str, code: &Path) -> Result<Contestant> {
    let node = Node::new(bench.setup, name, "/run/hello", |node| {
        node.deploy(code, "hello")
    });
    Ok(node.with_context(|| name.to_owned())?.contestant)
}

/// A runtime for each connection on the least server that can be.
fn bare_loop(
    bench: &Bench<'_>,
    name: &str,
    code: &Path,
    runtime: &[String],
    runtimes: usize,
) -> Result<Contestant> {
    let contestant = Contestant::new(name, &bench.program, "/")?;
    let address = contestant.address.to_string();
    let runtimes = runtimes.to_string();
    let (code, packages) = (argument(code), argument(bench.python.peers()?));
    let words = [
        "peer",
        "serve",
        "--front",
        &address,
        "--runtimes",
        &runtimes,
    ];
    let more = ["--directory", &code, "--packages", &packages, "--"];
    Ok(contestant
        .arguments(words)
        .arguments(more)
        .arguments(runtime.iter().cloned()))
}

/// The same runtimes on the local server that cargo-lambda has for development.
fn cargo_lambda(
    bench: &Bench<'_>,
    code: &Path,
    runtime: &[String],
    runtimes: usize,
) -> Result<Contestant> {
    let tool = argument(&tools::CARGO_LAMBDA.find(bench.setup)?);
    let target = serve::cargo_lambda_target();
    let contestant = Contestant::new(CARGO_LAMBDA, &bench.program, &target)?;
    let address = contestant.address.to_string();
    let (runtimes, code) = (runtimes.to_string(), argument(code));
    let words = [
        "peer",
        "cargo-lambda",
        "--program",
        &tool,
        "--front",
        &address,
    ];
    let more = ["--runtimes", &runtimes, "--directory", &code, "--"];
    Ok(contestant
        .arguments(words)
        .arguments(more)
        .arguments(runtime.iter().cloned()))
}

/// gunicorn with the number of workers that its documentation advises, or one for one connection.
fn gunicorn(bench: &Bench<'_>, code: &Path, connections: usize) -> Result<Contestant> {
    let contestant = Contestant::new(GUNICORN, "env", "/")?;
    let cores = std::thread::available_parallelism()?.get();
    let workers = connections.min(2 * cores + 1).to_string();
    let packages = format!("PYTHONPATH={}", argument(bench.python.peers()?));
    let (python, code) = (argument(&bench.python.interpreter), argument(code));
    let address = contestant.address.to_string();
    let words = [
        packages.as_str(),
        &python,
        "-m",
        "gunicorn",
        "--chdir",
        &code,
    ];
    let more = ["--bind", &address, "--workers", &workers, "app:app"];
    Ok(contestant
        .arguments(words)
        .arguments(["--worker-class", "sync", "--log-level", "warning"])
        .arguments(more))
}

fn compare(bench: &Bench<'_>, contestants: &[Contestant], connections: usize) -> Result<Vec<Row>> {
    const PARTS: [fn(&Sample) -> f64; 4] = [
        |it| it.found.p50,
        |it| it.found.p99,
        |it| it.found.rate,
        |it| it.cpu,
    ];
    let samples = rounds(contestants, bench.setup.options.rounds, |contestant| {
        measure(bench, contestant, connections)
    })?;
    let rows = contestants
        .iter()
        .zip(&samples)
        .map(|(contestant, samples)| {
            let values = PARTS.map(|part| Some(median(samples.iter().map(part))));
            Row {
                name: contestant.name.clone(),
                values: values.to_vec(),
            }
        });
    Ok(rows.collect())
}

fn measure(bench: &Bench<'_>, contestant: &Contestant, connections: usize) -> Result<Sample> {
    let post = contestant.name == CARGO_LAMBDA;
    let server = if post {
        contestant.start_until(None, || answers(contestant))?
    } else {
        contestant.start(None)?
    };
    let load = |seconds| {
        let load = Load {
            address: contestant.address,
            target: contestant.target.clone(),
            connections,
            seconds,
            lenient: false,
            post,
        };
        load.by(&bench.program)
    };
    load(WARM_UP)?;
    let before = server.cpu()?;
    let found = load(Duration::from_secs(bench.setup.options.duration).as_secs_f64())?;
    let cpu = server.cpu()?.saturating_sub(before);
    Ok(Sample {
        found,
        cpu: cpu.as_secs_f64() * 1e6 / float(found.requests),
    })
}

/// Whether the Invoke API of a contestant is there.
fn answers(contestant: &Contestant) -> Result<()> {
    let mut client = Client::connect(contestant.address, post(&contestant.target))?;
    let answer = client.ask()?;
    ensure!(answer.status() == Some(200), "{}", answer.head);
    Ok(())
}
