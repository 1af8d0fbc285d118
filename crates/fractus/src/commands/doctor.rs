//! `fractus doctor`: which protections native functions have on this machine.

use std::process::ExitCode;

use fractus_sandbox::{Finding, State, examine};
use serde_json::json;

use crate::cli::Context;
use crate::failure::Failure;

const AFTER: &str = "\
It builds a sandbox and looks around in it; no node needs to run. Run it as the user that the node
runs as. The exit code is 1 if no sandbox can be built.";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _args: &Args) -> Result<ExitCode, Failure> {
    let folder = std::env::temp_dir().join(format!("fractus-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| {
        Failure::new(format!("cannot make {}", folder.display())).because(&error)
    })?;
    let findings = examine(&folder);
    std::fs::remove_dir_all(&folder).ok();
    let broken = findings
        .iter()
        .any(|f| f.name == "sandbox" && f.state == State::Off);
    if context.output.json {
        let all: Vec<_> = findings.iter().map(as_json).collect();
        context.output.json(&json!({"findings": all}))?;
    } else {
        for Finding {
            name,
            state,
            detail,
        } in &findings
        {
            let mark = match state {
                State::On => "on",
                State::Weak => "weak",
                State::Off => "OFF",
            };
            context
                .output
                .line(format_args!("{mark:<5} {name:<25} {detail}"))?;
        }
    }
    Ok(if broken {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let state = match finding.state {
        State::On => "on",
        State::Weak => "weak",
        State::Off => "off",
    };
    json!({"name": finding.name, "state": state, "detail": finding.detail})
}
