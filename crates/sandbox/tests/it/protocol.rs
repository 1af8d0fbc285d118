//! Guests that break the protocol with the node: over the socket of frames, and over the Runtime
//! API. That is their own loss: the call ends with an error, and the next has a fresh instance.

use std::time::{Duration, Instant};

use fractus_func::{BodyError, CallError, Manifest, Outcome};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::{Bench, Function, named, resident_kib};

/// What a call answered that does this to descriptor 3, and what the next one did.
async fn then_another(code: &str) -> (Result<Value, CallError>, u64) {
    let probe = Bench::shared().probe(|manifest| manifest.limits.timeout_s = 1.0);
    let first = probe.python(code).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let calls = probe.python("answer = CALLS").await.unwrap();
    (first, calls.as_u64().unwrap())
}

/// The name of the error that a call ended with which does this; the next one is fresh.
async fn error_of(code: &str) -> String {
    let (first, calls) = then_another(code).await;
    assert_eq!(calls, 1, "{code}");
    first.unwrap_err().kind.unwrap_or_default()
}

#[tokio::test]
async fn a_handler_that_closes_its_socket_is_done() {
    let _kept = Bench::shared();
    for code in [
        "os.close(3)",
        "socket.socket(fileno=3).shutdown(socket.SHUT_RDWR); time.sleep(30)",
        "socket.socket(fileno=3).shutdown(socket.SHUT_WR); time.sleep(30)",
        "os.closerange(0, 100)",
    ] {
        assert_eq!(error_of(code).await, "Runtime.ExitError", "{code}");
    }
}

#[tokio::test]
async fn a_second_answer_is_nobodys() {
    let _kept = Bench::shared();
    // Both at once, the second before the next call, and one in advance.
    let forged = r#"os.write(3, frame("A", b'"forged"'))"#;
    let later = format!("def later():\n    time.sleep(0.03)\n    {forged}\n");
    let start = "threading.Thread(target=later).start()";
    for code in [
        format!("{forged}\nanswer = 'second'"),
        format!("{later}{start}\nanswer = 'first'"),
        format!("{later}if os.fork() == 0:\n    later()\n    os._exit(0)\nanswer = 'first'"),
    ] {
        let probe = Bench::shared().probe(|_| {});
        let first = probe.python(&code).await.unwrap();
        assert!(first == "forged" || first == "first", "{first}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..3 {
            let told = probe.python("answer = ['own', CALLS]").await.unwrap();
            assert_eq!(told[0], "own");
        }
    }
}

#[tokio::test]
async fn frames_that_have_no_place_end_the_call() {
    let _kept = Bench::shared();
    for written in [
        r#"frame("Q", b"?")"#,
        r#"frame("R", b'{"kind": "lambda"}')"#,
        r#"frame("F", b"{}")"#,
        r#"frame("I", b"")"#,
        r#"frame("\0", b"")"#,
        r#"b"A\xff\xff\xff\xff""#,
        r#"b"GET / HTTP/1.1\r\nHost: node\r\n\r\n""#,
        r#"frame("H", b"no json") + frame("E")"#,
        r#"frame("H", b'{"status": 200}') + frame("E")"#,
        r#"frame("H", b'{"status": 99, "headers": []}') + frame("E")"#,
        r#"frame("H", b'{"status": 70000, "headers": []}') + frame("E")"#,
        r#"frame("H", b'{"status": 200, "headers": [["a b", "c"]]}') + frame("E")"#,
        r#"frame("H", b'{"status": 200, "headers": [["a", "b\\r\\nc: d"]]}') + frame("E")"#,
        r#"frame("H", b'{"status": 200, "headers": []}') + frame("A", b"1")"#,
        r#"frame("S", b"[") + frame("E")"#,
        r#"frame("S", b'{"prelude": {"statusCode": "x"}}') + frame("E")"#,
        r#"frame("S", b'{"prelude": {"headers": {"a\\n": "b"}}}') + frame("E")"#,
    ] {
        // The handler answers besides, a moment later.
        let code = format!("os.write(3, {written}); time.sleep(0.02)");
        let probe = Bench::shared().probe(|manifest| manifest.limits.timeout_s = 1.0);
        let began = Instant::now();
        let error = probe.python(&code).await.unwrap_err();
        assert!(
            began.elapsed() < Duration::from_millis(900),
            "{written}: {error:?}"
        );
        let outcomes = [
            Outcome::GuestError,
            Outcome::Exited,
            Outcome::ResponseTooLarge,
        ];
        assert!(outcomes.contains(&error.outcome), "{written}: {error:?}");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(
            probe.python("answer = CALLS").await.unwrap(),
            1,
            "{written}"
        );
    }
}

#[tokio::test]
async fn half_a_frame_is_waited_for_until_the_deadline() {
    let _kept = Bench::shared();
    for written in [r#"b"A""#, r#"b"A\x10\0\0\0half""#] {
        let name = error_of(&format!("os.write(3, {written}); time.sleep(30)")).await;
        assert_eq!(name, "Sandbox.Timedout");
    }
}

#[tokio::test]
async fn more_header_fields_than_can_be_are_no_answer() {
    let _kept = Bench::shared();
    let code = r#"
headers = [["x-%d" % number, ""] for number in range(COUNT)]
import json
head = frame("H", json.dumps({"status": 200, "headers": headers}).encode())
while head:
    head = head[os.write(3, head):]
os.write(3, frame("E"))
os._exit(0)
"#;
    for count in ["300", "40000"] {
        let name = error_of(&code.replace("COUNT", count)).await;
        assert_eq!(name, "Function.MalformedResponse", "{count}");
    }
}

fn small(manifest: &mut Manifest) {
    manifest.limits.response_mb = 1;
    manifest.limits.timeout_s = 3.0;
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_limit() {
    let code = r#"
os.write(3, frame("H", b'{"status": 200, "headers": []}'))
chunks = frame("D", b"x" * 16384) * 8
while True:
    os.write(3, chunks)
"#;
    let probe = Bench::shared().probe(small);
    let before = resident_kib();
    let began = Instant::now();
    match send(&probe, code).await {
        Err(error) => assert_eq!(error.outcome, Outcome::ResponseTooLarge),
        Ok(response) => {
            let error = response.into_body().collect().await.unwrap_err();
            assert_eq!(error, BodyError::Guest(Outcome::ResponseTooLarge));
        }
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it went on until its deadline"
    );
    assert!(
        resident_kib() < before + (64 << 10),
        "the node took it all in"
    );
}

async fn send(
    probe: &Function,
    code: &str,
) -> Result<http::Response<fractus_func::Body>, CallError> {
    let event = json!({"code": code}).to_string();
    let request = http::Request::post("http://f.localhost/").body(crate::support::body(event));
    probe.send(request.unwrap()).await
}

#[tokio::test]
async fn a_frame_larger_than_any_answer_is_not_taken_in() {
    let _kept = Bench::shared();
    let code = r#"
os.write(3, struct.pack("<BI", KIND, 900 << 20))
part = b" " * (1 << 20)
for _ in range(900):
    os.write(3, part)
time.sleep(30)
"#;
    for kind in ["ord('A')", "ord('X')", "ord('S')"] {
        let probe = Bench::shared().probe(small);
        let before = resident_kib();
        let error = send(&probe, &code.replace("KIND", kind)).await.unwrap_err();
        assert_ne!(error.outcome, Outcome::Timeout, "{kind}");
        assert!(
            resident_kib() < before + (64 << 10),
            "the node took it all in"
        );
    }
}

#[tokio::test]
async fn an_error_in_the_nodes_words_is_still_the_guests() {
    // As the interpreter of plans tells that a sandbox could not be built.
    let code = r#"os.write(3, frame("!", b"\xff" * 8)); time.sleep(30)"#;
    let (first, calls) = then_another(code).await;
    let error = first.unwrap_err();
    assert_eq!(calls, 1);
    assert_ne!(error.outcome, Outcome::StartFailed, "{error:?}");
}

#[tokio::test]
async fn names_and_messages_of_errors_are_cut() {
    let code = r#"
class Long(Exception):
    pass
Long.__name__ = "N" * 100_000
raise Long("m" * 1_000_000)
"#;
    let (first, calls) = then_another(code).await;
    let error = first.unwrap_err();
    let (kind, message) = named(&error);
    assert!(
        kind.len() < 1000 && message.len() < 40_000,
        "{} {}",
        kind.len(),
        message.len()
    );
    assert_eq!(calls, 2, "an exception does not end the instance");
}
