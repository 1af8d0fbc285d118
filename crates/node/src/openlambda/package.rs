//! What an archive of `OpenLambda` is deployed as: a zip file and a manifest.

use std::io::{Cursor, Read as _, Write as _};

use fractus_func::{CronTrigger, FunctionName, Manifest, RuntimeKind};
use fractus_lambda::limits::OL_CONFIG_MAX;
use fractus_lambda::openlambda::{
    ANY_METHOD, CONFIG_FILE, OlConfig, OlConfigError, OlCron, OlHttp, OlTriggers,
};
use thiserror::Error;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::repack::{RepackError, repack};
use crate::limits::OL_TIMEOUT_S;

/// What is run if the configuration names no file.
const ENTRY_FILE: &str = "f.py";
/// The variable that names another one.
const ENTRY_VARIABLE: &str = "OL_ENTRY_FILE";
/// What is run where there is none of Python.
const PROGRAM: &str = "f.bin";
/// What runs it: the module that is put beside it, and the application in that.
const PROGRAM_RUNNER: (&str, &str) = ("ol_f_bin.py", "ol_f_bin.app");
const PROGRAM_RUNNER_TEXT: &str = include_str!("fbin.py");
/// What the boss posts when a schedule's time has come.
const CRON_PAYLOAD: &str = "{}";
/// The time zone of schedules.
const CRON_ZONE: &str = "UTC";

/// An archive made ready.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) manifest: Manifest,
    pub(super) zip: Vec<u8>,
}

/// An archive that cannot be deployed.
#[derive(Debug, Error)]
pub(super) enum PackageError {
    /// It is not taken.
    #[error(transparent)]
    Repack(#[from] RepackError),
    /// Its configuration is not.
    #[error(transparent)]
    Config(#[from] OlConfigError),
    /// Its configuration is no text.
    #[error("{CONFIG_FILE} is not UTF-8")]
    ConfigText,
    /// It asks for what nobody does here.
    #[error("triggers.kafka: nothing here reads Kafka; take it out of {CONFIG_FILE}")]
    Kafka,
    /// Nobody could call it.
    #[error(
        "triggers.http is empty, so no request may call the function: name methods, or leave it \
         out for all"
    )]
    NoMethods,
    /// Its program may not be run.
    #[error("{PROGRAM} is not executable: `chmod +x` it and pack it again")]
    NotExecutable,
    /// What is needed beside its own files cannot be put there.
    #[error("the archive cannot be read back or added to")]
    Zip(#[from] ZipError),
}

/// Makes a gzipped tar file ready to be deployed under a name. Takes long.
pub(super) fn package(name: FunctionName, archive: &[u8]) -> Result<Package, PackageError> {
    let mut zip = repack(archive)?;
    let mut files = ZipArchive::new(Cursor::new(zip.as_slice()))?;
    let config = config(&mut files)?;
    let entry = config.environment.get(ENTRY_VARIABLE);
    let has_entry = files
        .index_for_name(entry.map_or(ENTRY_FILE, String::as_str))
        .is_some();
    let mode = match files.by_name(PROGRAM) {
        Ok(program) => program.unix_mode(),
        Err(_absent) => None,
    };
    let mut manifest = manifest(name, config)?;
    match mode {
        _ if has_entry => manifest.runtime = Some(RuntimeKind::Python3),
        Some(mode) if mode & 0o111 == 0 => return Err(PackageError::NotExecutable),
        Some(_) => {
            let (file, handler) = PROGRAM_RUNNER;
            zip = with_file(zip, file, PROGRAM_RUNNER_TEXT)?;
            manifest.handler = Some(handler.to_owned());
            manifest.runtime = Some(RuntimeKind::Python3);
        }
        // Not as OpenLambda has it: whatever else may be run here.
        None => {}
    }
    Ok(Package { manifest, zip })
}

/// The configuration in an archive; the default if it has none.
fn config(files: &mut ZipArchive<Cursor<&[u8]>>) -> Result<OlConfig, PackageError> {
    let file = match files.by_name(CONFIG_FILE) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(OlConfig::default()),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    // One more than may be, which is told.
    let mut file = file.take(OL_CONFIG_MAX as u64 + 1);
    file.read_to_end(&mut text).map_err(ZipError::Io)?;
    let text = str::from_utf8(&text).map_err(|_not_text| PackageError::ConfigText)?;
    Ok(OlConfig::parse(text)?)
}

fn with_file(zip: Vec<u8>, name: &str, text: &str) -> Result<Vec<u8>, ZipError> {
    let mut zip = ZipWriter::new_append(Cursor::new(zip))?;
    zip.start_file(name, SimpleFileOptions::default().unix_permissions(0o644))?;
    zip.write_all(text.as_bytes()).map_err(ZipError::Io)?;
    Ok(zip.finish()?.into_inner())
}

/// The manifest of a function with this configuration.
fn manifest(name: FunctionName, config: OlConfig) -> Result<Manifest, PackageError> {
    let methods: Vec<String> = config.methods().map(str::to_owned).collect();
    if methods.is_empty() {
        return Err(PackageError::NoMethods);
    }
    if !config.triggers.kafka.is_empty() {
        return Err(PackageError::Kafka);
    }
    let mut manifest = Manifest::named(name);
    manifest.limits.timeout_s = OL_TIMEOUT_S;
    if !methods.iter().any(|method| method == ANY_METHOD) {
        manifest.methods = methods;
    }
    let cron = config.triggers.cron.into_iter();
    manifest.triggers.cron = cron
        .map(|OlCron { schedule }| CronTrigger {
            schedule,
            timezone: CRON_ZONE.to_owned(),
            payload: Some(CRON_PAYLOAD.to_owned()),
        })
        .collect();
    manifest.env = config.environment;
    if !config.reuse_sandbox {
        manifest.instances.idle_s = 0;
    }
    Ok(manifest)
}

/// The configuration that a manifest stands for, however the function came to be.
pub(super) fn config_of(manifest: &Manifest) -> OlConfig {
    let triggers = OlTriggers::default();
    let http = manifest.methods.iter();
    let http: Vec<OlHttp> = http
        .map(|method| OlHttp {
            method: method.clone(),
        })
        .collect();
    let cron = manifest.triggers.cron.iter();
    OlConfig {
        triggers: OlTriggers {
            http: if http.is_empty() { triggers.http } else { http },
            cron: cron
                .map(|trigger| OlCron {
                    schedule: trigger.schedule.clone(),
                })
                .collect(),
            kafka: Vec::new(),
        },
        environment: manifest.env.clone(),
        reuse_sandbox: manifest.instances.idle_s > 0,
    }
}

#[cfg(test)]
mod tests;
