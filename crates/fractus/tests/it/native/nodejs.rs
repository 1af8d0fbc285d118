//! JavaScript on Node: modules of both kinds, callbacks, and packages from npm.

use std::process::Command;

use serde_json::json;

use crate::native::client::Client;
use crate::native::{cloud, raw, run, write};

const MODULE: &str = r"
import isNumber from 'is-number';

let calls = 0;

export const handler = async (event, context) => {
  calls += 1;
  if (event.fail) throw new RangeError('as was asked');
  console.log('checking', event.values.length);
  return { calls, numbers: event.values.map((value) => isNumber(value)),
    left: context.getRemainingTimeInMillis(), id: context.awsRequestId };
};
";

const CALLBACK: &str = r"
const isNumber = require('is-number');

exports.handler = (event, context, callback) => {
  if (event.late) setTimeout(() => callback(null, 'late'), 50);
  else if (event.fail) callback(new TypeError('as was asked'));
  else callback(null, { is: isNumber(event.value), name: context.functionName });
};
";

#[test]
fn modules_of_both_kinds_use_a_package_from_npm() {
    let (directory, node) = cloud();
    let manifests = ["esm", "cjs"].map(|name| raw(name, "nodejs", "index.handler"));
    let package = r#"{"private": true, "dependencies": {"is-number": "7.0.0"}}"#;
    let module = write(
        &directory,
        "esm",
        &[
            ("index.mjs", MODULE),
            ("package.json", package),
            ("fractus.toml", &manifests[0]),
        ],
    );
    let common = write(
        &directory,
        "cjs",
        &[
            ("index.js", CALLBACK),
            ("package.json", package),
            ("fractus.toml", &manifests[1]),
        ],
    );
    for folder in [&module, &common] {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
        ]);
        run(npm.current_dir(folder));
        node.ok(&["deploy", folder.to_str().unwrap()]);
    }

    let mut function = Client::of(&node, "esm");
    let event = json!({"values": [1, "2", "three", null]}).to_string();
    for call in 1..=3 {
        let answer = function.post("", event.as_bytes()).json(200);
        assert_eq!(answer["calls"], call);
        assert_eq!(answer["numbers"], json!([true, true, false, false]));
        assert!(answer["left"].as_u64().unwrap() <= 20_000, "{answer}");
    }
    let error = function.post("", br#"{"fail": true}"#).json(502);
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("RangeError"), &json!("as was asked"))
    );
    assert!(node.ok(&["logs", "esm"]).contains("checking 4"));

    let mut function = Client::of(&node, "cjs");
    let answer = function.post("", br#"{"value": "0x10"}"#).json(200);
    assert_eq!(answer, json!({"is": true, "name": "cjs"}));
    assert_eq!(function.post("", br#"{"late": true}"#).json(200), "late");
    let error = function.post("", br#"{"fail": true}"#).json(502);
    assert_eq!(error["errorType"], "TypeError");
}
