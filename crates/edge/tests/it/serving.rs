//! Connections: routes, patience, order, and a quiet end.

use std::sync::Arc;
use std::time::Duration;

use fractus_edge::{Edge, EdgeConfig};
use fractus_func::{BodyError, RouteTable};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, mpsc};

use crate::origin::{Scripted, answer};
use crate::start::{Started, config, eventually, routes, start, start_with};

const LONG: Duration = Duration::from_mins(1);

fn echo() -> Arc<Scripted> {
    Scripted::plain(|request, _| answer(200, "", request.uri().path().to_owned()))
}

/// Answers when the test lets it.
fn slow() -> (Arc<Scripted>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let at_gate = Arc::clone(&gate);
    let origin = Scripted::new(move |_, _| {
        let gate = Arc::clone(&at_gate);
        async move {
            gate.acquire().await.expect("never closed").forget();
            answer(200, "", "done")
        }
    });
    (origin, gate)
}

#[tokio::test]
async fn routes_change_at_once_and_unknown_ones_are_404() {
    let started = start(echo());
    let mut client = started.client().await;
    assert_eq!(client.get("/a/b").await.text(), "/a/b");
    started.edge.set_routes(routes("/a/", &started.origin));
    assert_eq!(client.get("/a/b").await.status, 200);
    let lost = client.get("/b").await;
    assert_eq!(
        (lost.status, lost.expect("x-fractus-error")),
        (404, "no-route")
    );
    assert_eq!(lost.expect("content-type"), "text/plain; charset=utf-8");
    assert_eq!(lost.cache(), "Fractus; fwd=bypass");
    lost.expect("x-request-id");
    lost.expect("date");
    started.edge.set_routes(RouteTable::default());
    assert_eq!(client.get("/a/b").await.status, 404);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let started = start(echo());
    let mut client = started.client().await;
    let requests: Vec<String> = (0..50)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    client.send(requests.concat()).await;
    for number in 0..50 {
        assert_eq!(client.answer().await.unwrap().text(), format!("/{number}"));
    }
}

#[tokio::test]
async fn bodies_reach_the_origin_and_expectations_are_met() {
    let started = start(Scripted::new(|request, _| async move {
        let body = request.into_body().collect().await.expect("a whole body");
        answer(200, "", body.to_bytes())
    }));
    let mut client = started.client().await;
    client
        .send("PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.answer_head().await.unwrap().status, 100);
    client.send("four").await;
    assert_eq!(client.answer().await.unwrap().text(), "four");
    client
        .send("PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    client.send("2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().text(), "abcde");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let started = start(Scripted::plain(|_, _| answer(413, "", "too large")));
    let mut client = started.client().await;
    for _ in 0..3 {
        client
            .send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
            .await;
        client.send(vec![7; 4_000_000]).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (413, "too large"));
    }
}

/// An edge that loses patience in one way only, and soon.
fn impatient(set: impl Fn(&mut EdgeConfig, Duration), origin: Arc<Scripted>) -> Started {
    let mut config = EdgeConfig {
        header_timeout: LONG,
        idle_timeout: LONG,
        stall_timeout: LONG,
        ..config()
    };
    set(&mut config, Duration::from_millis(100));
    start_with(config, origin)
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    // Long enough for a head that is sent at once, on a busy machine too.
    let started = impatient(|config, soon| config.header_timeout = 10 * soon, echo());
    let mut silent = started.client().await;
    let mut slow = started.client().await;
    slow.send("GET / HTTP/1.1\r\nHo").await;
    let mut second = started.client().await;
    second.ask("GET", "/", "").await;
    second.send("GET / HTTP/1.1\r\nHo").await;
    assert_eq!(second.answer().await.unwrap().status, 200);
    for client in [&mut slow, &mut second] {
        let late = client.answer().await.expect("a word");
        assert_eq!(
            (late.status, late.expect("x-fractus-error"), late.cache()),
            (408, "head-timeout", "Fractus; fwd=bypass")
        );
        assert_eq!(late.expect("connection"), "close");
        assert!(client.is_closed().await);
    }
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let started = impatient(|config, soon| config.idle_timeout = soon, echo());
    let mut client = started.client().await;
    assert_eq!(client.get("/").await.status, 200);
    assert!(client.is_closed().await);
    eventually("it is gone", || started.edge.stats().connections == 0).await;
}

#[tokio::test]
async fn a_stalled_body_ends_with_an_error() {
    let (errors, mut seen) = mpsc::unbounded_channel();
    let origin = Scripted::new(move |request, _| {
        let errors = errors.clone();
        async move {
            let error = request.into_body().collect().await.map(|_| ());
            errors.send(error).unwrap();
            answer(408, "", "stalled")
        }
    });
    let started = impatient(|config, soon| config.stall_timeout = soon, origin);
    let mut client = started.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        .await;
    assert_eq!(seen.recv().await, Some(Err(BodyError::Stalled)));
    assert_eq!(client.answer().await.unwrap().status, 408);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let origin = Scripted::plain(|_, _| answer(200, "", vec![7; 32 << 20]));
    let started = impatient(|config, soon| config.stall_timeout = soon, origin);
    let mut client = started.client().await;
    client.ask("GET", "/", "").await;
    eventually("it is gone", || {
        started.origin.calls() == 1 && started.edge.stats().connections == 0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_slowly_is_not_idle() {
    let origin = Scripted::plain(|_, _| answer(200, "", vec![7; 32 << 20]));
    let started = impatient(|config, soon| config.idle_timeout = soon, origin);
    let mut client = started.client().await;
    client.ask("GET", "/", "").await;
    let mut head = client.answer_head().await.unwrap();
    for part in 1..4 {
        // As long as it takes to lose patience with an idle one.
        let mut idle = started.client().await;
        idle.ask("HEAD", "/", "").await;
        idle.answer_head().await.unwrap();
        assert!(idle.is_closed().await);
        assert!(client.rest(part << 20, &mut head).await);
    }
    assert!(client.rest(32 << 20, &mut head).await);
}

#[tokio::test]
async fn a_slow_origin_is_waited_for() {
    let gate = Arc::new(Semaphore::new(0));
    let at_gate = Arc::clone(&gate);
    let origin = Scripted::new(move |request, _| {
        let gate = Arc::clone(&at_gate);
        async move {
            if request.uri().path() == "/slow" {
                gate.acquire().await.expect("never closed").forget();
            }
            answer(200, "", "done")
        }
    });
    let set = |config: &mut EdgeConfig, soon| {
        config.idle_timeout = soon;
        config.stall_timeout = soon;
    };
    let started = impatient(set, origin);
    let mut client = started.client().await;
    client.ask("GET", "/slow", "").await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    // As long as it takes to lose patience with an idle one, twice.
    for _ in 0..2 {
        let mut idle = started.client().await;
        assert_eq!(idle.get("/").await.status, 200);
        assert!(idle.is_closed().await);
    }
    gate.add_permits(1);
    assert_eq!(client.answer().await.unwrap().text(), "done");
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let few = EdgeConfig {
        connections_max: 2,
        ..config()
    };
    let started = start_with(few, echo());
    let (mut first, mut second) = (started.client().await, started.client().await);
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(second.get("/").await.status, 200);
    let mut third = started.client().await;
    let refused = third.answer().await.unwrap();
    assert_eq!(
        (refused.status, refused.expect("x-fractus-error")),
        (503, "too-many-connections")
    );
    assert_eq!(refused.cache(), "Fractus; fwd=bypass");
    assert_eq!(refused.expect("x-request-id").len(), 36);
    assert!(third.is_closed().await);
    drop(first);
    eventually("there is room again", || {
        started.edge.stats().connections == 1
    })
    .await;
    assert_eq!(started.client().await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_shutdown_lets_requests_end() {
    let (origin, gate) = slow();
    let started = start(origin);
    let (mut busy, mut idle) = (started.client().await, started.client().await);
    gate.add_permits(1);
    assert_eq!(idle.get("/").await.status, 200);
    busy.ask("GET", "/", "").await;
    eventually("the origin is asked", || started.origin.calls() == 2).await;
    let addr = started.serving.local_addr();
    let ending = tokio::spawn(started.serving.shutdown(LONG));
    assert!(idle.is_closed().await);
    gate.add_permits(1);
    let last = busy.answer().await.unwrap();
    assert_eq!((last.text(), last.expect("connection")), ("done", "close"));
    assert!(busy.is_closed().await);
    assert_eq!(ending.await.unwrap(), 0);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    assert_eq!(started.edge.stats().connections, 0);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let (origin, _gate) = slow();
    let started = start(origin);
    let mut client = started.client().await;
    client.ask("GET", "/", "").await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    assert_eq!(started.serving.shutdown(Duration::from_millis(20)).await, 1);
    assert!(client.is_closed().await);
    eventually("it is gone", || started.edge.stats().connections == 0).await;
}

#[tokio::test]
async fn dropping_what_serves_ends_it() {
    let started = start(echo());
    let mut client = started.client().await;
    assert_eq!(client.get("/").await.status, 200);
    let edge: Edge = started.edge.clone();
    drop(started);
    assert!(client.is_closed().await);
    eventually("it is gone", || edge.stats().connections == 0).await;
}
