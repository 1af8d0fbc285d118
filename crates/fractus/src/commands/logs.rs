//! `fractus logs`: what a function wrote to its output.

use std::process::ExitCode;

use bytes::{Buf as _, BytesMut};
use fractus_func::FunctionName;
use fractus_stdx::ErrorChain;
use http::Method;
use http_body_util::BodyExt as _;

use crate::api::LogLine;
use crate::cli::Context;
use crate::client::{Admin, Pace, empty};
use crate::failure::Failure;
use crate::limits::{ANSWER_MAX, STALL_MAX};
use crate::output::Output;
use crate::table::printable;
use crate::time::rfc3339;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The function
    name: FunctionName,
    /// Go on showing lines as they are written, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Begin with this many of the last lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    lines: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let path = format!(
        "/v1/functions/{}/logs?limit={}&follow={}",
        args.name.as_str(),
        args.lines,
        args.follow
    );
    let request = admin.request(Method::GET, &path).body(empty());
    let response = admin.send(request, &Pace::default(), STALL_MAX).await?;
    let mut body = response.into_body();
    let mut pending = BytesMut::new();
    // No limit on the time: a follower waits for as long as nothing is written.
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(error = %ErrorChain(&error), "log");
            Failure::new("the node has gone").hint("`fractus up` starts it again")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end);
            pending.advance(1);
            show(&context.output, &line)?;
        }
        if pending.len() > ANSWER_MAX {
            return Err(Failure::new("the node sent a line of log without an end"));
        }
    }
    if args.follow {
        context.output.note("the node has stopped");
    }
    Ok(ExitCode::SUCCESS)
}

fn show(output: &Output, line: &[u8]) -> Result<(), Failure> {
    if line.is_empty() {
        return Ok(());
    }
    if output.json {
        return output.line(String::from_utf8_lossy(line));
    }
    let line: LogLine = serde_json::from_slice(line).map_err(|error| {
        Failure::new("the node sent a line of log that is none").because(&error)
    })?;
    output.line(text(&line))
}

fn text(line: &LogLine) -> String {
    let request = line.request_id.as_deref().unwrap_or("–");
    format!(
        "{} {request:<36} {:<6} {}",
        rfc3339(line.at_ms),
        line.stream,
        printable(&line.line)
    )
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::api::LogLine;

    #[test]
    fn a_line_tells_when_which_call_and_what() {
        let json = r#"{"seq":1,"at_ms":0,"request_id":"01234567-0123-0123-0123-0123456789ab","stream":"stderr","line":"a\u001b"}"#;
        let line: LogLine = serde_json::from_str(json).unwrap();
        assert_eq!(
            text(&line),
            "1970-01-01T00:00:00.000Z 01234567-0123-0123-0123-0123456789ab stderr a\\u{1b}"
        );
    }
}
