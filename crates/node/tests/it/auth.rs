use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::client::send;
use crate::node::TestNode;

#[test]
fn without_the_token_nothing_is_told_and_nothing_changes() {
    let node = TestNode::start();
    node.deploy_hello();
    let admin = node.addresses.admin;
    for (method, path) in [
        ("GET", "/v1/status"),
        ("GET", "/v1/functions"),
        ("DELETE", "/v1/functions/hello"),
        ("PUT", "/v1/buckets/photos"),
        ("PUT", "/v1/objects/photos/cat.jpg"),
        ("POST", "/v1/functions/hello/versions"),
        ("GET", "/v1/functions/hello/logs"),
        ("GET", "/nothing"),
    ] {
        for token in ["", "Bearer ", "Bearer wrong", "Basic eDp5"] {
            let answer = send(
                admin,
                method,
                path,
                &[("authorization", token)],
                b"{\"public\":true}",
            );
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.code(), "unauthorized");
            assert!(!answer.text().contains("hello"));
        }
    }
    let status = node.admin("GET", "/v1/status", &[]).expect(200).json();
    assert_eq!(
        (&status["functions"], &status["buckets"]),
        (&1.into(), &0.into())
    );
    send(admin, "GET", "/healthz", &[], &[]).expect(200);
    node.admin("GET", "/nothing", &[]).expect(404);
    node.admin("PATCH", "/v1/status", &[]).expect(405);
}

#[test]
fn the_api_listener_says_what_it_will_be() {
    let node = TestNode::start();
    let answer = send(node.addresses.api, "GET", "/bucket/<key>", &[], &[]);
    assert!(matches!(answer.status, 400 | 501));
    let answer = send(node.addresses.api, "GET", "/bucket/a&b", &[], &[]).expect(501);
    assert!(answer.text().contains("<Code>NotImplemented</Code>"));
    assert!(
        answer
            .text()
            .contains("<Resource>/bucket/a&amp;b</Resource>")
    );
}

#[test]
fn a_refused_body_is_taken_so_that_the_refusal_is_heard() {
    let node = TestNode::start();
    let body = vec![7; 6 << 20];
    for _ in 0..5 {
        let mut stream = TcpStream::connect(node.addresses.admin).unwrap();
        let head = format!(
            "PUT /v1/objects/photos/cat HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        for piece in body.chunks(64 << 10) {
            stream.write_all(piece).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}
