//! `fractus usage`: what calls took and cost.

use std::process::ExitCode;

use fractus_func::{FunctionName, UsageRecord};
use fractus_stdx::ByteSize;
use serde_json::Value;

use crate::api::Usage;
use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::table::{Align, Table};
use crate::time::{micros, rfc3339};

const NOTE: &str = "\
The node keeps the records of its latest calls in memory, since its start. Counters of calls and
failures outlive a restart: `fractus ls` shows them.";

#[derive(clap::Args, Debug)]
#[command(after_help = NOTE)]
pub(crate) struct Args {
    /// Only calls of this function
    name: Option<FunctionName>,
    /// At most this many calls, the newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    let mut path = format!("/v1/usage?limit={}", args.limit);
    if let Some(name) = &args.name {
        path.push_str("&function=");
        path.push_str(name.as_str());
    }
    if output.json {
        output.json(&admin.get::<Value>(&path).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Usage { records } = admin.get(&path).await?;
    let mut table = Table::new([
        ("ENDED", Align::Left),
        ("FUNCTION", Align::Left),
        ("OUTCOME", Align::Left),
        ("STATUS", Align::Right),
        ("QUEUE", Align::Right),
        ("START", Align::Right),
        ("RUN", Align::Right),
        ("CPU", Align::Right),
        ("MEMORY", Align::Right),
        ("BILLED", Align::Right),
        ("REQUEST", Align::Left),
    ]);
    for record in &records {
        table.push(row(record));
    }
    output.raw(table.to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn row(record: &UsageRecord) -> [String; 11] {
    let cold = if record.cold { " cold" } else { "" };
    [
        rfc3339(record.ended_ms),
        format!("{} v{}", record.function.as_str(), record.version),
        record.outcome.code().to_owned(),
        record
            .status
            .map_or_else(|| "–".to_owned(), |status| status.to_string()),
        micros(record.queue_us),
        format!("{}{cold}", micros(record.load_us + record.start_us)),
        micros(record.run_us),
        micros(record.cpu_us),
        ByteSize(record.peak_memory).to_string(),
        format!("{} ms", record.billed_ms),
        record.request_id.to_string(),
    ]
}
