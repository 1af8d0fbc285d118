use std::time::Duration;

use fractus_edge::Origin as _;
use fractus_func::Manifest;
use http::header::AUTHORIZATION;
use http::{Method, Request};

use super::{OpenLambda, name_of};
use crate::origin::test_support::{Answer, body, id};
use crate::routes;

async fn ask(worker: &OpenLambda, method: Method, path: &str, token: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://h{path}"));
    let request = request.header(AUTHORIZATION, token).body(body("")).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), worker.fetch(request, id()));
    let answer = Answer::of(answer.await.unwrap()).await;
    assert_eq!(answer.field("cache-control"), "no-store", "{path}");
    answer
}

#[tokio::test]
async fn anyone_may_ask_whether_it_is_ready_and_no_more() {
    let worker = OpenLambda::new("right", 1);
    assert!(!format!("{worker:?}").contains("right"));
    let ready = ask(&worker, Method::GET, "/status", "").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (200, "ready\n"));
    for path in [
        "/stats",
        "/registry",
        "/registry/",
        "/registry/f",
        "/registry/f/config",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::PUT] {
            for token in [
                "",
                "Bearer ",
                "Bearer wrong",
                "Bearer right ",
                "Basic right",
                "right",
            ] {
                let answer = ask(&worker, method.clone(), path, token).await;
                assert_eq!(answer.status.as_u16(), 401, "{method} {path} {token}");
                assert_eq!(answer.field("www-authenticate"), "Bearer");
            }
        }
    }
    // There is nothing yet that it could ask.
    let early = ask(&worker, Method::GET, "/registry/", "Bearer right").await;
    assert_eq!(early.status.as_u16(), 503);
}

#[test]
fn names_are_told_by_their_own_rule() {
    assert_eq!(name_of("a-B_9").unwrap().as_str(), "a-B_9");
    for (name, why) in [
        ("a/b", r"must match ^[A-Za-z0-9\.\-\_]+$"),
        ("%41", r"must match ^[A-Za-z0-9\.\-\_]+$"),
        ("a.b", "use 1 to 64 of A-Z, a-z, 0-9, - and _"),
        (&"a".repeat(65), "use 1 to 64"),
    ] {
        let refusal = name_of(name).unwrap_err();
        assert_eq!(refusal.status.as_u16(), 400);
        assert!(refusal.text.contains(why), "{}", refusal.text);
    }
}

#[test]
fn no_function_may_take_the_paths() {
    let reserved = |route: &str| {
        let text = format!("name = \"f\"\nroutes = [{route}]\n");
        routes::reserved(&Manifest::from_toml(&text).unwrap()).is_some()
    };
    for path in [
        "/status",
        "/stats",
        "/registry",
        "/registry/",
        "/registry/f",
        "/registry/f/",
    ] {
        assert!(reserved(&format!("{{path = \"{path}\"}}")), "{path}");
        let hosted = format!("{{host = \"example.com\", path = \"{path}\"}}");
        assert!(!reserved(&hosted), "{path}");
    }
    for path in ["/", "/status/", "/statuses", "/registrys", "/stats/x"] {
        assert!(!reserved(&format!("{{path = \"{path}\"}}")), "{path}");
    }
}
