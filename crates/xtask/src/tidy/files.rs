//! Rules about which files there are.

use std::collections::BTreeSet;

use super::source::has_word;
use super::{Finding, Tree, below};

/// What may lie at the root of the repository.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "crates",
    "docs",
    "examples",
    "rust-toolchain.toml",
    "rustfmt.toml",
];

pub(super) fn root_entries(tree: &Tree) -> Vec<Finding> {
    let entry = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let entries: BTreeSet<String> = tree.files.iter().map(|file| entry(&file.path)).collect();
    let strange = entries
        .into_iter()
        .filter(|entry| !ROOT.contains(&entry.as_str()));
    let message = "is not in tidy's list of root entries: find it a place below".to_owned();
    strange
        .map(|path| Finding {
            path,
            line: 1,
            message: message.clone(),
        })
        .collect()
}

pub(super) fn mod_rs(tree: &Tree) -> Vec<Finding> {
    let wrong = tree.rust().filter(|file| file.path.ends_with("/mod.rs"));
    wrong
        .map(|file| file.finding(1, "name it after the module, beside its directory"))
        .collect()
}

pub(super) fn example_locks(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(project) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        if below(project, "examples").is_some_and(|name| !name.contains('/'))
            && tree.file(&format!("{project}/Cargo.lock")).is_none()
        {
            findings.push(file.finding(1, "commit its Cargo.lock"));
        }
    }
    findings
}

/// Whether the crate's build script names a source file: it is compiled by itself.
fn built_apart(tree: &Tree, path: &str) -> bool {
    let Some((owner, own)) = below(path, "crates").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    tree.file(&format!("crates/{owner}/build.rs"))
        .is_some_and(|script| script.text.contains(&format!("\"{own}\"")))
}

pub(super) fn forgotten(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust_in("crates") {
        let parents = match place(&file.path) {
            Some(Place::Root) => continue,
            Some(Place::Module(parents)) => parents,
            None => {
                findings
                    .push(file.finding(1, "tests of a crate are one program: tests/it/main.rs"));
                continue;
            }
        };
        let name = file
            .path
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".rs"));
        let declaration = format!("mod {};", name.unwrap_or_default());
        let declared = |parent: &String| {
            tree.file(parent)
                .is_some_and(|parent| has_word(&parent.code, &declaration))
        };
        if !parents.iter().any(declared) && !built_apart(tree, &file.path) {
            findings
                .push(file.finding(1, format!("no `{declaration}` in {}", parents.join(" or "))));
        }
    }
    findings
}

/// What a source file of a crate is to the compiler.
enum Place {
    /// The start of a library or program.
    Root,
    /// A module, declared in one of these files.
    Module(Vec<String>),
}

/// `None` when the file lies where no target finds it.
fn place(path: &str) -> Option<Place> {
    let (_, inside) = below(path, "crates")?.split_once('/')?;
    let (inside, name) = inside.rsplit_once('/').unwrap_or(("", inside));
    let (directory, _) = path.rsplit_once('/')?;
    match (inside, name) {
        ("", "build.rs")
        | ("src" | "tests/it", "lib.rs" | "main.rs")
        | ("src/bin" | "examples" | "benches", _) => Some(Place::Root),
        ("src" | "tests/it", _) => {
            let roots = ["lib.rs", "main.rs"].map(|root| format!("{directory}/{root}"));
            Some(Place::Module(roots.into()))
        }
        _ if inside.starts_with("src/") || inside.starts_with("tests/it/") => {
            Some(Place::Module(vec![format!("{directory}.rs")]))
        }
        _ => None,
    }
}
