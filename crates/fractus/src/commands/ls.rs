//! `fractus ls`: the functions.

use std::process::ExitCode;

use fractus_func::RuntimeKind;
use fractus_stdx::ByteSize;
use serde_json::Value;

use crate::api::{Function, Functions};
use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::table::{Align, Table};
use crate::time::rfc3339;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    if output.json {
        output.json(&admin.get::<Value>("/v1/functions").await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Functions { functions } = admin.get("/v1/functions").await?;
    if functions.is_empty() {
        output.note("no functions yet: deploy one with `fractus deploy PATH`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("VERSION", Align::Right),
        ("RUNTIME", Align::Left),
        ("SIZE", Align::Right),
        ("MEMORY", Align::Right),
        ("STATE", Align::Left),
        ("CALLS", Align::Right),
        ("ERRORS", Align::Right),
        ("LAST ERROR", Align::Left),
    ]);
    for function in functions {
        table.push(row(function));
    }
    output.raw(table.to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn row(function: Function) -> [String; 9] {
    let state = match (function.running, function.waiting, function.loaded) {
        (0, 0, false) => "idle".to_owned(),
        (0, 0, true) => "loaded".to_owned(),
        (running, 0, _) => format!("{running} running"),
        (running, waiting, _) => format!("{running} running, {waiting} waiting"),
    };
    let last_error = function.last_error.map_or_else(String::new, |error| {
        let message: String = error.message.chars().take(60).collect();
        format!("{} {}: {message}", rfc3339(error.at_ms), error.outcome)
    });
    [
        function.name,
        function.version.to_string(),
        function.runtime.map_or("", RuntimeKind::as_str).to_owned(),
        ByteSize(function.size).to_string(),
        format!("{} MiB", function.memory_mb),
        state,
        function.counters.calls.to_string(),
        function.counters.errors.to_string(),
        last_error,
    ]
}
