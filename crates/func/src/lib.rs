//! What a function is: its name, manifest, limits and routes; the pool that decides whether a call
//! starts, waits or is refused; the [`Runtime`] that a way of running code must offer; and the
//! [`UsageRecord`] that every call leaves behind.
//!
//! Pure: no IO, no clock, no thread. It never knows which runtime runs a function.
//!
//! Start at [`Manifest`] (what a user writes), then [`Runtime`] and [`Call`] (what runs it), then
//! [`Pool`] (what bounds it).

pub mod limits;
mod manifest;
mod name;
mod pool;
mod request_id;
mod route;
mod runtime;
mod usage;

pub use manifest::{Access, Limits, Manifest, ManifestError, RouteSpec};
pub use name::{FunctionName, NameError};
pub use pool::{Admission, Pool, Ticket};
pub use request_id::RequestId;
pub use route::{RouteTable, RouteTableError};
pub use runtime::{
    Body, BodyError, BoxFuture, Call, CallError, CompileError, Host, LoadError, LogStream,
    OutboundError, Program, Report, Runtime,
};
pub use usage::{Counters, Outcome, UsageRecord};
