use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fractus_func::{Access, Body, BoxFuture, OutboundError};
use http::{Method, Request, Response};
use tempfile::TempDir;

use super::connect::Resolve;
use super::{Lane, Outbound, OutboundConfig};
use crate::origin::test_support::{Answer, Server, body, content, get, put, store};

/// Gives one answer after the other, and the last one for ever.
#[derive(Debug)]
pub(super) struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub(super) asked: AtomicUsize,
}

impl Scripted {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let address = |text: &&str| text.parse().expect("an address");
        let answers = answers
            .iter()
            .map(|found| found.iter().map(address).collect());
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("no panic before");
        let answer = answers.pop_front().unwrap_or_default();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        Box::pin(std::future::ready(Ok(answer)))
    }
}

pub(super) fn config() -> OutboundConfig {
    OutboundConfig {
        connections: 8,
        function_connections: 8,
        connect: Duration::from_secs(5),
        head: Duration::from_secs(5),
        upload: Duration::from_mins(5),
        stall: Duration::from_secs(5),
    }
}

pub(super) async fn outbound(
    config: &OutboundConfig,
    resolver: &Arc<Scripted>,
) -> (TempDir, Outbound) {
    let (folder, store) = store().await;
    let resolver = Arc::clone(resolver) as Arc<dyn Resolve>;
    (folder, Outbound::with_resolver(store, config, &resolver))
}

pub(super) fn lane(hosts: &[&str], private_hosts: &[&str]) -> Lane {
    let owned = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
    Lane::new(&Access {
        writes: Vec::new(),
        buckets: vec!["open".to_owned(), "absent".to_owned()],
        hosts: owned(hosts),
        private_hosts: owned(private_hosts),
    })
}

async fn meow() -> Server {
    Server::start(|_request| async { Response::new(body("meow")) }).await
}

fn denied(answer: Result<Response<Body>, OutboundError>) -> String {
    match answer {
        Err(error @ OutboundError::Denied { .. }) => error.to_string(),
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_named_private_host_is_reached() {
    let server = meow().await;
    let resolver = Scripted::new(&[&["127.0.0.1"]]);
    let (_folder, outbound) = outbound(&config(), &resolver).await;
    let port = server.port();
    let lane = lane(
        &[],
        &[&format!("db.lab:{port}"), &format!("127.0.0.1:{port}")],
    );
    for host in [
        "db.lab",
        "DB.LAB.",
        "127.0.0.1",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        let answer = outbound.send(&lane, get(&url)).await.expect("an answer");
        assert_eq!(Answer::of(answer).await.text(), "meow", "{url}");
    }
}

#[tokio::test]
async fn no_spelling_of_loopback_is_reached_by_a_wildcard() {
    let server = meow().await;
    let (_folder, outbound) = outbound(&config(), &Scripted::new(&[&["127.0.0.1"]])).await;
    let port = server.port();
    let lane = lane(
        &["*", &format!("*:{port}"), &format!("localhost:{port}")],
        &[],
    );
    for host in [
        "localhost",
        "localhost.",
        "anything.example",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        let why = denied(
            outbound
                .send(&lane, get(&format!("http://{host}:{port}/")))
                .await,
        );
        assert!(why.contains("private_hosts"), "{host}: {why}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_moves_to_loopback_is_checked_again() {
    let server = meow().await;
    // The first answer would pass, the next not: an attack that hopes for two lookups.
    let resolver = Scripted::new(&[&["127.0.0.1"], &["93.184.216.34"], &["127.0.0.1"]]);
    let (_folder, outbound) = outbound(&config(), &resolver).await;
    let port = server.port();
    let lane = lane(&[&format!("rebind.example:{port}")], &[]);
    let url = format!("http://rebind.example:{port}/");
    denied(outbound.send(&lane, get(&url)).await);
    assert_eq!(
        resolver.asked.load(Ordering::SeqCst),
        1,
        "one lookup for one connection"
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_connection_is_not_lent_to_a_policy_that_could_not_make_it() {
    let server = meow().await;
    let (_folder, outbound) = outbound(&config(), &Scripted::new(&[&["127.0.0.1"]])).await;
    let port = server.port();
    let url = format!("http://db.lab:{port}/");
    let owner = lane(&[], &[&format!("db.lab:{port}")]);
    for _ in 0..3 {
        let answer = outbound.send(&owner, get(&url)).await.expect("an answer");
        assert_eq!(Answer::of(answer).await.status, 200);
    }
    assert_eq!(server.connections(), 1, "its own connection is used again");
    let stranger = lane(&[&format!("*:{port}"), &format!("db.lab:{port}")], &[]);
    denied(outbound.send(&stranger, get(&url)).await);
    denied(outbound.send(&Lane::default(), get(&url)).await);
    // Another name for the same address is another host.
    let other = lane(&[], &[&format!("other.lab:{port}")]);
    denied(outbound.send(&other, get(&url)).await);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn tunnels_are_refused() {
    let (_folder, outbound) = outbound(&config(), &Scripted::new(&[&["127.0.0.1"]])).await;
    let mut request = get("http://db.lab/");
    *request.method_mut() = Method::CONNECT;
    let why = denied(outbound.send(&lane(&["*"], &["db.lab"]), request).await);
    assert!(why.contains("CONNECT"), "{why}");
}

#[tokio::test]
async fn a_tunnel_leads_where_requests_may_go_and_takes_a_place() {
    let server = meow().await;
    let config = OutboundConfig {
        function_connections: 1,
        connect: Duration::from_millis(200),
        ..config()
    };
    let (_folder, outbound) = outbound(&config, &Scripted::new(&[&["127.0.0.1"]])).await;
    let port = server.port();
    let authority = format!("db.lab:{port}");
    let owner = lane(&[], &[&authority]);
    let tunnel = outbound.tunnel(&owner, &authority).await.expect("a tunnel");
    let busy = outbound.tunnel(&owner, &authority).await;
    assert!(
        matches!(busy, Err(OutboundError::Failed { .. })),
        "{busy:?}"
    );
    let busy = outbound
        .send(&owner, get(&format!("http://{authority}/")))
        .await;
    assert!(
        matches!(busy, Err(OutboundError::Failed { .. })),
        "{busy:?}"
    );
    drop(tunnel);
    outbound.tunnel(&owner, &authority).await.expect("a tunnel");
    let before = server.connections();
    let stranger = lane(&["*", &format!("*:{port}")], &[]);
    for authority in [
        authority.as_str(),
        &format!("127.1:{port}"),
        &format!("[::ffff:127.0.0.1]:{port}"),
        "db.lab",
        "a@db.lab:443",
        "store.internal:80",
        "store.internal",
        "",
        ":80",
        "db.lab:http",
        "http://db.lab/",
    ] {
        let refused = outbound.tunnel(&stranger, authority).await;
        assert!(
            matches!(refused, Err(OutboundError::Denied { .. })),
            "{authority}: {refused:?}"
        );
    }
    assert_eq!(server.connections(), before);
}

#[tokio::test]
async fn a_name_without_addresses() {
    let (_folder, outbound) = outbound(&config(), &Scripted::new(&[&[]])).await;
    let answer = outbound
        .send(&lane(&["*"], &[]), get("http://nowhere.example/"))
        .await;
    let error = answer.expect_err("no address");
    assert_eq!(error.to_string(), "no address for nowhere.example");
}

#[tokio::test]
async fn objects_of_named_buckets() {
    let resolver = Scripted::new(&[&["127.0.0.1"]]);
    let (_folder, outbound) = outbound(&config(), &resolver).await;
    let bytes = content(1_000_000);
    put(&outbound.store, "open", "photos/a b.png", &bytes).await;
    put(&outbound.store, "closed", "secret", b"meow").await;
    let lane = lane(&["*"], &["*"]);
    let ask = async |method: Method, path: &str, range: &str| {
        let request = Request::builder().method(method).header("range", range);
        let request = request
            .uri(format!("http://store.internal{path}"))
            .body(body(""));
        let answer = outbound.send(&lane, request.expect(path)).await;
        Answer::of(answer.expect("the store answers")).await
    };
    let path = "/open/photos/a%20b.png";
    let answer = ask(Method::GET, path, "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.bytes == bytes);
    let answer = ask(Method::GET, path, "bytes=500000-500009").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.bytes[..]),
        (206, &bytes[500_000..500_010])
    );
    let answer = ask(Method::HEAD, path, "").await;
    assert_eq!(
        (answer.field("content-length"), answer.bytes.len()),
        ("1000000", 0)
    );
    for (method, path, status, code) in [
        (Method::GET, "/open/missing", 404, "no-such-object"),
        (Method::GET, "/absent/missing", 404, "no-such-object"),
        (Method::GET, "/closed/secret", 403, "bucket-not-allowed"),
        (Method::HEAD, "/closed/secret", 403, "bucket-not-allowed"),
        (Method::PUT, "/closed/secret", 403, "bucket-not-allowed"),
        (Method::GET, "/open/../closed/secret", 404, "no-such-object"),
        (
            Method::GET,
            "/open%2f..%2fclosed/secret",
            403,
            "bucket-not-allowed",
        ),
        (Method::GET, "/", 404, "no-such-object"),
        (Method::GET, "/open", 404, "no-such-object"),
        (Method::GET, "/open/%zz", 400, "bad-key"),
        (Method::PUT, "/open/new", 403, "bucket-not-writable"),
        (Method::DELETE, path, 403, "bucket-not-writable"),
        (Method::POST, path, 405, "method-not-allowed"),
    ] {
        let answer = ask(method.clone(), path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.field("x-fractus-error"), code, "{method} {path}");
    }
    let answer = ask(Method::GET, "/closed/secret", "").await;
    assert!(
        answer.text().contains("buckets = [\"closed\"]"),
        "{}",
        answer.text()
    );
    assert_eq!(
        resolver.asked.load(Ordering::SeqCst),
        0,
        "nothing of this left the node"
    );
}

#[tokio::test]
async fn the_store_has_one_name() {
    let (_folder, outbound) = outbound(&config(), &Scripted::new(&[&["127.0.0.1"]])).await;
    put(&outbound.store, "open", "cat", b"meow").await;
    let lane = lane(&["*"], &[]);
    for url in [
        "http://STORE.internal/open/cat",
        "http://store.internal.:80/open/cat",
    ] {
        let answer = outbound.send(&lane, get(url)).await.expect(url);
        assert_eq!(Answer::of(answer).await.text(), "meow", "{url}");
    }
    for url in [
        "https://store.internal/open/cat",
        "http://store.internal:8080/open/cat",
    ] {
        let why = denied(outbound.send(&lane, get(url)).await);
        assert!(why.contains("http://store.internal/BUCKET/KEY"), "{why}");
    }
    denied(
        outbound
            .send(&lane, get("http://x.store.internal/open/cat"))
            .await,
    );
}
