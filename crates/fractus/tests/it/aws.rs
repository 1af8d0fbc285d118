//! AWS's own clients, unmodified, against a node: boto3 and awscli as pip gets them. What they
//! check is written in Python, in the folder `aws` beside this file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::support::{Node, text};

/// Retries of events within seconds instead of minutes.
const CONFIG: &str = "[events]\nretry_s = [1, 2]\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aws")
}

/// Programs of Python's index, installed once into the build's own folder; gives where they are.
/// `list` is a file of requirements in the folder `aws`; `pip` is told more of how.
pub(crate) fn programs(list: &str, pip: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let list = folder().join(list);
    let wanted = fs::read_to_string(&list).unwrap();
    let name = list.file_stem().unwrap().to_str().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{name}"));
    let (programs, has) = (place.join("bin"), place.join("has"));
    if fs::read_to_string(&has).is_ok_and(|has| has == wanted) {
        return programs;
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&place));
    let mut install = Command::new(programs.join("python"));
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    run(install.args(pip).arg("--requirement").arg(list));
    fs::write(has, wanted).unwrap();
    programs
}

/// Runs a command that must succeed, and gives what it wrote to standard output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = text(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {told}{}",
        text(&output.stderr)
    );
    told
}

/// Variables with which AWS's tools find the node, and nothing of the user's.
pub(crate) fn environment(command: &mut Command, node: &Node) {
    let credentials = node.file("credentials.json");
    for (name, key) in [
        ("AWS_ACCESS_KEY_ID", "access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
        ("AWS_DEFAULT_REGION", "region"),
        ("AWS_REGION", "region"),
    ] {
        command.env(name, credentials[key].as_str().unwrap());
    }
    command.env(
        "AWS_ENDPOINT_URL",
        format!("http://{}", node.address("api")),
    );
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        command.env(name, "/dev/null");
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}

/// Runs groups of the checks against a node of their own.
#[track_caller]
fn conform(groups: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (
        directory.path().join("node.toml"),
        directory.path().join("data"),
    );
    fs::write(&config, CONFIG).unwrap();
    let node = Node::start_with(&data, &["--config", config.to_str().unwrap()]);
    let mut check = Command::new(programs("requirements.txt", &[]).join("python"));
    check
        .arg(folder().join("conformance.py"))
        .arg("--data")
        .arg(&data);
    for (flag, listener) in [("--endpoint", "api"), ("--edge", "edge")] {
        check.args([flag, &format!("http://{}", node.address(listener))]);
    }
    for group in groups {
        check.args(["--only", group]);
    }
    environment(&mut check, &node);
    check.env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut check);
}

#[test]
fn functions_are_made_changed_and_called() {
    conform(&["functions", "invoke", "names", "sts"]);
}

#[test]
fn versions_aliases_and_concurrency() {
    conform(&["versions_aliases", "concurrency", "tags_policy"]);
}

#[test]
fn urls_and_layers() {
    conform(&["urls", "layers", "mappings"]);
}

#[test]
fn events_are_kept_and_tried_again() {
    conform(&["async_"]);
}

#[test]
fn signatures_limits_and_what_is_malformed() {
    conform(&["signatures", "limits", "malformed"]);
}

#[test]
fn the_command_line_of_aws() {
    conform(&["cli"]);
}
