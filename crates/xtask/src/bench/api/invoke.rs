//! The same functions called on the edge, unsigned, and by the API, signed.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tempfile::TempDir;

use super::super::contestant::Server;
use super::super::fractus::{Node, component};
use super::super::numbers::{float, median};
use super::super::report::{Report, Row, Table, Unit};
use super::send::{Pace, Sending};
use super::sign::{Request, Signer};
use super::{Bench, EVENT, deploy};
use crate::process::{cargo, output};

/// Connections kept alive at once, in one table each.
const CONNECTIONS: [usize; 2] = [1, 16];

/// Seconds of load before the measured ones, once for each way.
const WARM_UP: f64 = 0.5;

/// Most that a signature, and with it the API, may cost a call, in microseconds.
const MORE_MAX: f64 = 60.0;

/// The functions by their names in the table.
const FUNCTIONS: [(&str, &str); 2] = [("hello", "component"), ("python", "Python handler")];

const PYTHON: &str = "\
def lambda_handler(event, context):
    return {'greeting': 'Hello from Fractus'}
";

const COLUMNS: &[(&str, Unit)] = &[
    ("req/s", Unit::Count),
    ("p50", Unit::Micros),
    ("p99", Unit::Micros),
    ("CPU per request", Unit::Micros),
];

/// One of the two ways to a function.
struct Way {
    name: String,
    function: &'static str,
    is_signed: bool,
}

/// Columns of one run of load.
type Sample = [f64; 4];

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let directory = TempDir::new()?;
    let hello = component(bench.setup, "hello")?;
    let node = Node::new(bench.setup, "fractus", "/", |node| {
        node.deploy(&hello, "hello")?;
        deploy(node, directory.path(), "python", PYTHON, "")
    })?;
    let running = node.start()?;
    let mut signer = Signer::start(bench.setup, &node)?;
    let mut costs = None;
    for connections in CONNECTIONS {
        let mut meter = Meter {
            bench,
            node: &node,
            running: &running,
            signer: &mut signer,
            connections,
        };
        let table = meter.table()?;
        costs = costs.or(Some(differences(&table)));
        report.add(table);
    }
    drop(running);
    let mut costs = costs.context("one connection is measured")?;
    if let Some(checked) = report.found(signature(bench)) {
        costs.push(Row {
            name: "signature alone: parsed, checked, body hashed".to_owned(),
            values: vec![Some(checked.p50), None],
        });
    }
    let table = Table {
        title: "What a call by the API costs beyond one on the edge, connections: 1".to_owned(),
        columns: &[("p50", Unit::Micros), ("CPU per request", Unit::Micros)],
        rows: costs,
        compared: false,
    };
    for Row { name, .. } in &table.rows {
        let what = format!("{MORE_MAX} µs against {name}, p50");
        let more = table.figure(name, "p50");
        report.claim(&what, Some(MORE_MAX), 1.0, more);
    }
    report.add(table);
    Ok(())
}

/// How much more is behind the API than on the edge, for each function.
fn differences(table: &Table) -> Vec<Row> {
    let one = |(_, what): &(&str, &str)| {
        let more = |column| {
            let of = |way| table.figure(&format!("{what}, {way}"), column);
            Some(of("API")? - of("edge")?)
        };
        Row {
            name: format!("{what}, API less edge"),
            values: vec![more("p50"), more("CPU per request")],
        }
    };
    FUNCTIONS.iter().map(one).collect()
}

/// Measures with so many connections.
struct Meter<'a> {
    bench: &'a Bench<'a>,
    node: &'a Node,
    running: &'a Server,
    signer: &'a mut Signer,
    connections: usize,
}

impl Meter<'_> {
    fn table(&mut self) -> Result<Table> {
        let ways: Vec<Way> = FUNCTIONS.iter().flat_map(ways).collect();
        for way in &ways {
            self.load(way, WARM_UP)?;
        }
        let rounds = self.bench.setup.options.rounds;
        let mut samples: Vec<Vec<Sample>> = ways.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds as usize {
            for turn in 0..ways.len() {
                let index = (round + turn) % ways.len();
                let (way, connections) = (&ways[index], self.connections);
                let name = &way.name;
                eprintln!(
                    "round {} of {rounds}: {name}, connections: {connections}",
                    round + 1
                );
                let seconds = self.bench.seconds();
                samples[index].push(self.load(way, seconds).context(name.clone())?);
            }
        }
        let rows = ways.into_iter().zip(samples).map(|(way, samples)| Row {
            name: way.name,
            values: (0..COLUMNS.len())
                .map(|column| Some(median(samples.iter().map(|sample| sample[column]))))
                .collect(),
        });
        Ok(Table {
            title: format!(
                "The same function on the edge and by the API, connections: {}",
                self.connections
            ),
            columns: COLUMNS,
            rows: rows.collect(),
            compared: false,
        })
    }

    fn load(&mut self, way: &Way, seconds: f64) -> Result<Sample> {
        let (address, request) = if way.is_signed {
            let request = Request::invoke(way.function, EVENT);
            (self.node.api, self.signer.sign(&request)?)
        } else {
            let edge = self.node.contestant.address;
            let request = Request::post(format!("/run/{}", way.function), EVENT);
            (edge, request.plain(&edge.to_string()))
        };
        let sending = Sending {
            address,
            connections: self.connections,
            status: 200,
            pace: Pace::during(seconds),
        };
        let before = self.running.cpu()?;
        let sent = sending.by(&self.bench.program, &[request])?;
        let cpu = self.running.cpu()?.saturating_sub(before);
        let cpu = cpu.as_secs_f64() * 1e6 / float(sent.0.len() as u64);
        Ok([sent.rate(), sent.p50(), sent.p99(), cpu])
    }
}

fn ways((function, what): &(&'static str, &'static str)) -> [Way; 2] {
    let way = |is_signed, way| Way {
        name: format!("{what}, {way}"),
        function,
        is_signed,
    };
    [way(false, "edge"), way(true, "API")]
}

/// What the example prints; times in microseconds.
#[derive(Debug, Deserialize)]
struct Checked {
    p50: f64,
}

/// What checking a signature takes by itself.
fn signature(bench: &Bench<'_>) -> Result<Checked> {
    let arguments = ["run", "--quiet", "--release", "--locked"];
    let mut command = cargo(bench.setup.root, &arguments);
    command.args(["-p", "fractus-lambda", "--example", "verify"]);
    let text = output(&mut command)?;
    serde_json::from_str(&text).with_context(|| text.clone())
}
