//! Ten thousand functions: making them one by one, and what they are to the node afterwards.

use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::super::contestant::Server;
use super::super::fractus::Node;
use super::super::native::Client;
use super::super::numbers::{float, median};
use super::super::report::{Report, Row, Table, Unit};
use super::send::{Pace, Sent};
use super::sign::{Request, Signer};
use super::{Bench, SETTLE};
use crate::process::output;

/// Functions that the node has before and after.
const FEW: usize = 10;
const MANY: usize = 10_000;

/// Functions of the first and of the last part of them, of which each is a row.
const PART: usize = 1_000;

/// Functions that are made with one start of the load: their signatures are good for some minutes.
const AT_ONCE: usize = 1_000;

/// Connections that make functions.
const CONNECTIONS: usize = 8;

/// First pages of the list of which the median counts.
const PAGES: usize = 20;

/// Functions that are called, all of them warm.
const CALLED: usize = 10;

/// Seconds for which they are.
const CALLS: f64 = 2.0;

/// Starts of the node of which the median counts.
const STARTS: usize = 3;

/// Longest time from the start of the program to its answer, in microseconds.
const START_MAX: f64 = 1e6;

const LIST: &str = "/2015-03-31/functions";

/// Prints an archive with a function in base64.
const ARCHIVE: &str = "\
import base64, io, zipfile
archive = io.BytesIO()
with zipfile.ZipFile(archive, 'w') as file:
    file.writestr('app.py', 'def lambda_handler(event, context):\\n    return event\\n')
print(base64.b64encode(archive.getvalue()).decode())
";

/// What is measured of a node with so many functions, in the order of its columns.
const COLUMNS: &[(&str, Unit)] = &[
    ("list, a page of 50", Unit::Micros),
    ("list, all pages", Unit::Micros),
    ("warm call, p50", Unit::Micros),
    ("warm call, p99", Unit::Micros),
    ("exec to ready", Unit::Micros),
    ("RSS then", Unit::Bytes),
    ("RSS before", Unit::Bytes),
];

/// A page of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    functions: Vec<serde::de::IgnoredAny>,
    next_marker: Option<String>,
}

/// A node and who makes its requests.
struct Cloud<'a> {
    bench: &'a Bench<'a>,
    node: &'a Node,
    signer: Signer,
    /// What every function is made of.
    archive: String,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let node = Node::new(bench.setup, "fractus", "/", |_| Ok(()))?;
    let mut cloud = Cloud {
        bench,
        node: &node,
        signer: Signer::start(bench.setup, &node)?,
        archive: output(Command::new("python3").args(["-c", ARCHIVE]))?,
    };
    let running = node.start()?;
    cloud.make(0, FEW)?;
    let (few, running) = cloud.measure(running, FEW)?;
    let mut parts = Vec::new();
    for first in (FEW..MANY).step_by(AT_ONCE) {
        let count = AT_ONCE.min(MANY - first);
        eprintln!("functions {first} to {}", first + count);
        parts.push(cloud.make(first, count)?);
    }
    let made = Sent(parts.into_iter().flat_map(|part| part.0).collect());
    report.add(creations(&made));
    let (many, running) = cloud.measure(running, MANY)?;
    drop(running);
    let table = Table {
        title: "A node with so many functions".to_owned(),
        columns: COLUMNS,
        rows: vec![few, many],
        compared: false,
    };
    let name = MANY.to_string();
    let ready = table.figure(&name, "exec to ready");
    let what = "1 s against the start of a node with 10,000 functions";
    report.claim(what, Some(START_MAX), 1.0, ready);
    report.add(table);
    Ok(())
}

/// How long creations took at the beginning and at the end.
fn creations(made: &Sent) -> Table {
    let all = &made.0;
    let row = |name: &str, part: &[_]| {
        let part = Sent(part.to_vec());
        Row {
            name: name.to_owned(),
            values: vec![Some(part.rate()), Some(part.p50()), Some(part.p99())],
        }
    };
    Table {
        title: format!("CreateFunction, {MANY} functions, connections: {CONNECTIONS}"),
        columns: &[
            ("made/s", Unit::Count),
            ("p50", Unit::Micros),
            ("p99", Unit::Micros),
        ],
        rows: vec![
            row("the first 1,000", &all[..PART]),
            row("the last 1,000", &all[all.len() - PART..]),
        ],
        compared: false,
    }
}

impl Cloud<'_> {
    /// Makes functions from a number on.
    fn make(&mut self, first: usize, count: usize) -> Result<Sent> {
        let archive = self.archive.trim();
        let requests = (first..first + count).map(|number| {
            let body = serde_json::json!({
                "FunctionName": name(number),
                "Runtime": "python3.12",
                "Role": "arn:aws:iam::000000000000:role/bench",
                "Handler": "app.lambda_handler",
                "Code": {"ZipFile": archive},
            });
            self.signer.sign(&Request::post(LIST, body.to_string()))
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        let expected = (CONNECTIONS, 201);
        self.bench
            .send(self.node, &requests, expected, Pace::total(count))
    }

    /// Everything about a node that has so many functions. It is started anew.
    fn measure(&mut self, running: Server, functions: usize) -> Result<(Row, Server)> {
        let (page, all) = self.list(functions)?;
        let calls = self.calls(functions)?;
        let before = float(running.memory()?.rss);
        drop(running);
        let mut starts = Vec::new();
        let mut start = || {
            let began = Instant::now();
            let running = self.node.start()?;
            starts.push(began.elapsed().as_secs_f64() * 1e6);
            Ok::<_, anyhow::Error>(running)
        };
        for _ in 1..STARTS {
            drop(start()?);
        }
        let running = start()?;
        thread::sleep(SETTLE);
        let rss = float(running.memory()?.rss);
        let values = [
            page,
            all,
            calls.p50(),
            calls.p99(),
            median(starts),
            rss,
            before,
        ];
        let row = Row {
            name: functions.to_string(),
            values: values.into_iter().map(Some).collect(),
        };
        Ok((row, running))
    }

    /// Microseconds until the first page of the list was there, and all of them.
    fn list(&mut self, functions: usize) -> Result<(f64, f64)> {
        let mut client = Client::connect(self.node.api, Vec::new())?;
        let mut first = Vec::new();
        for _ in 0..PAGES {
            first.push(self.page(&mut client, "")?.1);
        }
        let (mut took, mut found, mut marker) = (0.0, 0, String::new());
        loop {
            let (page, time) = self.page(&mut client, &marker)?;
            took += time;
            found += page.functions.len();
            // It would never end if a page began again where the one before did.
            ensure!(found <= functions, "{found} functions are listed");
            match page.next_marker {
                Some(next) => marker = format!("&Marker={}", encoded(&next)),
                None => break,
            }
        }
        ensure!(found == functions, "{found} functions are listed");
        Ok((median(first), took))
    }

    /// A page of the list, and after how many microseconds it was there.
    fn page(&mut self, client: &mut Client, marker: &str) -> Result<(Page, f64)> {
        let target = format!("{LIST}?MaxItems=50{marker}");
        client.aim(self.signer.sign(&Request::get(target))?.into_bytes());
        let asked = Instant::now();
        let answer = client.ask()?;
        let time = asked.elapsed().as_secs_f64() * 1e6;
        let page = serde_json::from_slice(&answer.body);
        let page = page.with_context(|| String::from_utf8_lossy(&answer.body).into_owned())?;
        Ok((page, time))
    }

    /// Calls of some functions, in turn.
    fn calls(&mut self, functions: usize) -> Result<Sent> {
        // A prime, so that they lie anywhere among all.
        let numbers = (0..CALLED).map(|at| at * 7_919 % functions);
        let requests = numbers.map(|number| {
            let function = name(number);
            self.signer.sign(&Request::invoke(&function, "{}"))
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        let expected = (1, 200);
        self.bench
            .send(self.node, &requests, expected, Pace::total(10 * CALLED))?;
        self.bench
            .send(self.node, &requests, expected, Pace::during(CALLS))
    }
}

/// As part of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

fn name(number: usize) -> String {
    format!("f{number}")
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_marker_is_one_value_of_a_query() {
        assert_eq!(encoded("Zj-Ew_~."), "Zj-Ew_~.");
        assert_eq!(encoded("f1 &=é"), "f1%20%26%3D%C3%A9");
    }
}
