//! AWS's own clients, unmodified, against a node: boto3 and awscli as pip gets them. What they
//! check is written in Python, in the folder `aws` beside this file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{Node, text};

/// Retries of events within seconds instead of minutes.
const CONFIG: &str = "[events]\nretry_s = [1, 2]\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aws")
}

/// Python with the clients, installed once into the build's own folder.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let wanted = fs::read_to_string(folder().join("requirements.txt")).unwrap();
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aws-clients");
        let (python, has) = (place.join("bin/python"), place.join("has"));
        if fs::read_to_string(&has).is_ok_and(|has| has == wanted) {
            return python;
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
        let requirements = folder().join("requirements.txt");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(pip.arg("--requirement").arg(requirements));
        fs::write(has, wanted).unwrap();
        python
    })
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

/// Runs groups of the checks against a node of their own.
#[track_caller]
fn conform(groups: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (directory.path().join("node.toml"), directory.path().join("data"));
    fs::write(&config, CONFIG).unwrap();
    let node = Node::start_with(&data, &["--config", config.to_str().unwrap()]);
    let credentials = node.file("credentials.json");
    let mut check = Command::new(python());
    check.arg(folder().join("conformance.py")).arg("--data").arg(&data);
    for (flag, listener) in [("--endpoint", "api"), ("--edge", "edge")] {
        check.args([flag, &format!("http://{}", node.address(listener))]);
    }
    for group in groups {
        check.args(["--only", group]);
    }
    for (name, key) in [
        ("AWS_ACCESS_KEY_ID", "access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
        ("AWS_DEFAULT_REGION", "region"),
    ] {
        check.env(name, credentials[key].as_str().unwrap());
    }
    let nowhere = directory.path().join("none");
    check.env("AWS_CONFIG_FILE", &nowhere);
    check.env("AWS_SHARED_CREDENTIALS_FILE", &nowhere);
    check.env("AWS_EC2_METADATA_DISABLED", "true");
    check.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = check.output().unwrap();
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{told}");
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
