use std::thread;

use serde_json::json;

use crate::client::send;
use crate::node::{TestNode, component};

/// What a fault of `examples/faults` must look like from outside.
struct Fault {
    path: &'static str,
    status: u16,
    code: &'static str,
}

const fn fault(path: &'static str, status: u16, code: &'static str) -> Fault {
    Fault { path, status, code }
}

#[test]
fn each_limit_has_its_own_answer_and_its_own_record() {
    let node = TestNode::start();
    node.deploy_faults();
    for Fault { path, status, code } in [
        fault("/loop", 504, "cpu-limit"),
        fault("/never", 504, "timeout"),
        fault("/memory", 502, "memory-limit"),
        fault("/stack", 500, "trap"),
        fault("/trap", 500, "trap"),
        fault("/no-response", 502, "no-response"),
    ] {
        let answer = node.edge(&format!("/run/faults{path}")).expect(status);
        assert_eq!(answer.code(), code, "{path}");
        let id = answer.header("x-request-id").to_owned();
        assert!(
            answer.text().starts_with("function faults: "),
            "{path}: {}",
            answer.text()
        );
        assert!(answer.text().contains(&id), "{path}");
        let record = node.usage(&id);
        assert_eq!(record["outcome"], code, "{path}");
        assert_eq!(record["function"], "faults");
        let shown = node
            .admin("GET", "/v1/functions/faults", &[])
            .expect(200)
            .json();
        assert_eq!(shown["last_error"]["request_id"], id.as_str(), "{path}");
        assert_eq!(shown["running"], 0, "{path}");
    }
    // And the node is none the worse.
    assert_eq!(
        node.edge("/run/faults/env").expect(200).text(),
        "GREETING=hello\n"
    );
    let status = node.admin("GET", "/v1/status", &[]).json();
    assert_eq!(status["guest_memory"], 0);
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let node = TestNode::start();
    node.deploy_faults();
    for (path, outcome) in [
        ("/late-trap", "trap"),
        ("/big?mb=1000", "response-too-large"),
    ] {
        let answer = node.edge(&format!("/run/faults{path}"));
        // What fails before the head is out may still become a proper refusal.
        assert!(
            !answer.whole || answer.status == 502 || answer.status == 500,
            "{path}"
        );
        assert!(answer.body.len() <= 8 << 20, "{path}");
        let record = node.usage(answer.header("x-request-id"));
        assert_eq!(record["outcome"], outcome, "{path}");
    }
    let whole = node.edge("/run/faults/big?mb=8").expect(200);
    assert!(whole.whole);
    assert_eq!(whole.body.len(), 8 << 20);
}

#[test]
fn a_body_over_the_limit_is_refused_announced_or_not() {
    let node = TestNode::start();
    node.deploy_faults();
    let edge = node.addresses.edge;
    let fits = vec![b'x'; 1 << 20];
    let echo = send(edge, "POST", "/run/faults/echo", &[], &fits).expect(200);
    assert_eq!(echo.body, fits);
    let announced = send(
        edge,
        "POST",
        "/run/faults/echo",
        &[("content-length", "1048577")],
        &[],
    );
    assert_eq!(announced.expect(413).code(), "request-too-large");
    let shown = node
        .admin("GET", "/v1/functions/faults", &[])
        .expect(200)
        .json();
    assert!(shown["last_error"].is_null());
}

#[test]
fn calls_beyond_the_concurrency_wait_and_then_are_throttled() {
    let node = TestNode::start();
    let limits = json!({"concurrency": 1, "timeout_s": 8.0});
    node.deploy(
        &json!({"name": "faults", "limits": limits}),
        &component("faults"),
    )
    .expect(201);
    let edge = node.addresses.edge;
    let call = move |path: &'static str| thread::spawn(move || send(edge, "GET", path, &[], &[]));
    // Two at once: one runs until its time is over, the other waits for less than that.
    let calls = [call("/run/faults/never"), call("/run/faults/never?again")];
    let mut codes = calls.map(|call| {
        let answer = call.join().unwrap();
        (answer.status, answer.code())
    });
    codes.sort();
    assert_eq!(
        codes,
        [(429, "throttled".to_owned()), (504, "timeout".to_owned())]
    );
    let shown = node
        .admin("GET", "/v1/functions/faults", &[])
        .expect(200)
        .json();
    assert_eq!(shown["counters"]["throttled"], 1);
    // Those that wait for a place get it.
    let calls = [
        call("/run/faults/sleep?ms=50"),
        call("/run/faults/sleep?ms=51"),
    ];
    for call in calls {
        call.join().unwrap().expect(200);
    }
}

#[test]
fn guests_share_the_nodes_memory() {
    let node = TestNode::with(|config| config.guest_memory_bytes = 16 << 20);
    node.deploy_faults();
    let answer = node.edge("/run/faults/memory").expect(503);
    assert_eq!(answer.code(), "node-busy");
    node.edge("/run/faults/env").expect(200);
}
