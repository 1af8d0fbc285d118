use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{Body, BodyError, OutboundError};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tempfile::TempDir;

use super::frame;
use crate::origin::test_support::{Answer, Server, body, get, whole};
use crate::outbound::tests::{Scripted, config, lane, outbound};
use crate::outbound::{Lane, Outbound, OutboundConfig};

/// Frames of a body of unknown length.
struct Frames<I>(I);

impl<I: Iterator<Item = &'static str> + Unpin> http_body::Body for Frames<I> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
        Poll::Ready(self.0.next().map(data))
    }
}

fn streamed(parts: &'static [&'static str]) -> Body {
    Frames(parts.iter().copied()).boxed_unsync()
}

/// A byte for each message.
struct Trickle(tokio::sync::mpsc::Receiver<()>);

impl http_body::Body for Trickle {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let byte = |()| Ok(Frame::data(Bytes::from_static(b"m")));
        self.0.poll_recv(context).map(|next| next.map(byte))
    }
}

/// A way to one server.
struct Way {
    _folder: TempDir,
    outbound: Outbound,
    lane: Lane,
    url: String,
}

impl Way {
    async fn to(server: &Server, config: &OutboundConfig) -> Self {
        let resolver = Scripted::new(&[&["127.0.0.1"]]);
        let (folder, outbound) = outbound(config, &resolver).await;
        let host = format!("db.lab:{}", server.port());
        Self {
            _folder: folder,
            outbound,
            lane: lane(&[], &[&host]),
            url: format!("http://{host}/"),
        }
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, OutboundError> {
        *request.uri_mut() = self.url.parse().expect("a URL");
        self.outbound.send(&self.lane, request).await
    }
}

fn with_body(method: Method, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .body(body)
        .expect("a request")
}

/// Answers with the request's body; `x-fields` says which fields it had.
async fn echo() -> Server {
    Server::start(|request| async move {
        let (head, body) = request.into_parts();
        let mut fields: Vec<String> = head
            .headers
            .iter()
            .map(|(n, v)| format!("{n}={v:?}"))
            .collect();
        fields.sort();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let mut response = Response::new(whole(body));
        let fields = HeaderValue::from_str(&fields.join(" ")).expect("a field's value");
        response.headers_mut().insert("x-fields", fields);
        response
    })
    .await
}

#[test]
fn content_length_says_what_the_body_is() {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let unknown: &[&str] = &["meow"];
    for (method, said, known, expected) in [
        // A length that the body does not have never goes out.
        (&get, &["5"][..], Some(""), None),
        (&get, &["5", "6"], Some(""), None),
        (&get, &["5, 6"], Some(""), None),
        (&post, &["5"], Some(""), Some("0")),
        (&post, &["5"], Some("meow"), Some("4")),
        (&post, &["4", "5"], Some("meow"), Some("4")),
        (&post, &[], Some("meow"), Some("4")),
        (&post, &[], Some(""), Some("0")),
        (&get, &[], Some(""), None),
        (&delete, &[], Some(""), None),
        // Of a body of unknown length it is believed, if it is one number.
        (&post, &["4"], None, Some("4")),
        (&post, &["4", "4"], None, None),
        (&post, &["4, 4"], None, None),
        (&post, &["+4"], None, None),
        (&post, &["99999999999999999999"], None, None),
        (&post, &[], None, None),
    ] {
        let body = known.map_or_else(|| Frames(unknown.iter().copied()).boxed_unsync(), body);
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append("content-length", HeaderValue::from_static(value));
        }
        frame(method, &mut headers, &body);
        let framed: Vec<_> = headers.get_all("content-length").iter().collect();
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(framed, expected, "{method} {said:?} {known:?}");
    }
}

#[tokio::test]
async fn only_what_is_the_senders_to_say_goes_out() {
    let server = echo().await;
    let way = Way::to(&server, &config()).await;
    let mut request = get("/");
    for (name, value) in [
        ("host", "other.example"),
        ("connection", "keep-alive, x-nominated"),
        ("x-nominated", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("content-length", "17"),
        ("authorization", "Bearer token"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    for _ in 0..2 {
        let mut copy = get("/");
        copy.headers_mut().clone_from(request.headers());
        let answer = Answer::of(way.send(copy).await.expect("an answer")).await;
        let host = way.url.trim_start_matches("http://").trim_end_matches('/');
        let fields = format!("authorization=\"Bearer token\" host=\"{host}\"");
        assert_eq!(answer.field("x-fields"), fields);
    }
    assert_eq!(
        server.connections(),
        1,
        "nothing was left over for the second request"
    );
}

#[tokio::test]
async fn bodies_of_known_and_unknown_length() {
    let server = echo().await;
    let way = Way::to(&server, &config()).await;
    let mut sized = with_body(Method::POST, streamed(&["me", "ow"]));
    sized
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("4"));
    for (request, framing) in [
        (
            with_body(Method::POST, streamed(&["me", "ow"])),
            "transfer-encoding=\"chunked\"",
        ),
        (sized, "content-length=\"4\""),
        (with_body(Method::PUT, body("meow")), "content-length=\"4\""),
    ] {
        let answer = Answer::of(way.send(request).await.expect("an answer")).await;
        assert_eq!(answer.text(), "meow");
        assert!(
            answer.field("x-fields").contains(framing),
            "{}",
            answer.field("x-fields")
        );
    }
}

#[tokio::test]
async fn a_length_that_is_not_kept_costs_the_connection() {
    let server = echo().await;
    let way = Way::to(&server, &config()).await;
    let mut short = with_body(Method::POST, streamed(&["meow"]));
    short
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("40"));
    assert!(way.send(short).await.is_err());
    let answer = Answer::of(way.send(get("/")).await.expect("an answer")).await;
    assert_eq!((answer.text(), server.connections()), ("", 2));
}

#[tokio::test]
async fn an_answers_hop_by_hop_fields_end_here() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                          Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nX-Kept: 1\r\n\r\n\
                          4\r\nmeow\r\n0\r\n\r\n";
    let server = Server::scripted(&[&[ANSWER]]).await;
    let way = Way::to(&server, &config()).await;
    let answer = Answer::of(way.send(get("/")).await.expect("an answer")).await;
    assert_eq!(answer.text(), "meow");
    let names: Vec<_> = answer
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    assert_eq!(names, ["x-kept"]);
}

#[tokio::test]
async fn only_final_answers_are_answers() {
    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    const EARLY: &str = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 OK\r\n\r\nmeow";
    let server = Server::scripted(&[&[SWITCHED], &[EARLY]]).await;
    let way = Way::to(&server, &config()).await;
    let error = way
        .send(get("/"))
        .await
        .expect_err("no answer to a request");
    assert!(matches!(error, OutboundError::Failed { .. }), "{error}");
    let answer = way.send(get("/")).await.expect("an answer");
    assert_eq!(answer.version(), http::Version::HTTP_11);
    assert_eq!(answer.status(), 200);
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmeow";

#[tokio::test]
async fn what_may_be_repeated_survives_a_connection_that_closes() {
    let server = Server::scripted(&[&[OK], &[OK]]).await;
    let way = Way::to(&server, &config()).await;
    for _ in 0..2 {
        let answer = Answer::of(way.send(get("/")).await.expect("an answer")).await;
        assert_eq!(answer.text(), "meow");
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not() {
    let server = Server::scripted(&[&[OK], &[OK]]).await;
    let way = Way::to(&server, &config()).await;
    let post = || with_body(Method::POST, body("meow"));
    let answer = Answer::of(way.send(post()).await.expect("an answer")).await;
    assert_eq!(answer.text(), "meow");
    let error = way.send(post()).await.expect_err("the connection closed");
    assert!(matches!(error, OutboundError::Failed { .. }), "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn answers_that_do_not_come_or_do_not_end() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nmeow";
    let short = OutboundConfig {
        head: Duration::from_millis(50),
        ..config()
    };
    let silent = Server::start(|_| std::future::pending::<Response<Body>>()).await;
    let error = Way::to(&silent, &short)
        .await
        .send(get("/"))
        .await
        .expect_err("no answer");
    assert!(matches!(error, OutboundError::Timeout(_)), "{error}");

    let short = OutboundConfig {
        stall: Duration::from_millis(50),
        ..config()
    };
    let half = Server::scripted(&[&[HALF]]).await;
    let answer = Way::to(&half, &short)
        .await
        .send(get("/"))
        .await
        .expect("a head");
    let mut body = answer.into_body();
    let data = body
        .frame()
        .await
        .expect("a frame")
        .expect("data")
        .into_data();
    assert_eq!(data.expect("data"), "meow");
    let error = body.frame().await.expect("an error").expect_err("a stall");
    assert_eq!(error, BodyError::Stalled);
}

#[tokio::test]
async fn an_answer_that_breaks_off() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmeow\r\nzz";
    let server = Server::scripted(&[&[HALF]]).await;
    let way = Way::to(&server, &config()).await;
    let body = way.send(get("/")).await.expect("a head").into_body();
    assert_eq!(
        body.collect().await.expect_err("broken framing"),
        BodyError::Disconnected
    );
}

#[tokio::test]
async fn a_body_that_moves_is_waited_for() {
    let head = Duration::from_millis(400);
    let slow = OutboundConfig { head, ..config() };
    let server = Server::start(move |request| async move {
        let (begin, mut body) = (Instant::now(), request.into_body());
        while begin.elapsed() < head * 5 / 2 {
            body.frame()
                .await
                .expect("an endless body")
                .expect("a frame");
        }
        Response::new(whole(Bytes::from_static(b"meow")))
    })
    .await;
    let endless = Frames(std::iter::repeat("meow")).boxed_unsync();
    let way = Way::to(&server, &slow).await;
    let answer = way
        .send(with_body(Method::POST, endless))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn connections_are_bounded_and_given_back() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nmeow";
    let few = OutboundConfig {
        connections: 1,
        connect: Duration::from_millis(50),
        ..config()
    };
    let server = Server::scripted(&[&[HALF], &[OK]]).await;
    let way = Way::to(&server, &few).await;
    let held = way.send(get("/")).await.expect("a head");
    let error = way.send(get("/")).await.expect_err("no connection is left");
    let text = fractus_stdx::ErrorChain(&error).to_string();
    assert!(
        text.contains("all 1 connections that the node may have"),
        "{text}"
    );
    drop(held);
    // The connection is closed soon, not at once.
    let waiting = Instant::now();
    while way.send(get("/")).await.is_err() {
        assert!(
            waiting.elapsed() < Duration::from_secs(10),
            "the place is free again"
        );
    }
}

#[tokio::test]
async fn a_function_has_its_share_of_the_connections_and_no_more() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nmeow";
    let few = OutboundConfig {
        function_connections: 2,
        connect: Duration::from_millis(50),
        ..config()
    };
    let server = Server::scripted(&[&[HALF], &[HALF], &[HALF], &[OK]]).await;
    let mut way = Way::to(&server, &few).await;
    let mut held = vec![way.send(get("/")).await.expect("a head")];
    held.push(way.send(get("/")).await.expect("a head"));
    let error = way.send(get("/")).await.expect_err("its share is used up");
    let text = fractus_stdx::ErrorChain(&error).to_string();
    assert!(
        text.contains("all 2 connections that a function may have"),
        "{text}"
    );
    // Another function has its own.
    let host = format!("db.lab:{}", server.port());
    way.lane = lane(&[], &[&host]);
    held.push(way.send(get("/")).await.expect("a head"));
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_body_that_trickles_ends() {
    let short = OutboundConfig {
        upload: Duration::from_millis(50),
        ..config()
    };
    let server = echo().await;
    let way = Way::to(&server, &short).await;
    let (sender, trickle) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while sender.send(()).await.is_ok() {
            ticks.tick().await;
        }
    });
    let request = with_body(Method::POST, Trickle(trickle).boxed_unsync());
    let error = way.send(request).await.expect_err("the time is over");
    assert!(matches!(error, OutboundError::Failed { .. }), "{error}");
    let text = fractus_stdx::ErrorChain(&error).to_string();
    assert!(text.contains(&BodyError::Stalled.to_string()), "{text}");
}

#[tokio::test]
async fn what_is_no_tls_and_who_is_not_there() {
    let server = echo().await;
    let mut way = Way::to(&server, &config()).await;
    way.url = way.url.replace("http:", "https:");
    let error = way.send(get("/")).await.expect_err("no TLS there");
    assert!(matches!(error, OutboundError::Failed { .. }), "{error}");

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    way.url = format!("http://127.0.0.1:{port}/");
    way.lane = lane(&[], &[&format!("127.0.0.1:{port}")]);
    let error = way.send(get("/")).await.expect_err("nobody listens");
    let text = fractus_stdx::ErrorChain(&error).to_string();
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn many_requests_at_once() {
    let server = echo().await;
    let way = Arc::new(Way::to(&server, &config()).await);
    let answers = Arc::new(Mutex::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (way, answers) = (Arc::clone(&way), Arc::clone(&answers));
        tasks.spawn(async move {
            let request = with_body(Method::POST, body("meow"));
            let answer = Answer::of(way.send(request).await.expect("an answer")).await;
            assert_eq!(answer.text(), "meow");
            *answers.lock().expect("no panic before") += 1;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    assert_eq!(*answers.lock().expect("no panic before"), 100);
    assert!(server.connections() <= 8, "{}", server.connections());
}
