use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::send;
use crate::node::TestNode;

#[test]
fn an_object_for_no_bucket_takes_no_space() {
    let node = TestNode::start();
    let bytes = || node.admin("GET", "/v1/status", &[]).json()["store_bytes"].clone();
    let before = bytes();
    let body = vec![0; 3 << 20];
    let answer = node
        .admin("PUT", "/v1/objects/nobucket/x", &body)
        .expect(404);
    assert_eq!(answer.code(), "no-such-bucket");
    assert_eq!(bytes(), before);
}

#[test]
fn objects_are_written_once_acknowledged_and_read_everywhere() {
    let node = TestNode::start();
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(201);
    let types = [("content-type", "image/jpeg")];
    let put = node
        .admin_with("PUT", "/v1/objects/photos/a/b%20c.jpg", &types, b"meow")
        .expect(201);
    let put = put.json();
    assert_eq!(
        (&put["key"], &put["size"]),
        (&"a/b c.jpg".into(), &4.into())
    );
    let listed = node
        .admin("GET", "/v1/buckets/photos/objects?prefix=a/", &[])
        .expect(200)
        .json();
    assert_eq!(listed["objects"][0]["key"], "a/b c.jpg");
    assert_eq!(listed["objects"][0]["content_type"], "image/jpeg");
    assert_eq!(listed["truncated"], false);
    let got = node
        .admin("GET", "/v1/objects/photos/a/b%20c.jpg", &[])
        .expect(200);
    assert_eq!(
        (got.text().as_str(), got.header("content-type")),
        ("meow", "image/jpeg")
    );
    let part = [("range", "bytes=1-2")];
    let part = node
        .admin_with("GET", "/v1/objects/photos/a/b%20c.jpg", &part, &[])
        .expect(206);
    assert_eq!(part.text(), "eo");
    let edge = node.edge("/b/photos/a/b%20c.jpg").expect(200);
    assert_eq!(edge.text(), "meow");
    let etag = edge.header("etag").to_owned();
    let path = "/b/photos/a/b%20c.jpg";
    send(
        node.addresses.edge,
        "GET",
        path,
        &[("if-none-match", &etag)],
        &[],
    )
    .expect(304);
    let buckets = node.admin("GET", "/v1/buckets", &[]).expect(200).json();
    assert_eq!(
        (
            &buckets["buckets"][0]["objects"],
            &buckets["buckets"][0]["bytes"]
        ),
        (&1.into(), &4.into())
    );
    let status = node.admin("GET", "/v1/status", &[]).expect(200).json();
    for counted in [&status, &buckets["buckets"][0]] {
        assert_eq!(counted["objects"], 1);
        assert_eq!(counted["objects_capped"], false);
    }
}

#[test]
fn the_edge_forgets_what_was_overwritten_deleted_or_made_private() {
    let node = TestNode::start();
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(201);
    for content in ["one", "two", "three"] {
        node.admin("PUT", "/v1/objects/photos/cat", content.as_bytes())
            .expect(201);
        assert_eq!(node.edge("/b/photos/cat").expect(200).text(), content);
        assert_eq!(node.edge("/b/photos/cat").expect(200).text(), content);
    }
    // Another spelling of the same key is the same object.
    assert_eq!(node.edge("/b/photos/c%61t").expect(200).text(), "three");
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":false}")
        .expect(200);
    node.edge("/b/photos/cat").expect(404);
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(200);
    node.edge("/b/photos/cat").expect(200);
    node.admin("DELETE", "/v1/objects/photos/cat", &[])
        .expect(204);
    node.edge("/b/photos/cat").expect(404);
    node.edge("/b/photos/c%61t").expect(404);
}

#[test]
fn a_key_spelled_unusually_is_never_answered_from_an_old_copy() {
    let node = TestNode::start();
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(201);
    let spellings = [
        "/b/photos/a!b(c)/d",
        "/b/photos/a%21b(c)/d",
        "/b/photos/a!b%28c%29%2Fd",
    ];
    for content in ["one", "two"] {
        node.admin("PUT", "/v1/objects/photos/a!b(c)/d", content.as_bytes())
            .expect(201);
        for path in spellings {
            for _ in 0..2 {
                assert_eq!(node.edge(path).expect(200).text(), content, "{path}");
            }
        }
    }
}

#[test]
fn conditions_on_writes_hold() {
    let node = TestNode::start();
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":false}")
        .expect(201);
    let path = "/v1/objects/photos/cat";
    let absent = [("if-none-match", "*")];
    let put = |headers: &[(&str, &str)], status| {
        let answer = node.admin_with("PUT", path, headers, b"x").expect(status);
        answer.json()["etag"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    put(&[("if-match", "*")], 412);
    let etag = put(&absent, 201);
    put(&absent, 412);
    put(&[("if-match", &format!("\"{etag}\""))], 201);
    put(&[("if-match", "\"00000000000000000000000000000000\"")], 412);
    put(&[("if-match", "\"no tag of ours\"")], 412);
    put(&[("if-none-match", "\"x\"")], 501);
}

#[test]
fn refusals_of_the_store_are_told_apart() {
    let node = TestNode::start();
    let missing = node
        .admin("PUT", "/v1/objects/absent/cat", b"x")
        .expect(404);
    assert_eq!(missing.code(), "no-such-bucket");
    node.admin("PUT", "/v1/buckets/X", b"{\"public\":true}")
        .expect(400);
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(201);
    node.admin("PUT", "/v1/objects/photos/cat", b"x")
        .expect(201);
    let full = node.admin("DELETE", "/v1/buckets/photos", &[]).expect(409);
    assert_eq!(full.code(), "bucket-not-empty");
    node.admin("DELETE", "/v1/objects/photos/cat", &[])
        .expect(204);
    node.admin("DELETE", "/v1/buckets/photos", &[]).expect(204);
    node.admin("DELETE", "/v1/buckets/photos", &[]).expect(404);
    node.admin("GET", "/v1/objects/photos/cat", &[]).expect(404);
    node.admin("PUT", "/v1/objects/photos/%ff", b"x")
        .expect(400);
}

#[test]
fn a_full_store_says_so_and_the_node_lives() {
    let node = TestNode::with(|config| config.store_max_bytes = Some(8 << 20));
    fill(&node);
    node.admin("PUT", "/v1/objects/photos/other", b"y")
        .expect(201);
}

#[test]
fn a_full_disk_says_so_and_the_node_lives() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else {
        eprintln!("not tested with a full disk: this process may not mount one");
        return;
    };
    let data = dir.path().join("data");
    let node = TestNode::with(|config| config.data.clone_from(&data));
    fill(&node);
    // What was not taken left no room, but no harm either.
    drop(node);
    let node = TestNode::with(|config| config.data.clone_from(&data));
    assert_eq!(node.edge("/b/photos/small").expect(200).text(), "x");
    node.edge("/b/photos/large").expect(404);
    drop(node);
    drop(disk);
}

/// A file system in memory of some MiB.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Mounts one, where the system lets tests do so.
    fn mount(at: &'a Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Fills a node of small room.
fn fill(node: &TestNode) {
    node.admin("PUT", "/v1/buckets/photos", b"{\"public\":true}")
        .expect(201);
    node.admin("PUT", "/v1/objects/photos/small", b"x")
        .expect(201);
    let large = vec![7; 128 << 20];
    let full = node
        .admin("PUT", "/v1/objects/photos/large", &large)
        .expect(507);
    assert_eq!(full.code(), "no-space");
    assert_eq!(node.edge("/b/photos/small").expect(200).text(), "x");
    node.edge("/b/photos/large").expect(404);
    let status = node.admin("GET", "/v1/status", &[]).expect(200).json();
    assert!(status["store_health"]["stopped"].is_null());
}
