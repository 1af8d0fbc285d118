//! The edge's behaviour, over real sockets, in front of origins that a test scripts.

mod cache;
mod client;
mod fill;
mod input;
mod origin;
mod poison;
mod serving;
mod start;
