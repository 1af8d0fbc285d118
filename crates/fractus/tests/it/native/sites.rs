//! Sites in Flask, `FastAPI` and Django, found without being told what they are: the same pages in
//! each, asked the same.

use std::time::Duration;

use serde_json::json;

use crate::native::client::Client;
use crate::native::{cloud, deploy};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub(super) const FLASK: &[(&str, &str)] = &[
    ("app.py", include_str!("sites/flask.py")),
    ("static/site.css", CSS),
    ("requirements.txt", "flask==3.1.3\n"),
];

const CSS: &str = "body { margin: 2em }\n";

pub(super) const FASTAPI: &[(&str, &str)] = &[
    ("main.py", include_str!("sites/fastapi.py")),
    (
        "requirements.txt",
        "fastapi==0.165.0\npython-multipart==0.0.20\n",
    ),
];

/// With its administration, and a user `ada`. A database for each instance.
pub(super) const DJANGO: &[(&str, &str)] = &[
    ("manage.py", include_str!("sites/django_manage.py")),
    ("shop/__init__.py", ""),
    ("shop/settings.py", include_str!("sites/django_settings.py")),
    ("shop/urls.py", include_str!("sites/django_urls.py")),
    ("shop/wsgi.py", include_str!("sites/django_wsgi.py")),
    ("requirements.txt", "django==5.2.19\n"),
];

/// What every site answers in the same way.
#[track_caller]
pub(super) fn check(site: &mut Client) {
    methods_paths_queries_and_headers(site);
    forms(site);
    cookies(site);
    let lines = "line 0\nline 1\nline 2\n";
    site.get("/stream")
        .assert_streamed(lines, Duration::from_millis(300));
    errors(site);
}

fn methods_paths_queries_and_headers(site: &mut Client) {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let body = if method == "GET" { "" } else { "a body, ü" };
        let line = format!("{method} /echo/a/b%20c/%C3%BC?x=1&x=2&y=%2B%20+&empty=");
        let headers = [("X-Colour", "red"), ("Content-Type", "text/plain")];
        let answer = site.send(&line, &headers, body.as_bytes()).unwrap();
        let expected = json!({
            "method": method,
            "path": "a/b c/ü",
            "query": {"x": ["1", "2"], "y": ["+  "], "empty": [""]},
            "colour": "red",
            "body": body,
        });
        assert_eq!(answer.json(200), expected);
    }
}

fn forms(site: &mut Client) {
    let posted = site
        .send("POST /form", &[FORM], b"name=Ada+%26+co")
        .unwrap();
    assert_eq!(posted.json(200), json!({"name": "Ada & co", "file": null}));
    let multipart = ("content-type", "multipart/form-data; boundary=XX");
    let file = "0123456789".repeat(30_000);
    let body = format!(
        "--XX\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\nAda\r\n--XX\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
         content-type: text/plain\r\n\r\n{file}\r\n--XX--\r\n"
    );
    let posted = site
        .send("POST /form", &[multipart], body.as_bytes())
        .unwrap();
    assert_eq!(
        posted.json(200),
        json!({"name": "Ada", "file": ["a.txt", 300_000]})
    );
}

fn cookies(site: &mut Client) {
    assert_eq!(site.get("/me").json(200), json!({"name": null}));
    let login = site.send("POST /login", &[FORM], b"name=Grace").unwrap();
    assert_eq!(login.status, 302, "{}", login.text());
    assert!(login.header("location").ends_with("me"), "{login:?}");
    let cookie = login.header("set-cookie").split(';').next().unwrap();
    let me = site.send("GET /me", &[("cookie", cookie)], b"").unwrap();
    assert_eq!(me.json(200), json!({"name": "Grace"}));
}

fn errors(site: &mut Client) {
    assert_eq!(site.get("/nothing/here").status, 404);
    let refused = site.send("DELETE /form", &[], b"").unwrap();
    assert_eq!(
        (refused.status, refused.header("allow").contains("POST")),
        (405, true)
    );
    let broken = site.get("/boom");
    assert_eq!(broken.status, 500);
    assert!(
        broken.text().contains("Internal Server Error") || broken.text().contains("Server Error")
    );
    assert_eq!(
        broken.header("x-fractus-error"),
        "",
        "the page is the site's own"
    );
    assert_eq!(site.get("/me").status, 200, "and the site goes on");
}

/// A file that Flask serves by itself.
#[track_caller]
pub(super) fn static_files(site: &mut Client) {
    let sheet = site.get("/static/site.css");
    let kind = sheet.header("content-type").to_owned();
    assert_eq!(
        (sheet.status, kind.as_str(), sheet.text().as_str()),
        (200, "text/css; charset=utf-8", CSS)
    );
    let tag = sheet.header("etag").to_owned();
    let again = site.send("GET /static/site.css", &[("if-none-match", &tag)], b"");
    assert_eq!(again.unwrap().status, 304);
}

#[test]
fn flask() {
    let (directory, node) = cloud();
    let mut site = deploy(&directory, &node, "in-flask", FLASK);
    check(&mut site);
    static_files(&mut site);
    let logs = node.ok(&["logs", "in-flask", "-n", "100"]);
    assert!(logs.contains("this page is broken"), "{logs}");
}

#[test]
fn fastapi() {
    let (directory, node) = cloud();
    let mut site = deploy(&directory, &node, "in-fastapi", FASTAPI);
    check(&mut site);
    describe(&mut site);
}

/// What `FastAPI` makes of types.
#[track_caller]
pub(super) fn describe(site: &mut Client) {
    let docs = site.get("/docs").text();
    let description = format!("'{}'", site.path("/openapi.json"));
    assert!(docs.contains(&description), "{docs}");
    assert!(site.get("/openapi.json").json(200)["paths"]["/items"].is_object());
    let json = ("content-type", "application/json");
    let item = site
        .send("POST /items", &[json], br#"{"name": "pen", "price": 1.5}"#)
        .unwrap();
    assert_eq!(item.json(200), json!({"sum": 3.0}));
    let wrong = site
        .send("POST /items", &[json], br#"{"name": "pen"}"#)
        .unwrap();
    assert_eq!(
        wrong.json(422)["detail"][0]["loc"],
        json!(["body", "price"])
    );
}

#[test]
fn django() {
    let (directory, node) = cloud();
    let limits = "name = \"in-django\"\n[limits]\nmemory_mb = 256\ntimeout_s = 20.0\n";
    let files = [DJANGO, &[("fractus.toml", limits)]].concat();
    let mut site = deploy(&directory, &node, "in-django", &files);
    check(&mut site);
    administer(&mut site);
}

/// Logs in as a browser would.
#[track_caller]
pub(super) fn administer(site: &mut Client) {
    let outside = site.get("/admin/");
    assert_eq!(outside.status, 302);
    let admin = site.path("/admin/");
    let login = format!("/admin/login/?next={admin}");
    assert_eq!(outside.header("location"), site.path(&login));
    let page = site.get(&login);
    let text = page.text();
    assert!(
        text.contains("<title>Log in | Django site admin</title>"),
        "{text}"
    );
    let token = text
        .split("name=\"csrfmiddlewaretoken\" value=\"")
        .nth(1)
        .unwrap();
    let token = token.split('"').next().unwrap();
    let cookie = |answer: &crate::native::client::Answer, name: &str| {
        let all: Vec<_> = answer.all("set-cookie").map(str::to_owned).collect();
        let found = all.iter().find(|cookie| cookie.starts_with(name));
        found.unwrap().split(';').next().unwrap().to_owned()
    };
    let csrf = cookie(&page, "csrftoken");
    let form = format!(
        "csrfmiddlewaretoken={token}&username=ada&password=correct+horse&next={}",
        admin.replace('/', "%2F")
    );
    let login = "POST /admin/login/";
    let headers = [FORM, ("cookie", csrf.as_str())];
    let refused = site.send(login, &headers[..1], form.as_bytes()).unwrap();
    assert_eq!(refused.status, 403, "without the cookie of the form");
    let entered = site.send(login, &headers, form.as_bytes()).unwrap();
    assert_eq!(
        (entered.status, entered.header("location")),
        (302, admin.as_str())
    );
    let cookies = format!("{csrf}; {}", cookie(&entered, "sessionid"));
    let inside = site
        .send("GET /admin/", &[("cookie", &cookies)], b"")
        .unwrap();
    assert_eq!(inside.status, 200);
    assert!(
        inside.text().contains("Site administration"),
        "{}",
        inside.text()
    );
    let users = site
        .send("GET /admin/auth/user/?q=ada", &[("cookie", &cookies)], b"")
        .unwrap();
    assert!(users.text().contains("ada@example.com"), "{}", users.text());
}
