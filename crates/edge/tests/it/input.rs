//! Bad input: refused with a word, and never seen by an origin in two meanings.

use fractus_func::BodyError;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::origin::{Scripted, answer, channel, field, with_body};
use crate::start::{eventually, routes, start};

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
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.:80\r\n\r\n",
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
            "GET / HTTP/1.1\r\nHost: .\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
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
    (204, Open, 0, &["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"]),
    (
        400,
        Close,
        0,
        &[
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    ),
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
    // Far more than is read of it.
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(1 << 20));
    check(&long_target, 431, Close, 0).await;
}

async fn check(request: &str, status: u16, then: Then, calls: usize) {
    let started = start(Scripted::new(|request, _| async move {
        drop(request.into_body().collect().await);
        answer(200, "", "fine")
    }));
    let mut client = started.client().await;
    // A refusal may come, and the connection end, before all is sent.
    drop(tokio::io::AsyncWriteExt::write_all(&mut client.socket, request.as_bytes()).await);
    let answer = client.answer().await;
    let answer = answer.unwrap_or_else(|| panic!("no answer to {request:.200?}"));
    assert_eq!(answer.status, status, "{request:.200?} got {answer:?}");
    assert_eq!(answer.expect("x-request-id").len(), 36, "{request:.200?}");
    assert!(answer.cache().starts_with("Fractus"), "{request:.200?}");
    if status >= 400 {
        assert!(answer.field("x-fractus-error").is_some(), "{request:.200?}");
        assert!(answer.text().len() > 20, "{request:.200?}");
        assert_eq!(answer.cache(), "Fractus; fwd=bypass", "{request:.200?}");
    }
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
    let ambiguous = "ambiguous-request";
    let sized =
        |length: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nabc");
    let chunked = |body: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{body}{both}")
    };
    let blanks = " ".repeat(80);
    let zeros = "0".repeat(80);
    for (input, code) in [
        (sized(&format!("{blanks}3")), ambiguous),
        (sized(&format!("{zeros}3")), ambiguous),
        (
            chunked(&format!(
                "{zeros}14\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"
            )),
            "bad-chunk",
        ),
        (
            chunked("0\r\nX: y\n\nGET / HTTP/1.1\r\nZ: z\r\n\r\n"),
            "bad-chunk",
        ),
    ] {
        let started = start(Scripted::new(|request, _| async move {
            drop(request.into_body().collect().await);
            answer(200, "", "fine")
        }));
        let mut client = started.client().await;
        client.send(&input).await;
        let refused = client.answer().await.expect("an answer");
        assert_eq!(refused.status, 400, "{input:?}");
        assert_eq!(refused.expect("x-fractus-error"), code);
        assert!(client.is_closed().await, "{input:?}");
        assert_eq!(started.origin.calls(), 0, "{input:?}");
    }
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Chunks that are none, whole lines and such that only hyper finds fault with in time.
const BAD_CHUNKS: &[&str] = &[
    "zz\r\n",
    "zz",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc",
    "fffffffffffffffff\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabcd",
    "3\r\nabc\r\n0\n\n",
];

#[tokio::test]
async fn broken_chunks_are_the_clients_fault() {
    for chunks in BAD_CHUNKS {
        let (ends, mut seen) = mpsc::unbounded_channel();
        let started = start(Scripted::new(move |request, _| {
            let ends = ends.clone();
            async move {
                let end = request.into_body().collect().await.map(|_| ());
                ends.send(end).unwrap();
                answer(502, "", "blames itself")
            }
        }));
        for apart in [false, true] {
            let mut client = started.client().await;
            if apart {
                let calls = started.origin.calls();
                client.send(CHUNKED).await;
                eventually("it is asked", || started.origin.calls() > calls).await;
                client.send(chunks).await;
            } else {
                client.send(format!("{CHUNKED}{chunks}")).await;
            }
            let answer = client.answer().await;
            let answer = answer.unwrap_or_else(|| panic!("{chunks:?} {apart}"));
            assert_eq!(
                (answer.status, answer.expect("x-fractus-error")),
                (400, "bad-chunk"),
                "{chunks:?}"
            );
            assert_eq!(answer.cache(), "Fractus; fwd=bypass");
            assert!(client.is_closed().await, "{chunks:?}");
        }
        drop(started);
        while let Some(end) = seen.recv().await {
            assert_eq!(end, Err(BodyError::Disconnected), "{chunks:?}");
        }
    }
}

/// An origin that has begun to answer as its request comes cannot make the answer look whole.
#[tokio::test]
async fn an_answer_to_a_body_that_breaks_off_is_cut() {
    for chunks in ["zz\r\n", "-3\r\nabc\r\n", "3\r\nabcd"] {
        let started = start(Scripted::plain(|_, _| answer(500, "", "replaced")));
        let origin = Scripted::new(|request, _| async move {
            let (pieces, body) = channel();
            pieces.send(Ok("begun".into())).unwrap();
            tokio::spawn(async move {
                // The end of `pieces` is the answer's.
                let pieces = pieces;
                assert!(request.into_body().collect().await.is_err());
                drop(pieces);
            });
            with_body(200, "", body)
        });
        started.edge.set_routes(routes("/", &origin));
        let mut client = started.client().await;
        client.send(CHUNKED).await;
        let mut begun = client.answer_head().await.expect("a head");
        assert_eq!(
            (begun.status, client.chunk().await.as_str()),
            (200, "begun")
        );
        client.send(chunks).await;
        assert!(
            !client.body(&mut begun).await,
            "{chunks:?} got a whole answer"
        );
    }
}

/// An origin that does not look at the body answers as ever, unless the fault is known before.
#[tokio::test]
async fn broken_chunks_that_nobody_reads_are_refused_if_seen() {
    let started = start(Scripted::plain(|_, _| answer(200, "", "hello")));
    for chunks in BAD_CHUNKS {
        let mut client = started.client().await;
        client.send(format!("{CHUNKED}{chunks}")).await;
        let answer = client.answer().await.expect("an answer");
        // What has no line end yet is known to hyper alone, and read with the body.
        let expected = if chunks.ends_with('\n') || chunks.len() > 10 {
            400
        } else {
            200
        };
        assert_eq!(answer.status, expected, "{chunks:?}");
        assert!(client.is_closed().await, "{chunks:?}");
    }
    assert!(started.origin.calls() < BAD_CHUNKS.len());
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_whole() {
    let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    for (head, body) in [
        (sized, "half"),
        (CHUNKED, "9\r\nhalf"),
        (CHUNKED, "1\r\na\r\n"),
    ] {
        let started = start(Scripted::new(|request, _| async move {
            let end = request.into_body().collect().await.map(|_| ());
            assert_eq!(end, Err(BodyError::Disconnected));
            answer(502, "", "blames itself")
        }));
        let mut client = started.client().await;
        client.send(head).await;
        eventually("it is asked", || started.origin.calls() == 1).await;
        client.send(body).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.socket)
            .await
            .unwrap();
        let answer = client.answer().await.expect("an answer");
        assert_eq!(
            (answer.status, answer.expect("x-fractus-error")),
            (400, "incomplete-body"),
            "{body:?}"
        );
        assert!(client.is_closed().await, "{body:?}");
    }
}

/// The origin's future goes, though it never looks at the body.
#[tokio::test]
async fn a_broken_body_ends_its_request() {
    let (held, mut ended) = mpsc::unbounded_channel::<()>();
    let started = start(Scripted::new(move |request, _| {
        let held = held.clone();
        async move {
            let request = request;
            held.closed().await;
            drop(request);
            answer(200, "", "never")
        }
    }));
    let mut client = started.client().await;
    client.send(CHUNKED).await;
    eventually("it is asked", || started.origin.calls() == 1).await;
    client.send("zz\r\n").await;
    assert_eq!(client.answer().await.expect("an answer").status, 400);
    assert!(client.is_closed().await);
    drop(started);
    assert_eq!(ended.recv().await, None);
}

/// What hyper answers by itself comes after what was asked before, and in our words.
#[tokio::test]
async fn nonsense_behind_a_request_is_refused_in_its_turn() {
    let text = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let started = start(Scripted::plain(move |_, _| answer(200, "", text)));
    let mut client = started.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.unwrap().text(), text);
    let refused = client.answer().await.unwrap();
    assert_eq!(
        (refused.status, refused.expect("x-fractus-error")),
        (400, "bad-head")
    );
    assert_eq!(refused.expect("connection"), "close");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn the_targets_host_is_the_one_that_counts() {
    let origin = Scripted::plain(|request, _| {
        let fields = ["host", "x-forwarded-host"].map(|name| field(request, name));
        answer(200, "cache-control: max-age=60", fields.join(" "))
    });
    let started = start(origin);
    let mut client = started.client().await;
    for (target, host, cached) in [
        ("http://a.test/", "other", "fwd=uri-miss"),
        ("/", "A.test.", "hit"),
        ("http://a.test./", "a.test", "hit"),
        ("/", "other", "fwd=uri-miss"),
    ] {
        client
            .send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        let answer = client.answer().await.unwrap();
        assert!(
            answer.cache().contains(cached),
            "{target} {host}: {answer:?}"
        );
        let name = if cached != "hit" && target == "/" {
            "other"
        } else {
            "a.test"
        };
        assert_eq!(answer.text(), format!("{name} {name}"));
    }
}

#[tokio::test]
async fn the_server_as_a_whole_has_options() {
    let started = start(Scripted::plain(|_, _| answer(500, "", "asked")));
    let mut client = started.client().await;
    client.ask("OPTIONS", "*", "").await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 204);
    assert!(answer.expect("allow").contains("DELETE"));
    assert_eq!(answer.cache(), "Fractus; fwd=bypass");
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
