//! The others: how each is run at its best on loopback.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::contestant::{Contestant, argument};
use super::{Setup, tools};

/// What all hello functions answer.
const HELLO: &str = "Hello from Fractus\n";

/// What makes `wasmtime serve` reuse memory in place of mapping it anew.
const TUNED: &str = "pooling-allocator=y,pooling-memory-keep-resident=1048576,\
                     pooling-table-keep-resident=65536,pooling-pagemap-scan=y";

/// `wasmtime serve` as it comes.
pub(super) fn wasmtime(setup: &Setup<'_>, component: &Path) -> Result<Contestant> {
    serve(setup, "wasmtime serve", &[], component)
}

/// `wasmtime serve` with what its documentation offers for speed.
pub(super) fn wasmtime_tuned(setup: &Setup<'_>, component: &Path) -> Result<Contestant> {
    serve(setup, "wasmtime serve, tuned", &["-O", TUNED], component)
}

fn serve(setup: &Setup<'_>, name: &str, options: &[&str], component: &Path) -> Result<Contestant> {
    let contestant = Contestant::new(name, tools::WASMTIME.find(setup)?, "/")?;
    let address = contestant.address.to_string();
    Ok(contestant
        .arguments(["serve", "-S", "cli", "--addr", &address])
        .arguments(options.iter().copied())
        .arguments([argument(component)]))
}

/// workerd with a worker that answers as hello does.
pub(super) fn workerd(setup: &Setup<'_>) -> Result<Contestant> {
    let contestant = Contestant::new(
        "workerd (one isolate for all)",
        tools::WORKERD.find(setup)?,
        "/",
    )?;
    let directory = TempDir::new()?;
    let worker = format!(
        "export default {{ fetch() {{ return new Response({HELLO:?}, \
         {{ headers: {{ 'content-type': 'text/plain' }} }}); }} }};\n"
    );
    let config = format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .hello)],
  sockets = [(name = "http", address = "{}", http = (), service = "main")],
);
const hello :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "hello.js")],
  compatibilityDate = "2026-01-01",
);
"#,
        contestant.address
    );
    fs::write(directory.path().join("hello.js"), worker)?;
    let path = directory.path().join("config.capnp");
    fs::write(&path, config)?;
    Ok(contestant
        .arguments(["serve".to_owned(), argument(&path)])
        .keep(directory))
}

/// Node.js with nothing between its HTTP server and hello.
pub(super) fn node_js(setup: &Setup<'_>) -> Result<Contestant> {
    let contestant = Contestant::new(
        "node.js http (no isolation)",
        tools::NODE_JS.find(setup)?,
        "/",
    )?;
    let script = format!(
        "require('http').createServer((_, answer) => {{ \
         answer.setHeader('content-type', 'text/plain'); answer.end({HELLO:?}); \
         }}).listen({}, '{}')",
        contestant.address.port(),
        contestant.address.ip()
    );
    Ok(contestant.arguments(["-e".to_owned(), script]))
}

/// nginx with one worker and its cache in memory, in front of an origin that it asks once. Without
/// `tcp_nopush`, which on loopback holds the end of a 64 KiB answer back for 40 ms.
pub(super) fn nginx(setup: &Setup<'_>, bytes: usize) -> Result<Contestant> {
    let contestant = Contestant::new("nginx proxy_cache", tools::NGINX.find(setup)?, "/")?;
    let directory = TempDir::new_in("/dev/shm").context("a directory in memory")?;
    let at = directory.path().display();
    let config = format!(
        r"daemon off;
user root;
worker_processes 1;
pid {at}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  open_file_cache max=1000;
  client_body_temp_path {at}/client;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  proxy_cache_path {at}/cache keys_zone=bench:10m max_size=256m use_temp_path=off;
  server {{
    listen {};
    location / {{
      proxy_pass http://{};
      proxy_cache bench;
      add_header Cache-Status $upstream_cache_status;
    }}
  }}
}}
",
        contestant.address,
        origin(bytes)?
    );
    let path = directory.path().join("nginx.conf");
    fs::write(&path, config)?;
    let prefix = argument(directory.path());
    let arguments = ["-p".to_owned(), prefix, "-c".to_owned(), argument(&path)];
    Ok(contestant.arguments(arguments).keep(directory))
}

/// A server within this process that answers every request with a body of that size.
fn origin(bytes: usize) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\
         Cache-Control: max-age=3600\r\nConnection: close\r\n\r\n{}",
        "x".repeat(bytes)
    );
    // It ends with this process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is its own affair.
            drop(answer_once(&stream, &answer));
        }
    });
    Ok(address)
}

fn answer_once(mut stream: &TcpStream, answer: &str) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while !lines.next().context("the head was cut")??.is_empty() {}
    Ok(stream.write_all(answer.as_bytes())?)
}
