//! One call on its way through the node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fractus_func::{
    Body, BoxFuture, CallError, FunctionName, Host, Limits, LogStream, OutboundError, Outcome,
    Report, RequestId, Tunnel, UsageRecord,
};

use crate::clock::now_ms;
use crate::functions::budget::Instance;
use crate::functions::desk::{LastError, Place};
use crate::functions::{Function, Services, micros};
use crate::limits::LAST_ERROR_MAX;

/// What a call holds while it runs.
#[derive(Debug)]
#[expect(dead_code, reason = "held until it is dropped, which gives both back")]
pub(super) struct Seat {
    pub(super) place: Place,
    pub(super) instance: Instance,
}

/// A call, and what its guest can reach. It reports once: what the runtime measured, or that it was
/// refused, or, when it is dropped before, that the caller went away.
#[derive(Debug)]
pub(super) struct Visit {
    services: Arc<Services>,
    function: Arc<Function>,
    id: RequestId,
    arrived: Instant,
    reported: AtomicBool,
    /// Given back with the report, or else when the last one who knows the call is gone.
    seat: Mutex<Option<Seat>>,
}

impl Visit {
    pub(super) fn arrive(
        services: &Arc<Services>,
        function: &Arc<Function>,
        id: RequestId,
    ) -> Self {
        function.touch();
        Self {
            services: Arc::clone(services),
            function: Arc::clone(function),
            id,
            arrived: Instant::now(),
            reported: AtomicBool::new(false),
            seat: Mutex::default(),
        }
    }

    /// Microseconds since the call arrived.
    pub(super) fn elapsed_us(&self) -> u64 {
        micros(self.arrived)
    }

    fn seat(&self) -> std::sync::MutexGuard<'_, Option<Seat>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the seat that the call runs on.
    pub(super) fn take(&self, seat: Seat) {
        let before = self.seat().replace(seat);
        assert!(before.is_none(), "a call runs on one seat");
    }

    /// Ends the call before a runtime saw it.
    pub(super) fn refuse(&self, outcome: Outcome, message: String) -> CallError {
        let queue_us = self.elapsed_us();
        self.report(&refusal(self.id, queue_us, outcome, message.clone()));
        CallError::new(outcome, message)
    }

    fn report(&self, report: &Report) {
        if self.reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let (name, version) = (self.function.name().clone(), self.function.version());
        let record = UsageRecord::new(name, version, now_ms(), report);
        self.function
            .desk()
            .count(&record, last_error(&record, report));
        self.services.usage.push(record);
        // Last, so that whoever sees the place free sees the record too.
        drop(self.seat().take());
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let message = "the caller went away before the call ran".to_owned();
        self.report(&refusal(
            self.id,
            self.elapsed_us(),
            Outcome::Cancelled,
            message,
        ));
    }
}

impl Host for Visit {
    fn name(&self) -> &FunctionName {
        self.function.name()
    }

    fn limits(&self) -> &Limits {
        &self.function.manifest().limits
    }

    fn env(&self) -> &[(String, String)] {
        self.function.env()
    }

    fn send(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>> {
        self.services.outbound.send(self.function.lane(), request)
    }

    fn connect(&self, authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        self.services
            .outbound
            .tunnel(self.function.lane(), authority)
    }

    fn log(&self, id: RequestId, stream: LogStream, line: &str) {
        self.services
            .logs
            .write(self.function.name(), id, stream, line);
    }

    fn reserve_memory(&self, bytes: usize) -> bool {
        // What works goes before what waits for work.
        loop {
            if self.services.budget.reserve(bytes) {
                return true;
            }
            if !self.services.artifacts.reclaim() {
                return false;
            }
        }
    }

    fn release_memory(&self, bytes: usize) {
        self.services.budget.release(bytes);
    }

    fn finished(&self, report: Report) {
        self.report(&report);
    }
}

fn last_error(record: &UsageRecord, report: &Report) -> Option<LastError> {
    if !record.outcome.is_error() {
        return None;
    }
    let message = report.error.as_deref().unwrap_or(record.outcome.code());
    Some(LastError {
        at_ms: record.ended_ms,
        request_id: record.request_id,
        outcome: record.outcome,
        message: message[..message.floor_char_boundary(LAST_ERROR_MAX)].to_owned(),
    })
}

/// The report of a call that no runtime saw.
pub(crate) fn refusal(id: RequestId, queue_us: u64, outcome: Outcome, message: String) -> Report {
    Report {
        id,
        queue_us,
        load_us: 0,
        start_us: 0,
        run_us: 0,
        cpu_us: 0,
        peak_memory: 0,
        request_bytes: 0,
        response_bytes: 0,
        status: None,
        outcome,
        error: Some(message),
    }
}
