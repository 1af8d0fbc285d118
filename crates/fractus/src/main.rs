//! The `fractus` binary: a command line over a node.
//!
//! `up` and `demo` run a node in this process; every other command is a client of the node that
//! runs on the data directory. It decides nothing that a node could decide.
//!
//! Start at [`cli`] for what may be written, and at [`commands`] for what it does.

mod api;
mod artifact;
mod cli;
mod client;
mod commands;
mod failure;
mod limits;
mod output;
mod project;
mod remote;
mod table;
mod time;

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            Output::new(false).note(&failure);
            failure.exit_code()
        }
    }
}
