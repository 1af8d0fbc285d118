//! What a call cost, and the sums of it.

use serde::{Deserialize, Serialize};

use crate::{FunctionName, Report, RequestId};

/// How a call ended. Each has its own HTTP answer and its own code in logs and usage records.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The guest answered and ended, whatever status it set.
    Ok,
    /// The guest trapped: a panic, an illegal access, a stack overflow.
    Trap,
    /// Over the wall time of its limits.
    Timeout,
    /// Over the CPU time of its limits.
    CpuLimit,
    /// Needed more memory than its limits or the node allow.
    MemoryLimit,
    /// The request's body was over its limit.
    RequestTooLarge,
    /// The response's body was over its limit.
    ResponseTooLarge,
    /// The guest ended without setting a response.
    NoResponse,
    /// The guest answered with an error code of `wasi:http` in place of a response.
    GuestError,
    /// Too many calls at once of this function: the queue was full or the wait too long.
    Throttled,
    /// The node had no instance left.
    NodeBusy,
    /// The client went away first.
    Cancelled,
    /// The node could not load or start the function.
    StartFailed,
    /// The guest could not become ready: its handler was not found, or loading it failed.
    InitFailed,
    /// The guest's process ended, or broke its protocol with the node, before it had answered.
    Exited,
    /// The request was not what the handler takes: no JSON where it takes an event.
    BadRequest,
}

impl Outcome {
    /// The HTTP status that tells a caller of it; 200 stands for the guest's own.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Trap => 500,
            Self::Timeout | Self::CpuLimit => 504,
            Self::MemoryLimit
            | Self::ResponseTooLarge
            | Self::NoResponse
            | Self::GuestError
            | Self::InitFailed
            | Self::Exited => 502,
            Self::BadRequest => 400,
            Self::RequestTooLarge => 413,
            Self::Throttled => 429,
            Self::NodeBusy | Self::StartFailed => 503,
            Self::Cancelled => 499,
        }
    }

    /// Its code in the `X-Fractus-Error` header, logs and records, such as `memory-limit`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::CpuLimit => "cpu-limit",
            Self::MemoryLimit => "memory-limit",
            Self::RequestTooLarge => "request-too-large",
            Self::ResponseTooLarge => "response-too-large",
            Self::NoResponse => "no-response",
            Self::GuestError => "guest-error",
            Self::Throttled => "throttled",
            Self::NodeBusy => "node-busy",
            Self::Cancelled => "cancelled",
            Self::StartFailed => "start-failed",
            Self::InitFailed => "init-failed",
            Self::Exited => "exited",
            Self::BadRequest => "bad-request",
        }
    }

    /// Whether the function, the node or a limit is to blame rather than the caller.
    pub fn is_error(self) -> bool {
        !matches!(
            self,
            Self::Ok | Self::Cancelled | Self::RequestTooLarge | Self::BadRequest
        )
    }
}

/// What one call was and cost. Times are microseconds unless the name says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The function.
    pub function: FunctionName,
    /// Its version, from 1.
    pub version: u64,
    /// The call.
    pub request_id: RequestId,
    /// When it ended, in milliseconds since the UNIX epoch.
    pub ended_ms: u64,
    /// Whether the program had to be loaded first.
    pub cold: bool,
    /// Wait for an instance.
    pub queue_us: u64,
    /// Load of the compiled program; 0 when warm.
    pub load_us: u64,
    /// Start of the instance.
    pub start_us: u64,
    /// Wall time of the guest.
    pub run_us: u64,
    /// CPU time.
    pub cpu_us: u64,
    /// Peak linear memory in bytes.
    pub peak_memory: u64,
    /// Request body bytes read.
    pub request_bytes: u64,
    /// Response body bytes written.
    pub response_bytes: u64,
    /// Status the guest set, if any.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Start and run, rounded up to whole milliseconds, as AWS Lambda bills init and duration.
    pub billed_ms: u64,
    /// The memory that its instance may have, in MiB: what is paid for.
    pub memory_mb: u32,
}

impl UsageRecord {
    /// The record of a call that has ended, of revision `version` of a function whose instances
    /// may have `memory_mb` MiB.
    pub fn new(
        function: FunctionName,
        version: u64,
        memory_mb: u32,
        ended_ms: u64,
        report: &Report,
    ) -> Self {
        let Report {
            id,
            queue_us,
            load_us,
            start_us,
            run_us,
            cpu_us,
            peak_memory,
            request_bytes,
            response_bytes,
            status,
            outcome,
            error: _,
        } = *report;
        Self {
            function,
            version,
            request_id: id,
            ended_ms,
            cold: load_us > 0,
            queue_us,
            load_us,
            start_us,
            run_us,
            cpu_us,
            peak_memory,
            request_bytes,
            response_bytes,
            status,
            outcome,
            billed_ms: (load_us + start_us + run_us).div_ceil(1000),
            memory_mb,
        }
    }

    /// Billed milliseconds times MiB.
    pub fn mb_ms(&self) -> u64 {
        self.billed_ms.saturating_mul(self.memory_mb.into())
    }
}

/// Exact sums over the calls of one function or of one revision of it. Also how they are stored, so
/// fields are only ever added.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Calls that ended, refused ones included.
    pub calls: u64,
    /// Calls whose outcome is an error ([`Outcome::is_error`]).
    pub errors: u64,
    /// Calls that were refused before they started.
    pub throttled: u64,
    /// Calls that had to load the program.
    pub cold: u64,
    /// Sum of billed milliseconds.
    pub billed_ms: u64,
    /// Sum of CPU microseconds.
    pub cpu_us: u64,
    /// Sum of response bytes.
    pub response_bytes: u64,
    /// Sum of request bytes.
    pub request_bytes: u64,
    /// Sum of billed milliseconds times MiB: what is paid for.
    pub mb_ms: u64,
    /// Sum of microseconds that calls waited for an instance.
    pub queue_us: u64,
    /// Sum of microseconds that guests ran.
    pub run_us: u64,
}

impl Counters {
    /// Adds the sums over other calls.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            calls,
            errors,
            throttled,
            cold,
            billed_ms,
            cpu_us,
            response_bytes,
            request_bytes,
            mb_ms,
            queue_us,
            run_us,
        } = other;
        self.calls += calls;
        self.errors += errors;
        self.throttled += throttled;
        self.cold += cold;
        self.billed_ms += billed_ms;
        self.cpu_us += cpu_us;
        self.response_bytes += response_bytes;
        self.request_bytes += request_bytes;
        self.mb_ms += mb_ms;
        self.queue_us += queue_us;
        self.run_us += run_us;
    }

    /// Adds one call.
    pub fn add(&mut self, record: &UsageRecord) {
        self.calls += 1;
        self.errors += u64::from(record.outcome.is_error());
        self.throttled += u64::from(matches!(
            record.outcome,
            Outcome::Throttled | Outcome::NodeBusy
        ));
        self.cold += u64::from(record.cold);
        self.billed_ms += record.billed_ms;
        self.cpu_us += record.cpu_us;
        self.response_bytes += record.response_bytes;
        self.request_bytes += record.request_bytes;
        self.mb_ms += record.mb_ms();
        self.queue_us += record.queue_us;
        self.run_us += record.run_us;
    }
}
