//! Cache hits, one core each: the edge against nginx.

use std::fs;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::contestant::Contestant;
use super::fractus::Node;
use super::load::{COLUMNS, CONNECTIONS, compare};
use super::report::{Report, Table};
use super::{Setup, http, peers};

/// Sizes of the object that is asked for, in KiB.
const SIZES: [usize; 2] = [1, 64];

pub(super) fn run(setup: &Setup<'_>) -> Result<Report> {
    let mut report = Report::default();
    for size in SIZES {
        let contestants = report.present([fractus(setup, size), peers::nginx(setup, size << 10)]);
        contestants
            .iter()
            .try_for_each(|contestant| hits(contestant, size << 10))?;
        report.add(Table {
            title: format!("Cache hit, {size} KiB, {CONNECTIONS} connections kept alive"),
            columns: COLUMNS,
            rows: compare(setup, &contestants, true)?,
            compared: true,
        });
    }
    report.note("servers run on core 0, the load generator on core 1");
    Ok(report)
}

/// A node with an object in a public bucket.
fn fractus(setup: &Setup<'_>, size: usize) -> Result<Contestant> {
    let directory = TempDir::new()?;
    let file = directory.path().join("object.bin");
    fs::write(&file, "x".repeat(size << 10))?;
    let node = Node::new(setup, "fractus", "/b/bench/object.bin", |node| {
        node.public_bucket("bench")?;
        node.put(&file, "bench", "object.bin")
    })?;
    Ok(node.contestant)
}

/// Makes sure that what will be measured is a hit, and the whole object.
fn hits(contestant: &Contestant, bytes: usize) -> Result<()> {
    // Starting has asked for it once.
    let running = contestant.start(None)?;
    let answer = http::get(contestant.address, &contestant.target, None)?;
    drop(running);
    ensure!(
        answer.body.len() == bytes,
        "{}: {} bytes",
        contestant.name,
        answer.body.len()
    );
    let status = answer
        .header("cache-status")
        .unwrap_or_default()
        .to_lowercase();
    ensure!(
        status.contains("hit"),
        "{} has no hit: {status:?}",
        contestant.name
    );
    Ok(())
}
