use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fractus_node::Credentials;
use serde_json::Value;

use crate::node::{TestNode, wait_for};

#[test]
fn what_a_guest_writes_is_in_its_log_under_the_calls_id() {
    let node = TestNode::start();
    node.deploy_faults();
    let answer = node.edge("/run/faults/print?lines=3").expect(200);
    let id = answer.header("x-request-id");
    // Besides, START, END and REPORT.
    let lines = wait_for("nine lines", || {
        let lines = node.logs("faults");
        (lines.len() == 9).then_some(lines)
    });
    assert!(lines.iter().all(|line| line["request_id"] == id));
    let on = |stream: &str| {
        let of = lines.iter().filter(|line| line["stream"] == stream);
        of.map(|line| line["line"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        on("stdout"),
        ["line 1 on stdout", "line 2 on stdout", "line 3 on stdout"]
    );
    assert_eq!(on("stderr").len(), 3);
    let system = on("system");
    let begins = ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "];
    for (line, begin) in system.iter().zip(begins) {
        assert!(line.starts_with(&format!("{begin}{id}")), "{line}");
    }
    let report = system.last().unwrap();
    assert!(
        report.contains("\tBilled Duration: ") && report.contains(" MB"),
        "{report}"
    );
    let seqs: Vec<_> = lines
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let rest = node
        .admin("GET", "/v1/functions/faults/logs?after=4&limit=1", &[])
        .expect(200);
    assert_eq!(rest.json()["seq"], 5);
}

#[test]
fn a_trap_leaves_a_line_that_says_where() {
    let node = TestNode::start();
    node.deploy_faults();
    let answer = node.edge("/run/faults/trap").expect(500);
    let id = answer.header("x-request-id").to_owned();
    let text = wait_for("the trap's lines", || {
        let lines = node.logs("faults");
        let of: Vec<_> = lines
            .iter()
            .filter(|line| line["request_id"] == id.as_str())
            .collect();
        let system = of.iter().any(|line| line["stream"] == "system");
        system.then(|| {
            of.iter()
                .map(|line| line["line"].to_string())
                .collect::<String>()
        })
    });
    assert!(text.contains("asked to panic"), "{text}");
    assert!(
        text.contains("unreachable") || text.contains("backtrace"),
        "{text}"
    );
}

#[test]
fn a_follower_sees_what_is_there_and_what_comes() {
    let node = TestNode::start();
    node.deploy_faults();
    node.edge("/run/faults/print?lines=1").expect(200);
    let token = Credentials::read(&node.data()).unwrap().admin_token;
    let mut stream = TcpStream::connect(node.addresses.admin).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        stream,
        "GET /v1/functions/faults/logs?follow=true&after=0 HTTP/1.1\r\nhost: x\r\nauthorization: \
         Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || -> Value {
        loop {
            let line = lines.next().expect("the stream goes on").unwrap();
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    };
    assert_eq!(
        (next()["seq"].as_u64(), next()["seq"].as_u64()),
        (Some(1), Some(2))
    );
    node.edge("/run/faults/print?lines=1").expect(200);
    assert_eq!(
        (next()["seq"].as_u64(), next()["seq"].as_u64()),
        (Some(3), Some(4))
    );
    // The node does not wait for a follower that stays.
    let begin = Instant::now();
    node.stop();
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn every_call_is_counted_and_the_first_is_cold() {
    let node = TestNode::start();
    node.deploy_hello();
    let ids: Vec<_> = (0..4)
        .map(|_| {
            node.edge("/run/hello")
                .expect(200)
                .header("x-request-id")
                .to_owned()
        })
        .collect();
    let records: Vec<_> = ids.iter().map(|id| node.usage(id)).collect();
    assert_eq!(records[0]["cold"], true);
    assert!(records[1..].iter().all(|record| record["cold"] == false));
    for record in &records {
        assert_eq!(
            (&record["outcome"], &record["status"]),
            (&"ok".into(), &200.into())
        );
        assert!(record["billed_ms"].as_u64() > Some(0));
        assert!(record["peak_memory"].as_u64() > Some(0));
        assert_eq!(record["response_bytes"], 19);
    }
    let hello = node
        .admin("GET", "/v1/functions/hello", &[])
        .expect(200)
        .json();
    assert_eq!(hello["counters"]["calls"], 4);
    assert_eq!(hello["counters"]["cold"], 1);
    assert_eq!(hello["loaded"], true);
    let newest = node
        .admin("GET", "/v1/usage?function=hello&limit=2", &[])
        .expect(200)
        .json();
    assert_eq!(newest["records"][0]["request_id"], ids[3].as_str());
    assert_eq!(newest["records"].as_array().unwrap().len(), 2);
    node.admin("GET", "/v1/usage?request_id=x", &[]).expect(400);
}
