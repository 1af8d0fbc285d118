//! Rules about lines of text.

use super::source::{Kind, has_word, in_name, lines_with, only};
use super::{File, Finding, Tree};

/// Columns of a line of Rust, as in rustfmt.toml.
const WIDTH: usize = 100;

/// Phrases that do not belong into the text of a project.
const PHRASES: &[&str] = &[
    "as requested",
    "as instructed",
    "per the issue",
    "in this session",
    "language model",
    "FIXME",
];

/// Lines (from 1) of `text` that `wrong` holds for.
fn where_lines(text: &str, wrong: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
    text.lines()
        .enumerate()
        .filter(move |(_, line)| wrong(line))
        .map(|(index, _)| index + 1)
}

/// Findings on the lines of code on which one of these words stands.
fn banned(tree: &Tree, words: &[&str], message: impl Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for word in words {
            let lines = lines_with(&file.code, word);
            findings.extend(
                lines
                    .into_iter()
                    .map(|line| file.finding(line, message(word))),
            );
        }
    }
    findings
}

pub(super) fn globs(tree: &Tree) -> Vec<Finding> {
    banned(tree, &["::*"], |_| "import by name".to_owned())
}

pub(super) fn unfinished(tree: &Tree) -> Vec<Finding> {
    banned(tree, &["dbg!", "todo!", "unimplemented!"], |word| {
        format!("`{word}` is left over")
    })
}

pub(super) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    banned(tree, &["#[ignore"], |_| "a test runs or goes".to_owned())
}

pub(super) fn error_fields(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for name in ["e", "err", "error", "source", "cause"] {
            if file.code.contains(&format!("let {name} = ErrorChain(")) {
                continue;
            }
            let lines = lines_with(&file.code, &format!("%{name}"));
            let message = format!("`{name} = %ErrorChain(&{name})` instead of `%{name}`");
            findings.extend(
                lines
                    .into_iter()
                    .map(|line| file.finding(line, message.as_str())),
            );
        }
    }
    findings
}

pub(super) fn error_display(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (at, _) in file.code.match_indices("#[error(") {
            let attribute = file.text[at..].split(")]").next().unwrap_or_default();
            if attribute.contains("{source") {
                let line = file.text[..at].matches('\n').count() + 1;
                findings.push(file.finding(line, "leave the source to the chain"));
            }
        }
    }
    findings
}

pub(super) fn whitespace(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.is(&["rs", "md", "toml"]))
    {
        let mut report = |line, message: &str| findings.push(file.finding(line, message));
        where_lines(&file.text, |line| line.contains('\t')).for_each(|line| report(line, "a tab"));
        where_lines(&file.text, |line| line.ends_with([' ', '\t', '\r']))
            .for_each(|line| report(line, "blanks at the end"));
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
            report(
                file.text.lines().count().max(1),
                "end the file with one newline",
            );
        }
    }
    findings
}

/// A literal or a URL may be longer: breaking it would not make it easier to read.
pub(super) fn length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let plain = only(&file.text, &[Kind::Code, Kind::Comment]);
        for (index, (line, whole)) in plain.lines().zip(file.text.lines()).enumerate() {
            let columns = line.trim_end().chars().count();
            if columns > WIDTH && !line.contains("://") && !whole.contains('"') {
                findings
                    .push(file.finding(index + 1, format!("{columns} columns, {WIDTH} allowed")));
            }
        }
    }
    findings
}

pub(super) fn licence_headers(tree: &Tree) -> Vec<Finding> {
    // Put together here so that this file does not hold what it bans.
    let header = ["SPDX", "License", "Identifier"].join("-");
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.is(&["rs", "md", "toml"]))
    {
        let lines = lines_with(&file.text, &header);
        findings.extend(
            lines
                .into_iter()
                .map(|line| file.finding(line, "leave it to LICENSE")),
        );
    }
    findings
}

pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let places = ["home", "root", "work"].map(|place| format!("/{place}/"));
    let starts = |line: &str, place: &str| {
        line.match_indices(place).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| in_name(c) || "./-}".contains(c))
        })
    };
    let mut findings = Vec::new();
    for file in prose(tree) {
        for place in &places {
            let lines = where_lines(&file.text, |line| starts(line, place));
            findings.extend(lines.map(|line| file.finding(line, format!("`{place}…`"))));
        }
    }
    findings
}

pub(super) fn phrases(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in prose(tree).filter(|file| !file.path.starts_with("crates/xtask/src/tidy/")) {
        for phrase in PHRASES {
            let lines = where_lines(&file.text, |line| has_word(line, phrase));
            findings.extend(lines.map(|line| file.finding(line, format!("\"{phrase}\""))));
        }
    }
    findings
}

/// Files people write text into.
fn prose(tree: &Tree) -> impl Iterator<Item = &File> {
    let extensions = ["rs", "md", "toml", "json", "js", "py", "wit", "sh", "conf"];
    tree.files
        .iter()
        .filter(move |file| file.is(&extensions) || file.path.starts_with(".ci/"))
}
