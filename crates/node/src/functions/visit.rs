//! One call on its way through the node.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fractus_func::{
    Body, BoxFuture, CallError, EventCall, FunctionName, Host, Limits, LogStream, OutboundError,
    Outcome, Report, RequestId, Tunnel, UsageRecord,
};
use fractus_lambda::limits::LOG_TAIL_MAX;
use tokio::sync::Semaphore;

use crate::clock::now_ms;
use crate::functions::budget::Instance;
use crate::functions::desk::{LastError, Place};
use crate::functions::{Asked, Function, Services, micros};
use crate::limits::LAST_ERROR_MAX;
use crate::traces::Recorder;

/// What a call holds while it runs.
#[derive(Debug)]
#[expect(dead_code, reason = "held until it is dropped, which gives both back")]
pub(super) struct Seat {
    pub(super) place: Place,
    pub(super) instance: Instance,
}

/// The end of what a call logged.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: Mutex<VecDeque<u8>>,
    /// Has a permit once the call has logged its last line.
    closed: Semaphore,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            bytes: Mutex::default(),
            closed: Semaphore::new(0),
        }
    }
}

impl Tail {
    /// Waits until the call has logged its last line.
    pub(crate) async fn closed(&self) {
        // It is never closed as a semaphore.
        drop(self.closed.acquire().await);
    }

    fn push(&self, line: &str) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(line.as_bytes());
        bytes.push_back(b'\n');
        let surplus = bytes.len().saturating_sub(LOG_TAIL_MAX);
        bytes.drain(..surplus);
    }

    /// At most the last [`LOG_TAIL_MAX`] bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.iter().copied().collect()
    }
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
    /// Whether it is an invocation through AWS's API.
    is_invoked: bool,
    tail: Option<Arc<Tail>>,
    /// Records it, if it is traced.
    recorder: Option<Arc<Recorder>>,
    /// Whether anything was logged.
    logged: AtomicBool,
    /// Given back with the report, or else when the last one who knows the call is gone.
    seat: Mutex<Option<Seat>>,
}

impl Visit {
    /// A call that arrives, and the event that it brings.
    pub(super) fn arrive(
        services: &Arc<Services>,
        function: &Arc<Function>,
        id: RequestId,
        asked: Asked,
    ) -> (Option<EventCall>, Self) {
        let Asked {
            event,
            tail,
            recorder,
        } = asked;
        function.touch();
        let visit = Self {
            services: Arc::clone(services),
            function: Arc::clone(function),
            id,
            arrived: Instant::now(),
            reported: AtomicBool::new(false),
            is_invoked: event.is_some(),
            tail,
            recorder,
            logged: AtomicBool::new(false),
            seat: Mutex::default(),
        };
        (event, visit)
    }

    /// Notes that the program is there, and how long it took to load for this call.
    pub(super) fn loaded(&self, load_us: u64) {
        if let Some(recorder) = &self.recorder {
            recorder.called(load_us);
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
        self.report(
            &refusal(self.id, queue_us, outcome, message.clone()),
            Ran::No,
        );
        CallError::new(outcome, message)
    }

    /// Writes a line to the function's log, and the first time the one that begins a call's.
    fn write(&self, stream: LogStream, line: &str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            let version = &self.function.identity().version;
            let start = format!("START RequestId: {} Version: {version}", self.id);
            self.put(LogStream::System, &start);
        }
        self.put(stream, line);
    }

    fn put(&self, stream: LogStream, line: &str) {
        if let Some(tail) = &self.tail {
            tail.push(line);
        }
        let (logs, name) = (&self.services.logs, self.function.name());
        logs.write(name, self.id, stream, line);
    }

    /// Ends the log of a call as AWS Lambda does. A component's call that went well and said
    /// nothing leaves no line: there may be tens of thousands a second.
    fn close_log(&self, record: &UsageRecord) {
        let has_said = self.is_invoked || self.logged.load(Ordering::Relaxed);
        if has_said {
            self.write(LogStream::System, &format!("END RequestId: {}", self.id));
        }
        if has_said || record.cold || record.outcome.is_error() || self.function.is_native() {
            self.put(LogStream::System, &report_line(record));
        }
    }

    fn report(&self, report: &Report, ran: Ran) {
        if self.reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let (name, number) = (self.function.name().clone(), self.function.number());
        let memory_mb = self.function.manifest().limits.memory_mb;
        let record = UsageRecord::new(name, number, memory_mb, now_ms(), report);
        if ran == Ran::Yes {
            self.close_log(&record);
        }
        if let Some(tail) = &self.tail {
            tail.closed.add_permits(1);
        }
        self.function
            .desk()
            .count(&record, last_error(&record, report));
        self.services.usage.push(record);
        if let Some(trace) = self.recorder.as_ref().and_then(|one| one.finish(report)) {
            self.services.traces.push(trace);
        }
        // Last, so that whoever sees the place free sees the record too.
        drop(self.seat().take());
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let message = "the caller went away before the call ran".to_owned();
        let report = refusal(self.id, self.elapsed_us(), Outcome::Cancelled, message);
        self.report(&report, Ran::No);
    }
}

/// Whether a runtime saw a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ran {
    Yes,
    No,
}

/// AWS Lambda's line about a call.
fn report_line(record: &UsageRecord) -> String {
    let ms = |us: u64| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {}\tBilled Duration: {} ms\tMemory Size: {} MB\t\
         Max Memory Used: {} MB",
        record.request_id,
        ms(record.run_us),
        record.billed_ms,
        record.memory_mb,
        record.peak_memory.div_ceil(1 << 20),
    );
    if record.cold {
        line.push_str("\tInit Duration: ");
        line.push_str(&ms(record.load_us + record.start_us));
    }
    if record.outcome.is_error() {
        line.push_str("\tStatus: ");
        line.push_str(record.outcome.code());
    }
    line
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
        let (outbound, lane) = (&self.services.outbound, self.function.lane());
        match &self.recorder {
            Some(recorder) => outbound.send_traced(lane, request, recorder),
            None => outbound.send(lane, request),
        }
    }

    fn connect(&self, authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        let (outbound, lane) = (&self.services.outbound, self.function.lane());
        match &self.recorder {
            Some(recorder) => outbound.tunnel_traced(lane, authority, recorder),
            None => outbound.tunnel(lane, authority),
        }
    }

    fn log(&self, id: RequestId, stream: LogStream, line: &str) {
        // A guest that starts for a call may log under another's name.
        if id == self.id {
            self.write(stream, line);
        } else {
            let (logs, name) = (&self.services.logs, self.function.name());
            logs.write(name, id, stream, line);
        }
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
        self.report(&report, Ran::Yes);
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
