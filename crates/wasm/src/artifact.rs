//! From a `.wasm` file to compiled code, or to a message that says what is wrong with the file.

use fractus_func::CompileError;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::state::GuestState;

const MAGIC: &[u8] = b"\0asm";
/// The version field of a core module; a component has 0x0d and layer 1.
const CORE_VERSION: &[u8] = &[1, 0, 0, 0];

/// Compiles a component and checks that it can be linked and called.
pub(crate) fn compile(
    engine: &Engine,
    linker: &Linker<GuestState>,
    artifact: &[u8],
) -> Result<Vec<u8>, CompileError> {
    if !artifact.starts_with(MAGIC) {
        return Err(CompileError::NotWasm);
    }
    if artifact[MAGIC.len()..].starts_with(CORE_VERSION) {
        return Err(CompileError::CoreModule);
    }
    let component = Component::from_binary(engine, artifact)
        .map_err(|error| CompileError::Invalid(one_line(&error)))?;
    let linked = linker
        .instantiate_pre(&component)
        .map_err(|error| CompileError::UnknownImport(one_line(&error)))?;
    handler(linked).map_err(|_no_export| CompileError::NoHandler {
        exports: exports(&component),
    })?;
    component
        .serialize()
        .map_err(|error| CompileError::Invalid(one_line(&error)))
}

/// The handler of a linked component.
pub(crate) fn handler(linked: InstancePre<GuestState>) -> wasmtime::Result<ProxyPre<GuestState>> {
    ProxyPre::new(linked)
}

fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

fn exports(component: &Component) -> String {
    let ty = component.component_type();
    let names: Vec<_> = ty
        .exports(component.engine())
        .map(|(name, _)| name.to_owned())
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
