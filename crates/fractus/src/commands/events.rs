//! `fractus events`: what functions are called with later, and when.

use std::process::ExitCode;

use serde_json::Value;

use crate::api::Events;
use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::table::{Align, Table};
use crate::time::rfc3339;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    if output.json {
        output.json(&admin.get::<Value>("/v1/events").await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let events: Events = admin.get("/v1/events").await?;
    let oldest = events.oldest_ms.map_or_else(String::new, |ms| {
        format!(", the oldest since {}", rfc3339(ms))
    });
    output.line(format_args!(
        "{} wait{oldest}, {} run",
        events.queued, events.in_flight
    ))?;
    output.line(format_args!(
        "since the start: {} taken, {} done, {} given up, {} tried again, {} delivered, {} dropped",
        events.added, events.done, events.failed, events.retried, events.delivered, events.dropped
    ))?;
    if events.stopped {
        output.note("the disk failed: no events are taken or run until the node is restarted");
    }
    if events.schedules.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    output.line("")?;
    let mut table = Table::new([
        ("FUNCTION", Align::Left),
        ("SCHEDULE", Align::Left),
        ("ZONE", Align::Left),
        ("NEXT", Align::Left),
        ("LAST", Align::Left),
        ("MISSED", Align::Right),
    ]);
    let time = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), rfc3339);
    for schedule in events.schedules {
        table.push([
            schedule.function,
            schedule.expression,
            schedule.timezone,
            time(schedule.next_ms),
            time(schedule.last_fire_ms),
            schedule.missed.to_string(),
        ]);
    }
    output.raw(table.to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
