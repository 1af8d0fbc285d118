use std::fs;

use fractus_blob::{BucketName, ObjectMeta, Store};
use fractus_func::BodyError;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;

use super::{ObjectRequest, decode_key, object_response, split_object_path};
use crate::origin::object_path;
use crate::origin::test_support::{Answer, content, put, put_with, store};

fn asked(method: Method, bucket: &str, key: &str, fields: &[(&str, &str)]) -> ObjectRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).expect("a field's name");
        headers.append(name, HeaderValue::from_str(value).expect("a field's value"));
    }
    ObjectRequest {
        bucket: BucketName::new(bucket).expect("a bucket's name"),
        key: decode_key(key).expect("a key"),
        method,
        headers,
    }
}

async fn get(store: &Store, key: &str, fields: &[(&str, &str)]) -> Answer {
    Answer::of(object_response(store, asked(Method::GET, "open", key, fields)).await).await
}

#[tokio::test]
async fn an_object_whole() {
    let (_folder, store) = store().await;
    put(&store, "open", "cat.png", b"meow").await;
    let answer = get(&store, "cat.png", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "meow");
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "4"),
        ("etag", "\"4a4be40c96ac6314e91d93f38043a634\""),
        ("accept-ranges", "bytes"),
        ("cache-control", "public, max-age=60"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.field(name), value, "{name}");
    }
    assert!(httpdate::parse_http_date(answer.field("last-modified")).is_ok());
}

#[tokio::test]
async fn what_is_not_there() {
    let (_folder, store) = store().await;
    for (bucket, key) in [("open", "cat.png"), ("absent", "cat.png")] {
        let answer = object_response(&store, asked(Method::GET, bucket, key, &[])).await;
        let answer = Answer::of(answer).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.field("x-fractus-error"), "no-such-object");
        assert_eq!(answer.field("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn head_is_get_without_the_bytes() {
    let (_folder, store) = store().await;
    put(&store, "open", "cat", &content(700_000)).await;
    let whole = get(&store, "cat", &[]).await;
    let ranged = [("range", "bytes=0-9")];
    for fields in [&[][..], &ranged] {
        let head = object_response(&store, asked(Method::HEAD, "open", "cat", fields)).await;
        let head = Answer::of(head).await;
        assert_eq!((head.status, head.bytes.len()), (whole.status, 0));
        assert_eq!(head.headers, whole.headers);
    }
}

#[tokio::test]
async fn other_methods_are_refused() {
    let (_folder, store) = store().await;
    put(&store, "open", "cat", b"meow").await;
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS] {
        let answer = object_response(&store, asked(method, "open", "cat", &[])).await;
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
}

#[tokio::test]
async fn cache_control_is_the_objects_own_or_the_buckets() {
    let (_folder, store) = store().await;
    let own = |value: &str| ObjectMeta {
        content_type: None,
        user: vec![("Cache-Control".to_owned(), value.to_owned())],
    };
    put_with(
        &store,
        "open",
        "own",
        own("public, max-age=31536000, immutable"),
        b"x",
    )
    .await;
    put_with(&store, "open", "bad", own("max-age=1\r\nx-evil: 1"), b"x").await;
    put(&store, "closed", "private", b"x").await;
    let answer = get(&store, "own", &[]).await;
    assert_eq!(
        answer.field("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(answer.field("content-type"), "application/octet-stream");
    assert_eq!(
        get(&store, "bad", &[]).await.field("cache-control"),
        "public, max-age=60"
    );
    let answer = object_response(&store, asked(Method::GET, "closed", "private", &[])).await;
    assert_eq!(answer.headers()["cache-control"], "private, no-cache");
}

#[tokio::test]
async fn ranges_of_all_sizes() {
    let (_folder, store) = store().await;
    // Small, one block, several reads, several chunks.
    for length in [10, 65_536, 300_000, 2_500_001] {
        let bytes = content(length);
        let key = format!("object-{length}");
        put(&store, "open", &key, &bytes).await;
        let last = length - 1;
        let middle = length / 2;
        for (range, first, end) in [
            ("bytes=0-".to_owned(), 0, length),
            ("bytes=0-0".to_owned(), 0, 1),
            (format!("bytes={last}-"), last, length),
            ("bytes=-3".to_owned(), length - 3, length),
            (format!("bytes=1-{middle}"), 1, middle + 1),
            (format!("bytes={middle}-99999999999"), middle, length),
            (format!("bytes=-{}", length * 2), 0, length),
        ] {
            let answer = get(&store, &key, &[("range", &range)]).await;
            assert_eq!(answer.status, 206, "{range} of {length}");
            assert_eq!(answer.bytes, bytes[first..end], "{range} of {length}");
            let said = format!("bytes {first}-{}/{length}", end - 1);
            assert_eq!(answer.field("content-range"), said);
            assert_eq!(answer.field("content-length"), (end - first).to_string());
        }
        let whole = get(&store, &key, &[]).await;
        assert!(whole.bytes == bytes, "the whole of {length}");
    }
}

#[tokio::test]
async fn ranges_that_are_none() {
    let (_folder, store) = store().await;
    put(&store, "open", "cat", b"meow").await;
    put(&store, "open", "empty", b"").await;
    for (key, range) in [
        ("cat", "bytes=4-"),
        ("cat", "bytes=-0"),
        ("empty", "bytes=0-"),
    ] {
        let answer = get(&store, key, &[("range", range)]).await;
        assert_eq!(answer.status, 416, "{key} {range}");
        let size = if key == "cat" { 4 } else { 0 };
        assert_eq!(answer.field("content-range"), format!("bytes */{size}"));
    }
    for range in ["bytes=3-1", "bytes=a-b", "lines=0-1", "bytes=0-1,3-3"] {
        let answer = get(&store, "cat", &[("range", range)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "meow"),
            "{range}"
        );
    }
    let answer = get(&store, "empty", &[]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.field("content-length")),
        (200, "0")
    );
}

#[tokio::test]
async fn conditions() {
    let (_folder, store) = store().await;
    put(&store, "open", "cat", b"meow").await;
    let whole = get(&store, "cat", &[]).await;
    let (etag, modified) = (whole.field("etag"), whole.field("last-modified"));
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (fields, status) in [
        (&[("if-none-match", etag)][..], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", modified)], 304),
        (&[("if-modified-since", past)], 200),
        (
            &[
                ("if-none-match", "\"other\""),
                ("if-modified-since", modified),
            ],
            200,
        ),
        (&[("if-match", etag)], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-unmodified-since", modified)], 200),
        (&[("range", "bytes=0-1"), ("if-range", etag)], 206),
        (&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200),
        (&[("range", "bytes=9-"), ("if-none-match", etag)], 304),
    ] {
        let answer = get(&store, "cat", fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        if status == 304 {
            assert_eq!((answer.field("etag"), answer.bytes.len()), (etag, 0));
            assert_eq!(answer.field("content-length"), "");
        }
    }
}

/// Flips a bit of a stored object. Its bytes are found by what they are, near the beginnings of
/// files, which the store makes longer than what they hold.
fn damage(folder: &std::path::Path, bytes: &[u8]) {
    let mut damaged = 0;
    for file in walk(folder) {
        let mut stored = fs::read(&file).expect("a readable file");
        let begin = &stored[..stored.len().min(8 << 20)];
        let found = begin
            .windows(bytes.len())
            .position(|window| window == bytes);
        if let Some(at) = found {
            stored[at] ^= 1;
            fs::write(&file, stored).expect("a writable file");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the object's bytes lie in some file");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let (folders, mut files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| walk(folder)));
    files
}

#[tokio::test]
async fn damage_in_the_first_block_is_an_error() {
    let (folder, store) = store().await;
    let bytes = content(100_000);
    put(&store, "open", "cat", &bytes).await;
    damage(folder.path(), &bytes[100..200]);
    let answer = get(&store, "cat", &[]).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.field("x-fractus-error"), "storage");
    // What is whole is still served.
    let answer = get(&store, "cat", &[("range", "bytes=70000-")]).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.bytes[..]),
        (206, &bytes[70_000..])
    );
}

#[tokio::test]
async fn damage_further_on_breaks_the_answer_off() {
    let (folder, store) = store().await;
    let bytes = content(3_000_000);
    put(&store, "open", "cat", &bytes).await;
    damage(folder.path(), &bytes[2_900_000..2_900_100]);
    let response = object_response(&store, asked(Method::GET, "open", "cat", &[])).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut got = Vec::new();
    let error = loop {
        match body.frame().await.expect("an error before the end") {
            Ok(frame) => got.extend_from_slice(&frame.into_data().expect("data")),
            Err(error) => break error,
        }
    };
    assert_eq!(error, BodyError::Storage);
    assert!(
        bytes.starts_with(&got) && got.len() < 2_900_000,
        "only bytes that were checked"
    );
    assert!(body.frame().await.is_none());
}

#[test]
fn keys_in_paths() {
    for (raw, key) in [
        ("a", "a"),
        ("a/b//c/", "a/b//c/"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("%2e%2E/x", "../x"),
        ("a%20b+c", "a b+c"),
        ("%C3%A4%e2%82%ac", "ä€"),
        ("a%00b", "a\0b"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("a%2Fb", "a/b"),
    ] {
        assert_eq!(decode_key(raw).expect(raw).as_str(), key);
    }
    for raw in [
        "%",
        "a%",
        "a%2",
        "%zz",
        "%2g",
        "%+1",
        "%ff",
        "%C3",
        "%ed%a0%80",
        "",
        "%c0%80",
    ] {
        assert!(decode_key(raw).is_err(), "{raw}");
    }
    assert!(decode_key(&"a".repeat(1025)).is_err());
    assert_eq!(split_object_path("/b/k"), Some(("b", "k")));
    assert_eq!(split_object_path("/b//k/"), Some(("b", "/k/")));
    for path in ["", "/", "/b", "/b/", "b/k"] {
        assert_eq!(split_object_path(path), None, "{path}");
    }
}

#[test]
fn the_path_of_an_object_leads_to_it() {
    let bucket = BucketName::new("open").expect("a bucket's name");
    for (raw, path) in [
        ("a/b.png", "/b/open/a/b.png"),
        ("icon@2x (1).png", "/b/open/icon@2x%20(1).png"),
        ("%C3%A4%00%25%3f%23%22", "/b/open/%C3%A4%00%25%3F%23%22"),
        ("../x", "/b/open/../x"),
    ] {
        let key = decode_key(raw).expect(raw);
        let made = object_path(&bucket, &key);
        assert_eq!(made, path);
        let raw = made.strip_prefix("/b/open/").expect("the bucket's prefix");
        assert_eq!(decode_key(raw).expect(raw), key);
    }
}
