//! The command line: what may be written, and which command it leads to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime;

use crate::commands::{
    bench, bucket, cp, demo, deploy, doctor, events, invoke, logs, ls, queue, rm, status, trace,
    up, usage,
};
use crate::failure::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  fractus demo                                   see all of it at work
  fractus up                                     run a node on ./fractus-data
  fractus deploy examples/hello                  build and deploy a function
  fractus invoke hello                           call it
  fractus bucket create photos --public          make a bucket that the edge serves
  fractus cp cat.jpg fractus://photos/cat.jpg    store an object

Exit codes: 0 done, 1 failed, 2 the command line is wrong.";

/// A small cloud in one binary: functions, edge cache and object store.
#[derive(Debug, Parser)]
#[command(name = "fractus", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The node's data directory [default: ./fractus-data]
    #[arg(long, value_name = "DIR", env = "FRACTUS_DATA")]
    data: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole of it at work: store, edge cache and function on real photographs
    Demo(On<demo::Args>),
    /// Run a node in the foreground until Ctrl-C
    Up(On<up::Args>),
    /// Build a function and deploy it, or make a new version of it
    Deploy(On<deploy::Args>),
    /// Call a function and print its answer
    Invoke(invoke::Args),
    /// List the functions
    Ls(On<ls::Args>),
    /// Show what a function wrote to its output
    Logs(On<logs::Args>),
    /// Remove functions or objects
    Rm(On<rm::Args>),
    /// Make, list and remove buckets
    Bucket(On<bucket::Args>),
    /// Copy a file into a bucket, or an object out of one
    Cp(On<cp::Args>),
    /// Make, list, fill and remove queues, whose messages call functions
    Queue(On<queue::Args>),
    /// Show what functions are called with later, and when
    Events(On<events::Args>),
    /// Show how the node is
    Status(On<status::Args>),
    /// Show which protections native functions have on this machine
    Doctor(doctor::Args),
    /// Show what calls took and cost
    Usage(On<usage::Args>),
    /// Show what happened during a call, when, and what it cost
    Trace(On<trace::Args>),
    /// Experiment with the node
    Bench(On<bench::Args>),
}

/// Arguments of a command that may be told its data directory after its name, too. `invoke` is
/// not one: its `--data` is what it sends.
#[derive(Args, Debug)]
struct On<A: Args> {
    /// The node's data directory; `fractus --data DIR COMMAND` says the same
    #[arg(id = "directory", long = "data", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    #[command(flatten)]
    args: A,
}

/// What every command needs to know.
#[derive(Debug)]
pub(crate) struct Context {
    /// The node's data directory, if one was named.
    pub(crate) given: Option<PathBuf>,
    pub(crate) output: Output,
}

impl Context {
    /// The node's data directory.
    pub(crate) fn data(&self) -> &Path {
        self.given.as_deref().unwrap_or(Path::new("./fractus-data"))
    }
}

impl Cli {
    /// Does what was written.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self {
            data: first,
            json,
            command,
        } = self;
        let on = |second: Option<PathBuf>| Context {
            given: second.or(first),
            output: Output::new(json),
        };
        match command {
            Command::Demo(it) => demo::run(&on(it.data), it.args),
            Command::Up(it) => up::run(&on(it.data), it.args),
            Command::Deploy(it) => wait_for(deploy::run(&on(it.data), it.args)),
            Command::Invoke(mut args) => wait_for(invoke::run(&on(args.data_dir.take()), args)),
            Command::Ls(it) => wait_for(ls::run(&on(it.data), it.args)),
            Command::Logs(it) => wait_for(logs::run(&on(it.data), it.args)),
            Command::Rm(it) => wait_for(rm::run(&on(it.data), it.args)),
            Command::Bucket(it) => wait_for(bucket::run(&on(it.data), it.args)),
            Command::Cp(it) => wait_for(cp::run(&on(it.data), it.args)),
            Command::Queue(it) => wait_for(queue::run(&on(it.data), it.args)),
            Command::Events(it) => wait_for(events::run(&on(it.data), it.args)),
            Command::Doctor(args) => doctor::run(&on(None), &args),
            Command::Status(it) => wait_for(status::run(&on(it.data), it.args)),
            Command::Usage(it) => wait_for(usage::run(&on(it.data), it.args)),
            Command::Trace(it) => wait_for(trace::run(&on(it.data), it.args)),
            Command::Bench(it) => wait_for(bench::run(&on(it.data), it.args)),
        }
    }
}

/// Runs a command that is a client of a node.
fn wait_for(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(&error))?;
    let ended = runtime.block_on(command);
    // A read of standard input may never end; nobody waits for it.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests;
