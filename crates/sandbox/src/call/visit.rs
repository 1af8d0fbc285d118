//! A call on its way, and its report.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fractus_func::{CallError, Host, Lines, LogStream, Outcome, Report, RequestId};

use crate::instance::Instance;

/// A call on its way; it reports once, however it ends.
pub(super) struct Visit {
    pub(super) id: RequestId,
    pub(super) host: Arc<dyn Host>,
    pub(super) lines: Lines,
    pub(super) queue_us: u64,
    pub(super) load_us: u64,
    pub(super) began: Instant,
    /// When the sandbox was there, and when the guest could be called.
    pub(super) started: Option<Instant>,
    pub(super) running: Option<Instant>,
    pub(super) is_cold: bool,
    pub(super) cpu_before: u64,
    pub(super) cpu_us: u64,
    pub(super) peak_memory: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
}

impl Visit {
    /// A call that begins now.
    pub(super) fn new(id: RequestId, host: Arc<dyn Host>, queue_us: u64, load_us: u64) -> Self {
        Self {
            id,
            host,
            lines: Lines::default(),
            queue_us,
            load_us,
            began: Instant::now(),
            started: None,
            running: None,
            is_cold: false,
            cpu_before: 0,
            cpu_us: 0,
            peak_memory: 0,
            request_bytes: 0,
            response_bytes: 0,
            status: None,
            outcome: Outcome::Cancelled,
            error: None,
        }
    }

    pub(super) fn log(&self, stream: LogStream, bytes: &[u8]) {
        self.lines.write(stream, bytes, &|stream, line| {
            self.host.log(self.id, stream, line);
        });
    }

    /// Notes how it ended.
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    pub(super) fn fail(&mut self, error: CallError) -> CallError {
        self.outcome = error.outcome;
        self.error = Some(match &error.kind {
            Some(kind) => format!("{kind}: {}", error.message),
            None => error.message.clone(),
        });
        error
    }

    /// Begins to measure an instance's work.
    pub(super) fn measure(&mut self, instance: &mut Instance) {
        if let Some(group) = &mut instance.process.group {
            // A cold start's work is its caller's.
            self.cpu_before = if self.is_cold {
                0
            } else {
                group.cpu_us().unwrap_or(0)
            };
            if !self.is_cold {
                group.forget_peak();
            }
        }
        self.running = Some(Instant::now());
    }

    /// Takes what the instance has used.
    pub(super) fn measured(&mut self, instance: &Instance) {
        if let Some(group) = &instance.process.group {
            self.cpu_us = group.cpu_us().unwrap_or(0).saturating_sub(self.cpu_before);
            self.peak_memory = group.peak().unwrap_or(0);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.lines
            .finish(&|stream, line| self.host.log(self.id, stream, line));
        if let Some(error) = self.error.as_ref().filter(|_| self.outcome.is_error()) {
            let line = format!("{}: {error}", self.outcome.code());
            self.host.log(self.id, LogStream::System, &line);
        }
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let running = self.running.unwrap_or(now);
        let init_us = micros(running.saturating_duration_since(started));
        self.host.finished(Report {
            id: self.id,
            queue_us: self.queue_us,
            load_us: self.load_us + if self.is_cold { init_us.max(1) } else { 0 },
            start_us: micros(started.saturating_duration_since(self.began)),
            run_us: micros(now.saturating_duration_since(running)),
            cpu_us: self.cpu_us,
            peak_memory: self.peak_memory,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            status: self.status,
            outcome: self.outcome,
            error: self.error.take(),
        });
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
