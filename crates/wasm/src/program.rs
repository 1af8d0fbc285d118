//! A loaded component.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fractus_func::{Body, BoxFuture, Call, CallError, Program};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::artifact::{check_seal, handler};
use crate::call;
use crate::engine::Shared;
use crate::state::GuestState;

/// A component, linked and ready to be instantiated.
pub(crate) struct WasmProgram {
    handler: ProxyPre<GuestState>,
    shared: Arc<Shared>,
}

impl WasmProgram {
    /// Maps a compiled component into memory and links it.
    pub(crate) fn load(
        engine: &Engine,
        linker: &Linker<GuestState>,
        shared: &Arc<Shared>,
        compiled: &Path,
    ) -> wasmtime::Result<Self> {
        check_seal(compiled)?;
        let component = map(engine, compiled)?;
        let handler = handler(linker.instantiate_pre(&component)?)?;
        Ok(Self {
            handler,
            shared: Arc::clone(shared),
        })
    }
}

#[expect(
    unsafe_code,
    reason = "compiled code can only be loaded by trusting its file"
)]
fn map(engine: &Engine, compiled: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file holds what `Component::serialize` of this very engine version returned: it
    // lies in the node's own directory (mode 0700), its name carries the engine's fingerprint, and
    // its checksum was right a moment ago; wasmtime checks version and flags again.
    unsafe { Component::deserialize_file(engine, compiled) }
}

impl Program for WasmProgram {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<http::Response<Body>, CallError>> {
        Box::pin(call::answer(
            self.handler.clone(),
            Arc::clone(&self.shared),
            call,
        ))
    }
}

impl fmt::Debug for WasmProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmProgram").finish_non_exhaustive()
    }
}
