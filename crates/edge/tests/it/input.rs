//! Bad input: refused with a word, and never seen by an origin in two meanings.

use crate::client::Client;
use crate::origin::{Scripted, answer};
use crate::start::start;

/// What must become of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Close,
    Open,
}

use Then::{Close, Open};

/// The status that requests get, what becomes of the connection, and how often an origin is asked.
type Case = (u16, Then, usize, &'static [&'static str]);

const CASES: &[Case] = &[
    // The usual.
    (
        200,
        Open,
        1,
        &[
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://A:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ],
    ),
    (
        200,
        Close,
        1,
        &[
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ],
    ),
    // Two lengths.
    (
        400,
        Close,
        0,
        &[
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ],
    ),
    // Codings.
    (
        400,
        Close,
        0,
        &[
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    ),
    (
        501,
        Close,
        0,
        &[
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    ),
    // Hosts.
    (
        400,
        Close,
        0,
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    ),
    // Heads.
    (
        400,
        Close,
        0,
        &[
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
            "GET / HTTP/3.7\r\nHost: a\r\n\r\n",
            "nonsense\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        ],
    ),
    // Methods and expectations.
    (
        405,
        Close,
        0,
        &[
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    ),
    (400, Close, 0, &["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"]),
    (
        417,
        Open,
        0,
        &["GET / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n"],
    ),
];

#[tokio::test]
async fn requests_are_answered_as_they_deserve() {
    for &(status, then, calls, requests) in CASES {
        for request in requests {
            check(request, status, then, calls).await;
        }
    }
    let long_head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(40 << 10)
    );
    let many_fields = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    for head in [long_head, many_fields] {
        check(&head, 431, Close, 0).await;
    }
}

async fn check(request: &str, status: u16, then: Then, calls: usize) {
    let started = start(Scripted::new(|request, _| async move {
        drop(http_body_util::BodyExt::collect(request.into_body()).await);
        answer(200, "", "fine")
    }));
    let mut client = started.client().await;
    // A refusal may come, and the connection end, before all is sent.
    drop(tokio::io::AsyncWriteExt::write_all(&mut client.socket, request.as_bytes()).await);
    let answer = client.answer().await;
    let answer = answer.unwrap_or_else(|| panic!("no answer to {request:.200?}"));
    assert_eq!(answer.status, status, "{request:.200?} got {answer:?}");
    assert_eq!(started.origin.calls(), calls, "{request:.200?}");
    match then {
        Close => assert!(client.is_closed().await, "{request:.200?}"),
        Open => assert_eq!(client.get("/").await.status, 200, "{request:.200?}"),
    }
}

#[tokio::test]
async fn a_request_hidden_behind_an_ambiguous_one_is_not_seen() {
    let origin = Scripted::plain(|request, _| answer(200, "", request.uri().path().to_owned()));
    let started = start(origin);
    let mut client = started.client().await;
    client
        .send(
            "GET /first HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 45\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.unwrap().text(), "/first");
    let refused = client.answer().await.unwrap();
    assert_eq!(
        (refused.status, refused.expect("x-fractus-error")),
        (400, "ambiguous-request")
    );
    assert!(client.is_closed().await);
    assert_eq!(started.origin.calls(), 1);
}

/// What the edge and hyper could read differently would let a later one pass unseen.
#[tokio::test]
async fn what_could_be_read_in_two_ways_ends_the_connection() {
    let both = "POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
                Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let sized =
        |length: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nabc");
    let chunked = |body: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{body}{both}")
    };
    let blanks = " ".repeat(80);
    let zeros = "0".repeat(80);
    for (input, served) in [
        (sized(&format!("{blanks}3")), 0),
        (sized(&format!("{zeros}3")), 0),
        (
            chunked(&format!(
                "{zeros}14\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"
            )),
            1,
        ),
        (chunked("0\r\nX: y\n\nGET / HTTP/1.1\r\nZ: z\r\n\r\n"), 1),
    ] {
        let started = start(Scripted::new(|request, _| async move {
            drop(http_body_util::BodyExt::collect(request.into_body()).await);
            answer(200, "", "fine")
        }));
        let mut client = started.client().await;
        client.send(&input).await;
        for _ in 0..served {
            let answer = client.answer().await.expect("an answer");
            assert_eq!(answer.status, 200, "{input:?}");
        }
        let refused = client.answer().await.expect("an answer");
        assert_eq!(refused.status, 400, "{input:?}");
        assert_eq!(refused.expect("x-fractus-error"), "ambiguous-request");
        assert!(client.is_closed().await, "{input:?}");
        assert_eq!(started.origin.calls(), served, "{input:?}");
    }
}

#[tokio::test]
async fn broken_chunks_break_the_body() {
    for chunks in [
        "xyz\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab",
        "fffffffffffffffff\r\n",
    ] {
        let started = start(Scripted::new(|request, _| async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await;
            assert!(body.is_err(), "the body was taken for whole");
            answer(400, "", "broken")
        }));
        let mut client = started.client().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.send(chunks).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.socket)
            .await
            .unwrap();
        if let Some(answer) = client.answer().await {
            assert_eq!(answer.status, 400, "{chunks:?}");
        }
        assert!(client.is_closed().await, "{chunks:?}");
    }
}

#[tokio::test]
async fn what_the_origin_gets_is_in_order() {
    let origin = Scripted::plain(|request, _| {
        let mut seen = vec![format!("{} {}", request.method(), request.uri())];
        for (name, value) in request.headers() {
            seen.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        seen.sort();
        answer(
            200,
            "connection: x-secret\nx-secret: 1\nkeep-alive: timeout=9",
            seen.join("\n"),
        )
    });
    let started = start(origin);
    let mut client = started.client().await;
    client
        .send(
            "GET http://Example.COM:8080/p?q=1 HTTP/1.1\r\nHost: EXAMPLE.com:8080\r\n\
             Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nTE: trailers\r\nUpgrade: websocket\r\n\
             X-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nVia: 1.0 other\r\nX-End: 1\r\n\r\n",
        )
        .await;
    let answer = client.answer().await.unwrap();
    let expected = "GET http://example.com:8080/p?q=1\nhost: example.com:8080\nvia: 1.0 other\n\
                    via: 1.1 fractus\nx-end: 1\nx-forwarded-for: 127.0.0.1\n\
                    x-forwarded-host: example.com:8080\nx-forwarded-proto: http";
    assert_eq!(answer.text(), expected);
    assert_eq!(
        (answer.field("x-secret"), answer.field("keep-alive")),
        (None, None)
    );
}

#[tokio::test]
async fn origins_cannot_break_the_framing() {
    let origin = Scripted::plain(|request, _| match request.uri().path() {
        "/short" => answer(200, "content-length: 9", "four"),
        "/long" => answer(200, "content-length: 1", "four"),
        "/twice" => answer(200, "content-length: 4\ncontent-length: 5", "four"),
        "/coded" => answer(200, "transfer-encoding: gzip", "four"),
        _ => answer(101, "upgrade: x", ""),
    });
    let started = start(origin);
    let mut client = started.client().await;
    for path in ["/short", "/long", "/twice", "/coded"] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.text(), answer.expect("content-length")),
            ("four", "4"),
            "{path}"
        );
    }
    let switched = client.get("/switch").await;
    assert_eq!(
        (switched.status, switched.expect("x-fractus-error")),
        (502, "bad-origin-answer")
    );
}

#[tokio::test]
async fn a_request_that_runs_in_circles_is_stopped() {
    let started = start(Scripted::plain(|_, _| answer(200, "", "fine")));
    let mut client: Client = started.client().await;
    let few = "Via: 1.1 fractus, 1.1 fractus\n";
    assert_eq!(client.get_with("/", few).await.status, 200);
    let many = "Via: 1.1 fractus, 1.1 fractus\n".repeat(4);
    let stopped = client.get_with("/", &many).await;
    assert_eq!(
        (stopped.status, stopped.expect("x-fractus-error")),
        (508, "loop")
    );
}
