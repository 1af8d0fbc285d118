//! What is stored, and how it is used.

use std::sync::atomic::Ordering;

use fractus_edge::EdgeConfig;

use crate::origin::{Scripted, answer, field};
use crate::start::{config, eventually, start, start_with};

const FRESH: &str = "cache-control: max-age=100\netag: \"a\"";
/// Fresh for ten seconds, and already twenty old.
const STALE: &str = "cache-control: max-age=10\nage: 20\netag: \"a\"";

#[tokio::test]
async fn a_miss_is_stored_and_then_hit() {
    let started = start(Scripted::plain(|_, _| answer(200, FRESH, "body")));
    let mut client = started.client().await;
    let miss = client.get("/x").await;
    assert_eq!(
        miss.cache(),
        "Fractus; fwd=uri-miss; fwd-status=200; stored"
    );
    assert_eq!((miss.status, miss.text()), (200, "body"));
    let hit = client.get("/x").await;
    assert!(
        hit.cache().starts_with("Fractus; hit; ttl="),
        "{}",
        hit.cache()
    );
    assert_eq!((hit.status, hit.text()), (200, "body"));
    assert_eq!(hit.expect("date"), miss.expect("date"));
    assert_eq!(hit.expect("etag"), "\"a\"");
    let age: u32 = hit.expect("age").parse().unwrap();
    assert!(age <= 100);
    assert_ne!(hit.expect("x-request-id"), miss.expect("x-request-id"));
    assert_eq!(started.origin.calls(), 1);
    let stats = started.edge.stats();
    assert_eq!(
        (stats.entries, stats.hits, stats.misses, stats.fills),
        (1, 1, 1, 1)
    );
    assert!(stats.bytes > 4 && stats.bytes <= stats.capacity);
}

#[tokio::test]
async fn a_stored_answer_serves_conditions_ranges_and_head() {
    let started = start(Scripted::plain(|_, _| answer(200, FRESH, "0123456789")));
    let mut client = started.client().await;
    client.get("/x").await;
    let same = client.get_with("/x", "If-None-Match: \"a\"\n").await;
    assert_eq!((same.status, same.expect("etag")), (304, "\"a\""));
    assert_eq!(same.field("content-length"), None);
    let other = client.get_with("/x", "If-None-Match: \"b\"\n").await;
    assert_eq!((other.status, other.text()), (200, "0123456789"));
    for (range, status, said, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", ""),
    ] {
        let part = client.get_with("/x", &format!("Range: {range}\n")).await;
        assert_eq!((part.status, part.text()), (status, body), "{range}");
        assert_eq!(part.expect("content-range"), said);
    }
    let head = client.head("/x").await;
    assert_eq!((head.status, head.expect("content-length")), (200, "10"));
    assert!(head.cache().contains("; hit"));
    assert_eq!(client.get("/x").await.text(), "0123456789");
    assert_eq!(started.origin.calls(), 1);
}

#[tokio::test]
async fn conditions_and_ranges_of_a_miss_are_met_from_its_fill() {
    let origin = Scripted::plain(|request, _| {
        assert_eq!(field(request, "range"), "");
        assert_eq!(field(request, "if-none-match"), "");
        answer(200, FRESH, "0123456789")
    });
    let started = start(origin);
    let mut client = started.client().await;
    let part = client.get_with("/part", "Range: bytes=2-4\n").await;
    assert_eq!((part.status, part.text()), (206, "234"));
    let same = client.get_with("/same", "If-None-Match: \"a\"\n").await;
    assert_eq!(same.status, 304);
    assert!(client.get("/part").await.cache().contains("; hit"));
    assert_eq!(client.get("/same").await.text(), "0123456789");
    assert_eq!(started.origin.calls(), 2);
}

#[tokio::test]
async fn what_may_not_be_stored_is_passed_on_and_says_why() {
    let origin = Scripted::plain(|request, number| {
        let fields = match request.uri().path() {
            "/no-store" => "cache-control: no-store",
            "/private" => "cache-control: private, max-age=9",
            "/cookie" => "cache-control: max-age=9\nset-cookie: a=b",
            _ => "content-type: text/plain",
        };
        answer(200, fields, number.to_string())
    });
    let started = start(origin);
    let mut client = started.client().await;
    for (path, why) in [
        ("/no-store", "no-store"),
        ("/private", "private"),
        ("/cookie", "set-cookie"),
        ("/nothing", "no-freshness"),
    ] {
        let first = client.get(path).await;
        let said = format!("Fractus; fwd=uri-miss; fwd-status=200; detail={why}");
        assert_eq!(first.cache(), said);
        let second = client.get(path).await;
        assert_eq!(second.cache(), "Fractus; fwd=uri-miss; fwd-status=200");
        assert_ne!(first.text(), second.text());
    }
    assert_eq!(started.edge.stats().entries, 0);
    assert_eq!(started.edge.stats().uncacheable, 4);
}

#[tokio::test]
async fn requests_that_are_no_plain_gets_go_to_the_origin() {
    let started = start(Scripted::plain(|request, _| {
        let body = if request.method() == "HEAD" {
            ""
        } else {
            "body"
        };
        answer(200, FRESH, body)
    }));
    let mut client = started.client().await;
    let head = client.head("/x").await;
    assert_eq!(head.cache(), "Fractus; fwd=uri-miss; fwd-status=200");
    for (method, said) in [("OPTIONS", "method"), ("DELETE", "method")] {
        client.ask(method, "/x", "").await;
        let answer = client.answer().await.unwrap();
        assert_eq!(
            answer.cache(),
            format!("Fractus; fwd={said}; fwd-status=200")
        );
    }
    client
        .send("GET /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab")
        .await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.cache(), "Fractus; fwd=bypass; fwd-status=200");
    assert_eq!(
        (started.origin.calls(), started.edge.stats().entries),
        (4, 0)
    );
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let origin = Scripted::plain(|request, _| {
        let language = field(request, "accept-language");
        answer(
            200,
            "cache-control: max-age=100\nvary: accept-language",
            language,
        )
    });
    let started = start(origin);
    let mut client = started.client().await;
    for (language, said) in [
        ("de", "fwd=uri-miss"),
        ("fr", "fwd=vary-miss"),
        ("de", "hit"),
    ] {
        let answer = client
            .get_with("/x", &format!("Accept-Language: {language}\n"))
            .await;
        assert_eq!(answer.text(), language);
        assert!(answer.cache().contains(said), "{}", answer.cache());
    }
    assert_eq!(started.origin.calls(), 2);
}

#[tokio::test]
async fn a_stale_answer_is_validated() {
    let origin = Scripted::plain(|request, number| match number {
        0 => answer(200, STALE, "body"),
        1 => {
            assert_eq!(field(request, "if-none-match"), "\"a\"");
            answer(304, "cache-control: max-age=100\netag: \"a\"\nx-new: 1", "")
        }
        _ => panic!("it is fresh again"),
    });
    let started = start(origin);
    let mut client = started.client().await;
    client.get("/x").await;
    let confirmed = client.get("/x").await;
    assert_eq!(
        confirmed.cache(),
        "Fractus; fwd=stale; fwd-status=304; stored"
    );
    assert_eq!(
        (
            confirmed.status,
            confirmed.text(),
            confirmed.expect("x-new")
        ),
        (200, "body", "1")
    );
    let hit = client.get("/x").await;
    assert!(hit.cache().contains("; hit"));
    assert_eq!((hit.text(), hit.expect("x-new")), ("body", "1"));
    assert_eq!(started.edge.stats().revalidations, 1);
}

#[tokio::test]
async fn a_stale_answer_is_replaced_or_removed() {
    let origin = Scripted::plain(|_, number| match number {
        0 => answer(200, STALE, "old"),
        1 => answer(
            200,
            "cache-control: max-age=10\nage: 20\netag: \"b\"",
            "new",
        ),
        2 => answer(404, "cache-control: no-store", "gone"),
        _ => answer(200, FRESH, "back"),
    });
    let started = start(origin);
    let mut client = started.client().await;
    for body in ["old", "new", "gone", "back"] {
        assert_eq!(client.get("/x").await.text(), body);
    }
    assert_eq!(
        started.edge.stats().entries,
        0,
        "the key is remembered as uncacheable"
    );
}

#[tokio::test]
async fn stale_while_revalidate_answers_at_once() {
    let origin = Scripted::plain(|_, number| match number {
        0 => answer(
            200,
            "cache-control: max-age=10, stale-while-revalidate=100\nage: 20",
            "old",
        ),
        _ => answer(200, FRESH, "new"),
    });
    let started = start(origin);
    let mut client = started.client().await;
    client.get("/x").await;
    let stale = client.get("/x").await;
    assert_eq!(stale.text(), "old");
    assert!(
        stale.cache().starts_with("Fractus; hit; ttl=-"),
        "{}",
        stale.cache()
    );
    let fills = || started.edge.stats().fills == 2;
    eventually("the answer is fetched anew", fills).await;
    eventually("it is stored", || started.edge.stats().revalidations == 1).await;
    let mut fresh = client.get("/x").await;
    while fresh.text() == "old" {
        fresh = client.get("/x").await;
    }
    assert!(fresh.cache().contains("; hit"));
    assert_eq!((fresh.text(), started.origin.calls()), ("new", 2));
}

#[tokio::test]
async fn stale_if_error_hides_a_failing_origin() {
    let origin = Scripted::plain(|request, number| {
        let tolerant = request.uri().path() == "/tolerant";
        match (number % 2, tolerant) {
            (0, true) => answer(200, &STALE.replace("=10", "=10, stale-if-error=100"), "old"),
            (0, false) => answer(200, STALE, "old"),
            _ => answer(503, "", "down"),
        }
    });
    let started = start(origin);
    let mut client = started.client().await;
    client.get("/tolerant").await;
    let stale = client.get("/tolerant").await;
    assert_eq!((stale.status, stale.text()), (200, "old"));
    assert_eq!(
        stale.cache(),
        "Fractus; fwd=stale; fwd-status=503; detail=stale-if-error"
    );
    client.get("/strict").await;
    let failed = client.get("/strict").await;
    assert_eq!((failed.status, failed.text()), (503, "down"));
    assert_eq!(
        started.edge.stats().entries,
        2,
        "a failure does not remove what is stored"
    );
}

#[tokio::test]
async fn clients_may_insist() {
    let origin = Scripted::plain(|_, number| answer(200, FRESH, number.to_string()));
    let started = start(origin);
    let mut client = started.client().await;
    let unknown = client
        .get_with("/x", "Cache-Control: only-if-cached\n")
        .await;
    assert_eq!(
        (unknown.status, unknown.expect("x-fractus-error")),
        (504, "not-cached")
    );
    assert_eq!(unknown.cache(), "Fractus; fwd=uri-miss");
    assert_eq!(client.get("/x").await.text(), "0");
    let known = client
        .get_with("/x", "Cache-Control: only-if-cached\n")
        .await;
    assert_eq!(known.text(), "0");
    let forced = client.get_with("/x", "Cache-Control: no-cache\n").await;
    assert_eq!(forced.text(), "1");
    assert_eq!(
        forced.cache(),
        "Fractus; fwd=request; fwd-status=200; stored"
    );
    let unseen = client.get_with("/y", "Cache-Control: no-store\n").await;
    assert_eq!(
        (unseen.text(), unseen.cache()),
        ("2", "Fractus; fwd=uri-miss; fwd-status=200")
    );
    assert_eq!(client.get("/x").await.text(), "1");
    assert_eq!(started.edge.stats().entries, 1);
}

#[tokio::test]
async fn an_unsafe_request_that_succeeds_invalidates() {
    let origin = Scripted::plain(
        |request, number| match (request.method().as_str(), number) {
            ("GET", _) => answer(200, FRESH, number.to_string()),
            (_, 3) => answer(500, "", ""),
            _ => answer(201, "location: /other", ""),
        },
    );
    let started = start(origin);
    let mut client = started.client().await;
    for path in ["/x", "/other", "/third"] {
        client.get(path).await;
    }
    for (status, bodies) in [(500, ["0", "1", "2"]), (201, ["5", "6", "2"])] {
        client.ask("PUT", "/x", "Content-Length: 0\n").await;
        assert_eq!(client.answer().await.unwrap().status, status);
        for (path, body) in ["/x", "/other", "/third"].into_iter().zip(bodies) {
            assert_eq!(client.get(path).await.text(), body, "{path} after {status}");
        }
    }
}

#[tokio::test]
async fn the_node_invalidates_a_path_for_all_hosts_and_queries() {
    let origin = Scripted::plain(|_, number| answer(200, FRESH, number.to_string()));
    let started = start(origin);
    let mut client = started.client().await;
    let ask = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut read = async || {
        let mut bodies = String::new();
        for (host, path) in [
            ("a", "/b/k%41%2b"),
            ("B:80", "/b/kA+?v=1"),
            ("a", "/b/other%"),
        ] {
            client.send(ask(host, path)).await;
            bodies.push_str(client.answer().await.unwrap().text());
        }
        bodies
    };
    assert_eq!(read().await, "012");
    assert_eq!(read().await, "012");
    started.edge.invalidate("/b/kA+");
    assert_eq!(read().await, "342");
    started.edge.purge();
    assert_eq!(read().await, "567");
    started.edge.invalidate("no path");
    started.origin.generation.fetch_add(1, Ordering::SeqCst);
    assert_eq!(read().await, "8910");
    assert_eq!(started.edge.stats().entries, 3);
}

#[tokio::test]
async fn a_cache_of_no_size_stores_nothing() {
    let none = EdgeConfig {
        cache_bytes: 0,
        ..config()
    };
    let started = start_with(
        none,
        Scripted::plain(|_, number| answer(200, FRESH, number.to_string())),
    );
    let mut client = started.client().await;
    for body in ["0", "1", "2"] {
        assert_eq!(client.get("/x").await.text(), body);
    }
    assert_eq!(started.edge.stats().bytes, 0);
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    let started = start_with(
        EdgeConfig {
            cache_bytes: 1 << 20,
            object_max_bytes: 64 << 10,
            ..config()
        },
        Scripted::plain(|_, _| answer(200, FRESH, vec![7; 10_000])),
    );
    let mut client = started.client().await;
    for number in 0..400 {
        assert_eq!(client.get(&format!("/{number}")).await.body.len(), 10_000);
    }
    let stats = started.edge.stats();
    assert!(
        stats.bytes <= stats.capacity && stats.capacity <= 1 << 20,
        "{stats:?}"
    );
    assert!((50..105).contains(&stats.entries), "{stats:?}");
    let before = started.origin.calls();
    assert_eq!(before, 400);
    client.get("/0").await;
    assert_eq!(
        started.origin.calls(),
        401,
        "the first has long been evicted"
    );
}
