use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fractus_func::limits::ARTIFACT_MAX;
use serde_json::json;

use crate::client::send;
use crate::node::{TestNode, component, digest};

/// A module of nothing: magic and version.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// A component of nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[test]
fn a_function_answers_at_each_of_its_routes() {
    let node = TestNode::start();
    let manifest = json!({"name": "hello", "routes": [{"path": "/hello"}, {"host": "h.example", "path": "/"}]});
    let deployed = node
        .deploy(&manifest, &component("hello"))
        .expect(201)
        .json();
    assert_eq!(deployed["version"], 1);
    let port = node.addresses.edge.port();
    assert_eq!(
        deployed["urls"][0],
        format!("http://127.0.0.1:{port}/run/hello/")
    );
    assert_eq!(
        deployed["urls"][1],
        format!("http://hello.localhost:{port}/")
    );
    for path in ["/run/hello", "/run/hello/", "/run/hello/a/b?c", "/hello"] {
        let answer = node.edge(path).expect(200);
        assert_eq!(answer.text(), "Hello from Fractus\n", "{path}");
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    for host in ["hello.localhost", "hello.localhost:8080", "h.example"] {
        send(node.addresses.edge, "GET", "/any", &[("host", host)], &[]).expect(200);
    }
    for (host, path) in [
        ("localhost", "/hell"),
        ("x.localhost", "/"),
        ("localhost", "/run/hell"),
    ] {
        let answer = send(node.addresses.edge, "GET", path, &[("host", host)], &[]).expect(404);
        assert_eq!(answer.code(), "no-route");
    }
}

#[test]
fn what_cannot_become_a_function_is_refused_with_its_reason() {
    let node = TestNode::start();
    let hello = component("hello");
    let cases: [(&[u8], &str); 5] = [
        (b"#!/bin/sh\necho hello\n", "not WebAssembly"),
        (EMPTY_MODULE, "a core WebAssembly module, not a component"),
        (EMPTY_COMPONENT, "exports no handler"),
        (&hello[..hello.len() / 2], "not a valid component"),
        (b"", "not WebAssembly"),
    ];
    for (artifact, says) in cases {
        let answer = node.deploy(&json!({"name": "bad"}), artifact).expect(422);
        assert_eq!(answer.code(), "invalid-artifact", "{says}");
        assert!(answer.text().contains(says), "{says}: {}", answer.text());
    }
    let known = node.admin("GET", "/v1/functions", &[]).json();
    assert_eq!(known["functions"], json!([]));
    node.edge("/run/bad").expect(404);
    let kept = std::fs::read_dir(node.data().join("artifacts")).unwrap();
    assert_eq!(kept.count(), 0, "a refused artifact takes no space");
}

#[test]
fn an_import_that_the_node_does_not_offer_is_named() {
    let node = TestNode::start();
    let faults = renamed(
        &component("faults"),
        b"wasi:cli/environment@",
        b"wasi:cli/invironment@",
    );
    let answer = node.deploy(&json!({"name": "bad"}), &faults).expect(422);
    assert_eq!(answer.code(), "invalid-artifact");
    for says in [
        "imports what the node does not offer",
        "wasi:cli/invironment@",
    ] {
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    node.edge("/run/bad").expect(404);
}

/// A component in which a name is another one of the same length.
fn renamed(component: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut renamed = component.to_owned();
    let mut found = 0;
    while let Some(at) = renamed.windows(from.len()).position(|name| name == from) {
        renamed[at..at + to.len()].copy_from_slice(to);
        found += 1;
    }
    assert!(found > 0, "the component has no such name");
    renamed
}

#[test]
fn a_refused_manifest_harms_nobody_with_the_same_artifact() {
    let node = TestNode::start();
    let hello = component("hello");
    let deployed = node.deploy(&json!({"name": "a"}), &hello).expect(201);
    assert_eq!(deployed.json()["runtime"], "wasm");
    for (more, says) in [
        (json!({"runtime": "python3"}), "is a WebAssembly component"),
        (json!({"handler": "app.f"}), "handler is not for wasm"),
        (json!({"limits": {"memory_mb": 5000}}), "1 to 4096"),
        (json!({"instances": {"provisioned": 1}}), "provisioned"),
    ] {
        let mut manifest = more;
        manifest["name"] = json!("b");
        let answer = node.deploy(&manifest, &hello).expect(422);
        assert_eq!(answer.code(), "invalid-manifest", "{manifest}");
        assert!(answer.text().contains(says), "{says}: {}", answer.text());
    }
    node.edge("/run/a").expect(200);
    node.edge("/run/b").expect(404);
    let kept = std::fs::read_dir(node.data().join("artifacts")).unwrap();
    assert_eq!(kept.count(), 2, "the artifact and what it was compiled to");
    let listed = node.admin("GET", "/v1/functions", &[]).json();
    assert_eq!(listed["functions"][0]["runtime"], "wasm");
    // With nobody to use it, it takes no space.
    node.admin("DELETE", "/v1/functions/a", &[]).expect(204);
    node.deploy(&json!({"name": "b", "runtime": "nodejs"}), &hello)
        .expect(422);
    let kept = std::fs::read_dir(node.data().join("artifacts")).unwrap();
    assert_eq!(kept.count(), 0, "a refused artifact takes no space");
}

#[test]
fn an_artifact_is_what_its_name_says_and_not_too_large() {
    let node = TestNode::start();
    let path = format!("/v1/artifacts/{}", digest(b"right"));
    let wrong = node.admin("PUT", &path, b"wrong").expect(400);
    assert_eq!(wrong.code(), "digest-mismatch");
    let length = (2 * ARTIFACT_MAX).to_string();
    let large = node
        .admin_with("PUT", &path, &[("content-length", &length)], b"")
        .expect(413);
    assert_eq!(large.code(), "artifact-too-large");
    node.admin("PUT", &path, b"right").expect(201);
    node.admin("PUT", &path, b"right").expect(200);
    node.admin("PUT", "/v1/artifacts/xyz", b"").expect(400);
    let body = json!({"manifest": {"name": "a"}, "artifact": digest(b"absent")}).to_string();
    let absent = node
        .admin("POST", "/v1/functions/a/versions", body.as_bytes())
        .expect(404);
    assert_eq!(absent.code(), "no-such-artifact");
}

#[test]
fn manifests_and_routes_that_cannot_be_are_refused() {
    let node = TestNode::start();
    let hello = component("hello");
    let refused = |manifest: serde_json::Value, status, code: &str| {
        let answer = node.deploy(&manifest, &hello).expect(status);
        assert_eq!(answer.code(), code, "{manifest}");
    };
    refused(
        json!({"name": "a", "limits": {"memory_mb": 0}}),
        422,
        "invalid-manifest",
    );
    refused(json!({"name": "a", "unknown": 1}), 400, "bad-request");
    refused(json!({"name": "a.b"}), 400, "bad-request");
    refused(
        json!({"name": "a", "routes": [{"path": "x"}]}),
        422,
        "invalid-manifest",
    );
    for path in ["/run/b", "/run", "/b/photos/", "/b", "/b/"] {
        refused(
            json!({"name": "a", "routes": [{"path": path}]}),
            409,
            "route-taken",
        );
    }
    let others = json!([{"host": "b.localhost", "path": "/x"}]);
    refused(json!({"name": "a", "routes": others}), 409, "route-taken");
    node.deploy(&json!({"name": "a", "routes": [{"path": "/x/"}]}), &hello)
        .expect(201);
    refused(
        json!({"name": "b", "routes": [{"path": "/x/"}]}),
        409,
        "route-taken",
    );
    // Its own route stays its own.
    node.deploy(&json!({"name": "a", "routes": [{"path": "/x/"}]}), &hello)
        .expect(201);
    node.admin("DELETE", "/v1/functions/a", &[]).expect(204);
    node.deploy(&json!({"name": "b", "routes": [{"path": "/x/"}]}), &hello)
        .expect(201);
    let posted = json!({"manifest": {"name": "b"}, "artifact": digest(&hello)}).to_string();
    node.admin("POST", "/v1/functions/a/versions", posted.as_bytes())
        .expect(400);
}

#[test]
fn no_call_fails_while_versions_change() {
    let node = TestNode::start();
    node.deploy_hello();
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let edge = node.addresses.edge;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    send(edge, "GET", "/run/hello", &[], &[]).expect(200);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 2..=12 {
            let env = json!({"ROUND": round.to_string()});
            let manifest = json!({"name": "hello", "env": env});
            let deployed = node
                .deploy(&manifest, &component("hello"))
                .expect(201)
                .json();
            assert_eq!(deployed["version"], round);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(calls.load(Ordering::Relaxed) > 0);
    let hello = node.admin("GET", "/v1/functions/hello", &[]).json();
    assert_eq!(hello["counters"]["errors"], 0);
}

#[test]
fn a_new_version_is_seen_at_once_and_a_removed_function_is_gone() {
    let node = TestNode::start();
    let faults = component("faults");
    for greeting in ["one", "two"] {
        let manifest = json!({"name": "faults", "env": {"GREETING": greeting}});
        node.deploy(&manifest, &faults).expect(201);
        let text = node.edge("/run/faults/env").expect(200).text();
        assert_eq!(text, format!("GREETING={greeting}\n"));
    }
    let compiled = || {
        std::fs::read_dir(node.data().join("artifacts"))
            .unwrap()
            .count()
    };
    assert_eq!(compiled(), 2);
    node.admin("DELETE", "/v1/functions/faults", &[])
        .expect(204);
    node.edge("/run/faults/env").expect(404);
    assert_eq!(compiled(), 0);
    let gone = node
        .admin("DELETE", "/v1/functions/faults", &[])
        .expect(404);
    assert_eq!(gone.code(), "no-such-function");
    node.admin("GET", "/v1/functions/faults", &[]).expect(404);
    node.admin("GET", "/v1/functions/faults/logs", &[])
        .expect(404);
}
