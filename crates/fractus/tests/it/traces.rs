//! Traces of calls, from what their callers ask for to where they are shown and sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Node, cloud, example, request, text};

/// Asks a server, reads an object and writes one, and tells of which trace it knows.
const APP: &str = r#"
import os, urllib.request

def ask(url, data=None, method=None):
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()

def handler(event, context):
    told = {"trace": os.environ.get("_X_AMZN_TRACE_ID")}
    if "server" in event:
        told["said"] = ask("http://" + event["server"] + "/a?secret=b")
        told["cat"] = ask("http://store.internal/photos/cat")
        ask("http://store.internal/photos/dog", b"woof!", "PUT")
    return told
"#;

/// A server that answers each request with `200 OK`, and tells what it was sent.
struct Server {
    address: SocketAddr,
    requests: Receiver<(String, Vec<u8>)>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if let Some(asked) = answer(stream)
                    && sender.send(asked).is_err()
                {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    #[track_caller]
    fn next(&self) -> (String, Vec<u8>) {
        self.requests.recv_timeout(Duration::from_secs(30)).unwrap()
    }
}

/// Answers one request over a connection.
fn answer(mut stream: TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = text(&head).to_ascii_lowercase();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmeow";
    stream.write_all(answer.as_bytes()).ok()?;
    Some((head, body))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Deploys the function `tracer`, which may reach `server`.
fn deploy(directory: &TempDir, node: &Node, server: SocketAddr) {
    let folder = directory.path().join("tracer");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("app.py"), APP).unwrap();
    let manifest = format!(
        "name = \"tracer\"\nruntime = \"python3\"\nhandler = \"app.handler\"\npayload = \"raw\"\n\
         [access]\nbuckets = [\"photos\"]\nwrites = [\"photos\"]\nprivate_hosts = [\"{server}\"]\n"
    );
    fs::write(folder.join("fractus.toml"), manifest).unwrap();
    node.ok(&["bucket", "create", "photos"]);
    let cat = directory.path().join("cat");
    fs::write(&cat, "meow").unwrap();
    node.ok(&["cp", cat.to_str().unwrap(), "fractus://photos/cat"]);
    node.ok(&["deploy", folder.to_str().unwrap()]);
}

/// The admin API's trace of a request, once the node has it.
#[track_caller]
fn trace(node: &Node, id: &str) -> Value {
    crate::support::until("the trace is complete", || {
        let told = node.run(&["trace", id, "--json"]);
        let told: Value = serde_json::from_slice(&told.stdout).ok()?;
        (told["traced"] == true).then_some(told)
    })
}

fn call(node: &Node, fields: &str) -> (String, Value) {
    let line = "POST /run/tracer";
    let (status, head, body) = request(node.address("edge"), line, fields, b"{}").unwrap();
    assert_eq!(status, 200, "{}", text(&body));
    (head, serde_json::from_slice(&body).unwrap())
}

/// Spans by the names that they are shown with.
fn spans(told: &Value) -> BTreeMap<&str, &Value> {
    let spans = told["trace"]["spans"].as_array().unwrap().iter();
    spans
        .map(|span| (span["name"].as_str().unwrap(), span))
        .collect()
}

#[test]
fn a_traced_call_shows_all_that_happened() {
    let (directory, node) = cloud();
    let server = Server::start();
    deploy(&directory, &node, server.address);
    let event = format!("{{\"server\": \"{}\"}}", server.address);
    let chrome = directory.path().join("trace.json");
    let file = chrome.to_str().unwrap();
    let called = node.run(&[
        "invoke",
        "tracer",
        "--data",
        &event,
        "--trace",
        "--chrome",
        file,
        "--verbose",
    ]);
    let shown = text(&called.stderr);
    assert!(called.status.success(), "{shown}");
    let answered: Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(
        (&answered["said"], &answered["cat"]),
        (&"meow".into(), &"meow".into())
    );

    let outgoing = format!("GET {}", server.address);
    let names = ["request", "route", "queue", "load", "start", "init", "run"];
    let names = [&names[..], &[&outgoing, "GET photos", "PUT photos"]].concat();
    for name in &names {
        let is_row = |line: &str| line.trim_start().starts_with(&format!("{name} "));
        assert!(shown.lines().any(is_row), "no {name} in\n{shown}");
    }

    // One trace, from the answer's field to the guest's environment and beyond.
    let root = field(&shown, "x-amzn-trace-id")
        .unwrap()
        .trim_end_matches(";Sampled=1");
    let own = answered["trace"].as_str().unwrap();
    assert!(
        own.starts_with(&format!("{root};Parent=")) && own.ends_with(";Sampled=1"),
        "{own}"
    );
    let (asked, _) = server.next();
    let parent = field(&asked, "traceparent").unwrap();
    let trace_id = root.trim_start_matches("Root=1-").replace('-', "");

    let id = field(&shown, "x-request-id").unwrap();
    let told = node.json(&["trace", id]);
    assert_eq!(
        (&told["traced"], &told["trace"]["trace_id"]),
        (&true.into(), &trace_id.into())
    );
    assert_eq!(spans(&told).len(), names.len(), "{told:#}");
    let run = check_parts(&told, &outgoing, parent);
    assert!(own.contains(&run), "{own}");
    check_costs(&node, &told);
    check_chrome(&chrome, names.len());
    let listed = node.ok(&["trace", "--function", "tracer"]);
    assert!(listed.contains(id), "{listed}");
}

/// What the guest asked for is part of its run, whose id this returns; `parent` is what the server
/// was told.
fn check_parts(told: &Value, outgoing: &str, parent: &str) -> String {
    let spans = spans(told);
    let (request, run) = (spans["request"], spans["run"]);
    let sent = spans[outgoing];
    let parts = [sent, spans["GET photos"], spans["PUT photos"]];
    assert!(
        parts.iter().all(|part| part["parent"] == run["id"]),
        "{told:#}"
    );
    assert_eq!(run["parent"], request["id"]);
    let ids = [&told["trace"]["trace_id"], &sent["id"]].map(|id| id.as_str().unwrap());
    assert_eq!(parent, format!("00-{}-{}-01", ids[0], ids[1]));
    assert_eq!(
        sent["attributes"]["url.path"], "/a",
        "the query may hold secrets"
    );
    let bytes = |span: &Value| [&span["bytes_in"], &span["bytes_out"]].map(|n| n.as_u64().unwrap());
    assert_eq!(parts.map(bytes), [[4, 0], [4, 0], [0, 5]]);
    assert!(run["cpu_us"].as_u64() > Some(0), "{run}");
    assert_eq!(run["status"], 200);
    run["id"].as_str().unwrap().to_owned()
}

/// What the spans cost by themselves is what the call costs, but for rounding.
fn check_costs(node: &Node, told: &Value) {
    let costs = told["costs"].as_array().unwrap();
    let own: u64 = costs.iter().map(|cost| cost["own"].as_u64().unwrap()).sum();
    let whole = told["cost"].as_u64().unwrap();
    assert!(
        own.abs_diff(whole) <= costs.len() as u64,
        "{own} and {whole}"
    );
    let usage = node.json(&["usage", "tracer"]);
    assert_eq!(usage["records"][0]["cost"], whole);
}

/// Whether the events of each thread lie within each other or apart.
fn check_chrome(file: &Path, count: usize) {
    let told: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let events = told["traceEvents"].as_array().unwrap().iter();
    let complete = events.filter(|event| event["ph"] == "X");
    let times = complete.map(|event| {
        let number = |name: &str| event[name].as_u64().unwrap();
        (number("tid"), number("ts"), number("ts") + number("dur"))
    });
    let times: Vec<_> = times.collect();
    assert_eq!(times.len(), count);
    for (at, (tid, from, to)) in times.iter().enumerate() {
        for (other, other_from, other_to) in &times[..at] {
            let apart = to <= other_from || from >= other_to;
            let within = from >= other_from && to <= other_to;
            let around = from <= other_from && to >= other_to;
            assert!(tid != other || apart || within || around, "{told:#}");
        }
    }
}

#[test]
fn a_trace_begins_where_the_caller_says() {
    let (directory, node) = cloud();
    let server = Server::start();
    deploy(&directory, &node, server.address);
    let id = "0af7651916cd43dd8448eb211c80319c";
    let root = "Root=1-0af76519-16cd43dd8448eb211c80319c";
    let fields = [
        format!("traceparent: 00-{id}-b7ad6b7169203331-01\r\n"),
        format!("X-Amzn-Trace-Id: {root};Parent=b7ad6b7169203331;Sampled=1\r\n"),
    ];
    for fields in fields {
        let (head, body) = call(&node, &fields);
        assert_eq!(
            field(&head, "x-amzn-trace-id"),
            Some(&*format!("{root};Sampled=1"))
        );
        let own = body["trace"].as_str().unwrap();
        assert!(own.starts_with(&format!("{root};Parent=")), "{own}");
        assert!(
            !own.contains("b7ad6b7169203331"),
            "its parent is the run: {own}"
        );
        let told = trace(&node, field(&head, "x-request-id").unwrap());
        assert_eq!(told["trace"]["trace_id"], id);
        assert_eq!(spans(&told)["request"]["parent"], "b7ad6b7169203331");
    }

    // Who is not sampled is not traced, and what it says goes on to the guest as it is.
    let told = format!("{root};Parent=b7ad6b7169203331;Sampled=0");
    let (head, body) = call(&node, &format!("X-Amzn-Trace-Id: {told}\r\n"));
    assert_eq!(body["trace"], told);
    assert_eq!(field(&head, "x-amzn-trace-id"), None);
    let (head, _) = call(
        &node,
        &format!("traceparent: 00-{id}-b7ad6b7169203331-00\r\n"),
    );
    assert_eq!(field(&head, "x-amzn-trace-id"), None);

    // Of such a call there is its usage record.
    let id = field(&head, "x-request-id").unwrap();
    crate::support::until("the call is recorded", || {
        node.run(&["trace", id]).status.success().then_some(())
    });
    let shown = node.run(&["trace", id]);
    assert!(
        text(&shown.stderr).contains("was not traced"),
        "{}",
        text(&shown.stderr)
    );
    let told = node.json(&["trace", id]);
    assert_eq!(told["traced"], false);
    let spans = spans(&told);
    assert!(
        spans.contains_key("run") && spans.contains_key("queue"),
        "{told:#}"
    );
    let cost = &node.json(&["usage", "tracer"])["records"][0]["cost"];
    assert_eq!(told["cost"], *cost);

    let unknown = node.run(&["trace", "00000000-0000-4000-8000-000000000000"]);
    assert!(crate::support::failed(&unknown, 1).contains("remembers no call"));
}

#[test]
fn components_are_told_of_the_trace() {
    let (_directory, node) = cloud();
    node.ok(&["deploy", example("faults").to_str().unwrap()]);
    let called = node.run(&[
        "invoke",
        "faults",
        "--path",
        "/headers",
        "--trace",
        "--verbose",
    ]);
    let (shown, answered) = (text(&called.stderr), text(&called.stdout));
    let root = field(&shown, "x-amzn-trace-id")
        .unwrap()
        .trim_end_matches(";Sampled=1");
    let trace_id = root.trim_start_matches("Root=1-").replace('-', "");
    assert!(answered.contains(&format!("00-{trace_id}-")), "{answered}");
    assert!(answered.contains(&format!("{root};Parent=")), "{answered}");
    let failed = node.run(&["invoke", "faults", "--path", "/trap", "--trace"]);
    let shown = crate::support::failed(&failed, 1);
    assert!(shown.contains("▒ trap"), "{shown}");
    assert!(
        shown.contains("error: the call of faults failed"),
        "{shown}"
    );
}

#[test]
fn traces_go_to_the_collector() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Server::start();
    let url = format!("http://{}", collector.address);
    let node = Node::start_with(&directory.path().join("data"), &["--otel", &url]);
    deploy(&directory, &node, collector.address);
    let id = "0af7651916cd43dd8448eb211c80319c";
    call(
        &node,
        &format!("traceparent: 00-{id}-b7ad6b7169203331-01\r\n"),
    );
    let (head, body) = collector.next();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    let resource = &body["resourceSpans"][0];
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    assert!(spans.iter().all(|span| span["traceId"] == id), "{body:#}");
    assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(
        (&spans[0]["name"], &spans[0]["kind"]),
        (&"tracer".into(), &2.into())
    );
    // What is not sampled is not sent; what was taken is sent before the node ends.
    call(
        &node,
        &format!("traceparent: 00-{id}-b7ad6b7169203331-00\r\n"),
    );
    call(
        &node,
        &format!("traceparent: 00-{}-b7ad6b7169203331-01\r\n", "1".repeat(32)),
    );
    drop(node);
    let (_, body) = collector.next();
    let body = text(&body);
    assert!(
        body.contains(&"1".repeat(32)) && !body.contains(id),
        "{body}"
    );
}

#[test]
fn a_collector_that_is_not_there_delays_nobody() {
    let directory = tempfile::tempdir().unwrap();
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("http://{address}");
    let node = Node::start_with(&directory.path().join("data"), &["--otel", &url]);
    deploy(&directory, &node, address);
    call(&node, "");
    let begin = Instant::now();
    for _ in 0..20 {
        let sampled = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        call(&node, sampled);
    }
    // It is given five seconds to answer.
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
}
