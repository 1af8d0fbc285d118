//! Every kind of function that there is, as its authors write them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{Body, BodyError, CallError, Outcome, Payload};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::life::join_all;
use crate::support::{Bench, Function, body, is_root, named, text};

/// The pieces of a body and when each came, with what ended it early.
pub(crate) async fn pieces(
    response: Response<Body>,
) -> (Vec<(Duration, Bytes)>, Option<BodyError>) {
    let began = Instant::now();
    let mut body = response.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => pieces.push((began.elapsed(), frame.into_data().unwrap())),
            Err(error) => return (pieces, Some(error)),
        }
    }
    (pieces, None)
}

/// Whether a body came in parts, a while after each other.
pub(crate) fn came_in_parts(pieces: &[(Duration, Bytes)]) -> bool {
    let first = pieces.first().map_or(Duration::ZERO, |(at, _)| *at);
    let last = pieces.last().map_or(Duration::ZERO, |(at, _)| *at);
    last > first + Duration::from_millis(150)
}

pub(crate) fn whole(pieces: &[(Duration, Bytes)]) -> String {
    let bytes: Vec<u8> = pieces
        .iter()
        .flat_map(|(_, piece)| piece.to_vec())
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// A body in these pieces, some time after each other.
pub(crate) fn slowly(parts: &'static [&'static str]) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(1);
    tokio::spawn(async move {
        for part in parts {
            tokio::time::sleep(Duration::from_millis(60)).await;
            sender.send(part).await.ok();
        }
    });
    Parts(receiver).boxed_unsync()
}

struct Parts(tokio::sync::mpsc::Receiver<&'static str>);

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        let frame =
            |part: &'static str| Ok(http_body::Frame::data(Bytes::from_static(part.as_bytes())));
        self.0.poll_recv(cx).map(|part| part.map(frame))
    }
}

fn function(file: &str, text: &str) -> Function {
    Bench::shared().function(&[(file, text)], |_| {})
}

async fn post(function: &Function, path: &str, body: Body) -> Result<Response<Body>, CallError> {
    let uri = format!("http://f.localhost{path}");
    let request = Request::post(uri)
        .header("content-type", "text/plain")
        .body(body);
    function.send(request.unwrap()).await
}

const LAMBDA: &str = r#"
import json, os
def handler(event, context):
    print("path", event["rawPath"])
    if event["rawPath"] == "/context":
        return {name: getattr(context, name) for name in (
            "aws_request_id", "function_name", "memory_limit_in_mb", "function_version",
            "invoked_function_arn", "log_group_name")} | {
            "left": context.get_remaining_time_in_millis(), "env": os.environ["AWS_LAMBDA_FUNCTION_NAME"]}
    return {"statusCode": 201, "headers": {"X-Got": event["headers"].get("x-sent", "")},
            "cookies": ["a=b", "c=d"], "body": event["requestContext"]["http"]["method"] + event.get("body", "")}
"#;

#[tokio::test]
async fn a_lambda_handler_of_python_gets_events_and_a_context() {
    let function = function("app.py", LAMBDA);
    let request = Request::post("http://f.localhost/some/where?x=1").header("x-sent", "y");
    let response = function
        .send(request.body(body("in")).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-got"], "y");
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    let answered = text(response).await;
    assert!(answered.starts_with("POST"), "{answered}");
    let logged = function.logged().await;
    assert!(
        logged.iter().any(|(_, line)| line == "path /some/where"),
        "{logged:?}"
    );
    let report = function.report().await;
    assert_eq!((report.status, report.outcome), (Some(201), Outcome::Ok));
    assert_eq!(
        (report.request_bytes, report.response_bytes),
        (2, answered.len() as u64)
    );
    let response = function.get("/context").await.unwrap();
    let told: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(
        told["aws_request_id"],
        json!(function.report().await.id.to_string())
    );
    assert_eq!(told["memory_limit_in_mb"], "128");
    let left = told["left"].as_u64().unwrap();
    assert!((8_000..=10_000).contains(&left), "{told}");
    assert_eq!(told["function_name"], told["env"]);
}

#[tokio::test]
async fn an_event_function_gets_the_body_and_answers_json() {
    let function = function("f.py", "def f(event): return {'got': event}");
    let told = function.event(&json!({"a": [1, null]})).await.unwrap();
    assert_eq!(told, json!({"got": {"a": [1, null]}}));
    let error = post(&function, "/", body("no json")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::BadRequest);
    assert_eq!(named(&error).0, "InvalidRequestContentException");
}

#[tokio::test]
async fn a_lambda_handler_may_take_raw_events() {
    let text = "def handler(event, context): return [event, None]";
    let function = Bench::shared().function(&[("app.py", text)], |manifest| {
        manifest.payload = Some(Payload::Raw);
    });
    let told = function.event(&json!({"Records": []})).await.unwrap();
    assert_eq!(told, json!([{"Records": []}, null]));
}

const WSGI: &str = r#"
import time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        start_response("200 OK", [("Content-Type", "text/plain")])
        def ticks():
            for _ in range(4):
                yield b"tick "
                time.sleep(0.1)
        return ticks()
    if path == "/ignores":
        start_response("413 Too Large", [])
        return [b"no"]
    if path == "/dies":
        start_response("200 OK", [])
        def dies():
            yield b"first"
            time.sleep(0.05)
            raise ValueError("in the middle")
        return dies()
    if path == "/bad":
        start_response("200 OK", [("Bad Name", "x")])
        def more():
            for _ in range(5):
                yield b"rest"
                time.sleep(0.02)
        return more()
    sizes = []
    while True:
        part = environ["wsgi.input"].read(5)
        if not part:
            break
        sizes.append(part.decode())
    text = "|".join((environ["REQUEST_METHOD"], environ["SCRIPT_NAME"], path,
                     environ["QUERY_STRING"], environ.get("HTTP_X_SENT", ""), "".join(sizes)))
    start_response("202 Accepted", [("X-Kind", "wsgi"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")])
    return [text.encode()]
"#;

#[tokio::test]
async fn a_wsgi_application_gets_requests() {
    let function = function("app.py", WSGI);
    let request = Request::put("http://f.localhost/a%20b?q=1").header("x-sent", "y");
    let response = function
        .send(request.body(body("0123456789abc")).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["x-kind"], "wsgi");
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!(text(response).await, "PUT||/a b|q=1|y|0123456789abc");
}

#[tokio::test]
async fn a_wsgi_answer_arrives_while_it_is_made() {
    let function = function("app.py", WSGI);
    let response = function.get("/slow").await.unwrap();
    let (pieces, error) = pieces(response).await;
    assert_eq!(
        (whole(&pieces).as_str(), error),
        ("tick tick tick tick ", None)
    );
    assert!(came_in_parts(&pieces), "{pieces:?}");
    let report = function.report().await;
    assert_eq!((report.outcome, report.response_bytes), (Outcome::Ok, 20));
    // And the instance is as good as before.
    assert_eq!(function.get("/").await.unwrap().status(), 202);
    assert_eq!(function.report().await.load_us, 0);
}

#[tokio::test]
async fn a_wsgi_application_reads_a_body_that_comes_slowly_or_leaves_it() {
    let function = function("app.py", WSGI);
    let response = post(&function, "/up", slowly(&["first ", "second ", "third"]))
        .await
        .unwrap();
    assert_eq!(text(response).await, "POST||/up|||first second third");
    assert_eq!(function.report().await.request_bytes, 18);
    for _ in 0..3 {
        let large = vec![b'x'; 1 << 20];
        let response = post(&function, "/ignores", body(large)).await.unwrap();
        assert_eq!(response.status(), 413);
        let response = post(&function, "/ignores", slowly(&["a", "b"]))
            .await
            .unwrap();
        assert_eq!(text(response).await, "no");
        let response = post(&function, "/read", body("next")).await.unwrap();
        assert_eq!(text(response).await, "POST||/read|||next");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one() {
    let function = function("app.py", WSGI);
    let (pieces, error) = pieces(function.get("/dies").await.unwrap()).await;
    assert_eq!(whole(&pieces), "first");
    assert_eq!(error, Some(BodyError::Guest(Outcome::GuestError)));
    assert_eq!(function.report().await.outcome, Outcome::GuestError);
    assert_eq!(function.get("/").await.unwrap().status(), 202);
}

#[tokio::test]
async fn the_rest_of_an_answer_that_cannot_be_sent_is_nobodys() {
    let function = function("app.py", WSGI);
    let error = function.get("/bad").await.unwrap_err();
    assert_eq!(named(&error).0, "Function.MalformedResponse");
    for _ in 0..5 {
        let response = function.get("/next").await.unwrap();
        assert_eq!(text(response).await, "GET||/next|||");
    }
}

const ASGI: &str = r#"
import asyncio
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body, parts = b"", 0
    while True:
        message = await receive()
        body += message.get("body", b"")
        parts += 1
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 203, "headers": [(b"x-kind", b"asgi")]})
    if scope["path"] == "/slow":
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"tick ", "more_body": True})
            await asyncio.sleep(0.1)
    text = "|".join((scope["method"], scope["path"], scope["query_string"].decode(), body.decode()))
    await send({"type": "http.response.body", "body": text.encode()})
"#;

#[tokio::test]
async fn an_asgi_application_gets_requests_and_streams() {
    let function = function("app.py", ASGI);
    let response = post(&function, "/up?q=1", slowly(&["one ", "two"]))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-kind"]),
        (203, &"asgi".parse().unwrap())
    );
    assert_eq!(text(response).await, "POST|/up|q=1|one two");
    let (pieces, error) = pieces(function.get("/slow").await.unwrap()).await;
    assert_eq!(
        (whole(&pieces).as_str(), error),
        ("tick tick tick GET|/slow||", None)
    );
    assert!(came_in_parts(&pieces), "{pieces:?}");
}

const NODE: &str = r"
const work = async (event, context) => {
  console.log('path', event.rawPath);
  if (event.rawPath === '/throw') throw new TypeError('no');
  if (event.rawPath === '/exit') process.exit(3);
  if (event.rawPath === '/reject') { Promise.reject(new Error('later')); await new Promise(r => setTimeout(r, 200)); }
  return { statusCode: 201, headers: { 'x-id': context.awsRequestId }, body: event.body ?? 'none' };
};
";

async fn is_good_node(function: &Function) {
    let response = post(function, "/a", body("sent")).await.unwrap();
    assert_eq!(response.status(), 201);
    let report = function.report().await;
    assert_eq!(response.headers()["x-id"], report.id.to_string().as_str());
    assert_eq!(text(response).await, "sent");
    assert!(
        function
            .logged()
            .await
            .iter()
            .any(|(_, line)| line.contains("path /a"))
    );
    for (path, outcome, kind) in [
        ("/throw", Outcome::GuestError, "TypeError"),
        ("/exit", Outcome::Exited, "Runtime.ExitError"),
        (
            "/reject",
            Outcome::GuestError,
            "Runtime.UnhandledPromiseRejection",
        ),
    ] {
        let error = function.get(path).await.unwrap_err();
        assert_eq!(
            (error.outcome, named(&error).0),
            (outcome, kind),
            "{path}: {error:?}"
        );
        assert_eq!(function.get("/").await.unwrap().status(), 201);
    }
}

#[tokio::test]
async fn node_handlers_of_both_kinds_of_modules() {
    let _kept = Bench::shared();
    let common = format!("{NODE}\nexports.handler = work;");
    is_good_node(&function("index.js", &common)).await;
    let modules = format!("{NODE}\nexport const handler = work;");
    is_good_node(&function("index.mjs", &modules)).await;
}

#[tokio::test]
async fn node_handlers_with_callbacks_and_streams() {
    let _kept = Bench::shared();
    let text_of = r"
exports.handler = (event, context, callback) => {
  setTimeout(() => callback(null, { statusCode: 202, body: 'called back' }), 10);
};";
    let called = function("index.js", text_of);
    let response = called.get("/").await.unwrap();
    assert_eq!(
        (response.status().as_u16(), text(response).await.as_str()),
        (202, "called back")
    );
    let text_of = r"
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 203, headers: { 'x-kind': 'stream' } });
  for (let i = 0; i < 4; i++) { stream.write('tick '); await new Promise(r => setTimeout(r, 100)); }
  stream.end('end');
});";
    let streams = function("index.js", text_of);
    let response = streams.get("/").await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-kind"]),
        (203, &"stream".parse().unwrap())
    );
    let (pieces, error) = pieces(response).await;
    assert_eq!(
        (whole(&pieces).as_str(), error),
        ("tick tick tick tick end", None)
    );
    assert!(came_in_parts(&pieces), "{pieces:?}");
}

#[tokio::test]
async fn node_starts_that_fail_say_why_and_many_starts_find_their_handler() {
    let _kept = Bench::shared();
    for (text_of, handler, kind) in [
        (
            "throw new RangeError('at start')",
            "index.handler",
            "RangeError",
        ),
        (
            "exports.other = 1",
            "index.handler",
            "Runtime.HandlerNotFound",
        ),
        (
            "require('absent')",
            "index.handler",
            "Runtime.ImportModuleError",
        ),
        ("process.exit(5)", "index.handler", "Runtime.ExitError"),
    ] {
        let function = Bench::shared().function(&[("index.js", text_of)], |manifest| {
            manifest.handler = Some(handler.to_owned());
        });
        let error = function.get("/").await.unwrap_err();
        assert_eq!(
            (error.outcome, named(&error).0),
            (Outcome::InitFailed, kind),
            "{error:?}"
        );
    }
    // Its program runs before it has its function: they must not miss each other.
    let fresh = Bench::shared().function(
        &[(
            "index.js",
            "exports.handler = async () => ({ statusCode: 204 })",
        )],
        |manifest| manifest.instances.idle_s = 0,
    );
    for _ in 0..8 {
        assert_eq!(fresh.get("/").await.unwrap().status(), 204);
    }
}

#[tokio::test]
async fn node_guests_are_confined_as_well() {
    let text_of = r"
const fs = require('node:fs');
const look = () => fs.readFileSync('/proc/self/status', 'utf8').split('\n')
  .filter(l => /^(Cap|NoNewPrivs|Seccomp:)/.test(l)).map(l => l.split(':\t')[1]).join(' ');
const refused = (f) => { try { f(); return 'done'; } catch (e) { return e.code; } };
exports.handler = async () => ({
  look: look(), first: fs.readFileSync('/proc/1/status', 'utf8').split('\n')
    .filter(l => /^(CapEff|CapBnd|NoNewPrivs|Seccomp:)/.test(l)).map(l => l.split(':\t')[1]).join(' '),
  uid: process.getuid(), root: fs.readdirSync('/'),
  writes: [refused(() => fs.writeFileSync('/var/task/x', '')), refused(() => fs.writeFileSync('/x', '')),
           refused(() => fs.writeFileSync('/tmp/x', ''))],
});";
    let function = Bench::shared().function(&[("index.js", text_of)], |manifest| {
        manifest.payload = Some(Payload::Raw);
    });
    let told = function.event(&Value::Null).await.unwrap();
    let none = "0000000000000000";
    assert_eq!(
        told["look"],
        format!("{none} {none} {none} {none} {none} 1 2")
    );
    assert_eq!(told["first"], format!("{none} {none} 1 2"), "{told}");
    assert_eq!(told["writes"], json!(["EROFS", "EROFS", "done"]), "{told}");
    if is_root() {
        assert_eq!(told["uid"], 993);
    }
    assert!(
        !told["root"].as_array().unwrap().contains(&json!("sys")),
        "{told}"
    );
}

#[tokio::test]
async fn node_functions_find_their_code_however_busy_the_machine_is() {
    let bench = Bench::shared();
    let text_of = "exports.handler = async () => ({ statusCode: 204 })";
    let fresh = bench.function(&[("index.js", text_of)], |manifest| {
        manifest.instances.idle_s = 0;
    });
    let busy = bench.probe_for(3.0);
    let spins = (0..4).map(|_| busy.python("while True: pass")).collect();
    let starts = async {
        for _ in 0..5 {
            let calls = (0..4).map(|_| fresh.get("/")).collect();
            for told in join_all(calls).await {
                assert_eq!(told.unwrap().status(), 204);
            }
        }
    };
    tokio::select! {
        () = starts => {}
        _ended = join_all(spins) => {}
    }
}

#[tokio::test]
async fn what_programs_of_python_take_for_granted_is_there() {
    let code = include_str!("support/granted.py");
    let probe = Bench::shared().probe(|manifest| manifest.limits.memory_mb = 512);
    let told = probe.python(code).await.unwrap();
    let expected = json!({
        "fork": [1, 4, 9], "run": "42", "threads": 14, "asyncio": ["1", ""], "sqlite": 42,
        "files": "x", "poll": 2, "user": if is_root() { "sandbox" } else { "root" }, "home": "/tmp", "passwd": "sandbox",
        "host": "127.0.0.1", "name": "sandbox", "zone": "2:00:00", "ssl": true,
        "certificates": true, "cpus": true, "semaphore": true, "time": "UTC", "signal": "14",
        "scrypt": 64,
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_programs_of_node_take_for_granted_is_there() {
    let text_of = include_str!("support/granted.js");
    let function = Bench::shared().function(&[("index.js", text_of)], |manifest| {
        manifest.payload = Some(Payload::Raw);
        manifest.limits.memory_mb = 1024;
    });
    let told = function.event(&Value::Null).await.unwrap();
    let expected = json!({
        "spawn": "42", "worker": 42, "dns": "127.0.0.1", "net": "hi", "files": "x",
        "os": ["sandbox", "/tmp", "/tmp"], "crypto": 36, "zlib": "x", "fetch": "function",
    });
    assert_eq!(told, expected);
}
