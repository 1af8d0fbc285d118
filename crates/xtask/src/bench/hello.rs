//! The smallest function under load: what a fresh instance for each request costs.

use anyhow::Result;

use super::contestant::Contestant;
use super::fractus::{Node, component};
use super::load::{COLUMNS, CONNECTIONS, compare};
use super::report::{Report, Table};
use super::{Setup, peers};

pub(super) fn run(setup: &Setup<'_>) -> Result<Report> {
    let component = component(setup, "hello")?;
    let mut report = Report::default();
    let contestants = report.present([
        fractus(setup),
        peers::wasmtime_tuned(setup, &component),
        peers::wasmtime(setup, &component),
        peers::workerd(setup),
    ]);
    let table = Table {
        title: format!("hello, {CONNECTIONS} connections kept alive"),
        columns: COLUMNS,
        rows: compare(setup, &contestants, setup.options.pin)?,
        compared: true,
    };
    let rate = |name| table.figure(name, "req/s");
    let p99 = |name| table.figure(name, "p99");
    let (plain, tuned) = ("wasmtime serve", "wasmtime serve, tuned");
    report.claim(
        "requests/s against wasmtime",
        rate("fractus"),
        4.0,
        rate(plain),
    );
    report.claim(
        "requests/s against wasmtime tuned",
        rate("fractus"),
        1.3,
        rate(tuned),
    );
    report.claim(
        "p99 of wasmtime against ours",
        p99(plain),
        1.0,
        p99("fractus"),
    );
    report.claim(
        "p99 of wasmtime tuned against ours",
        p99(tuned),
        1.0,
        p99("fractus"),
    );
    report.add(table);
    report
        .note("fractus and wasmtime start a fresh instance of the same component for each request");
    Ok(report)
}

/// A node that serves hello.
pub(super) fn fractus(setup: &Setup<'_>) -> Result<Contestant> {
    let component = component(setup, "hello")?;
    let node = Node::new(setup, "fractus", "/run/hello", |node| {
        node.deploy(&component, "hello")
    })?;
    Ok(node.contestant)
}
