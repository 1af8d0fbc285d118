use bytes::Bytes;
use fractus_func::{Body, BodyError, RequestId};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::{
    StreamPrelude, UrlContext, answer_from_json, raw_answer, raw_event, stream_response, url_event,
};
use crate::limits::{ANSWER_FIELDS_MAX, PRELUDE_MAX};

fn context() -> UrlContext<'static> {
    UrlContext {
        request_id: RequestId::from_random(0),
        signed_by: None,
        api_id: "hello",
        domain: "hello.localhost",
        source_ip: "127.0.0.1",
        now_ms: 1_583_348_638_390,
    }
}

fn event(request: Request<&[u8]>) -> Value {
    let (head, body) = request.into_parts();
    serde_json::from_slice(&url_event(&head, body, &context())).unwrap()
}

#[test]
fn an_event_tells_who_signed_it() {
    let by = fractus_func::SignedBy {
        access_key_id: "AKIA".to_owned(),
        account: "123456789012".to_owned(),
    };
    let context = UrlContext {
        signed_by: Some(&by),
        ..context()
    };
    let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
    let event: Value = serde_json::from_slice(&url_event(&head, b"", &context)).unwrap();
    let said = &event["requestContext"];
    assert_eq!(said["accountId"], "123456789012");
    assert_eq!(said["domainName"], "hello.localhost");
    assert_eq!(
        said["authorizer"],
        json!({"iam": {
            "accessKey": "AKIA",
            "accountId": "123456789012",
            "callerId": "123456789012",
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": "arn:aws:iam::123456789012:root",
            "userId": "123456789012",
        }})
    );
}

#[test]
fn a_request_becomes_an_event() {
    let request = Request::post("http://hello.localhost/my/p%C3%A4th?b=1&a=x+y%21&a=2&c&=&%zz=%")
        .header("Host", "hello.localhost")
        .header("User-Agent", "agent \"7\"")
        .header("Accept", "a")
        .header("Accept", "b")
        .header("X-Latin", HeaderValue::from_bytes(b"\xe4").unwrap())
        .header("Cookie", "one=1; two=2")
        .header("Cookie", "three=3")
        .header("Content-Type", "text/plain")
        .body("Hello\n\u{1f600}".as_bytes())
        .unwrap();
    let expected = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/p%C3%A4th",
        "rawQueryString": "b=1&a=x+y%21&a=2&c&=&%zz=%",
        "cookies": ["one=1", "two=2", "three=3"],
        "headers": {
            "host": "hello.localhost",
            "user-agent": "agent \"7\"",
            "accept": "a,b",
            "x-latin": "\u{e4}",
            "cookie": "one=1; two=2; three=3",
            "content-type": "text/plain",
        },
        "queryStringParameters": {"b": "1", "a": "x y!,2", "c": "", "": "", "%zz": "%"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "hello",
            "domainName": "hello.localhost",
            "domainPrefix": "hello",
            "http": {
                "method": "POST",
                "path": "/my/p%C3%A4th",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "agent \"7\"",
            },
            "requestId": "00000000-0000-4000-8000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "body": "Hello\n\u{1f600}",
        "isBase64Encoded": false,
    });
    assert_eq!(event(request), expected);
}

#[test]
fn what_is_not_there_is_left_out() {
    let event = event(Request::get("/?").body(&b""[..]).unwrap());
    for name in ["cookies", "queryStringParameters", "body"] {
        assert_eq!(event.get(name), None, "{name}");
    }
    assert_eq!(event["headers"], json!({}));
    assert_eq!(event["rawQueryString"], "");
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["requestContext"]["http"]["userAgent"], "");
}

#[test]
fn a_body_is_text_or_base64() {
    let check = |content_type: Option<&str>, body: &[u8], expected: (&str, bool)| {
        let mut request = Request::post("/").body(body).unwrap();
        if let Some(value) = content_type {
            request
                .headers_mut()
                .insert("content-type", value.parse().unwrap());
        }
        let event = event(request);
        let got = (
            event["body"].as_str().unwrap(),
            event["isBase64Encoded"].as_bool().unwrap(),
        );
        assert_eq!(got, expected, "{content_type:?}");
    };
    for kind in [
        "text/html",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
    ] {
        check(Some(kind), b"\"a\"", ("\"a\"", false));
        check(Some(kind), b"\xff", ("/w==", true));
    }
    check(None, b"a", ("a", false));
    check(None, b"\xff\x00", ("/wA=", true));
    for kind in ["image/png", "application/x-www-form-urlencoded", "\u{e4}"] {
        check(Some(kind), b"a=b", ("YT1i", true));
    }
}

fn answer(json: &str) -> (u16, Vec<(String, String)>, String) {
    let response = answer_from_json(Bytes::copy_from_slice(json.as_bytes())).unwrap();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8(value.as_bytes().to_vec()).unwrap();
            (name.to_string(), value)
        })
        .collect();
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    (response.status().as_u16(), headers, body)
}

#[test]
fn an_answer_with_a_status_is_http() {
    let (status, headers, body) = answer(
        r#" {"statusCode": 201, "headers": {"X-A": "1", "X-N": 7, "x-none": null,
            "Content-Length": "99", "Transfer-Encoding": "chunked", "X-Many": ["a", "b"]},
            "multiValueHeaders": {"x-a": ["2", "3"]}, "cookies": ["a=b; Path=/", "c=d"],
            "body": "plain", "isBase64Encoded": false, "more": [1, {}]}"#,
    );
    assert_eq!((status, &*body), (201, "plain"));
    let mut headers: Vec<_> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    headers.sort_unstable();
    let expected = [
        ("content-type", "application/json"),
        ("set-cookie", "a=b; Path=/"),
        ("set-cookie", "c=d"),
        ("x-a", "2"),
        ("x-a", "3"),
        ("x-many", "a"),
        ("x-many", "b"),
        ("x-n", "7"),
    ];
    assert_eq!(headers, expected);

    assert_eq!(answer(r#"{"statusCode":"404"}"#).0, 404);
    let (_, headers, body) = answer(
        r#"{"statusCode":200,"headers":{"Content-Type":"text/html"},"body":"PGI+",
            "isBase64Encoded":true}"#,
    );
    assert_eq!(
        headers,
        [("content-type".to_owned(), "text/html".to_owned())]
    );
    assert_eq!(body, "<b>");
    assert_eq!(answer(r#"{"statusCode":200,"body":"a\nb"}"#).2, "a\nb");
    assert_eq!(
        answer(r#"{"statusCode":200,"body":5,"headers":null,"cookies":null}"#).2,
        "5"
    );
    assert_eq!(answer(r#"{"statusCode":200,"body":null}"#).2, "");
}

#[test]
fn any_other_answer_is_its_json() {
    let text = answer("\"Hello, \\\"you\\\"\"");
    assert_eq!((text.0, &*text.2), (200, "Hello, \"you\""));
    assert_eq!(answer(" \"Hello\"").2, "Hello");
    for json in [
        "null",
        "[1, 2]",
        "7",
        r#"{"message":"hi"}"#,
        r#"{"headers":5,"statusCode":null}"#,
    ] {
        let (status, headers, body) = answer(json);
        assert_eq!((status, &*body), (200, json));
        let expected = ("content-type".to_owned(), "application/json".to_owned());
        assert_eq!(headers, [expected]);
    }
}

#[test]
fn refuses_malformed_answers() {
    let many = json!({"statusCode": 200, "cookies": vec!["a=b"; ANSWER_FIELDS_MAX + 1]});
    let large = json!({"statusCode": 200, "headers": {"x": "y".repeat(100_000)}});
    for json in [
        "",
        "{",
        "plain words",
        "\"\u{1}",
        r#"{"statusCode":99}"#,
        r#"{"statusCode":101}"#,
        r#"{"statusCode":600}"#,
        r#"{"statusCode":-1}"#,
        r#"{"statusCode":200.5}"#,
        r#"{"statusCode":"ok"}"#,
        r#"{"statusCode":[200]}"#,
        r#"{"statusCode":200,"headers":[]}"#,
        r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
        r#"{"statusCode":200,"headers":{"":"c"}}"#,
        r#"{"statusCode":200,"headers":{"a":"b\nc"}}"#,
        r#"{"statusCode":200,"headers":{"a":{}}}"#,
        r#"{"statusCode":200,"body":{}}"#,
        r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
        &many.to_string(),
        &large.to_string(),
    ] {
        let error = answer_from_json(Bytes::copy_from_slice(json.as_bytes())).unwrap_err();
        assert_eq!(error.error_type, "Function.MalformedResponse", "{json}");
    }
    let deep = Bytes::from("[".repeat(1_000_000));
    assert!(answer_from_json(deep).is_err());
    assert!(answer_from_json(Bytes::from_static(b"\"\xff\"")).is_err());
}

#[test]
fn raw_bodies_are_checked_and_passed() {
    assert_eq!(raw_event(Bytes::new()).unwrap(), "{}");
    assert_eq!(raw_event(Bytes::from_static(b" \n")).unwrap(), "{}");
    assert_eq!(raw_event(Bytes::from_static(b"[1]")).unwrap(), "[1]");
    for wrong in ["{", "words", "1 2"] {
        let error = raw_event(Bytes::from(wrong)).unwrap_err();
        assert_eq!(error.error_type, "InvalidRequestContentException");
    }
    assert!(raw_event(Bytes::from_static(b"\"\xff\"")).is_err());
    let response = raw_answer(Bytes::from_static(b"[1]"));
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.into_body(), "[1]");
}

const PRELUDE: &[u8] = b"{\"statusCode\":202,\"headers\":{\"content-type\":\"text/plain\"}}";

#[test]
fn finds_the_prelude_wherever_it_is_cut() {
    let all = [PRELUDE, &[0; 8], b"\0body"].concat();
    for size in 1..=all.len() {
        let mut prelude = StreamPrelude::default();
        let mut chunks = all.chunks(size).map(Bytes::copy_from_slice);
        let (head, first) = chunks
            .by_ref()
            .find_map(|chunk| prelude.push(&chunk).unwrap())
            .unwrap();
        assert_eq!((head.status.as_u16(), head.headers.len()), (202, 1));
        let rest: Vec<u8> = chunks.flatten().collect();
        assert_eq!([&first[..], &rest].concat(), b"\0body", "{size}");
    }
}

#[test]
fn a_prelude_is_bounded() {
    let long = Bytes::from(vec![b' '; PRELUDE_MAX + 8]);
    assert!(StreamPrelude::default().push(&long).is_err());
    let mut prelude = StreamPrelude::default();
    let part = Bytes::from(vec![b' '; 1000]);
    let pushed = (0..100).find_map(|_| prelude.push(&part).err());
    assert_eq!(pushed.unwrap().error_type, "Function.MalformedResponse");
    let wrong = Bytes::from([&b"{"[..], &[0; 8]].concat());
    assert!(StreamPrelude::default().push(&wrong).is_err());
}

fn body(bytes: &[u8]) -> Body {
    let full = Full::new(Bytes::copy_from_slice(bytes));
    full.map_err(|never| -> BodyError { match never {} })
        .boxed_unsync()
}

#[tokio::test]
async fn a_stream_without_prelude_is_its_body() {
    let response = stream_response(Some("text/event-stream"), body(b"a"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let response = stream_response(None, body(b"a")).await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "a"
    );
    let kind = Some("application/vnd.awslambda.http-integration-response");
    let all = [PRELUDE, &[0; 8], b"rest"].concat();
    let response = stream_response(kind, body(&all)).await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "rest"
    );
    let error = stream_response(kind, body(PRELUDE)).await.unwrap_err();
    assert_eq!(error.error_type, "Function.MalformedResponse");
}
