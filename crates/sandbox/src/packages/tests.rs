use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fractus_func::CompileError;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Package, Python, install};

/// A folder with wheels, and a store to install them into.
struct Bench {
    dir: TempDir,
    python: Python,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["wheels", "store", "code", "work"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self {
            python: Python::from(&crate::host::python(dir.path()).unwrap()),
            dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a wheel. `more` are files besides those that it must have.
    fn wheel(&self, name: &str, version: &str, needs: &[&str], more: &[(&str, &str)]) {
        let info = format!("{name}-{version}.dist-info");
        let needs = needs.iter().fold(String::new(), |all, need| {
            all + "Requires-Dist: " + need + "\n"
        });
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}");
        let tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let module = format!("{name}/__init__.py");
        let body = format!("VERSION = \"{version}\"\n");
        let record = format!("{info}/RECORD");
        let files = [
            (module.as_str(), body.as_str()),
            (&format!("{info}/METADATA"), &metadata),
            (&format!("{info}/WHEEL"), tags),
            (&record, ""),
        ];
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, text) in files.iter().chain(more) {
            zip.start_file(*path, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        let file = self
            .path("wheels")
            .join(format!("{name}-{version}-py3-none-any.whl"));
        fs::write(file, zip.finish().unwrap().into_inner()).unwrap();
    }

    /// Installs what `requirements` ask for, from our wheels alone.
    fn install(&self, requirements: &str) -> Result<Vec<Package>, String> {
        fs::write(self.path("code/requirements.txt"), requirements).unwrap();
        let work = self.path("work/1");
        let installed = self.run(&work);
        assert!(!work.exists(), "nothing is left over");
        match installed {
            Err(CompileError::Packages(why)) => Err(why),
            other => Ok(other.unwrap()),
        }
    }

    /// As [`install`], with pip's settings as an operator would make them: no test may go to the
    /// network, and the environment of tests is shared.
    fn run(&self, work: &Path) -> Result<Vec<Package>, CompileError> {
        // A program in front of the interpreter stands for the operator's environment.
        let front = self.path("python");
        let script = format!(
            "#!/bin/sh\nPIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS='{}' exec '{}' \"$@\"\n",
            self.path("wheels").display(),
            self.python.program.display()
        );
        fs::write(&front, script).unwrap();
        fs::set_permissions(&front, fs::Permissions::from_mode(0o755)).unwrap();
        let python = Python {
            program: front,
            ..self.python.clone()
        };
        install(&python, &self.path("code"), &self.path("store"), work)
    }

    fn store(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("store")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs a line of Python with these packages on its path.
    fn python(&self, packages: &[Package], line: &str) -> String {
        let folders = packages
            .iter()
            .map(|package| self.path("store").join(&package.folder));
        let path = std::env::join_paths(folders).unwrap();
        let told = std::process::Command::new(&self.python.program)
            .args(["-c", line])
            .env("PYTHONPATH", path)
            .output()
            .unwrap();
        assert!(
            told.status.success(),
            "{}",
            String::from_utf8_lossy(&told.stderr)
        );
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
    }
}

fn versions(packages: &[Package]) -> Vec<String> {
    let shown = packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version));
    shown.collect()
}

#[test]
fn versions_lie_side_by_side_and_each_once() {
    let bench = Bench::new();
    bench.wheel("cat", "1.0", &["tail"], &[]);
    bench.wheel(
        "cat",
        "2.0",
        &["tail>=1"],
        &[("cat_tool.py", ""), ("cat/data.txt", "x")],
    );
    bench.wheel("tail", "1.5", &[], &[]);
    let old = bench.install("cat==1.0  # the old one\n").unwrap();
    assert_eq!(versions(&old), ["cat 1.0", "tail 1.5"]);
    let new = bench
        .install("Cat >= 1.5 ; python_version > '3'\n\n")
        .unwrap();
    assert_eq!(versions(&new), ["cat 2.0", "tail 1.5"]);
    assert_eq!(new[1], old[1], "it is shared");
    assert_eq!(new[0].modules, ["cat", "cat_tool"]);
    assert_eq!(bench.store().len(), 3);
    for (packages, version) in [(&old, "1.0"), (&new, "2.0")] {
        let line = "import cat, tail; print(cat.VERSION, cat.__spec__.cached)";
        let told = bench.python(packages, line);
        let (told, cached) = told.split_once(' ').unwrap();
        assert_eq!(told, version);
        let bytes = fs::read(cached).unwrap();
        let seen_as = format!("/opt/packages/{}/cat/__init__.py", packages[0].folder);
        assert!(
            bytes
                .windows(seen_as.len())
                .any(|part| part == seen_as.as_bytes())
        );
        // Checked against the file's hash never: the file does not change.
        assert_eq!(bytes[4], 1, "flags of the bytecode");
    }
    // The same again asks nobody.
    fs::remove_dir_all(bench.path("wheels")).unwrap();
    assert_eq!(bench.install("cat==1.0\n").unwrap(), old);
    // But not when something of it is gone.
    fs::remove_dir_all(bench.path("store").join(&old[0].folder)).unwrap();
    bench.install("cat==1.0\n").unwrap_err();
}

#[test]
fn the_same_name_with_other_contents_is_another_package() {
    let (bench, other) = (Bench::new(), Bench::new());
    bench.wheel("cat", "1.0", &[], &[]);
    other.wheel("cat", "1.0", &[], &[("evil.py", "")]);
    let (one, two) = (bench.install("cat").unwrap(), other.install("cat").unwrap());
    assert_ne!(one[0].folder, two[0].folder);
}

#[test]
fn wheels_are_spread_as_the_specification_says() {
    let bench = Bench::new();
    bench.wheel(
        "cat",
        "1.0",
        &[],
        &[
            ("cat-1.0.data/purelib/pure.py", "X = 1"),
            ("cat-1.0.data/platlib/plat.py", "X = 2"),
            ("cat-1.0.data/scripts/meow", "#!python -s\nprint(1)\n"),
            ("cat-1.0.data/data/share/cat.txt", "x"),
            ("cat-1.0.data/headers/cat.h", "x"),
        ],
    );
    let packages = bench.install("cat").unwrap();
    assert_eq!(packages[0].modules, ["cat", "plat", "pure"]);
    let folder = bench.path("store").join(&packages[0].folder);
    let script = fs::read_to_string(folder.join("bin/meow")).unwrap();
    assert_eq!(script, "#!/usr/bin/env python3 -s\nprint(1)\n");
    assert!(folder.join("share/cat.txt").exists());
    assert!(!folder.join("cat-1.0.data").exists());
    let told = bench.python(
        &packages,
        "import importlib.metadata as m; print(m.version('cat'))",
    );
    assert_eq!(told, "1.0");
    let mode = |path: &str| {
        let metadata = fs::metadata(folder.join(path)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(
        (mode("bin/meow"), mode("pure.py"), mode("cat")),
        (0o755, 0o644, 0o755)
    );
}

#[test]
fn hashes_are_checked() {
    let bench = Bench::new();
    bench.wheel("cat", "1.0", &[], &[]);
    let wheel = fs::read(bench.path("wheels/cat-1.0-py3-none-any.whl")).unwrap();
    let digest = fractus_stdx::Hex(&<sha2::Sha256 as sha2::Digest>::digest(&wheel)).to_string();
    let right = format!("cat==1.0 \\\n    --hash=sha256:{digest}\n");
    assert_eq!(bench.install(&right).unwrap().len(), 1);
    let wrong = format!("cat==1.0 --hash=sha256:{}\n", "0".repeat(64));
    let error = bench.install(&wrong).unwrap_err();
    assert!(error.to_lowercase().contains("hash"), "{error}");
}

#[test]
fn files_include_each_other_within_the_folder() {
    let bench = Bench::new();
    for version in ["1.0", "2.0"] {
        bench.wheel("cat", version, &[], &[]);
    }
    fs::create_dir(bench.path("code/more")).unwrap();
    fs::write(bench.path("code/more/base.txt"), "-c limits.txt\ncat\n").unwrap();
    fs::write(bench.path("code/more/limits.txt"), "cat<2\n").unwrap();
    let packages = bench.install("-r more/base.txt\n").unwrap();
    assert_eq!(versions(&packages), ["cat 1.0"]);
    fs::write(bench.path("code/more/base.txt"), "-r ../requirements.txt\n").unwrap();
    let error = bench.install("-r more/base.txt\n").unwrap_err();
    assert!(error.contains("too deeply"), "{error}");
}

#[test]
fn what_would_be_built_or_leaves_the_folder_is_refused() {
    let bench = Bench::new();
    for (line, why) in [
        ("-e .", "has to be built"),
        ("--editable=./x", "has to be built"),
        ("git+https://example.com/x.git", "has to be built"),
        ("x @ git+ssh://example.com/x.git", "has to be built"),
        (
            "x @ https://example.com/x-1.tar.gz#x.whl",
            "has to be built",
        ),
        ("https://example.com/x.zip", "has to be built"),
        ("x @ file:///etc/x.whl", "only wheels"),
        ("./local", "no name of a package"),
        ("/etc/passwd", "no name of a package"),
        ("x/y.whl", "no name of a package"),
        ("--no-binary :all:", "not built on a node"),
        ("--no-binary=x", "not built on a node"),
        ("--config-settings a=b", "no meaning here"),
        ("--index-url file:///etc", "not a URL of an index"),
        ("-i ${INDEX}", "variable of the environment"),
        ("-r /etc/passwd", "outside of the function's folder"),
        ("-r../../x", "outside of the function's folder"),
        ("-c missing.txt", "No such file"),
        ("cat\\\n-e .", "no name of a package"),
    ] {
        let error = bench.install(line).unwrap_err();
        assert!(error.contains(why), "{line}: {error}");
    }
    fs::write(bench.path("code/requirements.txt"), b"\xff\xfex\0").unwrap();
    let error = bench.run(&bench.path("work/2")).unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_source_archive_runs_nothing() {
    let bench = Bench::new();
    let mark = bench.path("ran");
    let setup = format!("open({mark:?}, 'w')\nfrom setuptools import setup\nsetup(name='dog')\n");
    fs::create_dir(bench.path("dog-1.0")).unwrap();
    fs::write(bench.path("dog-1.0/setup.py"), setup).unwrap();
    let packed = std::process::Command::new("tar")
        .args(["-czf", "wheels/dog-1.0.tar.gz", "dog-1.0"])
        .current_dir(bench.dir.path())
        .status();
    assert!(packed.unwrap().success());
    let error = bench.install("dog").unwrap_err();
    assert!(error.contains("only wheels"), "{error}");
    // A wheel that needs one by its address, which no requirement of ours says.
    let url = format!(
        "dog @ file://{}",
        bench.path("wheels/dog-1.0.tar.gz").display()
    );
    bench.wheel("cat", "1.0", &[&url], &[]);
    let error = bench.install("cat").unwrap_err();
    assert!(error.contains("has to be built"), "{error}");
    assert!(!mark.exists(), "its code ran");
    assert_eq!(bench.store(), [""; 0]);
}

#[test]
fn a_wheel_that_leaves_its_folder_is_refused() {
    for name in ["../evil.py", "/tmp/evil.py", "cat-1.0.data/strange/x"] {
        let bench = Bench::new();
        bench.wheel("cat", "1.0", &[], &[(name, "")]);
        let error = bench.install("cat").unwrap_err();
        assert!(error.contains("cat-1.0"), "{name}: {error}");
        assert_eq!(bench.store(), [""; 0]);
    }
}

#[test]
fn errors_say_what_pip_said() {
    let bench = Bench::new();
    let error = bench.install("nothing-of-this-name==1.0").unwrap_err();
    assert!(error.contains("nothing-of-this-name==1.0"), "{error}");
    assert!(error.contains("only wheels for Python 3."), "{error}");
    bench.wheel("a", "1.0", &["c==1"], &[]);
    bench.wheel("b", "1.0", &["c==2"], &[]);
    bench.wheel("c", "1", &[], &[]);
    bench.wheel("c", "2", &[], &[]);
    let error = bench.install("a\nb\n").unwrap_err();
    assert!(error.contains("conflict"), "{error}");
}

#[test]
fn nothing_to_install_is_no_error() {
    let bench = Bench::new();
    assert_eq!(bench.install("# nothing\n").unwrap(), []);
    // Packed along already, as build tools for Lambda do.
    fs::create_dir(bench.path("code/Some_Cat-1.0.dist-info")).unwrap();
    assert_eq!(bench.install("some.cat==1.0\n").unwrap(), []);
    bench.install("some.cat==1.0\nother\n").unwrap_err();
}
