//! Functions as `OpenLambda` takes them: `f.py` with an `f(event)` or an application.

use std::time::Duration;

use serde_json::json;

use crate::native::{cloud, deploy};

const EVENT: &str = r#"
calls = []


def f(event):
    calls.append(event)
    if event == "fail":
        raise KeyError(event)
    return {"calls": len(calls), "last": calls[-1]}
"#;

const WSGI: &str = r#"
import time


def app(environ, start_response):
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(size)
    start_response("207 Multi-Status", [
        ("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"]),
        ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    yield environ["REQUEST_METHOD"].encode() + b"\n"
    if environ["QUERY_STRING"] == "slow":
        time.sleep(0.4)
    yield body
"#;

const ASGI: &str = r#"
import asyncio


async def app(scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 203,
                "headers": [(b"content-type", b"text/plain"), (b"x-path", scope["raw_path"])]})
    await send({"type": "http.response.body", "body": scope["method"].encode(),
                "more_body": True})
    if scope["query_string"] == b"slow":
        await asyncio.sleep(0.4)
    await send({"type": "http.response.body", "body": body})
"#;

#[test]
fn an_f_gets_what_was_posted() {
    let (directory, node) = cloud();
    let mut function = deploy(&directory, &node, "event", &[("f.py", EVENT)]);
    let first = function.post("", b"[1, {\"a\": null}]").json(200);
    assert_eq!(first, json!({"calls": 1, "last": [1, {"a": null}]}));
    let error = function.post("", b"\"fail\"").json(502);
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("KeyError"), &json!("'fail'"))
    );
    let logs = node.ok(&["logs", "event"]);
    assert!(logs.contains("f.py\", line 8, in f"), "{logs}");
    // The same instance goes on.
    assert_eq!(function.post("", b"2").json(200)["calls"], 3);
    let refused = function.post("", b"{not JSON");
    assert_eq!(refused.status, 400, "{}", refused.text());
}

#[test]
fn an_application_gets_the_request() {
    let (directory, node) = cloud();
    for (name, code, status) in [("wsgi", WSGI, 207), ("asgi", ASGI, 203)] {
        let mut function = deploy(&directory, &node, name, &[("f.py", code)]);
        let answer = function.send("PUT /a/b?q", &[], b"body").unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.header("x-path").ends_with("/a/b"), "{answer:?}");
        assert!(answer.text().starts_with("PUT"), "{answer:?}");
        assert!(answer.text().ends_with("body"), "{answer:?}");
        if name == "wsgi" {
            assert!(answer.all("set-cookie").eq(["a=1", "b=2"]), "{answer:?}");
        }
        let slow = function.send("POST /?slow", &[], b"end").unwrap();
        let (first, last) = (slow.pieces.first().unwrap(), slow.pieces.last().unwrap());
        assert!(
            first.1.starts_with("POST") && last.1.ends_with("end"),
            "{slow:?}"
        );
        assert!(
            last.0.duration_since(first.0) > Duration::from_millis(200),
            "{slow:?}"
        );
        let large = vec![b'x'; 3 << 20];
        let echo = function.post("/", &large);
        assert_eq!(echo.text().matches('x').count(), large.len());
    }
}
