//! Which modules Python files import, as far as can be seen without running them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::limits::{IMPORT_BYTES_MAX, IMPORT_FILES_MAX, IMPORTS_MAX};

/// The top-level modules that the function's own files in `folder` import as soon as they are
/// loaded, but for those that lie in `folder` themselves. `files` are the paths of all files there.
///
/// A guess that only saves time: what is named here may be loaded ahead.
pub(super) fn imported<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a str> + Clone,
) -> Vec<String> {
    let own: BTreeSet<&str> = files
        .clone()
        .map(|file| file.split(['/', '.']).next().unwrap_or(file))
        .collect();
    // Where others' packages are packed along, only files beside them are certainly the function's.
    let is_vendored = files.clone().any(|file| {
        let (top, _) = file.split_once('/').unwrap_or_default();
        top.ends_with(".dist-info") || top == "node_modules"
    });
    let python = files.filter(|file| Path::new(file).extension() == Some(OsStr::new("py")));
    let wanted = python.filter(|file| !is_vendored || !file.contains('/'));
    let mut modules = BTreeSet::new();
    for file in wanted.take(IMPORT_FILES_MAX) {
        let mut text = Vec::new();
        let read = File::open(folder.join(file))
            .and_then(|file| file.take(IMPORT_BYTES_MAX).read_to_end(&mut text));
        if read.is_ok() {
            for line in String::from_utf8_lossy(&text).lines() {
                modules.extend(of_line(line).map(str::to_owned));
            }
        }
    }
    modules.retain(|module| !own.contains(module.as_str()));
    modules.into_iter().take(IMPORTS_MAX).collect()
}

/// The top-level modules that one line imports; none if it is indented, since that may never run.
fn of_line(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split(['#', ';']).next().unwrap_or(line).trim_end();
    let import = code.strip_prefix("import ");
    let from = code.strip_prefix("from ");
    let from = from.and_then(|rest| rest.split_once(" import").map(|(module, _)| module));
    let listed = import.into_iter().flat_map(|list| list.split(','));
    listed.chain(from).filter_map(top_level)
}

/// `a` of ` a.b as c`, if it is a name.
fn top_level(module: &str) -> Option<&str> {
    let name = module.split_whitespace().next()?.split('.').next()?;
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = name.starts_with(is_first)
        && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
        && name != "__future__";
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{imported, of_line};

    #[test]
    fn lines_that_import() {
        for (line, modules) in [
            ("import json", &["json"][..]),
            ("import os.path as p, boto3 # later", &["os", "boto3"]),
            ("from flask import Flask; x = 1", &["flask"]),
            ("from a.b import(c)", &["a"]),
            ("from . import x", &[]),
            ("from .a import x", &[]),
            ("from __future__ import annotations", &[]),
            ("from here to there", &[]),
            ("    import heavy", &[]),
            ("important = 1", &[]),
            ("import 1x, ü", &[]),
            ("", &[]),
        ] {
            assert_eq!(of_line(line).collect::<Vec<_>>(), modules, "{line}");
        }
    }

    #[test]
    fn others_files_are_not_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "app.py",
            "import json, lib\nfrom own.sub import x\nimport own\n",
        );
        write("own/sub.py", "import sqlite3\n");
        write("lib/__init__.py", "import ctypes\n");
        let files = ["app.py", "lib/__init__.py", "own/sub.py"];
        let told = imported(folder.path(), files.into_iter());
        assert_eq!(told, ["ctypes", "json", "sqlite3"]);
        let files = [&files[..], &["lib-1.dist-info/RECORD"]].concat();
        assert_eq!(imported(folder.path(), files.into_iter()), ["json"]);
    }
}
