//! What one client asks for must not spoil what others get.

use std::sync::atomic::Ordering;

use crate::origin::{Scripted, answer, field};
use crate::start::{add_route, routes, start};

const FRESH: &str = "cache-control: max-age=100\netag: \"a\"";

#[tokio::test]
async fn a_path_has_one_route_key_and_spelling() {
    let named = |name: &'static str| {
        Scripted::plain(move |request, _| {
            let target = request.uri().path_and_query().expect("a path");
            answer(200, FRESH, format!("{name} {target}"))
        })
    };
    let (other, api) = (named("other"), named("api"));
    let started = start(other);
    let mut table = routes("/", &started.origin);
    add_route(&mut table, "/api/", &api);
    started.edge.set_routes(table);
    let mut client = started.client().await;
    for (path, body) in [
        ("/%61pi/users?%7e=%2f", "api /api/users?~=%2F"),
        ("/api/users?~=%2F", "api /api/users?~=%2F"),
        ("/api%2fusers", "other /api%2Fusers"),
        ("/api%zz", "other /api%zz"),
    ] {
        assert_eq!(client.get(path).await.text(), body, "{path}");
    }
    assert_eq!((api.calls(), started.origin.calls()), (1, 2));
}

#[tokio::test]
async fn an_origin_that_takes_over_a_path_answers_for_itself() {
    let named = |name: &'static str| Scripted::plain(move |_, _| answer(200, FRESH, name));
    let (old, new) = (named("old"), named("new"));
    new.generation.store(2, Ordering::SeqCst);
    let started = start(old);
    let mut client = started.client().await;
    assert_eq!(client.get("/x").await.text(), "old");
    started.edge.set_routes(routes("/", &new));
    assert_eq!(client.get("/x").await.text(), "new");
    assert!(client.get("/x").await.cache().contains("; hit"));
}

/// A field that the origin does not get must not choose the variant that its answer becomes.
#[tokio::test]
async fn what_connection_hides_chooses_no_variant() {
    let started = start(Scripted::plain(|request, _| {
        let fields = format!("{FRESH}\nvary: accept");
        answer(200, &fields, format!("for {:?}", field(request, "accept")))
    }));
    let mut client = started.client().await;
    let hidden = "Connection: accept\nAccept: text/html\n";
    let shown = "Accept: text/html\n";
    for (fields, body, calls) in [
        (hidden, "for \"\"", 1),
        (shown, "for \"text/html\"", 2),
        ("", "for \"\"", 2),
        (hidden, "for \"\"", 2),
        (shown, "for \"text/html\"", 2),
    ] {
        assert_eq!(client.get_with("/x", fields).await.text(), body);
        assert_eq!(started.origin.calls(), calls);
    }
}

#[tokio::test]
async fn connection_cannot_hide_what_is_meant_for_the_origin() {
    let started = start(Scripted::plain(|request, _| {
        answer(200, FRESH, field(request, "authorization"))
    }));
    let mut client = started.client().await;
    let fields = "Connection: authorization, cache-control, host\nAuthorization: secret\n";
    let own = client.get_with("/x", fields).await;
    assert_eq!(own.text(), "secret");
    assert!(
        own.cache().ends_with("; detail=authorization"),
        "{}",
        own.cache()
    );
    let length = "Connection: content-length\nContent-Length: 0\nCache-Control: no-store\n";
    assert_eq!(client.get_with("/x", length).await.text(), "");
    assert_eq!(started.edge.stats().entries, 0);
}

/// Nor mark its key, whether the origin answers anew or confirms what is stored.
#[tokio::test]
async fn a_request_that_forbids_storing_takes_nothing_away() {
    for status in [200, 304] {
        let started = start(Scripted::plain(move |_, number| match number {
            0 => answer(200, FRESH, "stored"),
            1 => answer(status, FRESH, if status == 200 { "own" } else { "" }),
            _ => answer(200, FRESH, "anew"),
        }));
        let mut client = started.client().await;
        client.get("/x").await;
        let forced = "Authorization: x\nCache-Control: no-cache\n";
        let own = client.get_with("/x", forced).await;
        assert!(
            own.cache().ends_with("; detail=authorization"),
            "{}",
            own.cache()
        );
        assert_eq!(own.text(), if status == 200 { "own" } else { "stored" });
        let hit = client.get("/x").await;
        assert_eq!(hit.text(), "stored");
        assert!(hit.cache().contains("; hit"), "{}", hit.cache());
        // A key that nothing is stored of is not marked either.
        client.get_with("/y", "Authorization: x\n").await;
        assert!(client.get("/y").await.cache().ends_with("; stored"));
        assert_eq!(started.edge.stats().uncacheable, 0);
    }
}

/// A client's fields may make its answer unfit to be stored; it is not what replaces a fresh one.
#[tokio::test]
async fn who_insists_on_an_answer_of_its_own_removes_no_fresh_one() {
    let started = start(Scripted::plain(|request, _| {
        match &*field(request, "cookie") {
            "" => answer(200, FRESH, "all"),
            "bad" => answer(400, "", "bad"),
            _ => answer(200, "cache-control: private", "own"),
        }
    }));
    let mut client = started.client().await;
    assert_eq!(client.get("/x").await.text(), "all");
    for (cookie, body) in [("bad", "bad"), ("mine", "own")] {
        let forced = format!("Cookie: {cookie}\nCache-Control: no-cache\n");
        assert_eq!(client.get_with("/x", &forced).await.text(), body);
        let hit = client.get("/x").await;
        assert_eq!(hit.text(), "all");
        assert!(hit.cache().contains("; hit"), "{}", hit.cache());
    }
}

#[tokio::test]
async fn authorised_requests_learn_from_each_other_alone() {
    let started = start(Scripted::plain(|_, number| {
        answer(200, FRESH, number.to_string())
    }));
    let mut client = started.client().await;
    let authorised = "Authorization: x\n";
    let first = client.get_with("/x", authorised).await;
    assert!(first.cache().ends_with("; detail=authorization"));
    let second = client.get_with("/x", authorised).await;
    assert_eq!(second.cache(), "Fractus; fwd=uri-miss; fwd-status=200");
    assert_eq!(started.edge.stats().uncacheable, 1);
    let open = client.get("/x").await;
    assert!(open.cache().ends_with("; stored"), "{}", open.cache());
    assert_eq!(client.get_with("/x", authorised).await.text(), "2");
}
