//! The ways of running functions that this machine has, told apart by the first bytes of artifacts.

use std::path::Path;
use std::sync::Arc;

use fractus_func::{CompileError, Runtime};

/// What an artifact is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Form {
    /// WebAssembly, or anything else, which the runtime for WebAssembly then refuses.
    Wasm,
    /// A zip archive with the files of a native function.
    Zip,
}

impl Form {
    /// All that there are.
    pub(crate) const ALL: [Self; 2] = [Self::Wasm, Self::Zip];
    /// Bytes that tell it.
    pub(crate) const MAGIC: usize = 4;

    /// Tells it from an artifact's first [`Form::MAGIC`] bytes.
    pub(crate) fn of(head: &[u8]) -> Self {
        // An archive begins with an entry, or with its end when it is empty.
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Self::Zip
        } else {
            Self::Wasm
        }
    }

    /// The extension of its files.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Zip => "zip",
        }
    }
}

/// One runtime for each form of artifacts.
#[derive(Clone, Debug)]
pub(crate) struct Runtimes {
    wasm: Arc<dyn Runtime>,
    /// Or why this machine cannot run native functions.
    native: Result<Arc<dyn Runtime>, String>,
    /// Their fingerprints as parts of file names.
    wasm_fingerprint: String,
    native_fingerprint: String,
}

impl Runtimes {
    /// Takes the runtimes; `native` may be absent for a reason that is told at deploy.
    pub(crate) fn new(wasm: Arc<dyn Runtime>, native: Result<Arc<dyn Runtime>, String>) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name = |runtime: &dyn Runtime| runtime.fingerprint().chars().map(plain).collect();
        Self {
            wasm_fingerprint: name(wasm.as_ref()),
            native_fingerprint: native
                .as_ref()
                .map_or_else(|_| "none".to_owned(), |runtime| name(runtime.as_ref())),
            wasm,
            native,
        }
    }

    /// The runtime for artifacts of this form.
    pub(crate) fn of(&self, form: Form) -> Result<&Arc<dyn Runtime>, CompileError> {
        match form {
            Form::Wasm => Ok(&self.wasm),
            Form::Zip => self.native.as_ref().map_err(|why| {
                CompileError::Unsupported(format!(
                    "native functions cannot be run on this machine: {why}"
                ))
            }),
        }
    }

    /// Under which name compiled artifacts of this form are kept: the runtime's fingerprint as part
    /// of a file name.
    pub(crate) fn fingerprint(&self, form: Form) -> &str {
        match form {
            Form::Wasm => &self.wasm_fingerprint,
            Form::Zip => &self.native_fingerprint,
        }
    }

    /// Has memory given back that waits for calls; false when there is none.
    pub(crate) fn reclaim(&self) -> bool {
        self.native.as_ref().is_ok_and(|runtime| runtime.reclaim())
    }

    /// Gives up what a compilation left, before its file is removed.
    pub(crate) fn forget(&self, form: Form, compiled: &Path) {
        if let Ok(runtime) = self.of(form) {
            runtime.forget(compiled);
        }
    }
}
