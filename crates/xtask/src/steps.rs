//! `cargo xtask test`: everything that must hold before a change is good, step by step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::process::{cargo, output, run as run_command, succeeds};
use crate::tidy;

/// The target of function components.
const GUEST: &str = "wasm32-wasip2";

/// One step of the test command.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "tools",
        what: "rustfmt, clippy, the target wasm32-wasip2, Python and Node",
        run: tools,
    },
    Step {
        name: "fmt",
        what: "formatting of the workspace and the examples",
        run: format,
    },
    Step {
        name: "tidy",
        what: "the house rules no compiler checks",
        run: tidy::run,
    },
    Step {
        name: "examples",
        what: "example functions: build, lint, test",
        run: examples,
    },
    Step {
        name: "clippy",
        what: "lints of the workspace, warnings denied",
        run: clippy,
    },
    Step {
        name: "doc",
        what: "documentation, broken links denied",
        run: documentation,
    },
    Step {
        name: "test",
        what: "unit and behaviour tests of every crate",
        run: tests,
    },
];

/// What to run of the test command.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Run only this step; may be repeated
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
    /// Leave this step out; may be repeated
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    skip: Vec<String>,
    /// Go on after a failed step
    #[arg(long)]
    keep_going: bool,
    /// Print the steps and run none
    #[arg(long)]
    list: bool,
}

impl Options {
    fn chosen(&self) -> impl Iterator<Item = &'static Step> {
        STEPS.iter().filter(|step| {
            let named = |names: &[String]| names.iter().any(|name| name == step.name);
            (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
        })
    }
}

fn step_names() -> impl clap::builder::TypedValueParser {
    clap::builder::PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

/// Runs the chosen steps in order and prints a summary; fails if any of them failed.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.list {
        for step in options.chosen() {
            println!("{:<9} {}", step.name, step.what);
        }
        return Ok(());
    }
    let mut outcomes = Vec::new();
    for step in options.chosen() {
        println!("\n== {}: {}", step.name, step.what);
        let began = Instant::now();
        let outcome = (step.run)(root);
        let took = began.elapsed();
        match &outcome {
            Ok(()) => println!("== {}: ok in {}", step.name, seconds(took)),
            Err(error) => println!(
                "== {}: FAILED after {}: {error:#}",
                step.name,
                seconds(took)
            ),
        }
        let failed = outcome.is_err();
        outcomes.push((step, took, outcome));
        if failed && !options.keep_going {
            break;
        }
    }
    summarise(&outcomes, options.chosen().count())
}

fn summarise(outcomes: &[(&Step, Duration, Result<()>)], chosen: usize) -> Result<()> {
    println!("\n{:<9} {:>9}  result", "step", "time");
    for (step, took, outcome) in outcomes {
        let result = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{:<9} {:>9}  {result}", step.name, seconds(*took));
    }
    let total = outcomes.iter().map(|(_, took, _)| *took).sum();
    println!("{:<9} {:>9}", "all", seconds(total));
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|(.., outcome)| outcome.is_err())
        .map(|(step, ..)| step)
        .collect();
    for step in &failed {
        println!("\nrepeat it with: cargo xtask test --only {}", step.name);
    }
    let left = chosen - outcomes.len();
    if left > 0 {
        println!("{left} steps were not reached; --keep-going runs them all the same");
    }
    if !failed.is_empty() {
        bail!("{} of {} steps failed", failed.len(), outcomes.len());
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What native functions are run by and made with: each is asked for its version.
const GUESTS_TOOLS: [(&str, &[&str], &str); 4] = [
    ("python3", &["--version"], "Python 3.9 or newer"),
    (
        "python3",
        &["-m", "pip", "--version"],
        "pip for that Python",
    ),
    ("node", &["--version"], "Node 18 or newer"),
    ("npm", &["--version"], "npm for that Node"),
];

/// Asks rustup only for what is missing, so that a toolchain without rustup will do.
fn tools(root: &Path) -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let present = || succeeds(&mut cargo(root, &[subcommand, "--version"]));
        provide(root, "component", component, present)?;
    }
    provide(root, "target", GUEST, || {
        guest_libraries(root).is_ok_and(|path| path.is_dir())
    })?;
    for (program, arguments, what) in GUESTS_TOOLS {
        let command = || format!("{program} {}", arguments.join(" "));
        let told = output(Command::new(program).args(arguments).current_dir(root))
            .with_context(|| format!("`{}` must run: install {what}", command()))?;
        println!("{}: {}", command(), told.trim());
    }
    Ok(())
}

fn provide(root: &Path, kind: &str, name: &str, present: impl Fn() -> bool) -> Result<()> {
    if !present() {
        run_command(
            Command::new("rustup")
                .args([kind, "add", name])
                .current_dir(root),
        )
        .with_context(|| format!("{name} is missing"))?;
        ensure!(present(), "rustup added {name}, yet it is not found");
    }
    println!("{name} is there");
    Ok(())
}

/// Where the standard library for guests lies, if it is installed.
fn guest_libraries(root: &Path) -> Result<PathBuf> {
    let arguments = ["--print", "target-libdir", "--target", GUEST];
    let path = output(Command::new("rustc").args(arguments).current_dir(root))?;
    Ok(PathBuf::from(path.trim()))
}

fn format(root: &Path) -> Result<()> {
    run_command(&mut cargo(root, &["fmt", "--all", "--check"]))?;
    example_projects(root)?
        .iter()
        .try_for_each(|project| run_command(&mut cargo(project, &["fmt", "--check"])))
}

/// Builds what the tests deploy, then lints and tests it.
fn examples(root: &Path) -> Result<()> {
    let lint = [
        "clippy", "--locked", "--target", GUEST, "--", "-D", "warnings",
    ];
    // In release mode, in which macros and build scripts are there already.
    let lint_program = ["clippy", "--locked", "--release", "--", "-D", "warnings"];
    let lint_tests = [
        "clippy",
        "--locked",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    for project in example_projects(root)? {
        println!(
            "-- {}",
            project.strip_prefix(root).unwrap_or(&project).display()
        );
        build_example(&project)?;
        let lint: &[&str] = if is_program(&project)? {
            &lint_program
        } else {
            &lint
        };
        cargo_in_example(&project, lint)?;
        if has_tests(&project.join("src"))? {
            cargo_in_example(&project, &lint_tests)?;
            cargo_in_example(&project, &["test", "--locked"])?;
        }
    }
    Ok(())
}

/// Builds an example's component or program into the project's own `target`.
pub(crate) fn build_example(project: &Path) -> Result<()> {
    let build: &[&str] = &["build", "--release", "--locked", "--target", GUEST];
    // The last two are for components only.
    let build = if is_program(project)? {
        &build[..3]
    } else {
        build
    };
    cargo_in_example(project, build)
}

/// Whether an example is a program of this machine rather than a component. What has no manifest
/// is deployed by other means, and only programs are.
fn is_program(project: &Path) -> Result<bool> {
    let manifest = project.join("fractus.toml");
    if !manifest.exists() {
        return Ok(true);
    }
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    Ok(text
        .lines()
        .any(|line| line.trim() == "runtime = \"provided\""))
}

/// As a user would, without our settings.
fn cargo_in_example(project: &Path, arguments: &[&str]) -> Result<()> {
    run_command(cargo(project, arguments).env_remove("CARGO_TARGET_DIR"))
}

/// The examples that are Cargo projects, by name.
fn example_projects(root: &Path) -> Result<Vec<PathBuf>> {
    let mut projects = Vec::new();
    for entry in fs::read_dir(root.join("examples")).context("examples")? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            projects.push(path);
        }
    }
    projects.sort();
    Ok(projects)
}

/// Whether any source below has a test that runs on this machine rather than in a guest.
fn has_tests(directory: &Path) -> Result<bool> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_tests(&path)?
        } else {
            fs::read_to_string(&path).is_ok_and(|text| text.contains("#[test]"))
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn clippy(root: &Path) -> Result<()> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    run_command(&mut cargo(root, &arguments))
}

fn documentation(root: &Path) -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked"];
    run_command(cargo(root, &arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests(root: &Path) -> Result<()> {
    run_command(&mut cargo(root, &["test", "--workspace", "--locked"]))
}

#[cfg(test)]
mod tests {
    use super::{Options, STEPS};

    #[test]
    fn only_and_skip_choose() {
        let names = |only: &[&str], skip: &[&str]| -> Vec<&'static str> {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let options = Options {
                only: owned(only),
                skip: owned(skip),
                ..Options::default()
            };
            options.chosen().map(|step| step.name).collect()
        };
        assert_eq!(names(&[], &[]).len(), STEPS.len());
        assert_eq!(names(&["test", "fmt"], &[]), ["fmt", "test"]);
        assert_eq!(names(&["test", "fmt"], &["fmt"]), ["test"]);
        assert_eq!(names(&[], &["tools"]).first(), Some(&"fmt"));
    }
}
