use fractus_edge::Origin;
use http::Request;

use super::BucketOrigin;
use crate::origin::test_support::{Answer, body, get, id, put, store};

async fn ask(origin: &BucketOrigin, path: &str) -> Answer {
    let url = format!("http://edge.test{path}");
    Answer::of(origin.fetch(get(&url), id()).await).await
}

#[tokio::test]
async fn public_objects_are_anyones() {
    let (_folder, store) = store().await;
    put(&store, "open", "photos/a b.png", b"meow").await;
    let origin = BucketOrigin::new(store, 1);
    let answer = ask(&origin, "/b/open/photos/a%20b.png?whatever").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "meow"));
    assert_eq!(answer.field("cdn-cache-control"), "");
}

#[tokio::test]
async fn the_edge_keeps_one_spelling() {
    let (_folder, store) = store().await;
    put(&store, "open", "a/b.png", b"meow").await;
    let origin = BucketOrigin::new(store, 1);
    for path in ["/b/open/a%2Fb.png", "/b/open/%61/b.png"] {
        let answer = ask(&origin, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "meow"),
            "{path}"
        );
        assert_eq!(answer.field("cdn-cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn private_absent_and_missing_look_alike() {
    let (_folder, store) = store().await;
    put(&store, "closed", "secret", b"meow").await;
    put(&store, "open", "cat", b"meow").await;
    let origin = BucketOrigin::new(store, 1);
    let missing = ask(&origin, "/b/open/missing").await;
    assert_eq!(missing.status, 404);
    for path in [
        "/b/closed/secret",
        "/b/closed/missing",
        "/b/absent/secret",
        "/b/Not_A_Bucket/x",
        "/b/open/../closed/secret",
        "/b/open%2F../closed/secret",
        "/b/open",
        "/b/open/",
        "/b/",
        "/b//open/cat",
        "/bopen/cat",
    ] {
        let answer = ask(&origin, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.headers, missing.headers, "{path}");
        assert_eq!(answer.bytes, missing.bytes, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_key_or_no_reading() {
    let (_folder, store) = store().await;
    let origin = BucketOrigin::new(store, 1);
    for path in ["/b/open/%zz", "/b/closed/%ff", "/b/absent/%"] {
        let answer = ask(&origin, path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.field("x-fractus-error"), "bad-key");
    }
    let put = Request::put("http://edge.test/b/closed/x")
        .body(body("x"))
        .expect("a request");
    let answer = Answer::of(origin.fetch(put, id()).await).await;
    assert_eq!(
        (answer.status.as_u16(), answer.field("allow")),
        (405, "GET, HEAD")
    );
}
