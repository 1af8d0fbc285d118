//! From a `.wasm` file to compiled code, or to a message that says what is wrong with the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};
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
    let code = component
        .serialize()
        .map_err(|error| CompileError::Invalid(one_line(&error)))?;
    Ok(seal(code))
}

/// Bytes of the seal behind compiled code.
const SEAL: usize = size_of::<u64>();

/// Appends a checksum (CRC-64/NVME, little-endian): the loader of compiled code looks at its frame
/// alone, and a flipped bit in the rest would be executed.
fn seal(mut code: Vec<u8>) -> Vec<u8> {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &code);
    code.extend_from_slice(&sum.to_le_bytes());
    code
}

/// Checks that a file holds what [`seal`] made.
pub(crate) fn check_seal(compiled: &Path) -> io::Result<()> {
    let mut file = File::open(compiled)?;
    let code = file.metadata()?.len().saturating_sub(SEAL as u64);
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    io::copy(&mut file.by_ref().take(code), &mut digest)?;
    let mut sealed = [0; SEAL];
    file.read_exact(&mut sealed)?;
    if u64::from_le_bytes(sealed) == digest.finalize() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its checksum is wrong",
        ))
    }
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
