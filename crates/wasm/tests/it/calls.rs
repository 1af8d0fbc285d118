//! Calls that go well, and each way in which a guest can come to grief.

use std::time::{Duration, Instant};

use fractus_func::{BodyError, Limits, LogStream, Outcome};
use http::Request;
use http_body_util::BodyExt;

use crate::support::{Loaded, body, text};

fn limits() -> Limits {
    Limits {
        memory_mb: 16,
        timeout_s: 5.0,
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_short_answer_is_whole_and_reported() {
    let mut hello = Loaded::new("hello", limits());
    let response = hello.get("/").await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        http_body::Body::size_hint(response.body())
            .exact()
            .is_some()
    );
    assert!(text(response).await.starts_with("Hello"));
    let report = hello.report().await;
    assert_eq!(
        (report.outcome, report.status, report.queue_us),
        (Outcome::Ok, Some(200), 3)
    );
    assert!(report.peak_memory > 0 && report.response_bytes > 0 && report.cpu_us > 0);
}

/// Calls a path whose guest fails before it answers.
async fn failing(path: &str, limits: Limits) -> (Outcome, String) {
    let mut faults = Loaded::new("faults", limits);
    let error = faults.get(path).await.unwrap_err();
    let report = faults.report().await;
    assert_eq!(report.outcome, error.outcome, "{path}");
    assert_eq!(report.error.as_deref(), Some(error.message.as_str()));
    (error.outcome, error.message)
}

#[tokio::test]
async fn each_failure_has_its_outcome() {
    let quick = Limits {
        timeout_s: 0.3,
        ..limits()
    };
    let little_cpu = Limits {
        cpu_s: Some(0.1),
        ..limits()
    };
    for (path, limits, outcome) in [
        ("/loop", quick.clone(), Outcome::Timeout),
        ("/loop", little_cpu, Outcome::CpuLimit),
        ("/never", quick, Outcome::Timeout),
        ("/memory", limits(), Outcome::MemoryLimit),
        ("/stack", limits(), Outcome::Trap),
        ("/trap", limits(), Outcome::Trap),
        ("/leak", limits(), Outcome::Trap),
        ("/no-response", limits(), Outcome::NoResponse),
        (
            "/",
            Limits {
                memory_mb: 1,
                ..limits()
            },
            Outcome::MemoryLimit,
        ),
    ] {
        assert_eq!(failing(path, limits).await.0, outcome, "{path}");
    }
}

#[tokio::test]
async fn a_trap_is_logged_with_its_backtrace() {
    let mut faults = Loaded::new("faults", limits());
    faults.get("/trap").await.unwrap_err();
    faults.report().await;
    let log = faults.logged();
    let system: Vec<_> = log
        .iter()
        .filter(|(stream, _)| *stream == LogStream::System)
        .collect();
    assert!(system.last().unwrap().1.starts_with("trap: "), "{log:?}");
    assert!(
        system
            .iter()
            .any(|(_, line)| line.contains("wasm backtrace")),
        "{log:?}"
    );
    assert!(
        log.iter()
            .any(|(stream, line)| *stream == LogStream::Stderr && line.contains("panicked"))
    );
}

#[tokio::test]
async fn what_a_guest_prints_is_logged_by_line() {
    let mut faults = Loaded::new("faults", limits());
    text(faults.get("/print").await.unwrap()).await;
    faults.report().await;
    let log = faults.logged();
    assert!(
        log.iter().any(|(stream, _)| *stream == LogStream::Stdout),
        "{log:?}"
    );
    assert!(
        log.iter().any(|(stream, _)| *stream == LogStream::Stderr),
        "{log:?}"
    );
    assert!(log.iter().all(|(_, line)| !line.contains('\n')));
}

/// On a busy machine the head may be out by then; then the body breaks off.
#[tokio::test]
async fn what_fails_behind_its_head_is_an_error_or_cut() {
    for (path, outcome) in [
        ("/early-trap", Outcome::Trap),
        ("/short", Outcome::GuestError),
    ] {
        for memory_mb in [16, 1024] {
            let mut faults = Loaded::new(
                "faults",
                Limits {
                    memory_mb,
                    ..limits()
                },
            );
            match faults.get(path).await {
                Err(error) => assert_eq!(error.outcome, outcome, "{path}"),
                Ok(response) => {
                    let end = response.into_body().collect().await;
                    assert_eq!(end.unwrap_err(), BodyError::Guest(outcome), "{path}");
                }
            }
            assert_eq!(faults.report().await.outcome, outcome, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_never_looks_whole() {
    let mut faults = Loaded::new("faults", limits());
    let response = faults.get("/late-trap").await.unwrap();
    assert_eq!(
        response.status(),
        200,
        "the head was out before the guest trapped"
    );
    let end = response.into_body().collect().await;
    assert_eq!(end.unwrap_err(), BodyError::Guest(Outcome::Trap));
    assert_eq!(faults.report().await.outcome, Outcome::Trap);
}

#[tokio::test]
async fn a_guest_that_moved_and_answers_nothing_is_told_apart_from_a_trap() {
    let big = Limits {
        memory_mb: 1024,
        ..limits()
    };
    for (path, outcome) in [
        ("/no-response", Outcome::NoResponse),
        ("/trap", Outcome::Trap),
        ("/stack", Outcome::Trap),
    ] {
        assert_eq!(failing(path, big.clone()).await.0, outcome, "{path}");
    }
    let mut faults = Loaded::new("faults", big);
    assert_eq!(
        text(faults.get("/sleep?ms=1").await.unwrap()).await,
        "slept 1 ms\n"
    );
    let report = faults.report().await;
    assert_eq!((report.outcome, report.status), (Outcome::Ok, Some(200)));
    assert_eq!(report.response_bytes, 11);
}

#[tokio::test]
async fn a_large_response_streams_and_ends_at_its_limit() {
    let mut faults = Loaded::new(
        "faults",
        Limits {
            response_mb: 8,
            ..limits()
        },
    );
    let response = faults.get("/big?mb=4").await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(bytes.len(), 4 << 20);
    assert_eq!(faults.report().await.outcome, Outcome::Ok);

    let response = faults.get("/big?mb=1024").await.unwrap();
    let end = response.into_body().collect().await;
    assert_eq!(
        end.unwrap_err(),
        BodyError::Guest(Outcome::ResponseTooLarge)
    );
    let report = faults.report().await;
    assert_eq!(report.outcome, Outcome::ResponseTooLarge);
    assert!(report.response_bytes < 9 << 20, "{report:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_guest() {
    let mut faults = Loaded::new(
        "faults",
        Limits {
            response_mb: 1024,
            ..limits()
        },
    );
    let response = faults.get("/big?mb=1024").await.unwrap();
    drop(response);
    assert_eq!(faults.report().await.outcome, Outcome::Cancelled);

    let waits = faults.get("/never");
    let gone = tokio::time::timeout(Duration::from_millis(50), waits).await;
    assert!(gone.is_err());
    assert_eq!(faults.report().await.outcome, Outcome::Cancelled);
}

/// HTTP servers drop a body when its announced length is reached, without asking for its end.
#[tokio::test]
async fn a_body_that_was_read_to_its_length_is_whole() {
    let mut faults = Loaded::new(
        "faults",
        Limits {
            memory_mb: 1024,
            ..limits()
        },
    );
    let mut response = faults.get("/sleep?ms=1").await.unwrap();
    let length = response.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut read = 0;
    while read < length {
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        read += frame.into_data().unwrap().len();
    }
    drop(response);
    assert_eq!(faults.report().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn request_bodies_reach_the_guest_up_to_their_limit() {
    let mut faults = Loaded::new(
        "faults",
        Limits {
            request_mb: 1,
            ..limits()
        },
    );
    let post = |bytes: &'static [u8]| {
        Request::post("http://f.localhost/echo")
            .body(body(bytes))
            .unwrap()
    };
    assert_eq!(
        text(faults.send(post(b"ping")).await.unwrap()).await,
        "ping"
    );
    assert_eq!(faults.report().await.request_bytes, 4);

    let large: &'static [u8] = Box::leak(vec![b'x'; (1 << 20) + 1].into_boxed_slice());
    match faults.send(post(large)).await {
        Err(error) => assert_eq!(error.outcome, Outcome::RequestTooLarge),
        Ok(response) => assert!(response.into_body().collect().await.is_err()),
    }
    assert_eq!(faults.report().await.outcome, Outcome::RequestTooLarge);
}

#[tokio::test]
async fn a_guest_reaches_only_what_the_host_lets_it() {
    let mut faults = Loaded::new("faults", limits());
    let allowed = text(
        faults
            .get("/fetch?url=http://allowed.example/")
            .await
            .unwrap(),
    )
    .await;
    assert!(allowed.contains("200"), "{allowed}");
    faults.report().await;
    let denied = text(
        faults
            .get("/fetch?url=http://denied.example/")
            .await
            .unwrap(),
    )
    .await;
    assert!(denied.to_lowercase().contains("denied"), "{denied}");
    faults.report().await;
    let log = faults.logged();
    assert!(
        log.iter()
            .any(|(_, line)| line.contains("denied.example: not in the list")),
        "{log:?}"
    );
    let env = text(faults.get("/env").await.unwrap()).await;
    assert!(env.contains("GREETING=moin"), "{env}");
    assert_eq!(
        env.lines().filter(|line| line.contains('=')).count(),
        1,
        "only its own: {env}"
    );
    faults.report().await;
    let files = text(faults.get("/fs").await.unwrap()).await.to_lowercase();
    assert!(!files.contains("root:"), "{files}");
}

/// What a guest waits for must not depend on the thread that asked for it.
#[test]
fn a_guest_outlives_the_runtime_that_asked_for_it() {
    let mut faults = Loaded::new(
        "faults",
        Limits {
            timeout_s: 2.0,
            ..limits()
        },
    );
    let asking = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let response = asking.block_on(faults.get("/late-trap")).unwrap();
    drop(asking);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let end = other.block_on(response.into_body().collect());
    assert_eq!(end.unwrap_err(), BodyError::Guest(Outcome::Trap));
    assert_eq!(other.block_on(faults.report()).outcome, Outcome::Trap);
}

/// A guest that computes leaves the thread that asked for it, so that others are served there.
#[test]
fn a_long_computation_does_not_hold_up_short_calls() {
    let single = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    single.block_on(async {
        let mut faults = Loaded::new(
            "faults",
            Limits {
                timeout_s: 1.0,
                ..limits()
            },
        );
        let mut hello = Loaded::new("hello", limits());
        let began = Instant::now();
        let (looped, served) = tokio::join!(faults.get("/loop"), async {
            let mut served = 0;
            while began.elapsed() < Duration::from_millis(500) {
                text(hello.get("/").await.unwrap()).await;
                hello.report().await;
                served += 1;
            }
            served
        });
        assert_eq!(looped.unwrap_err().outcome, Outcome::Timeout);
        assert!(
            served > 50,
            "only {served} short calls in half a second beside a loop"
        );
        faults.report().await;
    });
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_the_guests_fault() {
    let mut faults = Loaded::new("faults", limits());
    let broken = std::future::ready(Some(Err(BodyError::Disconnected)));
    let half = body(b"half").with_trailers(broken).boxed_unsync();
    let request = Request::post("http://f.localhost/echo").body(half).unwrap();
    match faults.send(request).await {
        Err(error) => assert_eq!(error.outcome, Outcome::Cancelled),
        Ok(response) => assert!(response.into_body().collect().await.is_err()),
    }
    assert_eq!(faults.report().await.outcome, Outcome::Cancelled);
}
