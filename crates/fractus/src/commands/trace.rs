//! `fractus trace`: what happened during a call, when, and what it cost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fractus_func::trace::{Price, Trace, to_chrome_trace, waterfall};
use fractus_func::{FunctionName, RequestId};
use rustix::termios::tcgetwinsize;
use serde::Deserialize;
use serde_json::Value;

use crate::api::Traces;
use crate::cli::Context;
use crate::client::Admin;
use crate::failure::Failure;
use crate::limits::TRACE_MAX;
use crate::table::{Align, Table};
use crate::time::{micros, rfc3339};

const NOTE: &str = "\
Examples:
  fractus trace                                         the calls that were traced
  fractus trace 0c2f7a3e-5d1b-4e8a-9f60-2b7c4d1e8a95    one of them
  fractus trace 0c2f7a3e-5d1b-4e8a-9f60-2b7c4d1e8a95 --chrome trace.json
  fractus invoke hello --trace                          call, and show the trace

An answer's X-Request-Id names its call, and so does `fractus usage`. Each line is a span: when it
began, how long it took, CPU time, bytes in and out, and its cost by itself and with its parts, in
millionths of a dollar or whatever the node's [price] is in. Bars are solid where time is paid for.

A call is traced if its caller asks for it by a sampled `traceparent` or `X-Amzn-Trace-Id`, as
`fractus invoke --trace` does, or if its function's TracingConfig says so. Of other calls only what
is in their usage record can be shown: not what the function asked others for. The node keeps
traces in memory, since its start. ui.perfetto.dev and chrome://tracing open what --chrome writes.";

#[derive(clap::Args, Debug)]
#[command(after_help = NOTE)]
pub(crate) struct Args {
    /// The call; without it, the latest calls that were traced are listed
    #[arg(value_name = "REQUEST_ID")]
    id: Option<RequestId>,
    /// Write the trace to a file, in the form of Chrome's trace events
    #[arg(long, value_name = "FILE", requires = "id")]
    chrome: Option<PathBuf>,
    /// List only calls of this function
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    function: Option<FunctionName>,
    /// List at most this many calls, the newest first
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 20,
        conflicts_with = "id"
    )]
    limit: u32,
}

/// What the admin API tells of a call.
#[derive(Debug, Deserialize)]
struct Told {
    /// Whether there is more than its usage record.
    traced: bool,
    trace: Trace,
    price: Price,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    let Some(id) = args.id else {
        return list(context, &admin, &args).await;
    };
    let value: Value = admin.get(&path(id)).await?;
    let told = read(value.clone())?;
    if let Some(file) = &args.chrome {
        write_chrome(&told, file)?;
        output.note(written(file));
    }
    if output.json {
        output.json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.raw(picture(&told, width(io::stdout())).as_bytes())?;
    if !told.traced {
        output.note(UNTRACED);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is missing in the picture of a call that was not traced.
const UNTRACED: &str = "\
this call was not traced: this is what its usage record says, without what the function asked others
for; `fractus invoke NAME --trace` traces a call";

async fn list(context: &Context, admin: &Admin, args: &Args) -> Result<ExitCode, Failure> {
    let output = &context.output;
    let mut path = format!("/v1/traces?limit={}", args.limit);
    if let Some(name) = &args.function {
        path.extend(["&function=", name.as_str()]);
    }
    if output.json {
        output.json(&admin.get::<Value>(&path).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Traces { traces } = admin.get(&path).await?;
    let mut table = Table::new([
        ("STARTED", Align::Left),
        ("FUNCTION", Align::Left),
        ("STATUS", Align::Right),
        ("TIME", Align::Right),
        ("SPANS", Align::Right),
        ("COST µ$", Align::Right),
        ("REQUEST", Align::Left),
        ("ERROR", Align::Left),
    ]);
    for one in traces {
        table.push([
            rfc3339(one.started_ms),
            format!("{} v{}", one.function, one.version),
            one.status
                .map_or_else(|| "–".to_owned(), |status| status.to_string()),
            micros(one.duration_us),
            one.spans.to_string(),
            one.cost.to_string(),
            one.request_id.to_string(),
            one.error.unwrap_or_default(),
        ]);
    }
    output.raw(table.to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn path(id: RequestId) -> String {
    format!("/v1/traces/{id}")
}

fn read(value: Value) -> Result<Told, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::new("the node's trace is not what this version of fractus expects").because(&error)
    })
}

/// Shows on standard error what happened during a call that has just been answered. Its trace is
/// complete a moment later, when the guest is gone.
pub(crate) async fn show_fresh(
    context: &Context,
    admin: &Admin,
    id: &str,
    chrome: Option<&Path>,
) -> Result<(), Failure> {
    let broken = || Failure::new("the answer names no request, so there is no trace of it");
    let id: RequestId = id.parse().or(Err(broken()))?;
    let give_up = Instant::now() + TRACE_MAX;
    let value = loop {
        let is_last = Instant::now() >= give_up;
        match admin.get::<Value>(&path(id)).await {
            Ok(value) if is_last || value["traced"] == true => break value,
            Err(failure) if is_last || !failure.is_refusal("no-such-trace") => {
                return Err(failure);
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let output = &context.output;
    let told = read(value.clone())?;
    if output.json {
        output.note(value);
    } else {
        output.note(picture(&told, width(io::stderr())).trim_end());
        if !told.traced {
            output.note(UNTRACED);
        }
    }
    if let Some(file) = chrome {
        write_chrome(&told, file)?;
        output.note(written(file));
    }
    Ok(())
}

fn written(file: &Path) -> String {
    format!("{}: open it with https://ui.perfetto.dev", file.display())
}

fn write_chrome(told: &Told, file: &Path) -> Result<(), Failure> {
    let text = to_chrome_trace(&told.trace, &told.price).to_string();
    fs::write(file, text)
        .map_err(|error| Failure::new(format!("cannot write {}", file.display())).because(&error))
}

fn picture(told: &Told, width: usize) -> String {
    waterfall(&told.trace, &told.price, width)
}

/// Columns of a terminal, or of what is none.
fn width(of: impl std::os::fd::AsFd) -> usize {
    const WIDTH: usize = 120;
    let size = tcgetwinsize(of).ok();
    let width = size.map(|size| usize::from(size.ws_col));
    width.filter(|width| *width > 0).unwrap_or(WIDTH)
}
