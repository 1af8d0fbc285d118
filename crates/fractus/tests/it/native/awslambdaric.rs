//! AWS's own runtime for Python, as pip gets it, as the program that a function is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use crate::native::client::Client;
use crate::native::{cloud, raw, run, wheels, write};
use crate::support::Node;

const BOOTSTRAP: &str = "#!/bin/sh\nexec python3 -m awslambdaric app.handler\n";

const APP: &str = r#"
import os

calls = 0


class Refused(Exception):
    pass


def handler(event, context):
    global calls
    calls += 1
    if event.get("fail"):
        raise Refused("as was asked")
    if event.get("left"):
        return context.get_remaining_time_in_millis()
    if "text" in event:
        return {"length": len(event["text"]), "text": event["text"][::-1]}
    return {
        "call": calls,
        "pid": os.getpid(),
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
    }
"#;

/// Puts a function and the runtime into one folder, and deploys that.
fn deploy(directory: &TempDir, node: &Node, name: &str, app: &str) -> Client {
    let manifest = raw(name, "provided", "app.handler");
    let files = [
        ("app.py", app),
        ("bootstrap", BOOTSTRAP),
        ("fractus.toml", &manifest),
    ];
    let folder = write(directory, name, &files);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("bootstrap"), executable).unwrap();
    install("awslambdaric", &folder);
    node.ok(&["deploy", folder.to_str().unwrap()]);
    Client::of(node, name)
}

/// Has pip install a package into a folder, as it is done for AWS Lambda.
fn install(package: &str, folder: &Path) {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-index"]);
    pip.args(["--only-binary", ":all:", "--root-user-action", "ignore"]);
    pip.arg("--find-links").arg(wheels());
    run(pip.arg("--target").arg(folder).arg(package));
}

#[test]
fn answers_and_errors_are_those_of_aws_lambda() {
    let (directory, node) = cloud();
    let mut function = deploy(&directory, &node, "ric", APP);
    let answer = function.post("", b"{}").json(200);
    assert_eq!(answer["call"], 1);
    assert_eq!(answer["memory"], "128");
    assert_eq!(answer["id"].as_str().unwrap().len(), 36);
    let arn = answer["arn"].as_str().unwrap();
    assert!(
        arn.starts_with("arn:aws:lambda:") && arn.ends_with(":ric"),
        "{arn}"
    );

    let failed = function.post("", br#"{"fail": true}"#);
    assert_eq!(failed.header("x-fractus-error"), "guest-error");
    let error = failed.json(502);
    assert_eq!(error["errorType"], "Refused");
    assert_eq!(error["errorMessage"], "as was asked");

    let left = function.post("", br#"{"left": true}"#).json(200);
    let left = left.as_u64().unwrap();
    assert!((15_000..=20_000).contains(&left), "{left}");

    let text = "ab".repeat(1 << 19);
    let event = json!({"text": text}).to_string();
    let answer = function.post("", event.as_bytes()).json(200);
    assert_eq!(answer["length"], 1 << 20);
    assert!(answer["text"].as_str().unwrap() == "ba".repeat(1 << 19));
}

#[test]
fn one_instance_answers_thousands_of_calls() {
    const CALLS: u32 = 2_000;
    let (directory, node) = cloud();
    let mut function = deploy(&directory, &node, "ric-many", APP);
    let first = function.post("", b"{}").json(200);
    let begin = Instant::now();
    for call in 2..=CALLS {
        let answer = function.post("", b"{}").json(200);
        assert_eq!(
            (&answer["call"], &answer["pid"]),
            (&json!(call), &first["pid"])
        );
    }
    println!("{:?} for a call", begin.elapsed() / (CALLS - 1));
}

#[test]
fn what_fails_while_it_starts_says_why() {
    let (directory, node) = cloud();
    let app = "import is_not_there\n\ndef handler(event, context):\n    return 1\n";
    let mut function = deploy(&directory, &node, "ric-broken", app);
    let failed = function.post("", b"{}");
    let error = failed.json(502);
    assert_eq!(error["errorType"], "Runtime.ImportModuleError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains("is_not_there"), "{message}");
}

#[test]
fn python3_is_that_of_the_node() {
    let (directory, node) = cloud();
    let app = "import sys\n\ndef handler(event, context):\n    return list(sys.version_info[:3])\n";
    let mut function = deploy(&directory, &node, "ric-version", app);
    let ask = "import json, sys; print(json.dumps(sys.version_info[:3]))";
    let told = Command::new("python3").args(["-c", ask]).output().unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(function.post("", b"{}").json(200), expected);
}
