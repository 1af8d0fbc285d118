use std::fs;
use std::io::{Cursor, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use fractus_func::{CompileError, Manifest, RuntimeKind};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Library, names};
use crate::code::{Prepared, PreparedError};
use crate::packages::{Package, Python};

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn python() -> Python {
    let folder = tempfile::tempdir().unwrap();
    Python::from(&crate::host::python(folder.path()).unwrap())
}

/// A library, and a place for compiled files as the node has one.
struct Shelf {
    dir: TempDir,
    library: Arc<Library>,
}

impl Shelf {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(&dir.path().join("native"), Some(python())).unwrap();
        Self { dir, library }
    }

    fn open_again(&mut self) {
        self.library = Library::open(&self.root(), Some(python())).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("native")
    }

    /// Keeps a compiled file as the node does.
    fn keep(&self, prepared: &Prepared) -> PathBuf {
        let path = self.dir.path().join(format!("{}.compiled", prepared.code));
        fs::write(&path, prepared.to_bytes()).unwrap();
        path
    }

    fn folders(&self, of: &str) -> Vec<String> {
        let mut found = names(&self.root().join(of));
        found.sort();
        found
    }

    /// Adds a package to what was prepared, as if it had been installed.
    fn with_package(&self, mut prepared: Prepared, folder: &str) -> Prepared {
        fs::create_dir_all(self.root().join("packages").join(folder)).unwrap();
        prepared.packages.push(Package {
            name: folder.to_owned(),
            version: "1".to_owned(),
            folder: folder.to_owned(),
            modules: Vec::new(),
        });
        self.library.keep(&prepared);
        prepared
    }
}

#[test]
fn an_archive_is_prepared_once() {
    let shelf = Shelf::new();
    let zip = archive(&[
        ("f.py", "import json\ndef f(e): return e\n"),
        ("bad.py", "def"),
    ]);
    let prepared = shelf.library.prepare(&zip).unwrap();
    assert_eq!(prepared.kinds, [RuntimeKind::Python3]);
    assert_eq!(prepared.modules, ["json"]);
    assert_eq!(prepared.python.as_deref(), Some(&*python().version));
    let code = shelf.root().join("code").join(&prepared.code);
    let bytecode = names(&code.join("__pycache__"));
    assert_eq!(bytecode.len(), 1, "{bytecode:?}");
    assert!(bytecode[0].starts_with("f."), "{bytecode:?}");
    let compiled = fs::read(code.join("__pycache__").join(&bytecode[0])).unwrap();
    let seen_as = b"/var/task/f.py";
    assert!(compiled.windows(seen_as.len()).any(|part| part == seen_as));
    // Found again, not made again.
    fs::write(code.join("mark"), "").unwrap();
    assert_eq!(shelf.library.prepare(&zip).unwrap(), prepared);
    assert!(code.join("mark").exists());
    assert_eq!(names(&shelf.root().join("work")), [""; 0]);
    assert_eq!(
        Prepared::from_bytes(&prepared.to_bytes()).unwrap(),
        prepared
    );
}

#[test]
fn kinds_are_told_from_files_and_chosen_by_the_manifest() {
    let shelf = Shelf::new();
    let zip = archive(&[("index.js", ""), ("app.py", "")]);
    let prepared = shelf.library.prepare(&zip).unwrap();
    let mut manifest = Manifest::named("a".parse().unwrap());
    assert_eq!(prepared.kind_for(&manifest).unwrap(), RuntimeKind::Python3);
    manifest.runtime = Some(RuntimeKind::NodeJs);
    assert_eq!(prepared.kind_for(&manifest).unwrap(), RuntimeKind::NodeJs);
    manifest.runtime = Some(RuntimeKind::Provided);
    let error = prepared.kind_for(&manifest).unwrap_err().to_string();
    assert!(
        error.contains("an archive for python3 or nodejs"),
        "{error}"
    );

    let none = shelf.library.prepare(&archive(&[("README", "")]));
    let error = none.unwrap_err().to_string();
    assert!(error.contains("holds no function"), "{error}");
    let empty = shelf
        .library
        .prepare(&archive(&[]))
        .unwrap_err()
        .to_string();
    assert!(empty.contains("holds no function"), "{empty}");
    assert!(matches!(
        shelf.library.prepare(b"PK\x03\x04"),
        Err(CompileError::Archive(_))
    ));
    assert_eq!(names(&shelf.root().join("work")), [""; 0]);
    assert_eq!(shelf.folders("code").len(), 2);
}

#[test]
fn what_nobody_needs_is_removed_and_nothing_else() {
    let shelf = Shelf::new();
    let one = shelf.library.prepare(&archive(&[("f.py", "1")])).unwrap();
    let one = shelf.with_package(shelf.with_package(one, "both-1"), "one-1");
    let two = shelf.library.prepare(&archive(&[("f.py", "2")])).unwrap();
    let two = shelf.with_package(two, "both-1");
    let kept = shelf.keep(&one);
    shelf.library.forget(&kept);
    assert_eq!(shelf.folders("packages"), ["both-1"]);
    assert_eq!(
        shelf.folders("code"),
        [two.code.clone(), format!("{}.json", two.code)]
    );
    shelf.library.forget(&shelf.keep(&two));
    assert_eq!(shelf.folders("packages"), [""; 0]);
    assert_eq!(shelf.folders("code"), [""; 0]);
    // Twice, or of a file that is damaged: nothing happens.
    shelf.library.forget(&kept);
    fs::write(&kept, "{").unwrap();
    shelf.library.forget(&kept);
}

#[test]
fn a_lease_outlives_its_artifact() {
    let shelf = Shelf::new();
    let zip = archive(&[("f.py", "")]);
    let prepared = shelf.library.prepare(&zip).unwrap();
    let prepared = shelf.with_package(prepared, "p-1");
    let lease = shelf.library.lease(&prepared).unwrap();
    let second = shelf.library.lease(&prepared).unwrap();
    assert_eq!(lease.packages, [shelf.root().join("packages/p-1")]);
    shelf.library.forget(&shelf.keep(&prepared));
    drop(second);
    assert!(lease.code.join("f.py").exists() && lease.packages[0].is_dir());
    let (code, package) = (lease.code.clone(), lease.packages[0].clone());
    drop(lease);
    assert!(!code.exists() && !package.exists());
    let error = shelf.library.lease(&prepared).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    // Deployed again while it was leased, it stays.
    let again = shelf.library.prepare(&zip).unwrap();
    let lease = shelf.library.lease(&again).unwrap();
    shelf.library.forget(&shelf.keep(&again));
    shelf.library.prepare(&zip).unwrap();
    drop(lease);
    assert!(code.join("f.py").exists());
}

#[test]
fn a_start_removes_what_was_left_behind() {
    let mut shelf = Shelf::new();
    let kept = shelf.library.prepare(&archive(&[("f.py", "1")])).unwrap();
    let kept = shelf.with_package(kept, "p-1");
    let lost = shelf.library.prepare(&archive(&[("f.py", "2")])).unwrap();
    shelf.with_package(lost, "p-2");
    let compiled = shelf.keep(&kept);
    for path in ["work/7/half", "packages/q-1/q.py", "code/x-cp311/f.py"] {
        let path = shelf.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    shelf.open_again();
    assert_eq!(names(&shelf.root().join("work")), [""; 0]);
    // Compiled by this process, before it knows what else there is.
    let new = shelf.library.prepare(&archive(&[("f.py", "3")])).unwrap();
    let absent = shelf.dir.path().join("absent.compiled");
    shelf.library.retain(&[compiled, shelf.keep(&new), absent]);
    assert_eq!(shelf.folders("packages"), ["p-1"]);
    let mut code: Vec<String> = [&kept.code, &new.code]
        .into_iter()
        .flat_map(|name| [name.clone(), format!("{name}.json")])
        .collect();
    code.sort();
    assert_eq!(shelf.folders("code"), code);
    shelf.library.lease(&kept).unwrap();
}

#[test]
fn a_damaged_compiled_form_is_no_way_out() {
    let prepared = |code: &str| {
        format!(r#"{{"format":1,"code":"{code}","kinds":[],"packages":[],"modules":[]}}"#)
    };
    Prepared::from_bytes(prepared("a").as_bytes()).unwrap();
    for code in ["", "..", "a/b", "/etc", ".x"] {
        let error = Prepared::from_bytes(prepared(code).as_bytes()).unwrap_err();
        assert!(matches!(error, PreparedError::Folder(_)), "{code}");
    }
    let other = prepared("a").replace(":1", ":2");
    let error = Prepared::from_bytes(other.as_bytes()).unwrap_err();
    assert!(matches!(error, PreparedError::Format(2)));
    assert!(Prepared::from_bytes(b"\0").is_err());
}
