use fractus_edge::Origin;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;

use super::UpstreamOrigin;
use crate::origin::test_support::{Answer, ID, Server, body, get, id, store};
use crate::outbound::{Outbound, OutboundConfig};

async fn origin(route: &str, url: &str) -> UpstreamOrigin {
    // The folder may go: nothing here reads objects.
    let (_folder, store) = store().await;
    let outbound = Outbound::new(store, &OutboundConfig::default());
    UpstreamOrigin::new(outbound, route, url.parse().expect(url), 1)
}

#[tokio::test]
async fn the_urls_path_takes_the_place_of_the_routes() {
    for (route, url, path, expected) in [
        ("/", "http://h", "/", "http://h/"),
        ("/", "http://h", "/a/b?x=%20&y", "http://h/a/b?x=%20&y"),
        ("/", "http://h/v1", "/a", "http://h/v1/a"),
        ("/api/", "http://h/", "/api/a/b", "http://h/a/b"),
        ("/api/", "http://h/v1", "/api/a", "http://h/v1/a"),
        ("/api/", "http://h/v1/", "/api/a/", "http://h/v1/a/"),
        (
            "/api/",
            "https://h:8443/v1/",
            "/api/?q",
            "https://h:8443/v1/?q",
        ),
        ("/api/", "http://h/", "/api/%2E.x//x", "http://h/%2E.x//x"),
        ("/one", "http://h/two", "/one?q", "http://h/two?q"),
        ("/one", "http://h", "/one", "http://h/"),
    ] {
        let asked: Uri = format!("http://edge.test{path}").parse().expect(path);
        let target = origin(route, url).await.target(&asked).expect(path);
        assert_eq!(target.to_string(), expected, "{route} {url} {path}");
    }
}

#[tokio::test]
async fn requests_and_answers_pass_both_ways() {
    let server = Server::start(|request| async move {
        let (head, body) = request.into_parts();
        let field = |name: &str| head.headers.get(name).cloned().expect(name);
        let sent = body.collect().await.expect("a whole body").to_bytes();
        let text = format!("{} {} {}", head.method, head.uri, sent.len());
        let mut response = Response::new(super::super::test_support::body(&text));
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("x-host", field("host"));
        response
            .headers_mut()
            .insert("x-asked", field("x-forwarded-host"));
        response
    })
    .await;
    let origin = origin("/api/", &format!("http://{}/v1", server.address)).await;
    let request = Request::post("http://edge.test/api/cats?n=1")
        .header("host", "edge.test")
        .header("x-forwarded-host", "edge.test")
        .body(body(&"x".repeat(1_000_000)))
        .expect("a request");
    let answer = Answer::of(origin.fetch(request, id()).await).await;
    assert_eq!(answer.status, 418);
    assert_eq!(answer.text(), "POST /v1/cats?n=1 1000000");
    assert_eq!(answer.field("x-host"), server.address.to_string());
    assert_eq!(answer.field("x-asked"), "edge.test");
}

#[tokio::test]
async fn no_path_leads_out_of_the_route() {
    let server =
        Server::start(|request| async move { Response::new(body(&request.uri().to_string())) })
            .await;
    let origin = origin("/api/", &format!("http://{}/v1/", server.address)).await;
    let ask = async |path: &str| {
        let request = get(&format!("http://edge.test{path}"));
        Answer::of(origin.fetch(request, id()).await).await
    };
    for path in [
        "/api/..",
        "/api/../../x",
        "/api/./x",
        "/api/a/%2e%2e/%2e%2E/x",
        "/api/.%2e/x",
        "/api/..%2fx",
        "/api/a/..%5Cx",
        "/api/..;v=1/x",
        "/api/%zz/../../x",
    ] {
        let answer = ask(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.field("x-fractus-error"), "dot-segment", "{path}");
    }
    assert_eq!(server.connections(), 0);
    for path in ["/api/...", "/api/a..b/.c", "/api/100%", "/api/%252e%252e/x"] {
        assert_eq!(ask(path).await.text(), path.replace("/api/", "/v1/"));
    }
}

#[tokio::test]
async fn failures_are_answers_that_do_not_say_where_the_upstream_is() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let gone = origin("/", &format!("http://{address}")).await;
    let special = origin("/", "http://user@h").await;
    for (origin, code, says) in [
        (&gone, "upstream-failed", "Connection refused"),
        (&special, "upstream-unreachable", "leads nowhere"),
    ] {
        let answer = Answer::of(origin.fetch(get("http://edge.test/"), id()).await).await;
        assert_eq!(
            (answer.status.as_u16(), answer.field("x-fractus-error")),
            (502, code)
        );
        assert!(
            answer.text().contains(says) && answer.text().contains(ID),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains(&address.to_string()));
        assert_eq!(
            answer.headers.get("cache-control"),
            Some(&HeaderValue::from_static("no-store"))
        );
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    let (_folder, store) = store().await;
    let server = Server::start(|_| std::future::pending::<Response<_>>()).await;
    let short = OutboundConfig {
        head: std::time::Duration::from_millis(50),
        ..OutboundConfig::default()
    };
    let url = format!("http://{}", server.address).parse().expect("a URL");
    let origin = UpstreamOrigin::new(Outbound::new(store, &short), "/", url, 1);
    let answer = Answer::of(origin.fetch(get("http://edge.test/"), id()).await).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.field("x-fractus-error"), "upstream-timeout");
}
