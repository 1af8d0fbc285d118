//! What `deploy` is pointed at: a component, a directory with a manifest, or a Cargo project; and
//! how it becomes an artifact.

mod cargo;
mod process;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use fractus_func::{FunctionName, Manifest};

use crate::failure::Failure;
use crate::output::Output;
use crate::project::cargo::Package;

const MANIFEST: &str = "fractus.toml";

/// Something that can be deployed, not built yet.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) manifest: Manifest,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A component as a file.
    File(PathBuf),
    /// What a command makes, in a directory.
    Made {
        directory: PathBuf,
        command: String,
        artifact: Made,
    },
    /// What Cargo makes of the package in a directory.
    Cargo(PathBuf),
}

/// Where a build command leaves its artifact.
#[derive(Debug)]
enum Made {
    At(PathBuf),
    /// Where Cargo puts that of the package in the directory.
    ByCargo,
}

impl Project {
    /// Finds out what `path` is. `name` goes before any other.
    pub(crate) fn find(path: &Path, name: Option<FunctionName>) -> Result<Self, Failure> {
        let kind = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("{} does not exist", path.display()))
                .hint("name a .wasm file, or a directory with a fractus.toml or Cargo.toml"),
            _ => Failure::new(format!("cannot read {}", path.display())).because(&error),
        })?;
        let named = path.file_name().is_some_and(|name| name == MANIFEST);
        if kind.is_file() && !named {
            return Self::of_file(path, name);
        }
        let directory = if kind.is_file() {
            path.parent().unwrap_or(path)
        } else {
            path
        };
        let directory = fs::canonicalize(directory).map_err(|error| {
            Failure::new(format!("cannot read {}", path.display())).because(&error)
        })?;
        Self::of_directory(&directory, name)
    }

    fn of_file(path: &Path, name: Option<FunctionName>) -> Result<Self, Failure> {
        let name = name.map_or_else(
            || function_name(&path.file_stem().unwrap_or_default().to_string_lossy()),
            Ok,
        )?;
        Ok(Self {
            manifest: Manifest::named(name),
            source: Source::File(path.to_owned()),
        })
    }

    fn of_directory(directory: &Path, name: Option<FunctionName>) -> Result<Self, Failure> {
        let is_cargo = directory.join("Cargo.toml").is_file();
        let mut manifest = match read_manifest(directory)? {
            Some(manifest) => manifest,
            None if is_cargo => match &name {
                Some(name) => Manifest::named(name.clone()),
                None => Manifest::named(function_name(&Package::read(directory)?.name)?),
            },
            None => {
                return Err(Failure::new(format!(
                    "{} holds nothing to deploy",
                    directory.display()
                ))
                .why("it has neither a fractus.toml nor a Cargo.toml")
                .hint("write a fractus.toml with `name` and `artifact`, or name a .wasm file"));
            }
        };
        if let Some(name) = name {
            manifest.name = name;
        }
        let artifact = manifest.artifact.as_ref().map(|path| directory.join(path));
        let directory = directory.to_owned();
        let source = match (&manifest.build, artifact) {
            (Some(command), Some(artifact)) => Source::Made {
                directory,
                command: command.clone(),
                artifact: Made::At(artifact),
            },
            (Some(command), None) if is_cargo => Source::Made {
                directory,
                command: command.clone(),
                artifact: Made::ByCargo,
            },
            (None, Some(artifact)) => Source::File(artifact),
            (None, None) if is_cargo => Source::Cargo(directory),
            (_, None) => {
                return Err(Failure::new(format!(
                    "{} does not say what to deploy",
                    directory.join(MANIFEST).display()
                ))
                .why("it names no artifact, and there is no Cargo.toml to build one from")
                .hint("add `artifact = \"path/to/component.wasm\"`"));
            }
        };
        Ok(Self { manifest, source })
    }

    /// Builds what must be built, and tells where the artifact is.
    pub(crate) fn build(&self, output: &Output) -> Result<PathBuf, Failure> {
        match &self.source {
            Source::File(path) => Ok(path.clone()),
            Source::Cargo(directory) => {
                cargo::build(directory, output)?;
                Package::read(directory)?.component()
            }
            Source::Made {
                directory,
                command,
                artifact,
            } => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).current_dir(directory);
                process::run(shell, &format!("building with `{command}`"), output)?;
                match artifact {
                    Made::At(path) => Ok(path.clone()),
                    Made::ByCargo => Package::read(directory)?.component(),
                }
            }
        }
    }
}

fn read_manifest(directory: &Path) -> Result<Option<Manifest>, Failure> {
    let path = directory.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::new(format!("cannot read {}", path.display())).because(&error));
        }
    };
    let manifest = Manifest::from_toml(&text).map_err(|error| {
        Failure::new(format!("{} cannot be used", path.display())).because(&error)
    })?;
    Ok(Some(manifest))
}

/// The function's name that a file's or package's name stands for: lower case, `-` for `_` and `.`.
fn function_name(name: &str) -> Result<FunctionName, Failure> {
    let wanted = name.to_ascii_lowercase().replace(['_', '.', ' '], "-");
    wanted.parse().map_err(|error: fractus_func::NameError| {
        Failure::new(format!("`{name}` gives no name for a function"))
            .because(&error)
            .hint("give one with --name")
    })
}

#[cfg(test)]
mod tests;
