//! The function that is put to work: deployed anew for each experiment, so that it has no
//! instance, and removed after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::api::Function;
use crate::client::Admin;
use crate::commands::deploy;
use crate::failure::Failure;
use crate::limits::QUIET_MAX;
use crate::output::Output;

/// What it does.
const CODE: &str = include_str!("f.py");

/// Memory of an instance: an interpreter that holds nothing.
const MEMORY_MB: u32 = 64;

/// How often the node is asked whether it has come to rest.
const LOOK: Duration = Duration::from_millis(50);

/// The function's code on disk, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Code {
    directory: PathBuf,
}

impl Code {
    /// Writes it to a new directory for temporary files.
    pub(super) fn write(name: &str, concurrency: u32, timeout: Duration) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(name);
        let manifest = format!(
            "name = \"{name}\"\n\n[limits]\nmemory_mb = {MEMORY_MB}\ntimeout_s = {}\n\
             concurrency = {concurrency}\n",
            timeout.as_secs().max(1)
        );
        let unwritable = |error: std::io::Error| {
            Failure::new(format!("cannot write {}", directory.display())).because(&error)
        };
        fs::create_dir(&directory).map_err(unwritable)?;
        let code = Self {
            directory: directory.clone(),
        };
        let write = |file: &str, text: &str| fs::write(directory.join(file), text);
        write("f.py", CODE).map_err(unwritable)?;
        write("fractus.toml", &manifest).map_err(unwritable)?;
        Ok(code)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Deploys it and waits until nothing of it runs.
    pub(super) async fn deploy(
        &self,
        admin: &Admin,
        output: &Output,
        name: &str,
    ) -> Result<(), Failure> {
        deploy::deploy(admin, output, deploy::Args::plain(&self.directory)).await?;
        let limit = Instant::now() + QUIET_MAX;
        while show(admin, name).await?.running > 0 {
            if Instant::now() > limit {
                return Err(Failure::new(format!(
                    "{name} is busy before anyone called it"
                )));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // A directory for temporary files is cleared by others, too.
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A function as the node knows it.
pub(super) async fn show(admin: &Admin, name: &str) -> Result<Function, Failure> {
    admin.get(&format!("/v1/functions/{name}")).await
}

/// Removes a function.
pub(super) async fn remove(admin: &Admin, name: &str) -> Result<(), Failure> {
    admin.delete(&format!("/v1/functions/{name}")).await
}
