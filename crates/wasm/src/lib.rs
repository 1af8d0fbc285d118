//! Runs functions that are WebAssembly components of `wasi:http` 0.2: the only crate that names
//! wasmtime.
//!
//! Each call gets an instance of its own, made from a component that was compiled at deploy and
//! linked when it was loaded, out of pooled memory with copy-on-write images; when the call is over
//! the instance is gone. It knows neither routes nor versions, and reaches the node only through
//! [`fractus_func::Host`].
//!
//! A call starts on the thread that asks for it, for a short call is over before another thread
//! would have woken. One that turns out to compute for more than a tick or two of the epoch clock
//! moves to the runtime's own threads, so that long computations never hold up short requests.
//!
//! Start at [`WasmRuntime`]; the life of a call is in `call.rs`.

mod artifact;
mod body;
mod call;
mod engine;
mod limits;
mod meter;
mod output;
mod program;
mod state;

pub use engine::{StartError, WasmConfig, WasmRuntime};
