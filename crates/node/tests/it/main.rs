//! A node over real sockets, with the example functions as components.

mod auth;
mod client;
mod deploy;
mod lifecycle;
mod limits;
mod native_egress;
mod node;
mod objects;
mod traces;
