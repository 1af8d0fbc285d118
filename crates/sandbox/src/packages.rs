//! Python packages, installed when a function is deployed: each once on the machine, versions side
//! by side, shared read-only by all functions that ask for them.
//!
//! The installer (`install.py`) has pip decide and download, and unpacks wheels itself. No code of
//! any package runs on the way: only wheels are taken, requirements that would build something are
//! refused, and pip cannot start programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fractus_func::CompileError;
use fractus_stdx::ErrorChain;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::code::child::{self, Bounds};
use crate::code::{io_error, publish, sync};
use crate::host::Interpreter;
use crate::limits::{
    INSTALL_TIME_MAX, INSTALLER_OUTPUT_MAX, PACKAGES_BYTES_MAX, PACKAGES_MAX, REQUIREMENTS_MAX,
    RESOLVED_FRESH, RESOLVED_MAX, TOLD_MAX,
};

/// Where the bytecode of packages says that they lie, whichever level they are mounted at.
pub(crate) const PACKAGES_MOUNT: &str = "/opt/packages";

/// The file that names a function's packages.
pub(crate) const REQUIREMENTS: &str = "requirements.txt";

const SCRIPT: &str = include_str!("packages/install.py");

/// An interpreter that functions run on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Python {
    /// The program itself.
    pub(crate) program: PathBuf,
    /// Such as `3.11`.
    pub(crate) version: String,
    /// Such as `cp311`; what is compiled or installed for one is not for another.
    pub(crate) tag: String,
}

/// A distribution that is installed on this machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Its name in normal form, such as `boto3`.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its folder in `packages`, which its bytecode says is below [`PACKAGES_MOUNT`]. The digest of
    /// what was installed is part of it, so that an index never gives packages to functions that
    /// asked another.
    pub(crate) folder: String,
    /// The modules that it has at the top.
    pub(crate) modules: Vec<String>,
}

impl From<&Interpreter> for Python {
    fn from(interpreter: &Interpreter) -> Self {
        Self {
            program: interpreter.program.clone(),
            version: interpreter.version.clone(),
            tag: interpreter.tag.clone(),
        }
    }
}

/// What the installer answers.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Installed {
        packages: Vec<Package>,
        /// Folders among them that lie in the work folder yet.
        new: Vec<String>,
    },
    /// Why not, for the user.
    Error(String),
}

/// Installs what the requirements of the function in `code` ask for into `store`, using `work`,
/// which must not exist and is gone afterwards.
pub(crate) fn install(
    python: &Python,
    code: &Path,
    store: &Path,
    work: &Path,
) -> Result<Vec<Package>, CompileError> {
    fs::create_dir(work).map_err(io_error("create", work))?;
    let installed = install_in(python, code, store, work);
    // The next start removes what cannot be removed now.
    fs::remove_dir_all(work).ok();
    installed
}

fn install_in(
    python: &Python,
    code: &Path,
    store: &Path,
    work: &Path,
) -> Result<Vec<Package>, CompileError> {
    let asked = json!({
        "code": code,
        "requirements": REQUIREMENTS,
        "store": store,
        "work": work,
        "tag": python.tag,
        "seen_as": PACKAGES_MOUNT,
        "packages_max": PACKAGES_MAX,
        "bytes_max": PACKAGES_BYTES_MAX,
        "requirements_max": REQUIREMENTS_MAX,
        "fresh_s": RESOLVED_FRESH.as_secs(),
        "resolved_max": RESOLVED_MAX,
    });
    let mut command = Command::new(&python.program);
    command.args(["-I", "-c", SCRIPT]).current_dir(work);
    let bounds = Bounds {
        time: INSTALL_TIME_MAX,
        stdout: INSTALLER_OUTPUT_MAX,
        stderr: TOLD_MAX,
    };
    let failed = |why: String| CompileError::Packages(why);
    let told = child::run(command, format!("{asked}\n").as_bytes(), bounds)
        .map_err(|error| failed(format!("the installer: {}", ErrorChain(&error))))?;
    let (packages, new) = match serde_json::from_slice(&told.stdout) {
        Ok(Answer::Installed { packages, new }) => (packages, new),
        Ok(Answer::Error(why)) => return Err(failed(why)),
        Err(_) => {
            let said = told.stderr.trim();
            return Err(failed(format!(
                "the installer ended with {}: {said}",
                told.status
            )));
        }
    };
    if !new.is_empty() {
        sync(work)?;
    }
    for folder in new {
        publish(&work.join("new").join(&folder), &store.join(&folder))?;
    }
    Ok(packages)
}

#[cfg(test)]
mod tests;
