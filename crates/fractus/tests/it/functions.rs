//! Functions from a project to their end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Node, cloud, component, example, failed, fractus, get, text};

fn deploy(node: &Node, name: &str, more: &[&str]) -> String {
    let project = example(name);
    node.ok(&[&["deploy", project.to_str().unwrap()], more].concat())
}

#[test]
fn a_project_becomes_a_function_that_answers() {
    let (_directory, node) = cloud();
    let told = deploy(&node, "hello", &[]);
    assert!(
        told.contains("hello version 1") && told.contains("/run/hello"),
        "{told}"
    );
    assert!(node.ok(&["invoke", "hello"]).contains("Hello from Fractus"));
    assert_eq!(get(node.address("edge"), "/hello").0, 200);

    let told = deploy(&node, "hello", &["--memory", "32", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(answer["version"], 2);
    let listed = &node.json(&["ls"])["functions"][0];
    assert_eq!(
        (listed["name"].as_str(), listed["memory_mb"].as_u64()),
        (Some("hello"), Some(32))
    );
    assert!(node.ok(&["ls"]).contains("hello"));
    assert!(node.ok(&["usage", "hello"]).contains("hello v1"));

    node.ok(&["rm", "hello"]);
    let gone = node.run(&["invoke", "hello"]);
    assert!(failed(&gone, 1).contains("no-route"));
    let unknown = failed(&node.run(&["rm", "hello"]), 1);
    assert!(
        unknown.contains("hello") && unknown.contains("fractus ls"),
        "{unknown}"
    );
}

#[test]
fn bodies_variables_and_failures_go_through() {
    let (directory, node) = cloud();
    deploy(&node, "faults", &["--name", "bad", "--env", "COLOUR=blue"]);
    assert!(
        node.ok(&["invoke", "bad", "--path", "/env"])
            .contains("COLOUR=blue")
    );
    assert_eq!(
        node.ok(&["invoke", "bad", "--path", "echo", "--data", "{\"a\": 1}"]),
        "{\"a\": 1}"
    );
    let file = directory.path().join("body.bin");
    fs::write(&file, b"from a file").unwrap();
    let from_file = format!("@{}", file.display());
    let echoed = node.ok(&["invoke", "bad", "--path", "/echo", "--data", &from_file]);
    assert_eq!(echoed, "from a file");
    let seen = node.ok(&["invoke", "bad", "--path", "/headers", "-H", "X-Colour: red"]);
    assert!(seen.contains("red"), "{seen}");

    let verbose = node.run(&["invoke", "bad", "--path", "/missing", "-v"]);
    assert!(
        verbose.status.success(),
        "a status of the function's own is no failure"
    );
    assert!(text(&verbose.stderr).contains("404"));

    let trapped = node.run(&["invoke", "bad", "--path", "/trap"]);
    let told = failed(&trapped, 1);
    assert!(
        told.contains("trap") && told.contains("fractus logs bad"),
        "{told}"
    );
    assert!(text(&trapped.stdout).contains("bad"));
    let last_error = node.json(&["ls"])["functions"][0]["last_error"]["outcome"].clone();
    assert_eq!(last_error, "trap");
}

#[test]
fn logs_show_what_was_written_and_go_on() {
    let (directory, node) = cloud();
    deploy(&node, "faults", &[]);
    node.ok(&["invoke", "faults", "--path", "/print?lines=2"]);
    let mut follower = fractus(&directory.path().join("data"), &["logs", "faults", "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut seen = |wanted: &str| {
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(wanted)));
        line.unwrap().unwrap()
    };
    assert!(seen("line 1 on stdout").contains("stdout"));
    assert!(seen("line 2 on std").contains('Z'));
    node.ok(&["invoke", "faults", "--path", "/print?lines=7"]);
    seen("line 7 on std");
    follower.kill().unwrap();
    follower.wait().unwrap();
    let told = node.ok(&["logs", "faults", "-n", "1"]);
    assert_eq!(told.lines().count(), 1, "{told}");
    let records = node.json(&["usage", "faults"]);
    let id = records["records"][0]["request_id"].as_str().unwrap();
    assert!(told.contains(id), "{told} has no {id}");
    for command in ["logs", "usage"] {
        assert!(failed(&node.run(&[command, "nothing"]), 1).contains("nothing"));
    }
}

#[test]
fn a_follower_ends_with_the_node_and_does_not_delay_it() {
    let (directory, node) = cloud();
    deploy(&node, "faults", &[]);
    node.ok(&["invoke", "faults", "--path", "/print?lines=1"]);
    let mut follower = fractus(&directory.path().join("data"), &["logs", "faults", "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(follower.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    let begin = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(2));
    drop(stdout);
    let ended = follower.wait_with_output().unwrap();
    assert!(ended.status.success());
    assert_eq!(text(&ended.stderr), "the node has stopped\n");
}

#[test]
fn what_cannot_be_a_function_is_refused() {
    let (directory, node) = cloud();
    let path = directory.path().join("x.wasm");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        failed(&node.run(&["deploy", path.to_str().unwrap()]), 1)
    };
    assert!(refused(b"\x7fELF").contains("not WebAssembly"));
    assert!(refused(b"\0asm\x01\0\0\0").contains("core module"));
    // Only the node can tell what is wrong with these.
    let empty = refused(b"\0asm\x0d\0\x01\0");
    assert!(empty.contains("incoming-handler"), "{empty}");
    let broken = refused(b"\0asm\x0d\0\x01\0\x01\xff\xff");
    assert!(
        broken.contains("error: ") && broken.contains("try: "),
        "{broken}"
    );
    assert_eq!(node.json(&["ls"])["functions"], serde_json::json!([]));

    let faults = fs::read(component(&node, "faults")).unwrap();
    let unknown = refused(&renamed(
        faults,
        b"wasi:cli/environment@",
        b"wasi:cli/invironment@",
    ));
    assert!(unknown.contains("wasi:cli/invironment@"), "{unknown}");
    assert!(unknown.contains("does not offer"), "{unknown}");
}

/// A component in which a name is another one of the same length.
fn renamed(mut component: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut found = 0;
    while let Some(at) = component.windows(from.len()).position(|name| name == from) {
        component[at..at + to.len()].copy_from_slice(to);
        found += 1;
    }
    assert!(found > 0, "the component has no such name");
    component
}
