//! Requests that were made ahead, sent over many connections: each of these takes the next one as
//! soon as it has its answer.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::super::native::Client;
use super::super::numbers::{float, median, percentile};
use crate::process::output;

/// What is sent and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sending {
    #[arg(long)]
    pub(super) address: SocketAddr,
    #[arg(long)]
    pub(super) connections: usize,
    /// What each answer must have
    #[arg(long)]
    pub(super) status: u16,
    #[command(flatten)]
    pub(super) pace: Pace,
}

/// When it ends, whichever comes first, and how fast it may be.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Pace {
    /// After so many requests
    #[arg(long)]
    pub(super) total: usize,
    /// After so many seconds
    #[arg(long)]
    pub(super) seconds: f64,
    /// From one request to the next, in microseconds, at least
    #[arg(long)]
    pub(super) every: u64,
}

impl Pace {
    /// As much as is answered within this time.
    pub(super) fn during(seconds: f64) -> Self {
        Self {
            total: usize::MAX,
            seconds,
            every: 0,
        }
    }

    /// So many, as fast as they are answered.
    pub(super) fn total(total: usize) -> Self {
        Self {
            total,
            seconds: f64::INFINITY,
            every: 0,
        }
    }
}

/// An answered request: when it was sent, in microseconds since the UNIX epoch, and how many
/// microseconds later its answer was there.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Answered(pub(super) f64, pub(super) f64);

/// All of them, in the order in which they were sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent(pub(super) Vec<Answered>);

impl Sending {
    /// Has another process send these requests in turn.
    pub(super) fn by(&self, program: &Path, requests: &[String]) -> Result<Sent> {
        let mut file = NamedTempFile::new()?;
        file.write_all(&serde_json::to_vec(requests)?)?;
        let mut command = Command::new(program);
        command.args(["peer", "send", "--address", &self.address.to_string()]);
        command.args(["--connections", &self.connections.to_string()]);
        command.args(["--status", &self.status.to_string()]);
        command.args(["--total", &self.pace.total.to_string()]);
        command.args(["--seconds", &self.pace.seconds.to_string()]);
        command.args(["--every", &self.pace.every.to_string()]);
        let text = output(command.arg(file.path()))?;
        serde_json::from_str(&text).context("what was sent")
    }
}

impl Sent {
    /// Answers a second.
    pub(super) fn rate(&self) -> f64 {
        let begin = self.0.iter().map(|it| it.0).fold(f64::INFINITY, f64::min);
        let end = self.0.iter().map(|it| it.0 + it.1).fold(0.0, f64::max);
        float(self.0.len() as u64) / (end - begin) * 1e6
    }

    pub(super) fn p50(&self) -> f64 {
        median(self.took())
    }

    pub(super) fn p99(&self) -> f64 {
        percentile(self.took(), 99)
    }

    fn took(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|it| it.1)
    }
}

/// Sends what the file holds, a JSON array of texts.
pub(crate) fn run(sending: &Sending, requests: &Path) -> Result<Sent> {
    let requests = fs::read(requests).with_context(|| requests.display().to_string())?;
    let requests: Vec<String> = serde_json::from_slice(&requests)?;
    ensure!(!requests.is_empty(), "there is nothing to send");
    let work = Work {
        sending,
        requests: &requests,
        next: AtomicUsize::new(0),
        began: Instant::now(),
        epoch: SystemTime::now().duration_since(UNIX_EPOCH)?,
    };
    let mut all = thread::scope(|scope| {
        let lanes: Vec<_> = (0..sending.connections)
            .map(|_| scope.spawn(|| work.lane()))
            .collect();
        let ends = lanes.into_iter().map(|lane| {
            let end = lane.join();
            end.unwrap_or_else(|_| Err(anyhow!("a lane panicked")))
        });
        ends.collect::<Result<Vec<_>>>()
    })?
    .concat();
    ensure!(!all.is_empty(), "nothing was sent");
    all.sort_by_key(|(number, _)| *number);
    Ok(Sent(
        all.into_iter().map(|(_, answered)| answered).collect(),
    ))
}

/// What lanes share.
struct Work<'a> {
    sending: &'a Sending,
    requests: &'a [String],
    next: AtomicUsize,
    began: Instant,
    /// When it began, by the wall clock.
    epoch: Duration,
}

impl Work<'_> {
    /// One connection's share, with the number of each.
    fn lane(&self) -> Result<Vec<(usize, Answered)>> {
        let Pace {
            total,
            seconds,
            every,
        } = self.sending.pace;
        let mut client = Client::connect(self.sending.address, Vec::new())?;
        let mut answered = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= total || self.began.elapsed().as_secs_f64() > seconds {
                return Ok(answered);
            }
            let due = Duration::from_micros(every.saturating_mul(number as u64));
            thread::sleep(due.saturating_sub(self.began.elapsed()));
            client.aim(
                self.requests[number % self.requests.len()]
                    .clone()
                    .into_bytes(),
            );
            let asked = self.began.elapsed();
            let answer = client.ask()?;
            let took = self.began.elapsed().saturating_sub(asked);
            let is_right = answer.status() == Some(self.sending.status)
                && answer.header("x-amz-function-error").is_none();
            ensure!(
                is_right,
                "{}\n{}",
                answer.head,
                String::from_utf8_lossy(&answer.body)
            );
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            answered.push((number, Answered(micros(self.epoch + asked), micros(took))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answered, Sent};

    #[test]
    fn figures_of_what_was_sent() {
        // Two at once, and one that begins when the first is over.
        let sent = Sent(vec![
            Answered(1e6, 5e5),
            Answered(1e6, 1e6),
            Answered(1.5e6, 1.5e6),
        ]);
        assert_eq!((sent.rate(), sent.p50(), sent.p99()), (1.5, 1e6, 1.5e6));
    }
}
