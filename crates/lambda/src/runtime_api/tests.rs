use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{BodyError, Outcome, RequestId};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Answer, ApiLimits, Driver, Invocation, RuntimeApi, runtime_api};
use crate::limits::{CONNECTIONS_MAX, ERROR_BODY_MAX};
use crate::stream_response;

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";

/// A guest's connection, spoken by hand.
struct Guest {
    io: DuplexStream,
    served: JoinHandle<()>,
    seen: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn error_type(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap();
        assert!(json["errorMessage"].is_string());
        json["errorType"].as_str().unwrap().to_owned()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

impl Guest {
    fn new(api: &RuntimeApi) -> Self {
        let (io, theirs) = tokio::io::duplex(64 << 10);
        let api = api.clone();
        let served = tokio::spawn(async move { api.serve(theirs).await });
        let seen = Vec::new();
        Self { io, served, seen }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.parse() {
                return reply;
            }
            assert_ne!(self.io.read_buf(&mut self.seen).await.unwrap(), 0, "closed");
        }
    }

    fn parse(&mut self) -> Option<Reply> {
        let end = self.seen.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.seen[..end].to_vec()).unwrap();
        let reply = Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        };
        let length = reply
            .field("content-length")
            .map_or(0, |n| n.parse().unwrap());
        let body = self.seen.get(end..end + length)?.to_vec();
        self.seen.drain(..end + length);
        Some(Reply { body, ..reply })
    }

    async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.send(bytes).await;
        self.reply().await
    }

    async fn post(&mut self, path: &str, body: &[u8]) -> Reply {
        self.send(post_head(path, &format!("Content-Length: {}", body.len())))
            .await;
        self.ask(body).await
    }

    async fn answer(&mut self, id: RequestId, body: &[u8]) -> Reply {
        self.post(&format!("invocation/{id}/response"), body).await
    }

    async fn begin_stream(&mut self, id: RequestId, content_type: &str) {
        let fields = format!(
            "Transfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n\
             Trailer: Lambda-Runtime-Function-Error-Type\r\nContent-Type: {content_type}"
        );
        self.send(post_head(&format!("invocation/{id}/response"), &fields))
            .await;
    }

    async fn chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\r\n");
        self.send(bytes).await;
    }
}

fn post_head(path: &str, fields: &str) -> String {
    format!("POST /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")
}

fn id(n: u128) -> RequestId {
    RequestId::from_random(n)
}

fn invocation(n: u128) -> Invocation {
    Invocation {
        id: id(n),
        deadline_ms: 1_700_000_000_123,
        arn: "arn:aws:lambda:eu-west-1:000000000000:function:f".into(),
        trace_id: None,
        client_context: None,
        event: Bytes::from_static(b"{\"a\":1}"),
    }
}

/// Starts an invocation and lets the guest take it.
async fn started(
    driver: Driver,
    guest: &mut Guest,
    n: u128,
) -> JoinHandle<(Driver, Result<Answer, crate::ErrorShape>)> {
    let run = invoke(driver, n);
    let next = guest.ask(NEXT).await;
    assert_eq!(next.status, 200);
    run
}

fn invoke(mut driver: Driver, n: u128) -> JoinHandle<(Driver, Result<Answer, crate::ErrorShape>)> {
    tokio::spawn(async move {
        let answer = driver.invoke(invocation(n)).await;
        (driver, answer)
    })
}

fn whole(answer: Result<Answer, crate::ErrorShape>) -> Bytes {
    match answer.unwrap() {
        Answer::Whole(bytes) => bytes,
        Answer::Stream { .. } => panic!("streamed"),
    }
}

fn setup() -> (RuntimeApi, Driver) {
    runtime_api(ApiLimits {
        response_max: 1000,
        stream_max: 5000,
    })
}

#[tokio::test]
async fn gives_invocations_and_takes_answers() {
    let (api, mut driver) = setup();
    let mut guest = Guest::new(&api);
    guest.send(NEXT).await;
    driver.ready().await.unwrap();
    driver.idle().await;
    for n in 0..3 {
        let run = tokio::spawn(async move {
            let mut invocation = invocation(n);
            invocation.trace_id = Some("Root=1-2;Sampled=0".to_owned());
            invocation.client_context =
                Some("{\"custom\":\n{\"k\":\"\u{e4}\u{1f600}\"}}".to_owned());
            let answer = driver.invoke(invocation).await;
            (driver, answer)
        });
        let next = guest.reply().await;
        assert_eq!(next.status, 200);
        assert_eq!(next.body, b"{\"a\":1}");
        assert_eq!(
            next.field("lambda-runtime-aws-request-id"),
            Some(&*id(n).to_string())
        );
        assert_eq!(
            next.field("lambda-runtime-deadline-ms"),
            Some("1700000000123")
        );
        let arn = next.field("lambda-runtime-invoked-function-arn");
        assert_eq!(
            arn,
            Some("arn:aws:lambda:eu-west-1:000000000000:function:f")
        );
        assert_eq!(
            next.field("lambda-runtime-trace-id"),
            Some("Root=1-2;Sampled=0")
        );
        let context = next.field("lambda-runtime-client-context");
        assert_eq!(
            context,
            Some("{\"custom\": {\"k\":\"\\u00e4\\ud83d\\ude00\"}}")
        );
        assert_eq!(next.field("content-type"), Some("application/json"));
        let reply = guest.answer(id(n), b"[1]").await;
        assert_eq!(
            (reply.status, &*reply.body),
            (202, &b"{\"status\":\"OK\"}"[..])
        );
        let (back, answer) = run.await.unwrap();
        driver = back;
        assert_eq!(whole(answer), "[1]");
        driver.ended().await.unwrap();
        guest.send(NEXT).await;
        driver.idle().await;
    }
}

#[tokio::test]
async fn an_invocation_may_come_before_the_guest_asks() {
    let (api, driver) = setup();
    let run = invoke(driver, 1);
    let mut guest = Guest::new(&api);
    assert_eq!(guest.ask(NEXT).await.status, 200);
    guest.answer(id(1), b"1").await;
    assert_eq!(whole(run.await.unwrap().1), "1");
}

#[tokio::test]
async fn takes_errors() {
    let (api, mut driver) = setup();
    let mut guest = Guest::new(&api);
    let cases = [
        (
            "",
            "{\"errorType\":\"E\",\"errorMessage\":\"m\",\"stackTrace\":[\"l\"]}".to_owned(),
            "E",
            "m",
        ),
        (
            "Lambda-Runtime-Function-Error-Type: Named\r\n",
            "words".to_owned(),
            "Named",
            "words",
        ),
        ("", String::new(), "Runtime.Unknown", ""),
    ];
    for (n, (fields, body, kind, message)) in (0..).zip(cases) {
        let run = started(driver, &mut guest, n).await;
        let path = format!("invocation/{}/error", id(n));
        let head = post_head(&path, &format!("{fields}Content-Length: {}", body.len()));
        assert_eq!(guest.ask(head + &body).await.status, 202);
        let (back, answer) = run.await.unwrap();
        driver = back;
        let error = answer.unwrap_err();
        assert_eq!((&*error.error_type, &*error.error_message), (kind, message));
        assert_eq!(driver.ended().await, Err(error));
    }
    let run = started(driver, &mut guest, 9).await;
    let long = vec![b'x'; ERROR_BODY_MAX * 3];
    let reply = guest
        .post(&format!("invocation/{}/error", id(9)), &long)
        .await;
    assert_eq!(reply.status, 202);
    assert_eq!(
        run.await.unwrap().1.unwrap_err().error_type,
        "Runtime.Unknown"
    );
}

#[tokio::test]
async fn an_init_error_ends_the_start() {
    let (api, mut driver) = setup();
    let mut guest = Guest::new(&api);
    let body = b"{\"errorType\":\"Runtime.ImportModuleError\",\"errorMessage\":\"no\"}";
    assert_eq!(guest.post("init/error", body).await.status, 202);
    let error = driver.ready().await.unwrap_err();
    assert_eq!(error.error_type, "Runtime.ImportModuleError");
    assert_eq!(driver.invoke(invocation(1)).await.unwrap_err(), error);
    let again = guest.post("init/error", body).await;
    assert_eq!(
        (again.status, &*again.error_type()),
        (403, "InvalidStateTransition")
    );
    let next = guest.ask(NEXT).await;
    assert_eq!(
        (next.status, &*next.error_type()),
        (403, "InvalidStateTransition")
    );

    // It also ends an invocation that lies ready.
    let (api, driver) = setup();
    let run = invoke(driver, 1);
    tokio::task::yield_now().await;
    Guest::new(&api).post("init/error", body).await;
    assert_eq!(run.await.unwrap().1.unwrap_err(), error);
}

#[tokio::test]
async fn refuses_what_is_wrong_and_goes_on() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let early = guest.answer(id(1), b"1").await;
    assert_eq!(
        (early.status, &*early.error_type()),
        (400, "InvalidRequestID")
    );
    let run = started(driver, &mut guest, 1).await;

    let of = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let at = format!("/2018-06-01/runtime/invocation/{}", id(1));
    let cases = [
        (of("/"), 404, "NotFound"),
        (of("/2018-06-01/runtime/invocation/"), 404, "NotFound"),
        (
            of("/2018-06-01/runtime/invocation/x/y/response"),
            404,
            "NotFound",
        ),
        (of(&at), 404, "NotFound"),
        (of(&format!("{at}/response")), 405, "MethodNotAllowed"),
        (
            of("/2018-06-01/runtime/restore/next"),
            403,
            "InvalidStateTransition",
        ),
        (
            of("/2020-01-01/extension/register"),
            403,
            "Extension.NotSupported",
        ),
        (of("/2022-07-01/telemetry"), 403, "Extension.NotSupported"),
        (NEXT.replace("GET", "DELETE"), 405, "MethodNotAllowed"),
        (NEXT.to_owned(), 403, "InvalidStateTransition"),
        (
            post_head("init/error", "Content-Length: 0"),
            403,
            "InvalidStateTransition",
        ),
        (
            post_head("invocation/x/response", "Content-Length: 0"),
            400,
            "InvalidRequestID",
        ),
        (
            post_head(&format!("invocation/{}/error", id(2)), "Content-Length: 0"),
            400,
            "InvalidRequestID",
        ),
    ];
    for (request, status, kind) in cases {
        let reply = guest.ask(&request).await;
        assert_eq!(
            (reply.status, &*reply.error_type()),
            (status, kind),
            "{request}"
        );
        let allow = reply.field("allow");
        assert_eq!(allow.is_some(), status == 405);
    }
    assert_eq!(guest.answer(id(1), b"1").await.status, 202);
    assert_eq!(whole(run.await.unwrap().1), "1");
}

#[tokio::test]
async fn refuses_answers_to_others_and_second_ones() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    let other = guest.answer(id(2), &vec![b'x'; 500_000]).await;
    assert_eq!(
        (other.status, &*other.error_type()),
        (400, "InvalidRequestID")
    );

    assert_eq!(guest.answer(id(1), b"1").await.status, 202);
    let (_driver, answer) = run.await.unwrap();
    assert_eq!(whole(answer), "1");
    for _ in 0..2 {
        let twice = guest.answer(id(1), b"2").await;
        assert_eq!(
            (twice.status, &*twice.error_type()),
            (403, "InvalidStateTransition")
        );
    }
}

#[tokio::test]
async fn bounds_an_answer() {
    let (api, mut driver) = setup();
    let mut guest = Guest::new(&api);
    for (n, size, chunked) in [
        (0, 1000, false),
        (1, 1001, false),
        (2, 1_000_000, false),
        (3, 1000, true),
        (4, 1001, true),
    ] {
        let run = started(driver, &mut guest, n).await;
        let body = vec![b'x'; size];
        let reply = if chunked {
            let path = format!("invocation/{}/response", id(n));
            guest
                .send(post_head(&path, "Transfer-Encoding: chunked"))
                .await;
            for piece in body.chunks(7) {
                guest.chunk(piece).await;
            }
            guest.ask("0\r\n\r\n").await
        } else {
            guest.answer(id(n), &body).await
        };
        let (back, answer) = run.await.unwrap();
        driver = back;
        if size <= 1000 {
            assert_eq!(reply.status, 202);
            assert_eq!(whole(answer), body);
        } else {
            assert_eq!(
                (reply.status, &*reply.error_type()),
                (413, "RequestEntityTooLarge")
            );
            assert_eq!(
                answer.unwrap_err().error_type,
                "Function.ResponseSizeTooLarge"
            );
        }
    }
}

#[tokio::test]
async fn streams_an_answer() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    guest
        .begin_stream(id(1), "application/vnd.awslambda.http-integration-response")
        .await;
    guest
        .chunk("{\"statusCode\":201,\"headers\":{\"x\":[\"1\",\"2\"]},\"cookies\":[\"a=b\"]}")
        .await;
    let (mut driver, answer) = run.await.unwrap();
    let Ok(Answer::Stream { content_type, body }) = answer else {
        panic!("not streamed");
    };
    guest.chunk([0; 8]).await;
    let response = stream_response(content_type.as_deref(), body)
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers().get_all("x").iter().count(), 2);
    assert_eq!(response.headers()["set-cookie"], "a=b");
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
    let mut body = response.into_body();
    for part in ["one", "two"] {
        guest.chunk(part).await;
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            part
        );
    }
    assert_eq!(
        guest
            .ask("0\r\n\r\n".to_owned())
            .await_end(&mut body)
            .await
            .status,
        202
    );
    driver.ended().await.unwrap();
    let twice = guest.answer(id(1), b"1").await;
    assert_eq!(twice.status, 403);
    guest.send(NEXT).await;
    driver.idle().await;
}

/// Reads a body to its end while the guest waits for its reply.
trait AwaitEnd: Future<Output = Reply> + Sized {
    async fn await_end(self, body: &mut fractus_func::Body) -> Reply {
        let (reply, end) = tokio::join!(self, body.frame());
        assert!(end.is_none());
        reply
    }
}

impl<T: Future<Output = Reply>> AwaitEnd for T {}

/// Lets the guest stream "data" and then `end`; gives what the reader saw at the end, what the
/// guest was told, and how the driver says it ended.
async fn stream_end(
    end: &str,
) -> (
    Option<Result<Bytes, BodyError>>,
    u16,
    Result<(), crate::ErrorShape>,
) {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    guest.begin_stream(id(1), "text/plain").await;
    guest.chunk("data").await;
    let (mut driver, answer) = run.await.unwrap();
    let Ok(Answer::Stream { mut body, .. }) = answer else {
        panic!("not streamed");
    };
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "data"
    );
    let (reply, last) = tokio::join!(guest.ask(end), body.frame());
    let last = last.map(|frame| frame.map(|frame| frame.into_data().unwrap()));
    (last, reply.status, driver.ended().await)
}

#[tokio::test]
async fn hears_of_errors_within_a_stream() {
    // Trailers, as Node.js sends them; the body is base64 of {"errorType":"T","errorMessage":"m"}.
    let trailers = "0\r\nLambda-Runtime-Function-Error-Type: X\r\n\
         Lambda-Runtime-Function-Error-Body: \
         eyJlcnJvclR5cGUiOiJUIiwiZXJyb3JNZXNzYWdlIjoibSJ9\r\n\r\n";
    let (last, status, end) = stream_end(trailers).await;
    assert_eq!(last, Some(Err(BodyError::Guest(Outcome::GuestError))));
    assert_eq!(status, 202);
    assert_eq!(end.unwrap_err().to_string(), "T: m");

    // In band, as the Rust runtime sends them; the body is base64 of "midway".
    let text = "Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n\
         Lambda-Runtime-Function-Error-Body: bWlkd2F5\r\n";
    let chunk = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let (last, status, end) = stream_end(&chunk).await;
    assert_eq!(last, Some(Err(BodyError::Guest(Outcome::GuestError))));
    assert_eq!(status, 202);
    assert_eq!(end.unwrap_err().to_string(), "Runtime.StreamError: midway");

    // What only looks like it is data, and so are trailers that tell no error.
    let text = "Lambda-Runtime-Function-Error-Type: and more words";
    let chunk = format!("{:x}\r\n{text}\r\n0\r\nX-Other: 1\r\n\r\n", text.len());
    let (last, status, end) = stream_end(&chunk).await;
    assert_eq!(last, Some(Ok(Bytes::from_static(text.as_bytes()))));
    assert_eq!((status, end), (202, Ok(())));
}

#[tokio::test]
async fn an_error_may_be_all_of_a_stream() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    guest.begin_stream(id(1), "text/plain").await;
    let reply = guest
        .ask("0\r\nLambda-Runtime-Function-Error-Type: X\r\n\r\n")
        .await;
    assert_eq!(reply.status, 202);
    assert_eq!(run.await.unwrap().1.unwrap_err().error_type, "X");
}

#[tokio::test]
async fn bounds_a_stream() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    guest.begin_stream(id(1), "text/plain").await;
    guest.chunk(vec![b'x'; 5000]).await;
    let (mut driver, answer) = run.await.unwrap();
    let Ok(Answer::Stream { body, .. }) = answer else {
        panic!("not streamed");
    };
    let rest = async {
        guest.chunk("y").await;
        guest.chunk(vec![b'z'; 100_000]).await;
        guest.ask("0\r\n\r\n").await
    };
    let (reply, read) = tokio::join!(rest, body.collect());
    assert_eq!(read.unwrap_err(), BodyError::TooLarge(5000));
    assert_eq!(
        (reply.status, &*reply.error_type()),
        (413, "RequestEntityTooLarge")
    );
    let end = driver.ended().await.unwrap_err();
    assert_eq!(end.error_type, "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn a_reader_may_leave_a_stream() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    guest.begin_stream(id(1), "text/plain").await;
    guest.chunk("data").await;
    let (mut driver, answer) = run.await.unwrap();
    drop(answer);
    for _ in 0..100 {
        guest.chunk("more").await;
    }
    assert_eq!(guest.ask("0\r\n\r\n").await.status, 202);
    driver.ended().await.unwrap();
    let run = started(driver, &mut guest, 2).await;
    guest.answer(id(2), b"2").await;
    assert_eq!(whole(run.await.unwrap().1), "2");
}

#[tokio::test]
async fn a_lost_connection_ends_a_stream_but_no_invocation() {
    let (api, driver) = setup();
    let mut guest = Guest::new(&api);
    let run = started(driver, &mut guest, 1).await;
    // Lost within a whole answer: the guest may try again on another connection.
    let head = post_head(
        &format!("invocation/{}/response", id(1)),
        "Content-Length: 10",
    );
    guest.send(head + "12345").await;
    drop(guest.io);
    guest.served.await.unwrap();
    assert!(!run.is_finished());
    let mut guest = Guest::new(&api);
    guest.begin_stream(id(1), "text/plain").await;
    guest.chunk("data").await;
    let (mut driver, answer) = run.await.unwrap();
    let Ok(Answer::Stream { body, .. }) = answer else {
        panic!("not streamed");
    };
    drop(guest.io);
    assert_eq!(body.collect().await.unwrap_err(), BodyError::Disconnected);
    guest.served.await.unwrap();
    let end = driver.ended().await.unwrap_err();
    assert_eq!(end.error_type, "Runtime.TruncatedResponse");
    // What waits for an invocation on a connection that is lost does not swallow it.
    let mut lost = Guest::new(&api);
    lost.send(NEXT).await;
    driver.idle().await;
    let mut guest = Guest::new(&api);
    guest.send(NEXT).await;
    drop(lost.io);
    lost.served.await.unwrap();
    let run = invoke(driver, 2);
    assert_eq!(guest.reply().await.status, 200);
    guest.answer(id(2), b"2").await;
    assert_eq!(whole(run.await.unwrap().1), "2");
}

#[tokio::test]
async fn a_withdrawn_invocation_is_over() {
    let (api, mut driver) = setup();
    let mut guest = Guest::new(&api);
    // Before the guest took it: it never does.
    let abandoned = tokio::time::timeout(Duration::ZERO, driver.invoke(invocation(1)));
    assert!(abandoned.await.is_err());
    // While it runs.
    tokio::select! {
        biased;
        _ = driver.invoke(invocation(2)) => panic!("not answered"),
        next = guest.ask(NEXT) => {
            let taken = next.field("lambda-runtime-aws-request-id");
            assert_eq!(taken, Some(&*id(2).to_string()));
        }
    }
    let late = guest.answer(id(2), b"2").await;
    assert_eq!(
        (late.status, &*late.error_type()),
        (400, "InvalidRequestID")
    );
    // While its answer is on its way, whole or streamed.
    for (n, streaming) in [(3, false), (4, true)] {
        tokio::select! {
            biased;
            _ = driver.invoke(invocation(n)) => panic!("not answered"),
            () = async {
                guest.ask(NEXT).await;
                if streaming {
                    guest.begin_stream(id(n), "text/plain").await;
                } else {
                    let path = format!("invocation/{}/response", id(n));
                    guest.send(post_head(&path, "Content-Length: 3")).await;
                }
                tokio::task::yield_now().await;
            } => {}
        }
        let late = guest
            .ask(if streaming {
                "1\r\nx\r\n0\r\n\r\n"
            } else {
                "123"
            })
            .await;
        assert_eq!(
            (late.status, &*late.error_type()),
            (400, "InvalidRequestID")
        );
    }
    let run = started(driver, &mut guest, 5).await;
    guest.answer(id(5), b"5").await;
    assert_eq!(whole(run.await.unwrap().1), "5");
}

#[tokio::test]
async fn connections_are_bounded_and_end_with_the_driver() {
    let (api, mut driver) = setup();
    let mut guests: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Guest::new(&api)).collect();
    for guest in &mut guests {
        guest.send(NEXT).await;
        driver.idle().await;
    }
    let mut more = Guest::new(&api);
    assert_eq!(more.io.read(&mut [0; 1]).await.unwrap(), 0);
    drop(guests.pop().unwrap().io);
    drop(driver);
    for guest in guests {
        guest.served.await.unwrap();
    }
    assert_eq!(Arc::strong_count(&api.shared), 1);
    Guest::new(&api).served.await.unwrap();
}

/// Counts writes.
struct Counting {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn head_and_event_leave_in_one_write() {
    let (api, driver) = setup();
    let (io, theirs) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let counting = Counting {
        io: theirs,
        writes: Arc::clone(&writes),
    };
    let served = tokio::spawn(async move { api.serve(counting).await });
    let mut guest = Guest {
        io,
        served,
        seen: Vec::new(),
    };
    guest.send(NEXT).await;
    let mut large = invocation(1);
    large.event = Bytes::from(vec![b' '; 100_000]);
    let run = tokio::spawn(async move {
        let mut driver = driver;
        driver.invoke(large).await
    });
    assert_eq!(guest.reply().await.body.len(), 100_000);
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    guest.answer(id(1), b"1").await;
    assert_eq!(writes.load(Ordering::Relaxed), 2);
    assert_eq!(whole(run.await.unwrap()), "1");
}

#[tokio::test]
async fn tcp_acknowledges_at_once() {
    let (api, mut driver) = setup();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut guest = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    let served = tokio::spawn(async move { api.serve_tcp(theirs).await });
    let begin = Instant::now();
    for _ in 0..20 {
        // Nagle's algorithm keeps each part until the one before is acknowledged.
        for part in [
            "GET /2018-06-01/",
            "runtime/restore/",
            "next HTTP/1.1\r\n",
            "Host: x\r\n\r\n",
        ] {
            guest.write_all(part.as_bytes()).await.unwrap();
        }
        let mut reply = vec![0; 1000];
        let length = guest.read(&mut reply).await.unwrap();
        assert!(reply[..length].starts_with(b"HTTP/1.1 403 "));
    }
    // A delayed acknowledgement takes 40 ms, so all of them 800 ms at least.
    assert!(begin.elapsed() < Duration::from_millis(400));
    guest.write_all(NEXT.as_bytes()).await.unwrap();
    driver.ready().await.unwrap();
    drop(guest);
    served.await.unwrap();
}
