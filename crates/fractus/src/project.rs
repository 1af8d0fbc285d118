//! What `deploy` is pointed at: a component, an archive, a folder or file of code, a directory with
//! a manifest, or a Cargo project; and how it becomes an artifact.

mod cargo;
mod pack;
mod process;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use fractus_func::{BOOTSTRAP, FunctionName, Manifest, RuntimeKind};

use crate::artifact::Artifact;
use crate::failure::Failure;
use crate::output::Output;
use crate::project::cargo::Package;
pub(crate) use crate::project::pack::Packed;

const MANIFEST: &str = "fractus.toml";

/// Names under which a lone file's function is found without being told.
const FOUND_PYTHON: &[&str] = &[
    "f",
    "app",
    "main",
    "lambda_function",
    "wsgi",
    "asgi",
    "handler",
    "index",
];
const FOUND_NODE: &[&str] = &["index", "app"];

/// Something that can be deployed, not built yet.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) manifest: Manifest,
    source: Source,
}

/// What goes before what a manifest says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) name: Option<FunctionName>,
    pub(crate) runtime: Option<RuntimeKind>,
    pub(crate) handler: Option<String>,
}

#[derive(Debug)]
enum Source {
    /// A component, an archive, or a file or folder of code to make one of.
    At(PathBuf),
    /// What a command makes, in a directory.
    Made {
        directory: PathBuf,
        command: String,
        artifact: Made,
    },
    /// What Cargo makes of the package in a directory.
    Cargo(PathBuf, cargo::Product),
}

/// Where a build command leaves its artifact.
#[derive(Debug)]
enum Made {
    At(PathBuf),
    /// Where Cargo puts that of the package in the directory.
    ByCargo(cargo::Product),
}

impl Project {
    /// Finds out what `path` is.
    pub(crate) fn find(path: &Path, given: Given) -> Result<Self, Failure> {
        let kind = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("{} does not exist", path.display())).hint(
                "name a .wasm or .zip file, a file or directory of Python or Node code, or a \
                 directory with a fractus.toml or Cargo.toml",
            ),
            _ => Failure::new(format!("cannot read {}", path.display())).because(&error),
        })?;
        let named = path.file_name().is_some_and(|name| name == MANIFEST);
        if kind.is_file() && !named {
            return Self::of_file(path, given);
        }
        let directory = if kind.is_file() {
            path.parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
        } else {
            path
        };
        let directory = fs::canonicalize(directory).map_err(|error| {
            Failure::new(format!("cannot read {}", path.display())).because(&error)
        })?;
        Self::of_directory(&directory, given)
    }

    fn of_file(path: &Path, given: Given) -> Result<Self, Failure> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = given.name.map_or_else(|| function_name(&stem), Ok)?;
        let mut manifest = Manifest::named(name);
        manifest.runtime = given.runtime;
        manifest.handler = given.handler;
        if manifest.handler.is_none() {
            point_at(path, &stem, &mut manifest);
        }
        Ok(Self {
            manifest,
            source: Source::At(path.to_owned()),
        })
    }

    fn of_directory(directory: &Path, given: Given) -> Result<Self, Failure> {
        let is_cargo = directory.join("Cargo.toml").is_file();
        let written = read_manifest(directory)?;
        let has_manifest = written.is_some();
        let holds_code = !kinds(directory).is_empty();
        let mut manifest = match (written, &given.name) {
            (Some(manifest), _) => manifest,
            (None, Some(name)) if is_cargo || holds_code => Manifest::named(name.clone()),
            (None, None) if is_cargo => {
                Manifest::named(function_name(&Package::read(directory)?.name)?)
            }
            (None, None) if holds_code => {
                let own = directory.file_name().unwrap_or_default();
                Manifest::named(function_name(&own.to_string_lossy())?)
            }
            (None, _) => return Err(nothing_in(directory)),
        };
        let Given {
            name,
            runtime,
            handler,
        } = given;
        manifest.name = name.unwrap_or(manifest.name);
        manifest.runtime = runtime.or(manifest.runtime);
        manifest.handler = handler.or(manifest.handler);
        let source = Source::of(directory, &manifest, is_cargo, holds_code).ok_or_else(|| {
            if has_manifest {
                silent(directory)
            } else {
                nothing_in(directory)
            }
        })?;
        Ok(Self { manifest, source })
    }

    /// Builds and packs what must be.
    pub(crate) fn build(&self, output: &Output) -> Result<Artifact, Failure> {
        match &self.source {
            Source::At(path) => artifact(path, output),
            Source::Cargo(directory, product) => {
                cargo::build(directory, *product, output)?;
                made_by_cargo(directory, *product, output)
            }
            Source::Made {
                directory,
                command,
                artifact: made,
            } => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).current_dir(directory);
                process::run(shell, &format!("building with `{command}`"), output)?;
                match made {
                    Made::At(path) => artifact(path, output),
                    Made::ByCargo(product) => made_by_cargo(directory, *product, output),
                }
            }
        }
    }
}

impl Source {
    /// What a manifest in a directory leads to, if to anything.
    fn of(directory: &Path, manifest: &Manifest, is_cargo: bool, holds_code: bool) -> Option<Self> {
        // A program that is there need not be built.
        let is_program =
            manifest.runtime == Some(RuntimeKind::Provided) && !directory.join(BOOTSTRAP).is_file();
        let product = if is_program {
            cargo::Product::Program
        } else {
            cargo::Product::Component
        };
        let is_packed = match manifest.runtime {
            Some(RuntimeKind::Wasm) => false,
            Some(RuntimeKind::Provided) => !(is_program && is_cargo),
            Some(RuntimeKind::Python3 | RuntimeKind::NodeJs) => true,
            None => holds_code && !is_cargo,
        };
        let at = match &manifest.artifact {
            Some(path) => Some(directory.join(path)),
            None => is_packed.then(|| directory.to_owned()),
        };
        let directory = directory.to_owned();
        match (&manifest.build, at) {
            (None, Some(path)) => Some(Self::At(path)),
            (None, None) => is_cargo.then_some(Self::Cargo(directory, product)),
            (Some(command), at) => {
                let artifact = match at {
                    Some(path) => Made::At(path),
                    None if is_cargo => Made::ByCargo(product),
                    None => return None,
                };
                Some(Self::Made {
                    directory,
                    command: command.clone(),
                    artifact,
                })
            }
        }
    }
}

/// The artifact that lies at `path`, or that is packed of what lies there.
fn artifact(path: &Path, output: &Output) -> Result<Artifact, Failure> {
    if path.is_dir() {
        return Ok(Artifact::packed(pack::folder(path, output)?));
    }
    match lone(path) {
        Some(name) => Ok(Artifact::packed(pack::file(path, &name, output)?)),
        None => Artifact::open(path),
    }
}

fn made_by_cargo(
    directory: &Path,
    product: cargo::Product,
    output: &Output,
) -> Result<Artifact, Failure> {
    let package = Package::read(directory)?;
    match product {
        cargo::Product::Component => Artifact::open(&package.component()?),
        cargo::Product::Program => {
            let packed = pack::file(&package.program()?, BOOTSTRAP, output)?;
            Ok(Artifact::packed(packed))
        }
    }
}

/// The name in an archive of a file that is a function by itself; None for what is an artifact
/// already, or nothing that we know.
fn lone(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("py" | "js" | "mjs" | "cjs") => Some(name.to_owned()),
        Some("wasm" | "zip") => None,
        _ if name == BOOTSTRAP || is_elf(path) => Some(BOOTSTRAP.to_owned()),
        _ => None,
    }
}

fn is_elf(path: &Path) -> bool {
    let head = || -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut head)?;
        Ok(head)
    };
    head().is_ok_and(|head| head == b"\x7fELF")
}

/// Says in the manifest where the function of a lone file is, if its name does not.
fn point_at(path: &Path, stem: &str, manifest: &mut Manifest) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("py") if !FOUND_PYTHON.contains(&stem) => {
            let file = ("OL_ENTRY_FILE".to_owned(), name.into_owned());
            manifest.env.extend([file]);
        }
        Some("js" | "mjs" | "cjs") if !FOUND_NODE.contains(&stem) => {
            manifest.handler = Some(format!("{stem}.handler"));
        }
        _ => {}
    }
}

/// What the files right in a directory may be run by.
fn kinds(directory: &Path) -> Vec<RuntimeKind> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    RuntimeKind::told_from(names.iter().map(String::as_str))
}

fn nothing_in(directory: &Path) -> Failure {
    Failure::new(format!("{} holds nothing to deploy", directory.display()))
        .why(
            "it has neither a fractus.toml nor a Cargo.toml, nor a Python file, an index.js or a \
             program named bootstrap",
        )
        .hint("write a fractus.toml with `name` and `artifact`, or name a .wasm or .zip file")
}

fn silent(directory: &Path) -> Failure {
    Failure::new(format!(
        "{} does not say what to deploy",
        directory.join(MANIFEST).display()
    ))
    .why(
        "it names no artifact, and beside it is neither a Cargo.toml to build one from nor a \
         Python file, an index.js or a program named bootstrap",
    )
    .hint("add `artifact = \"path/to/component.wasm\"`, or `runtime = \"python3\"` or the like")
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
    let none = || {
        Failure::new(format!("`{name}` gives no name for a function")).hint("give one with --name")
    };
    let found = wanted.parse::<FunctionName>();
    let found = found.map_err(|error| none().because(&error))?;
    // Nobody asked for a name that no host can have.
    if found.is_dns_label() {
        Ok(found)
    } else {
        Err(none())
    }
}

#[cfg(test)]
mod tests;
