//! Cargo projects: their name, and the component or program that a build makes of them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::project::process;

const TARGET: &str = "wasm32-wasip2";

/// What is wanted of a project.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Product {
    /// A component, from its library or binary.
    Component,
    /// A program for this machine, from its binary.
    Program,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

/// A package of Cargo's.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    #[serde(skip)]
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

fn cargo(directory: &Path) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(directory);
    command
}

impl Package {
    /// The package in `directory`, as Cargo sees it.
    pub(crate) fn read(directory: &Path) -> Result<Self, Failure> {
        let what = || {
            let directory = directory.display();
            Failure::new(format!("cannot read the Cargo project in {directory}"))
        };
        let told = cargo(directory)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                what()
                    .why(format!("cannot run cargo: {error}"))
                    .hint("install Rust from https://rustup.rs, or deploy a .wasm file")
            })?;
        if !told.status.success() {
            return Err(what().why(String::from_utf8_lossy(&told.stderr)));
        }
        let metadata: Metadata =
            serde_json::from_slice(&told.stdout).map_err(|error| what().because(&error))?;
        let manifest = directory.join("Cargo.toml");
        let own = metadata
            .packages
            .into_iter()
            .find(|package| package.manifest_path == manifest);
        match own {
            Some(package) => Ok(Self {
                target_directory: metadata.target_directory,
                ..package
            }),
            None => Err(what()
                .why("its Cargo.toml is of a workspace, not of a package")
                .hint("name the directory of one package")),
        }
    }

    /// Where a release build leaves the package's program.
    pub(crate) fn program(&self) -> Result<PathBuf, Failure> {
        let release = self.target_directory.join("release");
        let is_program = |target: &&Target| target.kind.iter().any(|kind| kind == "bin");
        let programs = self.targets.iter().filter(is_program);
        let files: Vec<PathBuf> = programs.map(|target| release.join(&target.name)).collect();
        match files.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::new("the build makes no program")
                .why(format!("{} has no binary", self.manifest_path.display()))
                .hint("add a `src/main.rs`, or remove `runtime = \"provided\"`")),
            several => Err(Failure::new("the build makes several programs")
                .why(shown(several))
                .hint("name one as `artifact` in fractus.toml")),
        }
    }

    /// Where a release build leaves the package's component.
    pub(crate) fn component(&self) -> Result<PathBuf, Failure> {
        let release = self.target_directory.join(TARGET).join("release");
        let files: Vec<PathBuf> = self
            .targets
            .iter()
            .filter_map(|target| {
                let is = |kind: &str| target.kind.iter().any(|own| own == kind);
                match () {
                    () if is("cdylib") => Some(target.name.replace('-', "_")),
                    () if is("bin") => Some(target.name.clone()),
                    () => None,
                }
            })
            .map(|name| release.join(name + ".wasm"))
            .collect();
        match files.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::new("the build makes no component")
                .why(format!(
                    "{} has neither a cdylib nor a binary",
                    self.manifest_path.display()
                ))
                .hint("add `[lib]` with `crate-type = [\"cdylib\"]` to it")),
            several => Err(Failure::new("the build makes several components")
                .why(shown(several))
                .hint("name one as `artifact` in fractus.toml")),
        }
    }
}

fn shown(files: &[PathBuf]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join("\n")
}

/// Builds the package in `directory`.
pub(crate) fn build(directory: &Path, product: Product, output: &Output) -> Result<(), Failure> {
    let mut command = cargo(directory);
    command.args(["build", "--release"]);
    match product {
        Product::Component => {
            ensure_target(directory, output)?;
            command.args(["--target", TARGET]);
        }
        Product::Program => {
            command.arg("--bins");
        }
    }
    if output.bars {
        command.env("CARGO_TERM_COLOR", "always");
    }
    process::run(
        command,
        &format!("building {}", directory.display()),
        output,
    )
}

/// Adds the target that components are built for, unless it is there.
fn ensure_target(directory: &Path, output: &Output) -> Result<(), Failure> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output();
    let there = asked.is_ok_and(|told| {
        let libraries = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        told.status.success() && Path::new(&libraries).is_dir()
    });
    if there {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "add", TARGET])
        .current_dir(directory);
    let label = format!("adding the target with `rustup target add {TARGET}`");
    process::run(rustup, &label, output).map_err(|failure| {
        output.note(failure);
        Failure::new(format!("Rust cannot build for {TARGET} here"))
            .why("its standard library is missing and could not be added")
            .hint("install Rust from https://rustup.rs, or deploy a .wasm file")
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Package, Target};

    fn package(targets: &[(&str, &str)]) -> Package {
        let target = |(name, kind): &(&str, &str)| Target {
            name: (*name).to_owned(),
            kind: vec![(*kind).to_owned()],
        };
        Package {
            name: "x".to_owned(),
            manifest_path: PathBuf::from("/x/Cargo.toml"),
            targets: targets.iter().map(target).collect(),
            target_directory: PathBuf::from("/t"),
        }
    }

    #[test]
    fn the_program_is_where_cargo_leaves_it() {
        let made = |targets| package(targets).program();
        let only = made(&[("my-f", "bin"), ("my_f", "lib"), ("it", "test")]).unwrap();
        assert_eq!(only, Path::new("/t/release/my-f"));
        let none = made(&[("f", "lib")]).unwrap_err().to_string();
        assert!(none.contains("has no binary"), "{none}");
        let several = made(&[("f", "bin"), ("g", "bin")]).unwrap_err().to_string();
        assert!(several.contains("/t/release/g"), "{several}");
    }

    #[test]
    fn the_component_is_where_cargo_leaves_it() {
        let release = Path::new("/t/wasm32-wasip2/release");
        let made = |targets| package(targets).component();
        assert_eq!(
            made(&[
                ("my-f", "cdylib"),
                ("it", "test"),
                ("build", "custom-build")
            ])
            .unwrap(),
            release.join("my_f.wasm")
        );
        assert_eq!(made(&[("my-f", "bin")]).unwrap(), release.join("my-f.wasm"));
        assert!(made(&[("f", "lib")]).is_err());
        let several = made(&[("f", "cdylib"), ("g", "bin")]).unwrap_err();
        assert!(several.to_string().contains("g.wasm"), "{several}");
    }
}
