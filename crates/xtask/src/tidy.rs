//! The house rules no compiler checks, as code: a name, a reason and a function for each.
//!
//! Rules look at a [`Tree`], which is text and paths only, so that each is tested on a bad sample.

mod crates;
mod docs;
mod files;
mod lines;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::crates::Package;
use crate::process::{cargo, output};

/// A rule of the house.
struct Rule {
    name: &'static str,
    why: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "crate-edges",
        why: "who may know whom is decided once, in a table",
        check: crates::edges,
    },
    Rule {
        name: "library-homes",
        why: "a library kept in one crate can be replaced; a pure crate does no IO",
        check: crates::libraries,
    },
    Rule {
        name: "pure-crates",
        why: "time, randomness and IO are arguments, so that every decision can be replayed",
        check: crates::purity,
    },
    Rule {
        name: "crate-frame",
        why: "lints are not inherited unasked, and a crate nobody describes is not found",
        check: crates::frame,
    },
    Rule {
        name: "named-paths",
        why: "a document that names a file which is gone misleads",
        check: docs::paths,
    },
    Rule {
        name: "named-items",
        why: "a document that names code which is gone misleads",
        check: docs::items,
    },
    Rule {
        name: "readme-commands",
        why: "the two commands a newcomer types are the ones that are tested",
        check: docs::commands,
    },
    Rule {
        name: "forgotten-file",
        why: "a source file no `mod` names is neither compiled nor tested",
        check: files::forgotten,
    },
    Rule {
        name: "root-entries",
        why: "the root is what a newcomer reads first",
        check: files::root_entries,
    },
    Rule {
        name: "example-lock",
        why: "an example must build next year as it does today",
        check: files::example_locks,
    },
    Rule {
        name: "mod-rs",
        why: "ten tabs called mod.rs are no map",
        check: files::mod_rs,
    },
    Rule {
        name: "glob-import",
        why: "a reader must see where a name comes from",
        check: lines::globs,
    },
    Rule {
        name: "unfinished",
        why: "what is committed is finished, or not there",
        check: lines::unfinished,
    },
    Rule {
        name: "ignored-test",
        why: "a test that does not run tests nothing: mend it or delete it",
        check: lines::ignored_tests,
    },
    Rule {
        name: "error-chain",
        why: "`Display` of our errors leaves the cause out; `ErrorChain` prints it",
        check: lines::error_fields,
    },
    Rule {
        name: "error-display",
        why: "`Display` never repeats the source: a chain would say it twice",
        check: lines::error_display,
    },
    Rule {
        name: "whitespace",
        why: "diffs show changes, not blanks",
        check: lines::whitespace,
    },
    Rule {
        name: "line-length",
        why: "two files fit side by side",
        check: lines::length,
    },
    Rule {
        name: "licence-header",
        why: "LICENSE says it once for all files",
        check: lines::licence_headers,
    },
    Rule {
        name: "machine-path",
        why: "a path of one machine is wrong on all others",
        check: lines::machine_paths,
    },
    Rule {
        name: "phrase",
        why: "text speaks of the system, not of how the work was organised",
        check: lines::phrases,
    },
];

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

/// What the rules look at: the repository's files and what Cargo says of its packages.
#[derive(Debug, Default)]
struct Tree {
    files: Vec<File>,
    packages: Vec<Package>,
}

/// A file of the repository.
#[derive(Debug)]
struct File {
    /// From the root, with `/`.
    path: String,
    /// Empty when the file is not text.
    text: String,
    /// Rust only: `text` with comments and literals blanked out.
    code: String,
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let rust = Path::new(path).extension() == Some(OsStr::new("rs"));
        let code = if rust {
            source::code(&text)
        } else {
            String::new()
        };
        Self {
            path: path.to_owned(),
            text,
            code,
        }
    }

    fn is(&self, extensions: &[&str]) -> bool {
        let extension = Path::new(&self.path).extension().and_then(OsStr::to_str);
        extension.is_some_and(|extension| extensions.contains(&extension))
    }

    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }
}

impl Tree {
    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is(&["rs"]))
    }

    /// The Rust files below a directory.
    fn rust_in(&self, directory: &str) -> impl Iterator<Item = &File> {
        self.rust()
            .filter(move |file| below(&file.path, directory).is_some())
    }
}

/// The rest of a path below a directory.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    path.strip_prefix(directory)?.strip_prefix('/')
}

/// Checks the repository at `root` and prints every finding.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = load(root)?;
    let mut count = 0;
    for rule in RULES {
        let mut findings = (rule.check)(&tree);
        findings.sort();
        for Finding {
            path,
            line,
            message,
        } in &findings
        {
            println!("{path}:{line}: {}: {message}", rule.name);
        }
        if !findings.is_empty() {
            println!("  why {}: {}\n", rule.name, rule.why);
        }
        count += findings.len();
    }
    if count > 0 {
        bail!("{count} findings");
    }
    println!("{} rules hold in {} files", RULES.len(), tree.files.len());
    Ok(())
}

fn load(root: &Path) -> Result<Tree> {
    let mut files = Vec::new();
    for path in paths(root)? {
        let at = root.join(&path);
        // Git still lists a file deleted a moment ago; a link is checked where it leads.
        if !at.is_file() || at.is_symlink() {
            continue;
        }
        let bytes = fs::read(&at).with_context(|| path.clone())?;
        files.push(File::new(
            &path,
            String::from_utf8(bytes).unwrap_or_default(),
        ));
    }
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let packages = crates::packages(&output(&mut cargo(root, &arguments))?)?;
    Ok(Tree { files, packages })
}

/// The repository's files as git knows them, new ones included; without git, what lies there.
fn paths(root: &Path) -> Result<BTreeSet<String>> {
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    if let Ok(list) = output(Command::new("git").args(arguments).current_dir(root)) {
        return Ok(list.split_terminator('\0').map(str::to_owned).collect());
    }
    let mut found = BTreeSet::new();
    walk(root, "", &mut found)?;
    Ok(found)
}

fn walk(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) -> Result<()> {
    const PASSED_BY: &[&str] = &[
        ".git",
        "target",
        "fractus-data",
        "node_modules",
        "__pycache__",
    ];
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if !entry.file_type()?.is_dir() {
            found.insert(path);
        } else if !PASSED_BY.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), found)?;
        }
    }
    Ok(())
}
