//! `fractus usage`: what calls took and cost.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use fractus_func::trace::Cost;
use fractus_func::{Counters, FunctionName};
use fractus_stdx::ByteSize;
use serde_json::Value;

use crate::api::{CallUsage, Costed, Usage};
use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Align, Table};
use crate::time::{micros, rfc3339};

const NOTE: &str = "\
Sums are exact, and outlive restarts. With --since they are made of the records of the node's latest
calls, which it keeps in memory. Costs are billed time times memory plus a price for each call that
ran, as the section [price] of the node's configuration says: AWS Lambda's by default, in dollars.";

#[derive(clap::Args, Debug)]
#[command(after_help = NOTE)]
pub(crate) struct Args {
    /// Only calls of this function, each of its versions by itself
    name: Option<FunctionName>,
    /// Only calls that ended within this time: 90s, 15m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
    /// At most this many single calls, the newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u32,
}

/// Reads a length of time.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no length of time: write 90s, 15m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number = text[..text.len() - 1].parse::<u64>().or(Err(wrong()))?;
    number.checked_mul(scale).ok_or_else(wrong)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    let mut path = format!("/v1/usage?limit={}", args.limit);
    if let Some(name) = &args.name {
        path.push_str("&function=");
        path.push_str(name.as_str());
    }
    let since_ms = args
        .since
        .map(|seconds| now_ms().saturating_sub(seconds.saturating_mul(1000)));
    if let Some(since_ms) = since_ms {
        path.push_str("&since_ms=");
        path.push_str(&since_ms.to_string());
    }
    if output.json {
        output.json(&admin.get::<Value>(&path).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let usage: Usage = admin.get(&path).await?;
    if since_ms.is_some_and(|since_ms| since_ms < usage.complete_since_ms) {
        let from = rfc3339(usage.complete_since_ms);
        output.note(format_args!("the node has records since {from} only"));
    }
    show_sums(output, &usage, args.name.is_some())?;
    if !usage.records.is_empty() {
        output.line("")?;
        show_calls(output, &usage.records)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_sums(output: &Output, usage: &Usage, by_version: bool) -> Result<(), Failure> {
    let mut table = Table::new([
        ("FUNCTION", Align::Left),
        ("CALLS", Align::Right),
        ("FAILED", Align::Right),
        ("REFUSED", Align::Right),
        ("COLD", Align::Right),
        ("QUEUE", Align::Right),
        ("RUN", Align::Right),
        ("CPU", Align::Right),
        ("OUT", Align::Right),
        ("GB-S", Align::Right),
        ("COST", Align::Right),
    ]);
    for function in &usage.functions {
        table.push(sums(function.function.clone(), &function.sums));
        if !by_version {
            continue;
        }
        for version in &function.versions {
            let label = version.qualifier.as_deref().unwrap_or("gone");
            table.push(sums(
                format!("  v{} {label}", version.version),
                &version.sums,
            ));
        }
    }
    output.raw(table.to_string().as_bytes())
}

fn sums(name: String, Costed { counters, cost }: &Costed) -> [String; 11] {
    let Counters {
        calls,
        errors,
        throttled,
        cold,
        queue_us,
        run_us,
        cpu_us,
        response_bytes,
        mb_ms,
        ..
    } = counters;
    [
        name,
        calls.to_string(),
        errors.to_string(),
        throttled.to_string(),
        cold.to_string(),
        micros(*queue_us),
        micros(*run_us),
        micros(*cpu_us),
        ByteSize(*response_bytes).to_string(),
        format!("{}.{:03}", mb_ms / 1_024_000, mb_ms % 1_024_000 / 1_024),
        dollars(*cost),
    ]
}

/// In units of the currency, to a millionth or, below one, to a billionth.
fn dollars(cost: Cost) -> String {
    let (units, rest) = (cost.0 / 1_000_000_000_000, cost.0 % 1_000_000_000_000);
    if units > 0 {
        return format!("{units}.{:06}", rest / 1_000_000);
    }
    format!("0.{:09}", rest / 1_000)
}

fn show_calls(output: &Output, calls: &[CallUsage]) -> Result<(), Failure> {
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
        ("COST", Align::Right),
        ("REQUEST", Align::Left),
    ]);
    for call in calls {
        table.push(row(call));
    }
    output.raw(table.to_string().as_bytes())
}

fn row(CallUsage { record, cost }: &CallUsage) -> [String; 12] {
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
        dollars(*cost),
        record.request_id.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use fractus_func::trace::Cost;

    use super::{dollars, seconds};

    #[test]
    fn times_and_money_are_read_and_shown() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "5", "h", "-1s", "1w", "99999999999999999999d", "1.5h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(dollars(Cost(2_083)), "0.000000002");
        assert_eq!(dollars(Cost(1_500_000_000_000)), "1.500000");
    }
}
