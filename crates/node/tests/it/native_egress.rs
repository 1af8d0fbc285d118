//! What a native function may reach of the outside, and how it gets there.

use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::client::send;
use crate::node::TestNode;

const APP: &str = r#"
import os, socket, urllib.error, urllib.request

def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return [answer.status, None, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.headers["x-fractus-error"], error.read().decode()]
    except OSError as error:
        return [0, None, str(error)]

def upload(url, size):
    with urllib.request.urlopen(url, data=b"x" * size, timeout=20) as answer:
        return answer.read().decode()

def raw(*parts):
    """Sends each part after something was received for the one before."""
    with socket.create_connection(("127.0.0.1", 3128), timeout=20) as sock:
        received = b""
        for part in parts:
            sock.sendall(part.encode())
            received += sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        while more := sock.recv(65536):
            received += more
        return received.decode()

kept = None

def keep(authority=None):
    """Opens a tunnel, or uses the one that an earlier call opened."""
    global kept
    if authority:
        kept = socket.create_connection(("127.0.0.1", 3128), timeout=20)
        kept.sendall(f"CONNECT {authority} HTTP/1.1\r\n\r\n".encode())
        return kept.recv(65536).decode()
    kept.sendall(b"again")
    return kept.recv(65536).decode()

def env():
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}

def listens():
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", 3128)) == 0

at_init = fetch(os.environ["AT_INIT"]) if "AT_INIT" in os.environ else None

def handler(event, context):
    return globals()[event["do"]](*event["with"]) if "do" in event else at_init
"#;

const INDEX: &str = r"
import http from 'node:http';

export const handler = (url) => new Promise((resolve, reject) => {
  const proxy = new URL(process.env.HTTP_PROXY);
  http.get({ host: proxy.hostname, port: proxy.port, path: url }, async (answer) => {
    let body = '';
    for await (const chunk of answer) body += chunk;
    resolve(body);
  }).on('error', reject);
});
";

const BOOTSTRAP: &str = r#"#!/usr/bin/env python3
import json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as call:
        number, url = call.headers["Lambda-Runtime-Aws-Request-Id"], json.load(call)
    # The Runtime API is at 127.0.0.1 too, so that this address goes around the proxy by itself.
    request = urllib.request.Request(url)
    request.set_proxy(os.environ["HTTP_PROXY"].removeprefix("http://"), "http")
    with urllib.request.urlopen(request) as answer:
        said = json.dumps(answer.read().decode()).encode()
    urllib.request.urlopen(f"{api}{number}/response", data=said).close()
"#;

/// A server that serves each connection on a thread of its own.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(serve: fn(TcpStream)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                counted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(stream));
            }
        });
        Self { port, connections }
    }

    /// Answers one request for each connection with how it was asked.
    fn http() -> Self {
        Self::start(|mut stream| {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().expect("a length"));
            let read = std::io::copy(&mut (&stream).take(length), &mut std::io::sink());
            let body = format!(
                "{} with {}",
                head.lines().next().unwrap_or_default(),
                read.unwrap_or(0)
            );
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}");
            stream
                .write_all(format!("{head}\r\n\r\n{body}").as_bytes())
                .ok();
        })
    }

    fn echo() -> Self {
        Self::start(|stream| {
            let (mut reads, mut writes) = (stream.try_clone().expect("a copy"), stream);
            std::io::copy(&mut reads, &mut writes).ok();
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn archive(name: &str, content: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file(name, options).expect("memory takes all");
    zip.write_all(content.as_bytes()).expect("memory takes all");
    zip.finish().expect("memory takes all").into_inner()
}

fn deploy(node: &TestNode, name: &str, access: &Value, env: &Value) {
    let manifest = json!({
        "name": name, "handler": "app.handler", "payload": "raw", "access": access, "env": env,
    });
    node.deploy(&manifest, &archive("app.py", APP)).expect(201);
}

fn call(node: &TestNode, name: &str, what: &Value) -> Value {
    let path = format!("/run/{name}");
    let body = what.to_string();
    send(node.addresses.edge, "POST", &path, &[], body.as_bytes())
        .expect(200)
        .json()
}

fn ask(node: &TestNode, name: &str, what: &str, with: &Value) -> Value {
    call(node, name, &json!({"do": what, "with": with}))
}

#[test]
fn a_named_private_host_is_reached_over_http() {
    let node = TestNode::start();
    let server = Server::http();
    let port = server.port;
    let named = json!({"private_hosts": [format!("127.0.0.1:{port}")]});
    deploy(&node, "out", &named, &json!({}));
    let url = format!("http://127.0.0.1:{port}/a?b=c");
    let answer = ask(&node, "out", "fetch", &json!([url]));
    assert_eq!(
        answer,
        json!([200, null, "get /a?b=c http/1.1 with 0"]),
        "as urllib asks"
    );
    let answer = ask(&node, "out", "upload", &json!([url, 3_000_000]));
    assert_eq!(answer, "post /a?b=c http/1.1 with 3000000");
    let env = ask(&node, "out", "env", &json!([]));
    assert_eq!(env["HTTPS_PROXY"], "http://127.0.0.1:3128");
    assert_eq!(env["no_proxy"], "localhost", "127.0.0.1 is the node's here");
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_named_private_host_is_reached_by_a_tunnel() {
    let node = TestNode::start();
    let server = Server::echo();
    let authority = format!("127.0.0.1:{}", server.port);
    deploy(
        &node,
        "out",
        &json!({"private_hosts": [authority]}),
        &json!({}),
    );
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let much = "meow".repeat(500_000);
    let answer = ask(&node, "out", "raw", &json!([connect, "ping", much]));
    let answer = answer.as_str().unwrap();
    let (head, echoed) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(head, "HTTP/1.1 200 OK");
    assert!(echoed == format!("ping{much}"), "{} bytes", echoed.len());
    // What comes along with the request is not lost.
    let answer = ask(&node, "out", "raw", &json!([format!("{connect}early")]));
    assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\nearly");
}

#[test]
fn a_tunnel_stays_open_between_calls() {
    let node = TestNode::start();
    let server = Server::echo();
    let authority = format!("127.0.0.1:{}", server.port);
    deploy(
        &node,
        "out",
        &json!({"private_hosts": [authority]}),
        &json!({}),
    );
    ask(&node, "out", "keep", &json!([authority]));
    // Long enough to be frozen.
    thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(ask(&node, "out", "keep", &json!([])), "again");
    assert_eq!(server.connections(), 1);
}

#[test]
fn what_is_not_named_is_refused_and_says_what_to_write() {
    let node = TestNode::start();
    let server = Server::http();
    let port = server.port;
    // A wildcard never leads to a private address.
    deploy(
        &node,
        "out",
        &json!({"hosts": ["*", format!("*:{port}")]}),
        &json!({}),
    );
    let answer = ask(&node, "out", "env", &json!([]));
    assert_eq!(answer["NO_PROXY"], "127.0.0.1,localhost");
    let url = format!("http://0x7f.1:{port}/");
    let answer = ask(&node, "out", "fetch", &json!([url]));
    assert_eq!(
        (&answer[0], &answer[1]),
        (&json!(403), &json!("host-not-allowed"))
    );
    let wanted = format!("private_hosts = [\"127.0.0.1:{port}\"]");
    assert!(answer[2].as_str().unwrap().contains(&wanted), "{answer}");
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n");
    let answer = ask(&node, "out", "raw", &json!([connect]));
    let answer = answer.as_str().unwrap();
    let (line, rest) = answer.split_once("\r\n").unwrap();
    assert!(line.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(line.contains(&wanted) && rest.contains(&wanted), "{answer}");
    let answer = ask(
        &node,
        "out",
        "fetch",
        &json!(["https://store.internal/a/b"]),
    );
    assert!(
        answer[2]
            .as_str()
            .unwrap()
            .contains("http://store.internal/BUCKET/KEY"),
        "{answer}"
    );
    let answer = ask(
        &node,
        "out",
        "raw",
        &json!(["GET / HTTP/1.1\r\nhost: x\r\n\r\n"]),
    );
    assert!(
        answer.as_str().unwrap().starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    assert_eq!(server.connections(), 0);
}

#[test]
fn without_access_there_is_no_way_out() {
    let node = TestNode::start();
    deploy(&node, "in", &json!({}), &json!({}));
    assert_eq!(ask(&node, "in", "env", &json!([])), json!({}));
    assert_eq!(ask(&node, "in", "listens", &json!([])), false);
}

#[test]
fn objects_of_named_buckets_are_read() {
    let node = TestNode::start();
    for bucket in ["open", "closed"] {
        let path = format!("/v1/buckets/{bucket}");
        node.admin("PUT", &path, b"{}").expect(201);
        let path = format!("/v1/objects/{bucket}/cat");
        node.admin("PUT", &path, b"meow").expect(201);
    }
    deploy(&node, "out", &json!({"buckets": ["open"]}), &json!({}));
    let fetch = |url: &str| ask(&node, "out", "fetch", &json!([url]));
    assert_eq!(
        fetch("http://store.internal/open/cat"),
        json!([200, null, "meow"])
    );
    let answer = fetch("http://store.internal/closed/cat");
    assert_eq!(
        (&answer[0], &answer[1]),
        (&json!(403), &json!("bucket-not-allowed"))
    );
    let answer = fetch("http://example.com/");
    assert_eq!(
        (&answer[0], &answer[1]),
        (&json!(403), &json!("host-not-allowed"))
    );
}

#[test]
fn an_instance_that_starts_for_a_call_reaches_out_as_it() {
    let node = TestNode::start();
    let server = Server::http();
    let host = format!("127.0.0.1:{}", server.port);
    let env = json!({"AT_INIT": format!("http://{host}/")});
    deploy(&node, "out", &json!({"private_hosts": [host]}), &env);
    assert_eq!(
        call(&node, "out", &json!({})),
        json!([200, null, "get / http/1.1 with 0"])
    );
}

#[test]
fn node_and_native_programs_have_the_same_way_out() {
    let node = TestNode::start();
    let server = Server::http();
    let host = format!("127.0.0.1:{}", server.port);
    for (name, file, content) in [
        ("js", "index.mjs", INDEX),
        ("program", "bootstrap", BOOTSTRAP),
    ] {
        let manifest = json!({
            "name": name, "payload": "raw", "access": {"private_hosts": [host]},
        });
        node.deploy(&manifest, &archive(file, content)).expect(201);
        let answer = call(&node, name, &json!(format!("http://{host}/{name}")));
        assert_eq!(answer, format!("get /{name} http/1.1 with 0"));
    }
}
