//! Clients and tools of AWS Lambda that nobody here wrote, against a node: `cargo lambda`, the SAM
//! CLI, Serverless, and AWS's SDK for Rust. boto3 and awscli are in `aws.rs`.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::aws::{environment, programs, run};
use crate::aws_client::Aws;
use crate::native::client::Client;
use crate::support::{Node, cloud, example, until};

const ROLE: &str = "arn:aws:iam::000000000000:role/any";

const MODULE: &str = r"
import { setTimeout as pause } from 'node:timers/promises';

export const echo = async (event) => {
  if (event === null) throw new RangeError('nothing to echo');
  return { event, colour: process.env.COLOUR };
};

export const stream = awslambda.streamifyResponse(async (event, stream) => {
  for (let number = 1; number <= event.lines; number += 1) {
    stream.write(`line ${number}\n`);
    await pause(250);
  }
  stream.end();
});
";

/// A deployment package of these files, each of which may be run.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let program = SimpleFileOptions::default().unix_permissions(0o755);
    for (path, content) in files {
        archive.start_file(*path, program).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// What `CreateFunction` is told.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) runtime: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) archive: Vec<u8>,
    pub(crate) variables: Value,
}

impl Function<'_> {
    /// Makes the function and waits until it can be called.
    #[track_caller]
    pub(crate) fn create(&self, aws: &mut Aws) {
        let request = json!({
            "FunctionName": self.name,
            "Runtime": self.runtime,
            "Handler": self.handler,
            "Role": ROLE,
            "Code": {"ZipFile": STANDARD.encode(&self.archive)},
            "Environment": {"Variables": self.variables},
            "MemorySize": 256,
            "Timeout": 20,
        });
        let json = [("content-type", "application/json")];
        let functions = "/2015-03-31/functions";
        let made = aws.send(
            &format!("POST {functions}"),
            &json,
            request.to_string().as_bytes(),
        );
        made.unwrap().json(201);
        let path = format!("GET {functions}/{}/configuration", self.name);
        until("the function is active", || {
            let told = aws.send(&path, &[], b"").unwrap().json(200);
            assert_ne!(told["State"], "Failed", "{told}");
            (told["State"] == "Active").then_some(())
        });
    }
}

/// Builds the programs of an example, and gives where they are.
pub(crate) fn crates(project: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = example(project);
    let mut cargo = Command::new("cargo");
    // As `fractus deploy` does it, so that nothing is built twice.
    cargo.args(["build", "--release", "--bins", "--locked"]);
    run(cargo.current_dir(&folder));
    folder.join("target/release")
}

/// Runs `cargo lambda` in the example of a program.
#[track_caller]
fn cargo_lambda(node: &Node, arguments: &[&str]) -> String {
    let programs = programs("clients/cargo-lambda.txt", &["--no-deps"]);
    let mut cargo = Command::new(programs.join("cargo-lambda"));
    cargo
        .arg("lambda")
        .args(arguments)
        .current_dir(example("rust-lambda"));
    environment(&mut cargo, node);
    run(&mut cargo)
}

#[test]
fn cargo_lambda_deploys_changes_and_calls() {
    let (directory, node) = cloud();
    let program = directory.path().join("bootstrap");
    fs::copy(crates("aws-rust").join("events"), &program).unwrap();
    let program = program.to_str().unwrap();
    let deploy = [
        "deploy",
        "--binary-path",
        program,
        "--role",
        ROLE,
        "--output-format",
        "json",
    ];
    let call = [
        "invoke",
        "--remote",
        "--data-ascii",
        r#"{"dividend": 42, "divisor": 6}"#,
        "made",
    ];

    let more = ["--timeout", "8", "--tag", "team=one", "made"];
    let told = summary(&cargo_lambda(&node, &[&deploy[..], &more].concat()));
    let arn = told["function_arn"].as_str().unwrap();
    assert!(arn.ends_with(":function:made:1"), "{told}");
    let answer: Value = serde_json::from_str(&cargo_lambda(&node, &call)).unwrap();
    assert_eq!(
        (&answer["quotient"], &answer["function"]),
        (&json!(7), &json!("made"))
    );

    let site = crates("rust-lambda").join("rust-lambda");
    fs::copy(site, program).unwrap();
    let more = ["--alias", "live", "--enable-function-url", "made"];
    let told = summary(&cargo_lambda(&node, &[&deploy[..], &more].concat()));
    assert_eq!(
        (&told["version"], &told["alias"]),
        (&json!("2"), &json!("live"))
    );
    let url = told["function_url"].as_str().unwrap();
    let page = Client::visit(&node, url).get("/hello?name=Ada");
    assert_eq!((page.status, page.text().as_str()), (200, "Hello, Ada!\n"));
    let visit = json!({"version": "2.0", "rawPath": "/hello", "rawQueryString": "",
        "headers": {}, "requestContext": {"http": {"method": "GET", "path": "/hello"}},
        "isBase64Encoded": false})
    .to_string();
    let call = [
        "invoke",
        "--remote",
        "--alias",
        "live",
        "--data-ascii",
        &visit,
        "made",
    ];
    let answer: Value = serde_json::from_str(&cargo_lambda(&node, &call)).unwrap();
    assert_eq!(answer["body"], "Hello, you!\n", "{answer}");
}

/// What follows the progress that `cargo lambda deploy` tells, with both on standard output.
fn summary(output: &str) -> Value {
    serde_json::from_str(&output[output.find('{').unwrap()..]).unwrap()
}

#[test]
fn the_sam_cli_calls() {
    let (directory, node) = cloud();
    let mut aws = Aws::of(&node);
    Function {
        name: "told",
        runtime: "nodejs20.x",
        handler: "index.echo",
        archive: archive(&[("index.mjs", MODULE.as_bytes())]),
        variables: json!({"COLOUR": "red"}),
    }
    .create(&mut aws);
    let arn = aws.arn("told");
    let sam = programs("clients/sam.txt", &[]).join("sam");
    let call = |more: &[&str]| {
        let mut sam = Command::new(&sam);
        sam.args(["remote", "invoke", &arn]).args(more);
        environment(&mut sam, &node);
        sam.env("SAM_CLI_TELEMETRY", "0")
            .env("HOME", directory.path());
        run(sam.current_dir(directory.path()))
    };
    let answer = call(&["--event", r#"{"a": 1}"#]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({"event": {"a": 1}, "colour": "red"}));
    let whole = call(&[
        "--event",
        "{}",
        "--output",
        "json",
        "--parameter",
        "InvocationType=Event",
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(&whole).unwrap()["StatusCode"],
        202,
        "{whole}"
    );
}

#[test]
fn serverless_deploys_a_function_and_calls_it() {
    let (directory, node) = cloud();
    let osls = osls();
    let project = directory.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::copy(osls.join("serverless.yml"), project.join("serverless.yml")).unwrap();
    fs::write(project.join("index.mjs"), MODULE).unwrap();
    let mut aws = Aws::of(&node);
    // Without CloudFormation it changes functions, and makes none.
    Function {
        name: "svc-dev-hello",
        runtime: "nodejs20.x",
        handler: "index.none",
        archive: archive(&[("index.mjs", b"export const none = 0;")]),
        variables: json!({}),
    }
    .create(&mut aws);
    let run_osls = |arguments: &[&str]| {
        let mut command = Command::new("node");
        command
            .arg(osls.join("node_modules/osls/bin/serverless.js"))
            .args(arguments);
        environment(&mut command, &node);
        command.envs([
            ("SLS_TELEMETRY_DISABLED", "1"),
            ("SLS_NOTIFICATIONS_MODE", "off"),
        ]);
        run(command
            .env("CI", "1")
            .env("HOME", directory.path())
            .current_dir(&project))
    };
    run_osls(&["deploy", "function", "-f", "hello"]);
    let answer = run_osls(&["invoke", "-f", "hello", "-d", r#"{"a": 1}"#]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({"event": {"a": 1}, "colour": "red"}));
}

/// A folder with osls, which is Serverless 3 as others went on with it; npm fetches it once.
fn osls() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aws/clients/osls");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("osls");
    let wanted = fs::read(own.join("package-lock.json")).unwrap();
    let has = place.join("has");
    if !fs::read(&has).is_ok_and(|has| has == wanted) {
        fs::create_dir_all(&place).unwrap();
        for name in ["package.json", "package-lock.json"] {
            fs::copy(own.join(name), place.join(name)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args([
            "ci",
            "--ignore-scripts",
            "--silent",
            "--no-audit",
            "--no-fund",
        ]);
        run(npm.current_dir(&place));
        fs::write(has, wanted).unwrap();
    }
    fs::copy(own.join("serverless.yml"), place.join("serverless.yml")).unwrap();
    place
}

#[test]
fn the_sdk_for_rust() {
    let (directory, node) = cloud();
    let module = directory.path().join("module.zip");
    fs::write(&module, archive(&[("index.mjs", MODULE.as_bytes())])).unwrap();
    let mut sdk = Command::new(crates("aws-rust").join("sdk"));
    environment(&mut sdk, &node);
    run(sdk.arg(module));
}
