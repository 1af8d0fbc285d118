//! The project's own tasks: `cargo xtask test`, `tidy` and `bench`.
//!
//! No part of the product: it names no crate of ours, so it builds in seconds on a bare machine.
//! Start at [`steps`] for what the test command runs, at [`tidy`] for the house rules, at
//! [`mod@bench`] for the comparisons.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to the terminal"
)]

mod bench;
mod process;
mod steps;
mod tidy;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the tests need and run all of them: the project's test command
    Test(steps::Options),
    /// Check the house rules no compiler checks: crate edges, names in documents, forgotten files
    Tidy,
    /// Measure Fractus and its peers side by side; prints tables for docs/benchmarks.md
    Bench(bench::Options),
    /// Play a part in a benchmark
    #[command(hide = true, subcommand)]
    Peer(bench::native::Peer),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = root();
    let outcome = match &arguments.task {
        Task::Test(options) => steps::run(&root, options),
        Task::Tidy => tidy::run(&root),
        Task::Bench(options) => bench::run(&root, options),
        Task::Peer(peer) => bench::native::play(peer),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository. Cargo says at run time where this crate lies: checkouts that share a target
/// directory share this program, too.
fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(here)
        .ancestors()
        .nth(2)
        .expect("this crate lies two directories below it")
        .into()
}
