//! The examples that people copy are deployed and do what they say.

use std::time::Duration;

use serde_json::json;

use crate::native::client::Client;
use crate::native::cloud;
use crate::support::{Node, example};

fn deploy(node: &Node, name: &str, more: &[&str]) -> String {
    let project = example(name);
    node.ok(&[&["deploy", project.to_str().unwrap()], more].concat())
}

#[test]
fn python_lambda() {
    let (_directory, node) = cloud();
    let told = deploy(&node, "python-lambda", &[]);
    assert!(told.contains("python3"), "{told}");
    let mut function = Client::of(&node, "python-lambda");
    let hello = function.get("/hello?name=Ada%20L.");
    assert_eq!(hello.header("content-type"), "application/json");
    assert_eq!(hello.json(200)["greeting"], "Hello, Ada L.!");
    let sum = function.post("/sum", b"[1, 2, 39]").json(200);
    assert_eq!(sum, json!({"sum": 42, "of": 3}));
    assert!(function.post("/sum", b"[1, null]").json(400)["error"].is_string());
    assert_eq!(function.get("/nothing").json(404)["error"], "no such page");
    let about = function.get("/about").json(200);
    assert_eq!(about["function"], "python-lambda");
    assert!(about["remaining_ms"].as_u64().unwrap() <= 5_000);
    let logs = node.ok(&["logs", "python-lambda"]);
    assert!(logs.contains("asked for GET /hello"), "{logs}");
}

#[test]
fn flask() {
    let (_directory, node) = cloud();
    let told = deploy(&node, "flask", &[]);
    assert!(told.contains("packages"), "{told}");
    let mut site = Client::of(&node, "flask");
    let page = site.get("/?name=Ada");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let text = page.text();
    assert!(text.contains("<h1>Hello, Ada!</h1>"), "{text}");
    // Links lead back to where the site is.
    assert!(text.contains("action=\"/run/flask/\""), "{text}");
    assert!(
        text.contains("href=\"/run/flask/api/greetings/Ada\""),
        "{text}"
    );
    let data = site.get("/api/greetings/J%C3%BCrgen").json(200);
    assert_eq!(data["greeting"], "Hello, Jürgen!");
    assert_eq!(data["page"], "http://fractus.test/run/flask/");
}

#[test]
fn node_stream() {
    let (_directory, node) = cloud();
    deploy(&node, "node-stream", &[]);
    let mut function = Client::of(&node, "node-stream");
    let answer = function.get("?lines=3");
    assert_eq!(answer.header("x-lines"), "3");
    answer.assert_streamed("line 1\nline 2\nline 3\n", Duration::from_millis(400));
    assert_eq!(function.get("?lines=1").text(), "line 1\n");
}

#[test]
fn rust_lambda() {
    let (_directory, node) = cloud();
    let told = deploy(&node, "rust-lambda", &[]);
    assert!(told.contains("provided"), "{told}");
    let mut function = Client::of(&node, "rust-lambda");
    let hello = function.get("/hello?name=Ada");
    assert_eq!(
        (hello.status, hello.text().as_str()),
        (200, "Hello, Ada!\n")
    );
    assert_eq!(hello.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(function.get("/nothing").status, 404);
    let error = function.get("/fail").json(502);
    assert_eq!(error["errorMessage"], "this path always fails");
    assert_eq!(
        function.get("/hello").text(),
        "Hello, you!\n",
        "it lives on"
    );

    deploy(
        &node,
        "rust-lambda",
        &["--name", "rust-stream", "--env", "ANSWERS=stream"],
    );
    let mut function = Client::of(&node, "rust-stream");
    let answer = function.get("/");
    answer.assert_streamed("line 1\nline 2\nline 3\n", Duration::from_millis(400));
}

#[test]
fn openlambda_echo() {
    let (_directory, node) = cloud();
    deploy(&node, "openlambda-echo", &[]);
    let mut function = Client::of(&node, "openlambda-echo");
    let echo = function
        .post("", br#"{"words": ["to", "and", "fro"]}"#)
        .json(200);
    assert_eq!(
        echo,
        json!({"echo": {"words": ["to", "and", "fro"]}, "kind": "dict"})
    );
    assert_eq!(
        function.post("", b"1.5").json(200),
        json!({"echo": 1.5, "kind": "float"})
    );
}
