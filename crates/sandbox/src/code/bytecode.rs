//! Bytecode of Python files, made at deploy: instances see the files read-only and could not keep
//! it.

use std::path::Path;
use std::process::Command;

use crate::code::child::{self, Bounds};
use crate::limits::{BYTECODE_TIME_MAX, TOLD_MAX};
use crate::packages::Python;

const SCRIPT: &str = include_str!("bytecode.py");

/// Compiles the Python files in `folder`, which instances see at `seen_as`. What cannot be compiled
/// in time is left for the function to compile: a wrong file is its to complain about.
pub(super) fn compile(python: &Python, folder: &Path, seen_as: &str) {
    let mut command = Command::new(&python.program);
    command
        .args(["-I", "-c", SCRIPT])
        .arg(folder)
        .arg(seen_as)
        .arg(BYTECODE_TIME_MAX.as_secs().to_string())
        .current_dir(folder)
        .env_clear()
        .env("LANG", "C.UTF-8");
    let bounds = Bounds {
        time: BYTECODE_TIME_MAX,
        stdout: 0,
        stderr: TOLD_MAX,
    };
    let why = match child::run(command, b"", bounds) {
        Ok(told) if told.status.success() => return,
        Ok(told) => format!("{}: {}", told.status, told.stderr.trim()),
        Err(error) => fractus_stdx::ErrorChain(&error).to_string(),
    };
    tracing::warn!(folder = %folder.display(), why, "not all bytecode was made");
}
