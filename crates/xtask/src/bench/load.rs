//! Load by `wrk`: many connections kept alive, latencies and rate.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::contestant::Contestant;
use super::numbers::{float, median};
use super::report::{Row, Unit};
use super::{Setup, rounds, tools};
use crate::process::output;

/// Connections kept alive at once.
pub(super) const CONNECTIONS: u32 = 64;

/// Seconds of load before the measured ones.
const WARM_UP: u64 = 1;

/// The columns of [`compare`].
pub(super) const COLUMNS: &[(&str, Unit)] = &[
    ("req/s", Unit::Count),
    ("p50", Unit::Micros),
    ("p99", Unit::Micros),
    ("CPU per request", Unit::Micros),
];

/// What one run of load shows; times in microseconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

/// Load on every contestant in rounds; a row of medians for each.
pub(super) fn compare(
    setup: &Setup<'_>,
    contestants: &[Contestant],
    pin: bool,
) -> Result<Vec<Row>> {
    const PARTS: [fn(&Sample) -> f64; 4] = [|it| it.rate, |it| it.p50, |it| it.p99, |it| it.cpu];
    let samples = rounds(contestants, setup.options.rounds, |it| {
        measure(setup, it, pin)
    })?;
    let rows = contestants
        .iter()
        .zip(samples)
        .map(|(contestant, samples)| {
            let values = PARTS.map(|part| Some(median(samples.iter().map(part))));
            Row {
                name: contestant.name.clone(),
                values: values.to_vec(),
            }
        });
    Ok(rows.collect())
}

fn measure(setup: &Setup<'_>, contestant: &Contestant, pin: bool) -> Result<Sample> {
    let cores = if pin {
        (Some(0), Some(1))
    } else {
        (None, None)
    };
    let server = contestant.start(cores.0)?;
    wrk(setup, contestant, WARM_UP, cores.1)?;
    let before = server.cpu()?;
    let load = wrk(setup, contestant, setup.options.duration, cores.1)?;
    let cpu = server.cpu()?.saturating_sub(before);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Sample {
        rate: load.rate,
        p50: micros(load.p50),
        p99: micros(load.p99),
        cpu: micros(cpu) / float(load.requests),
    })
}

fn wrk(
    setup: &Setup<'_>,
    contestant: &Contestant,
    seconds: u64,
    core: Option<u32>,
) -> Result<Load> {
    let wrk = tools::WRK.find(setup)?;
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &core.to_string()]).arg(wrk);
            command
        }
        None => Command::new(wrk),
    };
    command.args(["--threads", "1", "--latency", "--timeout", "10s"]);
    command.args(["--connections", &CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{seconds}s")]);
    command.arg(format!(
        "http://{}{}",
        contestant.address, contestant.target
    ));
    let text = output(&mut command)?;
    let load = parse(&text).with_context(|| format!("what wrk printed:\n{text}"))?;
    ensure!(load.failed == 0, "{} requests failed:\n{text}", load.failed);
    Ok(load)
}

/// What wrk printed.
#[derive(Debug, PartialEq)]
struct Load {
    requests: u64,
    /// Requests a second.
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// Answers other than 2xx and 3xx, and connections that broke.
    failed: u64,
}

fn parse(text: &str) -> Option<Load> {
    let lines = || text.lines().map(str::trim);
    let after = |start: &str| {
        lines()
            .find_map(|line| line.strip_prefix(start))
            .map(str::trim)
    };
    let requests = lines().find_map(|line| line.split_once(" requests in "))?.0;
    let refused = after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?;
    let broken = after("Socket errors:").map_or(Some(0), broken)?;
    Some(Load {
        requests: requests.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50: time(after("50%")?)?,
        p99: time(after("99%")?)?,
        failed: refused + broken,
    })
}

/// The sum of `connect 0, read 0, write 0, timeout 3`.
fn broken(text: &str) -> Option<u64> {
    text.split(',')
        .map(|part| part.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// `312.00us`, `1.39ms`, `2.01s`, `1.50m`.
fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, time};

    const PRINTED: &str = "\
Running 10s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.57ms    1.19ms  27.86ms   92.58%
    Req/Sec    43.33k     3.88k   50.50k    65.00%
  Latency Distribution
     50%  312.00us
     75%    1.78ms
     90%    2.47ms
     99%    1.15s
  431304 requests in 10.02s, 62.52MB read
";
    const RATE: &str = "Requests/sec:  43040.23\nTransfer/sec:      6.24MB\n";

    #[test]
    fn what_wrk_prints_is_read() {
        let load = parse(&format!("{PRINTED}{RATE}")).unwrap();
        assert_eq!(load.requests, 431_304);
        assert!((load.rate - 43_040.23).abs() < 1e-6);
        assert_eq!(
            (load.p50, load.p99),
            (Duration::from_micros(312), Duration::from_millis(1150))
        );
        assert_eq!(load.failed, 0);
    }

    #[test]
    fn failures_are_counted() {
        let errors = "  Socket errors: connect 1, read 2, write 0, timeout 3\n";
        let refused = "  Non-2xx or 3xx responses: 100\n";
        assert_eq!(
            parse(&format!("{PRINTED}{errors}{refused}{RATE}"))
                .unwrap()
                .failed,
            106
        );
        assert_eq!(
            parse(&format!("{PRINTED}{refused}{RATE}")).unwrap().failed,
            100
        );
    }

    #[test]
    fn what_wrk_does_not_print_is_no_figure() {
        assert!(parse("").is_none());
        assert!(parse(PRINTED).is_none());
        assert!(parse(&format!("{PRINTED}{RATE}").replace("1.15s", "nans")).is_none());
    }

    #[test]
    fn units_of_time() {
        let check = |text: &str, micros: u64| {
            assert_eq!(time(text), Some(Duration::from_micros(micros)), "{text}");
        };
        check("0.00us", 0);
        check("1.39ms", 1_390);
        check("2.01s", 2_010_000);
        check("1.50m", 90_000_000);
        assert_eq!(time("1.5"), None);
        assert_eq!(time("1.5x"), None);
        assert_eq!(time("-1s"), None);
    }
}
