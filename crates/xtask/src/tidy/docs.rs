//! Rules about what the documents promise.

use super::source::has_word;
use super::{File, Finding, Tree, below};

/// The documents whose names of files and items are checked.
const CHECKED: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// What a newcomer types, word for word as in README.md.
const DEMO: &str = "cargo run --release -- demo";
const TEST: &str = "cargo xtask test";

/// All there is to continuous integration.
const CI: &str = "#!/usr/bin/env bash\ncd \"$(dirname \"$0\")/..\" && exec cargo xtask test\n";

/// Words in backticks, each with its line; fenced blocks are passed over.
fn quoted(file: &File) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut fenced = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            words.extend(
                line.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|word| (index + 1, word)),
            );
        }
    }
    words
}

fn checked(tree: &Tree) -> impl Iterator<Item = (&File, usize, &str)> {
    let files = CHECKED.iter().filter_map(|path| tree.file(path));
    files.flat_map(|file| {
        quoted(file)
            .into_iter()
            .map(move |(line, word)| (file, line, word))
    })
}

pub(super) fn paths(tree: &Tree) -> Vec<Finding> {
    let gone =
        checked(tree).filter(|(_, _, word)| looks_like_path(tree, word) && !exists(tree, word));
    gone.map(|(file, line, word)| file.finding(line, format!("`{word}` is not there")))
        .collect()
}

/// A path of ours, rather than one of a URL, a media type or an operating system.
fn looks_like_path(tree: &Tree, word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !word.chars().all(plain) || word.starts_with('/') || word.starts_with('.') {
        return false;
    }
    let first = word.split('/').next().unwrap_or_default();
    let at_root = || {
        tree.files
            .iter()
            .any(|file| below(&file.path, first).is_some())
    };
    [".rs", ".md", ".toml"]
        .iter()
        .any(|end| word.ends_with(end) && word.len() > end.len())
        || (word.contains('/') && at_root())
}

/// A document may leave out the front of a path (`func/src/pool.rs`), never its end.
fn exists(tree: &Tree, word: &str) -> bool {
    let word = word.trim_end_matches('/');
    let inside = format!("/{word}/");
    tree.files
        .iter()
        .any(|file| format!("/{}/", file.path).contains(&inside))
}

pub(super) fn items(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, line, word) in checked(tree) {
        let Some((owner, name)) = owned_name(word) else {
            continue;
        };
        let missing = if tree
            .rust_in(&format!("crates/{owner}/src"))
            .next()
            .is_some()
        {
            !tree
                .rust_in(&format!("crates/{owner}/src"))
                .any(|file| defines(file, name))
        } else {
            let mut homes = tree
                .rust_in("crates")
                .filter(|file| defines(file, owner))
                .peekable();
            // A type of somebody else's is somebody else's to check.
            homes.peek().is_some() && !homes.any(|home| has_word(&home.code, name))
        };
        if missing {
            findings.push(file.finding(line, format!("`{word}`: `{owner}` has no `{name}`")));
        }
    }
    findings
}

/// Splits `func::pool::Pool` into crate and item, `Pool::take()` into type and method.
fn owned_name(word: &str) -> Option<(&str, &str)> {
    let word = word.strip_suffix("()").unwrap_or(word);
    let (owner, rest) = word.split_once("::")?;
    let name = rest.rsplit("::").next()?;
    let names = |name: &str| !name.is_empty() && name.chars().all(super::source::in_name);
    let owner = owner.strip_prefix("fractus_").unwrap_or(owner);
    (names(owner) && names(name)).then_some((owner, name))
}

fn defines(file: &File, name: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "fn", "struct", "enum", "trait", "const", "type", "mod", "static",
    ];
    KEYWORDS
        .iter()
        .any(|keyword| has_word(&file.code, &format!("{keyword} {name}")))
}

pub(super) fn commands(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expect = |path: &str, holds: fn(&str) -> bool, message: &str| {
        if !tree.file(path).is_some_and(|file| holds(&file.text)) {
            let (path, message) = (path.to_owned(), message.to_owned());
            findings.push(Finding {
                path,
                line: 1,
                message,
            });
        }
    };
    expect(
        "README.md",
        |text| text.contains(DEMO),
        &format!("show `{DEMO}`"),
    );
    expect(
        "README.md",
        |text| text.contains(TEST),
        &format!("show `{TEST}`"),
    );
    expect(
        ".ci/run",
        |text| text == CI,
        &format!("run exactly `{TEST}` at the root"),
    );
    findings
}
