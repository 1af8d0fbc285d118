//! Functions that are ordinary programs, most of them made of packages as their authors published
//! them: from the indexes of Python, Node and Rust, by pip, npm and Cargo.

mod awslambdaric;
pub(crate) mod client;
mod death;
mod examples;
mod nodejs;
mod openlambda;
mod packages;
mod sites;
mod update;
mod urls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::native::client::Client;
use crate::support::{Node, text};

/// What pip is asked for, in turns; the versions are those of the functions below.
const WHEELS: &[&[&str]] = &[
    &[
        "awslambdaric==4.2.2",
        "django==5.2.19",
        "fastapi==0.165.0",
        "flask==3.1.3",
        "python-multipart==0.0.20",
    ],
    &["--no-deps", "numpy==2.3.4"],
    &["--no-deps", "numpy==2.3.5"],
];

/// Runs a command that must succeed.
#[track_caller]
fn run(command: &mut Command) {
    let told = command.output().unwrap();
    let (said, failed) = (text(&told.stdout), text(&told.stderr));
    assert!(told.status.success(), "{command:?}: {said}{failed}");
}

/// A folder with the wheels of [`WHEELS`] and of what they need, fetched once and kept between
/// runs.
fn wheels() -> &'static Path {
    static WHEELS_AT: OnceLock<PathBuf> = OnceLock::new();
    WHEELS_AT.get_or_init(|| {
        let python = Command::new("python3").arg("-VV").output().unwrap();
        let wanted = format!("{}{WHEELS:?}", text(&python.stdout));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheels");
        let there = folder.join("there.txt");
        if fs::read_to_string(&there).is_ok_and(|text| text == wanted) {
            return folder;
        }
        fs::create_dir_all(&folder).unwrap();
        let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for packages in WHEELS {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--only-binary", ":all:"]);
            run(pip.arg("--dest").arg(own.path()).args(*packages));
        }
        for wheel in fs::read_dir(own.path()).unwrap() {
            let wheel = wheel.unwrap();
            fs::rename(wheel.path(), folder.join(wheel.file_name())).unwrap();
        }
        fs::write(there, wanted).unwrap();
        folder
    })
}

/// A data directory and a node on it whose pip takes the wheels that were fetched.
fn cloud() -> (TempDir, Node) {
    let directory = tempfile::tempdir().unwrap();
    let variables = [
        ("PIP_NO_INDEX", Path::new("1")),
        ("PIP_FIND_LINKS", wheels()),
    ];
    let node = Node::start_in(&directory.path().join("data"), &[], &variables);
    (directory, node)
}

/// Writes a function's files into a folder of its own, and returns that.
fn write(directory: &TempDir, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = directory.path().join(name);
    for (file, content) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Writes a function's files, has the node deploy them, and connects to it.
#[track_caller]
fn deploy(directory: &TempDir, node: &Node, name: &str, files: &[(&str, &str)]) -> Client {
    let folder = write(directory, name, files);
    node.ok(&["deploy", folder.to_str().unwrap(), "--name", name]);
    Client::of(node, name)
}

/// A manifest with which the body of a request is the event, and that of the answer what the
/// handler returned.
fn raw(name: &str, runtime: &str, handler: &str) -> String {
    format!(
        "name = \"{name}\"\nruntime = \"{runtime}\"\nhandler = \"{handler}\"\npayload = \"raw\"\n\
         [limits]\ntimeout_s = 20.0\nrequest_mb = 6\nresponse_mb = 6\n"
    )
}
