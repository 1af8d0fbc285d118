//! `fractus bench burst`: the elasticity experiment of Hendrickson et al., "Serverless
//! Computation with `OpenLambda`" (2016). Many requests are held outstanding on a function that has
//! no instance when it begins.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::value_parser;
use fractus_func::FunctionName;
use indicatif::ProgressBar;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::termios::tcgetwinsize;
use serde_json::json;

use super::chart::{Ink, cdf};
use super::figures::Distribution;
use super::floor;
use super::function::{self, Code};
use super::load::{self, Plan, Sample, Seen};
use super::summary::{Around, Kind, Parameters, Summary, csv, times};
use crate::cli::Context;
use crate::client::{Admin, find};
use crate::failure::Failure;
use crate::limits::{BURST_SAMPLES_MAX, BURST_TIME_MAX};
use crate::output::Output;
use crate::time::micros;

const EXAMPLES: &str = "\
Examples:
  fractus bench burst                                    100 requests that sleep, for a minute
  fractus bench burst --spin                             that keep processors busy instead
  fractus bench burst --concurrency 1000 --work 2s --duration 10s
  fractus bench burst --function mine --duration 10s     on a function that is deployed already

A function in Python is deployed under a new name and removed at the end. What was seen goes to
standard output, and to files under --out: the response times as an SVG picture and as CSV, the
figures as JSON. Ctrl-C ends it early and shows what was seen.";

/// How long one answer may take at least, whatever the work.
const PATIENCE_MIN: Duration = Duration::from_mins(2);

/// What the node and its queues may add to the time of an answer.
const MARGIN: Duration = Duration::from_secs(30);

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Requests held outstanding
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// What each request takes: time, or processor time with --spin
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration)]
    work: Duration,
    /// How long requests begin
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Sleep while a request is worked on: the default
    #[arg(long, conflicts_with = "spin")]
    sleep: bool,
    /// Keep a processor busy while a request is worked on
    #[arg(long)]
    spin: bool,
    /// Call this function in place of one that is deployed for it. It gets the same events
    #[arg(long, value_name = "NAME")]
    function: Option<FunctionName>,
    /// Where the picture, the samples and the figures go
    #[arg(long, value_name = "DIR", default_value = "fractus-bench")]
    out: PathBuf,
}

/// A time as it is written on the command line: `200ms`, `1.5s`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("write a number and us, ms, s or m, such as 200ms".to_owned()),
    };
    let seconds = number.trim().parse::<f64>().map(|number| number * scale);
    let time = seconds
        .ok()
        .and_then(|it| Duration::try_from_secs_f64(it).ok());
    match time {
        Some(time) if !time.is_zero() && time <= BURST_TIME_MAX => Ok(time),
        _ => Err(format!(
            "write a time above 0 and of at most {} s",
            BURST_TIME_MAX.as_secs()
        )),
    }
}

impl Args {
    const fn kind(&self) -> Kind {
        if self.spin { Kind::Spin } else { Kind::Sleep }
    }

    /// What one call may take: all of them may share one processor.
    fn timeout(&self) -> Duration {
        let shared = match self.kind() {
            Kind::Sleep => self.work * 3,
            Kind::Spin => self.work * self.concurrency * 3,
        };
        shared.clamp(PATIENCE_MIN, BURST_TIME_MAX)
    }

    fn parameters(&self, function: String, cores: usize) -> Parameters {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Parameters {
            function,
            kind: self.kind(),
            from_zero: self.function.is_none(),
            concurrency: self.concurrency,
            work_us: micros(self.work),
            duration_us: micros(self.duration),
            cores,
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    fs::create_dir_all(&args.out).map_err(|error| unwritable(&args.out, &error))?;
    allow_connections(args.concurrency)?;
    let kind = if args.spin { "spin" } else { "sleep" };
    let found = if let Some(name) = &args.function {
        measure(context, &admin, &args, name.as_str(), None).await?
    } else {
        let name = fresh_name(kind);
        let code = Code::write(&name, args.concurrency, args.timeout())?;
        code.deploy(&admin, output, &name).await?;
        let found = measure(context, &admin, &args, &name, Some(code.directory())).await;
        let removed = function::remove(&admin, &name).await;
        let found = found?;
        removed?;
        found
    };
    let (summary, seen) = found;
    let files = args.out.join(format!("burst-{kind}"));
    save(&files, &summary, &seen)?;
    show(output, &files, &summary, &seen)?;
    Ok(if summary.answers > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A name that no function has yet.
fn fresh_name(kind: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |it| it.as_millis());
    format!("burst-{kind}-{now:x}-{:x}", std::process::id())
}

/// Each connection is a file to the system, and so is much else.
fn allow_connections(count: u32) -> Result<(), Failure> {
    const BESIDES: u64 = 100;
    let mut limit = getrlimit(Resource::Nofile);
    let needed = u64::from(count) + BESIDES;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|error| {
        Failure::new(format!("cannot have {count} connections"))
            .because(&error)
            .hint("raise the limit with `ulimit -n`, or choose a lower --concurrency")
    })
}

/// Does the experiment on a function. `code` is where its Python lies, if it is ours.
async fn measure(
    context: &Context,
    admin: &Admin,
    args: &Args,
    name: &str,
    code: Option<&Path>,
) -> Result<(Summary, Seen), Failure> {
    let output = &context.output;
    let cores = available_parallelism().map_or(1, usize::from);
    let floor_rate = match code {
        Some(code) if args.spin => {
            let spinner = output.spinner("measuring the machine without a node");
            let rate = floor::rate(code, args.work, cores).await;
            spinner.finish_and_clear();
            Some(rate?)
        }
        _ => None,
    };
    let before = function::show(admin, name).await?.counters.cold;
    let event = json!({"spin": args.spin, "seconds": args.work.as_secs_f64()});
    let plan = Plan {
        address: find(context.data())?.edge,
        path: format!("/run/{name}"),
        body: Bytes::from(event.to_string()),
        concurrency: args.concurrency,
        duration: args.duration,
        patience: args.timeout() + MARGIN,
    };
    let spinner = output.spinner(&format!("{} outstanding", args.concurrency));
    let mut progress = Progress::new(&spinner);
    let seen = load::run(plan, interruption(), |now, seen| progress.show(now, seen)).await;
    spinner.finish_and_clear();
    let seen = seen?;
    if seen.samples.len() >= BURST_SAMPLES_MAX {
        output.note(format_args!(
            "ended early, after {BURST_SAMPLES_MAX} requests"
        ));
    }
    let around = Around {
        cold_starts: function::show(admin, name)
            .await?
            .counters
            .cold
            .saturating_sub(before),
        floor_rate,
    };
    let parameters = args.parameters(name.to_owned(), cores);
    Ok((Summary::new(parameters, &seen, around), seen))
}

/// Until Ctrl-C.
async fn interruption() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a way to be told, nobody tells.
        std::future::pending::<()>().await;
    }
}

/// The line that is seen while it runs.
#[derive(Debug)]
struct Progress<'a> {
    spinner: &'a ProgressBar,
    /// Samples that have been looked at, and when.
    before: (usize, Duration),
}

impl<'a> Progress<'a> {
    const fn new(spinner: &'a ProgressBar) -> Self {
        Self {
            spinner,
            before: (0, Duration::ZERO),
        }
    }

    fn show(&mut self, now: Duration, seen: &Seen) {
        let (count, then) = self.before;
        let new: Vec<&Sample> = seen.samples[count..]
            .iter()
            .filter(|sample| sample.is_answer())
            .collect();
        let seconds = now.saturating_sub(then).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = new.len() as f64 / seconds;
        let p99 = times(new.into_iter()).quantile(0.99);
        let p99 = p99.map_or("–".to_owned(), micros);
        let errors: u64 = seen.errors.values().sum();
        self.spinner.set_message(format!(
            "{rate:.0}/s, p99 {p99}, {} instances, {errors} errors",
            seen.instances.len()
        ));
        self.before = (seen.samples.len(), now);
    }
}

/// Writes the files.
fn save(files: &Path, summary: &Summary, seen: &Seen) -> Result<(), Failure> {
    let figures = serde_json::to_string_pretty(summary)
        .map_err(|error| Failure::new("cannot write the figures as JSON").because(&error))?;
    let write = |extension: &str, text: &str| {
        let path = files.with_extension(extension);
        fs::write(&path, text).map_err(|error| unwritable(&path, &error))
    };
    write("svg", &summary.picture(&seen.samples))?;
    write("csv", &csv(&seen.samples))?;
    write("json", &(figures + "\n"))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}", path.display())).because(error)
}

fn show(output: &Output, files: &Path, summary: &Summary, seen: &Seen) -> Result<(), Failure> {
    if output.json {
        return output.json(summary);
    }
    output.line(summary.text())?;
    let answers = seen.samples.iter().filter(|sample| sample.is_answer());
    let chart = chart(&times(answers));
    output.line(chart)?;
    output.line(format_args!(
        "{} and .csv, .json beside it",
        files.with_extension("svg").display()
    ))
}

/// The chart as this terminal can show it.
fn chart(values: &Distribution) -> String {
    const WIDTH: usize = 80;
    let size = tcgetwinsize(io::stdout()).ok();
    let width = size.map(|size| usize::from(size.ws_col));
    let width = width.filter(|width| *width > 0).unwrap_or(WIDTH);
    cdf(values, width, ink(|name| env::var(name).ok()))
}

/// What the terminal shows, by the variables that tell (POSIX, "Environment Variables").
fn ink(variable: impl Fn(&str) -> Option<String>) -> Ink {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    let is_plain = matches!(variable("TERM").as_deref(), Some("dumb" | "linux"));
    if !is_plain && (locale.ends_with("utf-8") || locale.ends_with("utf8")) {
        Ink::Braille
    } else {
        Ink::Ascii
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, ink};
    use crate::commands::bench::chart::Ink;

    #[test]
    fn times_are_written_with_a_unit() {
        for (text, micros) in [
            ("200ms", 200_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("50us", 50),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in [
            "", "200", "ms", "-1s", "0s", "1h", "NaNs", "inf s", "99999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_to_be_shown_is_drawn_in_ascii() {
        let with = |pairs: &[(&str, &str)]| {
            ink(|name| {
                let pair = pairs.iter().find(|(known, _)| *known == name);
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(with(&[]), Ink::Ascii);
        assert_eq!(with(&[("LANG", "C.UTF-8")]), Ink::Braille);
        assert_eq!(with(&[("LC_ALL", "C"), ("LANG", "C.UTF-8")]), Ink::Ascii);
        assert_eq!(
            with(&[("LC_ALL", ""), ("LANG", "en_GB.utf8")]),
            Ink::Braille
        );
        assert_eq!(with(&[("LANG", "C.UTF-8"), ("TERM", "linux")]), Ink::Ascii);
    }
}
