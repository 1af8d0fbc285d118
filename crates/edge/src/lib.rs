//! The HTTP data plane of one node: listeners, routing, the RAM cache and single fill per key, in
//! front of [`Origin`]s.
//!
//! It acts on what `fractus-cache` decides, and knows its origins by a trait alone: not what a
//! function, a bucket or an upstream is. It speaks HTTP/1.1 and HTTP/1.0 in clear text.
//!
//! Where to start: [`Edge`] (the handle), [`Origin`] (what stands behind it). A request's life is
//! in
//! `service.rs`: a hit ends there, what goes to an origin and comes back unstored is passed on in
//! place, and `lead.rs` is the life of a fill that others follow. `store.rs` holds what is cached,
//! `fill.rs` what is being fetched, `serve.rs` and `conn.rs` sockets and threads.

mod answer;
mod body;
mod config;
mod conn;
mod edge;
mod fill;
mod framing;
mod ids;
mod lead;
pub mod limits;
mod origin;
mod present;
mod request;
mod serve;
mod service;
mod stats;
mod store;
mod upload;

pub use config::EdgeConfig;
pub use edge::Edge;
pub use origin::{Arrived, Origin};
pub use serve::{ServeError, Serving};
pub use stats::Stats;
