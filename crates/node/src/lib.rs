//! One machine assembled: the edge, functions, buckets, the admin API, and the data directory that
//! they all live in.
//!
//! **What it is.** The only place where the parts know of each other, and the only one that knows
//! the wall clock, the listeners and the order of things. Starting: take the data directory, make
//! or read the credentials, bind the listeners, open the store (which recovers), the registry, the
//! runtime and the artifacts, compile what another version compiled, make the edge's routes, serve,
//! announce the addresses in `node.json`, and at last serve the admin API. Stopping goes the other
//! way: health turns bad, the edge drains, the admin API ends, counters and logs are written down,
//! the directory is given back.
//!
//! **What it is not.** No algorithm that a core could hold: who may run and wait is
//! [`fractus_func::Pool`]'s decision, what is cached `fractus-cache`'s, how bytes last
//! `fractus-blob`'s. It draws nothing on a terminal and reads no command line: that is `fractus`.
//!
//! **Where to start.** [`Node::start`]; `functions` is the way of a call, `control` that of a
//! change, `admin` the API, `origin` what stands behind the edge.

mod admin;
mod api;
mod artifacts;
mod clock;
mod config;
mod control;
mod data_dir;
mod descriptors;
mod durable;
mod events;
#[cfg(test)]
mod fake;
mod functions;
mod invocation;
mod invoker;
pub mod limits;
mod listener;
mod logs;
mod node;
mod openlambda;
mod origin;
mod outbound;
mod registry;
mod routes;
mod runtimes;
mod traces;
mod usage;

pub use artifacts::ArtifactError;
pub use config::{
    Config, ConfigError, ConfigFile, EventsSpec, OtelSpec, PriceSpec, Upstream, UpstreamSpec,
};
pub use control::DeployError;
pub use data_dir::{Addresses, Credentials, DataDirError};
pub use events::{OpenError as EventsOpenError, ScheduleError, WriteError as EventsWriteError};
pub use listener::Listener;
pub use node::{Node, StartError};
pub use registry::RegistryError;
