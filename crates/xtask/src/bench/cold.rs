//! From nothing: process start to first answer, instance start, memory of a node that idles.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::contestant::Contestant;
use super::fractus::{Node, component};
use super::numbers::{float, median, percentile};
use super::report::{Report, Row, Table, Unit};
use super::{Setup, hello, http, peers, rounds};

/// Starts of each contestant in each round.
const STARTS: u32 = 10;

/// Calls of each function whose instance starts are looked at.
const CALLS: usize = 200;

/// Functions of a node that has many.
const MANY: usize = 1_000;

/// What a node that was just started may take to come to rest.
const SETTLE: Duration = Duration::from_secs(2);

/// The photograph that is resized.
const PHOTO: &str = "chelsea.png";

pub(super) fn run(setup: &Setup<'_>) -> Result<Report> {
    let mut report = Report::default();
    process_start(setup, &mut report)?;
    let node = both(setup);
    if let Some(node) = report.found(node) {
        report.add(instance_start(&node)?);
        report.add(idle_memory(setup)?);
    }
    Ok(report)
}

fn process_start(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let hello = component(setup, "hello")?;
    let contestants = report.present([
        hello::fractus(setup),
        resize(setup),
        peers::wasmtime(setup, &hello),
        peers::workerd(setup),
        peers::node_js(setup),
    ]);
    let samples = rounds(&contestants, setup.options.rounds, starts)?;
    let rows = contestants
        .iter()
        .zip(samples)
        .map(|(contestant, samples)| {
            let times = || samples.iter().flatten().copied();
            let values = vec![Some(median(times())), Some(percentile(times(), 99))];
            Row {
                name: contestant.name.clone(),
                values,
            }
        });
    report.add(Table {
        title: "Process start to first answer".to_owned(),
        columns: &[("median", Unit::Micros), ("p99", Unit::Micros)],
        rows: rows.collect(),
        compared: true,
    });
    report.note(format!(
        "process starts of each: {}",
        STARTS * setup.options.rounds
    ));
    Ok(())
}

/// Microseconds from start to first answer, several times.
fn starts(contestant: &Contestant) -> Result<Vec<f64>> {
    let start = |_| {
        let began = Instant::now();
        let server = contestant.start(None)?;
        let took = began.elapsed().as_secs_f64() * 1e6;
        drop(server);
        Ok(took)
    };
    (0..STARTS).map(start).collect()
}

/// A node that is asked for a photograph in another size.
fn resize(setup: &Setup<'_>) -> Result<Contestant> {
    let target = photo(320);
    let node = Node::new(setup, "fractus, resize", &target, |node| {
        deploy_resize(setup, node)
    })?;
    Ok(node.contestant)
}

/// A node with both functions.
fn both(setup: &Setup<'_>) -> Result<Node> {
    let component = component(setup, "hello")?;
    Node::new(setup, "fractus", "/run/hello", |node| {
        node.deploy(&component, "hello")?;
        deploy_resize(setup, node)
    })
}

fn deploy_resize(setup: &Setup<'_>, node: &Node) -> Result<()> {
    let examples = setup.root.join("examples");
    node.command(&["bucket", "create", "photos"])?;
    node.put(&examples.join("photos").join(PHOTO), "photos", PHOTO)?;
    node.deploy(&examples.join("resize"), "resize")
}

fn photo(width: usize) -> String {
    format!("/resize/{PHOTO}?w={width}")
}

/// What the node's own records say of starting an instance.
fn instance_start(node: &Node) -> Result<Table> {
    let running = node.start()?;
    let mut rows = Vec::new();
    for function in ["hello", "resize"] {
        for call in 0..CALLS {
            // Another width each time, so that no cache answers in the function's place.
            let target = if function == "hello" {
                "/run/hello".to_owned()
            } else {
                photo(64 + call)
            };
            http::expect(node.contestant.address, &target)?;
        }
        rows.push(instance_row(node, function)?);
    }
    drop(running);
    let columns = &[
        ("start p50", Unit::Micros),
        ("start p99", Unit::Micros),
        ("load, once", Unit::Micros),
    ];
    let title = format!("Instance start inside the node, {CALLS} calls");
    Ok(Table {
        title,
        columns,
        rows,
        compared: false,
    })
}

fn instance_row(node: &Node, function: &str) -> Result<Row> {
    let calls = node.calls(function, CALLS)?;
    ensure!(
        !calls.is_empty(),
        "the node has no usage record of {function}"
    );
    let starts = || calls.iter().map(|call| float(call.start_us));
    let load = calls
        .iter()
        .find(|call| call.cold)
        .map(|call| float(call.load_us));
    let values = vec![Some(median(starts())), Some(percentile(starts(), 99)), load];
    Ok(Row {
        name: function.to_owned(),
        values,
    })
}

/// Memory after a restart, so that nothing is loaded that was not asked for.
fn idle_memory(setup: &Setup<'_>) -> Result<Table> {
    let hello = component(setup, "hello")?;
    let rows = [1, MANY].map(|functions| idle_row(setup, &hello, functions));
    Ok(Table {
        title: "Memory of a node that idles".to_owned(),
        columns: &[("RSS", Unit::Bytes), ("PSS", Unit::Bytes)],
        rows: rows.into_iter().collect::<Result<_>>()?,
        compared: false,
    })
}

fn idle_row(setup: &Setup<'_>, component: &Path, functions: usize) -> Result<Row> {
    let name = format!("functions deployed: {functions}");
    let node = Node::new(setup, &name, "/run/hello-0", |node| {
        (0..functions).try_for_each(|index| node.deploy(component, &format!("hello-{index}")))
    })?;
    let mut samples = Vec::new();
    for _ in 0..setup.options.rounds {
        let running = node.start()?;
        thread::sleep(SETTLE);
        samples.push(running.memory()?);
    }
    let middle = |part: fn(&super::machine::Memory) -> u64| {
        Some(median(samples.iter().map(|sample| float(part(sample)))))
    };
    Ok(Row {
        name,
        values: vec![middle(|it| it.rss), middle(|it| it.pss)],
    })
}
