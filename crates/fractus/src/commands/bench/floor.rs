//! What the machine itself can do: the same work, on all of its processors, with no node around
//! it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::failure::Failure;

/// How long the work is repeated.
const PERIOD: Duration = Duration::from_secs(2);

/// Repeats the work for a while and prints how often, and in how many seconds.
const SCRIPT: &str = "\
import sys, time
sys.path.insert(0, sys.argv[1])
import f
event = {'spin': True, 'seconds': float(sys.argv[2])}
count, begun = 0, time.perf_counter()
while time.perf_counter() - begun < float(sys.argv[3]):
    f.f(event)
    count += 1
print(count, time.perf_counter() - begun)
";

/// Answers a second that the machine can give if each takes `work` of processor time, measured
/// with the function in `directory`, one process for each of `cores`.
pub(super) async fn rate(directory: &Path, work: Duration, cores: usize) -> Result<f64, Failure> {
    let directory = directory.to_owned();
    let measured = spawn_blocking(move || {
        let unusable = |error: std::io::Error| {
            Failure::new("cannot measure the machine")
                .why(format!("python3: {error}"))
                .hint("install Python, which the function needs as well")
        };
        let mut processes = Vec::new();
        for _ in 0..cores {
            let mut command = Command::new("python3");
            command.args(["-I", "-c", SCRIPT]).arg(&directory);
            command.args([work, PERIOD].map(|time| time.as_secs_f64().to_string()));
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            processes.push(command.spawn().map_err(unusable)?);
        }
        let mut rate = 0.0;
        for process in processes {
            let told = process.wait_with_output().map_err(unusable)?;
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            rate += parse(&told).ok_or_else(|| {
                Failure::new("cannot measure the machine")
                    .why(format!("python3 did not do the work: `{}`", told.trim()))
            })?;
        }
        Ok(rate)
    });
    measured
        .await
        .map_err(|error| Failure::new("cannot measure the machine").because(&error))?
}

/// The rate in `10 2.03`.
fn parse(told: &str) -> Option<f64> {
    let (count, seconds) = told.trim().split_once(' ')?;
    let (count, seconds) = (count.parse::<f64>().ok()?, seconds.parse::<f64>().ok()?);
    (count > 0.0 && seconds > 0.0).then(|| count / seconds)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_python_tells_is_a_rate() {
        assert!((parse("10 2.5\n").unwrap() - 4.0).abs() < 1e-9);
        for told in ["", "10", "0 2.0", "ten 2", "10 0"] {
            assert_eq!(parse(told), None, "{told}");
        }
    }
}
