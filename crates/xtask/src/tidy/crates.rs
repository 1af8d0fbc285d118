//! Rules about our crates: who may know whom, and what each must have.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::source::{has_word, lines_with, product};
use super::{Finding, Tree, below};

/// Which of our crates each of our crates may name.
const EDGES: &[(&str, &[&str])] = &[
    (
        "fractus",
        &[
            "node", "sandbox", "wasm", "lambda", "func", "cache", "blob", "stdx",
        ],
    ),
    (
        "node",
        &[
            "edge", "wasm", "sandbox", "lambda", "func", "cache", "blob", "stdx",
        ],
    ),
    ("edge", &["func", "cache", "stdx"]),
    ("wasm", &["func", "stdx"]),
    ("sandbox", &["lambda", "func", "stdx"]),
    ("lambda", &["func", "stdx"]),
    ("func", &["stdx"]),
    ("cache", &["stdx"]),
    ("blob", &["stdx"]),
    ("stdx", &[]),
    ("xtask", &[]),
];

/// Crates that decide and never act.
const PURE: &[&str] = &["stdx", "func", "cache"];

/// Libraries that act on the world outside.
const ACTING: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "rusqlite",
    "fjall",
    "rustix",
    "mio",
    "socket2",
    "getrandom",
];

/// What the source of a pure crate does not name, and what it does instead.
const ACTS: &[(&str, &str)] = &[
    ("std::fs", "the caller reads and writes files"),
    ("std::thread", "the caller has the threads"),
    ("TcpStream", "the caller has the sockets"),
    ("TcpListener", "the caller has the sockets"),
    ("UdpSocket", "the caller has the sockets"),
    ("ToSocketAddrs", "the caller resolves names"),
    ("Instant::now", "take the time as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("tokio::", "the caller waits"),
];

/// One of our packages, as Cargo tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build` or nothing.
    kind: Option<String>,
}

impl Package {
    /// Our packages are named after their directories.
    fn short(&self) -> &str {
        short(&self.name)
    }

    fn manifest(&self) -> String {
        format!("crates/{}/Cargo.toml", self.short())
    }

    fn finding(&self, tree: &Tree, dependency: &str, message: String) -> Finding {
        let path = self.manifest();
        let lines = tree
            .file(&path)
            .map(|file| lines_with(&file.text, dependency));
        let line = lines.and_then(|lines| lines.first().copied()).unwrap_or(1);
        Finding {
            path,
            line,
            message,
        }
    }
}

impl Dependency {
    /// Part of what is shipped, rather than of tests.
    fn shipped(&self) -> bool {
        self.kind.as_deref() != Some("dev")
    }
}

fn short(package: &str) -> &str {
    package.strip_prefix("fractus-").unwrap_or(package)
}

/// The packages in the output of `cargo metadata`.
pub(super) fn packages(metadata: &str) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata: Metadata = serde_json::from_str(metadata).context("cargo metadata")?;
    Ok(metadata.packages)
}

pub(super) fn edges(tree: &Tree) -> Vec<Finding> {
    let ours = |name: &str| tree.packages.iter().any(|package| package.name == name);
    let mut findings = Vec::new();
    for package in &tree.packages {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.short()) else {
            let message = format!("`{}` is not in tidy's table of edges", package.short());
            findings.push(Finding {
                path: package.manifest(),
                line: 1,
                message,
            });
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| ours(&dependency.name))
        {
            if !allowed.contains(&short(&dependency.name)) {
                let message = format!(
                    "`{}` may not know `{}`",
                    package.short(),
                    short(&dependency.name)
                );
                findings.push(package.finding(tree, &dependency.name, message));
            }
        }
    }
    findings
}

pub(super) fn libraries(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let crate_name = package.short();
        for dependency in &package.dependencies {
            let library = dependency.name.as_str();
            let message = if library.starts_with("wasmtime") && crate_name != "wasm" {
                format!("only `wasm` names `{library}`")
            } else if library == "anyhow" && !["fractus", "xtask"].contains(&crate_name) {
                "errors of a library are enums; only the programs use `anyhow`".to_owned()
            } else if PURE.contains(&crate_name)
                && ACTING.contains(&library)
                && dependency.shipped()
            {
                format!("`{crate_name}` is pure and `{library}` acts")
            } else {
                continue;
            };
            findings.push(package.finding(tree, library, message));
        }
    }
    findings
}

pub(super) fn purity(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for crate_name in PURE {
        for file in tree.rust_in(&format!("crates/{crate_name}/src")) {
            if is_test_file(&file.path) {
                continue;
            }
            let code = product(&file.code);
            for (act, instead) in ACTS {
                for line in lines_with(&code, act) {
                    findings
                        .push(file.finding(line, format!("`{act}` in a pure crate: {instead}")));
                }
            }
        }
    }
    findings
}

/// Whether a source file is compiled for tests alone.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

pub(super) fn frame(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(name) =
            below(&file.path, "crates").and_then(|rest| rest.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let lints = file.text.split("[lints]").nth(1).unwrap_or_default();
        if !lints.trim_start().starts_with("workspace = true") {
            findings.push(file.finding(1, "add `[lints] workspace = true`"));
        }
        findings.extend(entry(tree, name));
        let map = tree
            .file("ARCHITECTURE.md")
            .map(|map| map.text.as_str())
            .unwrap_or_default();
        let spellings = [
            format!("`{name}`"),
            format!("`crates/{name}`"),
            format!("`crates/{name}/`"),
        ];
        if !spellings.iter().any(|spelling| has_word(map, spelling)) {
            findings
                .push(file.finding(1, format!("ARCHITECTURE.md does not name `crates/{name}`")));
        }
    }
    findings
}

/// A crate opens with what it is.
fn entry(tree: &Tree, name: &str) -> Option<Finding> {
    let roots = ["lib.rs", "main.rs"].map(|root| format!("crates/{name}/src/{root}"));
    let path = roots[0].clone();
    let Some(file) = roots.iter().find_map(|root| tree.file(root)) else {
        return Some(Finding {
            path,
            line: 1,
            message: "is missing".to_owned(),
        });
    };
    let opens = file.text.starts_with("//! ");
    (!opens).then(|| {
        file.finding(
            1,
            "open with `//!`: what it is, what it is not, where to start",
        )
    })
}
