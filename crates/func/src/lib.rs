//! What a function is: its name, manifest, limits and routes; the pool that decides whether a call
//! starts, waits or is refused; the [`Runtime`] that a way of running code must offer; and the
//! [`UsageRecord`] that every call leaves behind.
//!
//! Pure: no IO, no clock, no thread. It never knows which runtime runs a function.
//!
//! Start at [`Manifest`] (what a user writes), then [`Runtime`] and [`Call`] (what runs it), then
//! [`Pool`] (what bounds it).

mod cron;
mod kind;
pub mod limits;
mod lines;
mod manifest;
mod name;
mod pool;
mod request_id;
mod route;
mod runtime;
pub mod trace;
mod usage;

pub use cron::{Cron, CronError};
pub use kind::{BOOTSTRAP, RuntimeKind, RuntimeKindError};
pub use lines::Lines;
pub use manifest::{
    Access, CronTrigger, Instances, Limits, Manifest, ManifestError, ObjectChange, ObjectTrigger,
    Payload, QueueTrigger, RouteSpec, Triggers,
};
pub use name::{FunctionName, NameError};
pub use pool::{Admission, Pool, Ticket};
pub use request_id::RequestId;
pub use route::{RouteTable, RouteTableError};
pub use runtime::{
    Body, BodyError, BoxFuture, Call, CallError, CompileError, Description, EventCall, Host,
    Identity, LoadError, LogStream, Memory, OutboundError, Program, Report, Runtime, SignedBy,
    SpeaksHttp, Tunnel,
};
pub use usage::{Counters, Outcome, UsageRecord};
