//! Functions' archives on this machine: unpacked once, with their packages beside them.
//!
//! [`Library`] is the folder that they lie in, and [`Library::prepare`] the way into it. What comes
//! out of that, [`Prepared`], is the compiled form of the artifact; a [`Lease`] keeps what it names
//! in place for as long as somebody runs it.

mod bytecode;
pub(crate) mod child;
mod imports;
mod library;
mod unpack;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use fractus_func::{CompileError, LoadError, Manifest, RuntimeKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use library::{Lease, Library};
pub(crate) use unpack::{publish, sync};

use crate::limits::PREPARED_MAX;
use crate::packages::Package;

/// The folder of an archive in which the files of layers lie; sandboxes show it as `/opt`.
pub const OPT: &str = ".opt";

/// Version of the form of [`Prepared`].
const FORMAT: u32 = 1;

/// What an archive was prepared to: its compiled form, kept as JSON (`docs/formats.md`).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    format: u32,
    /// Its folder in `code`.
    pub(crate) code: String,
    /// What may run it, the likeliest first; at least one.
    pub(crate) kinds: Vec<RuntimeKind>,
    /// The version of Python that it is prepared for, such as `3.11`.
    pub(crate) python: Option<String>,
    /// The packages that it asked for, and those that these need.
    pub(crate) packages: Vec<Package>,
    /// Modules that its own files import when they are loaded, as far as can be seen.
    pub(crate) modules: Vec<String>,
}

/// A file that is not the compiled form of an archive.
#[derive(Debug, Error)]
pub(crate) enum PreparedError {
    /// Not JSON of that form.
    #[error("it is damaged")]
    Damaged(#[source] serde_json::Error),
    /// Written by another version.
    #[error("it has format {0}, not {FORMAT}")]
    Format(u32),
    /// A name in it is no name of a folder.
    #[error("`{0}` is no folder's name")]
    Folder(String),
}

impl Prepared {
    /// As it is kept.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Reads what [`Prepared::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, PreparedError> {
        let prepared: Self = serde_json::from_slice(bytes).map_err(PreparedError::Damaged)?;
        if prepared.format != FORMAT {
            return Err(PreparedError::Format(prepared.format));
        }
        let packages = prepared.packages.iter().map(|package| &package.folder);
        for folder in packages.chain([&prepared.code]) {
            if folder.is_empty() || folder.starts_with('.') || folder.contains(['/', '\0']) {
                return Err(PreparedError::Folder(folder.clone()));
            }
        }
        Ok(prepared)
    }

    /// Reads it from the file that holds it.
    pub(crate) fn read(compiled: &Path) -> Result<Self, LoadError> {
        let failed = |error: &(dyn std::error::Error + 'static)| LoadError {
            path: compiled.display().to_string(),
            reason: fractus_stdx::ErrorChain(error).to_string(),
        };
        let bytes = read_bounded(compiled).map_err(|error| failed(&error))?;
        Self::from_bytes(&bytes).map_err(|error| failed(&error))
    }

    /// What runs it with this manifest, if they go together.
    pub(crate) fn kind_for(&self, manifest: &Manifest) -> Result<RuntimeKind, CompileError> {
        let kind = match manifest.runtime {
            Some(wanted) if self.kinds.contains(&wanted) => wanted,
            Some(wanted) => {
                let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.as_str()).collect();
                return Err(CompileError::OtherRuntime {
                    wanted,
                    found: format!("an archive for {}", kinds.join(" or ")),
                });
            }
            None => *self.kinds.first().ok_or_else(no_function)?,
        };
        manifest.check_for(kind).map_err(CompileError::Unfit)?;
        Ok(kind)
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(PREPARED_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is said of an archive in which nothing can be called.
fn no_function() -> CompileError {
    let why = "it holds no function: it needs a Python file such as f.py or app.py, an index.js, \
               index.mjs or package.json, or a program named bootstrap, and not inside of another \
               folder";
    CompileError::Archive(why.to_owned())
}

pub(crate) fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> CompileError + 'a {
    move |source| CompileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
