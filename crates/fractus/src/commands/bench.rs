//! `fractus bench`: experiments on the node that runs.

mod axis;
mod burst;
mod chart;
mod figures;
mod floor;
mod function;
mod load;
mod summary;
mod svg;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::Context;
use crate::failure::Failure;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// Hold many requests outstanding on a function that has no instance yet
    Burst(burst::Args),
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.experiment {
        Experiment::Burst(args) => burst::run(context, args).await,
    }
}
