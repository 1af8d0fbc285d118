use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::Deserialize;

use super::time::Timestamp;
use super::{
    ContentHash, Credentials, Scope, SigError, SignError, Signature, Signed, SigningKeys,
    body_sha256, sign,
};
use crate::limits;

/// 2015-08-30 12:36:00, the time of all recorded requests.
const NOW_S: u64 = 1_440_938_160;
const OURS: Scope<'_> = Scope {
    region: "us-east-1",
    services: &["lambda", "s3", "sts", "service"],
};
const SIGNATURE: &str = "Signature=";

/// A request that botocore 1.44.8 signed.
#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    service: String,
    region: String,
}

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
    }
}

fn keys() -> SigningKeys {
    SigningKeys::new([credentials()])
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut head = Request::new(()).into_parts().0;
    head.method = Method::from_bytes(method.as_bytes()).unwrap();
    head.uri = Uri::try_from(target).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        head.headers
            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    head
}

fn recorded() -> Vec<(Vector, Parts)> {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("tests/vectors.json")).unwrap();
    let with_head = vectors.into_iter().map(|vector| {
        let target = if vector.target.is_empty() {
            "/"
        } else {
            &vector.target
        };
        let headers: Vec<_> = vector.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        let head = head(&vector.method, target, &headers);
        (vector, head)
    });
    with_head.collect()
}

fn named(name: &str) -> (Vector, Parts) {
    recorded()
        .into_iter()
        .find(|(vector, _)| vector.name == name)
        .unwrap()
}

fn verify_at(head: &Parts, body: &[u8], now_s: u64) -> Result<Signed, SigError> {
    let signature = Signature::parse(head, now_s)?.ok_or(SigError::Missing)?;
    signature.check(Some(&body_sha256(body)), &keys(), &OURS)
}

fn verify(head: &Parts, body: &[u8]) -> Result<Signed, SigError> {
    verify_at(head, body, NOW_S)
}

fn set(head: &mut Parts, name: &'static str, value: &str) {
    head.headers
        .insert(name, HeaderValue::from_str(value).unwrap());
}

fn authorization(head: &Parts) -> String {
    head.headers[AUTHORIZATION].to_str().unwrap().to_owned()
}

/// A request that is signed rightly, with a body of `{}`.
fn signed() -> Parts {
    let target = "/2015-03-31/functions/hello/invocations?Qualifier=1&x=a";
    let mut head = head(
        "POST",
        target,
        &[
            ("Host", "h:9001"),
            ("X-Amz-Invocation-Type", "Event"),
            ("Content-Type", "application/json"),
        ],
    );
    sign(
        &mut head,
        &body_sha256(b"{}"),
        &credentials(),
        "us-east-1",
        "lambda",
        NOW_S,
    )
    .unwrap();
    assert!(verify(&head, b"{}").is_ok());
    head
}

#[test]
fn agrees_with_botocore() {
    let all = recorded();
    assert!(all.len() > 50);
    let keys = keys();
    for (vector, head) in &all {
        let scope = Scope {
            region: &vector.region,
            services: &[&vector.service],
        };
        let signature = Signature::parse(head, NOW_S).unwrap().unwrap();
        assert_eq!(signature.access_key_id(), "AKIDEXAMPLE");
        let body = body_sha256(vector.body.as_bytes());
        let name = &vector.name;
        // Derives the key or has it; and has it for sure.
        for _ in 0..2 {
            let signed = signature.check(Some(&body), &keys, &scope);
            let signed = signed.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(signed.service, vector.service);
            assert_eq!(signed.is_presigned, name.starts_with("presigned"));
        }
        if signature.needs_body() {
            assert_eq!(
                signature.check(None, &keys, &scope),
                Err(SigError::BodyUnknown),
                "{name}"
            );
        } else {
            assert!(signature.check(None, &keys, &scope).is_ok(), "{name}");
        }
    }
}

#[test]
fn each_recorded_request_is_about_its_method_path_query_fields_and_body() {
    for (vector, original) in recorded() {
        let (name, body) = (&vector.name, vector.body.as_bytes());
        let scope = Scope {
            region: &vector.region,
            services: &[&vector.service],
        };
        let check = |head: &Parts, body: &[u8]| {
            let signature = Signature::parse(head, NOW_S).unwrap().unwrap();
            signature.check(Some(&body_sha256(body)), &keys(), &scope)
        };
        let changed = |change: &dyn Fn(&mut Parts)| {
            let mut head = original.clone();
            change(&mut head);
            check(&head, body)
        };
        let uri = original.uri.to_string();
        let mismatch = Err(SigError::Mismatch);
        assert_eq!(
            changed(&|head| head.method = Method::PATCH),
            mismatch,
            "{name}"
        );
        let (path, query) = uri
            .split_once('?')
            .map_or((&*uri, ""), |(path, query)| (path, query));
        let other = format!("{path}x?{query}");
        assert_eq!(
            changed(&|head| head.uri = other.parse().unwrap()),
            mismatch,
            "{name}"
        );
        let more = format!("{uri}{}x=1", if uri.contains('?') { '&' } else { '?' });
        assert_eq!(
            changed(&|head| head.uri = more.parse().unwrap()),
            mismatch,
            "{name}"
        );
        assert_eq!(
            changed(&|head| set(head, "host", "evil.example")),
            mismatch,
            "{name}"
        );
        let longer = check(&original, &[body, b" "].concat());
        match name.as_str() {
            "unsigned payload" | "presigned s3" | "presigned s3 put" => {
                assert_eq!(longer.unwrap().content_sha256, ContentHash::Unsigned);
            }
            "content hash given" => assert_eq!(longer, Err(SigError::BodyMismatch)),
            _ if vector.service == "s3" => assert_eq!(longer, Err(SigError::BodyMismatch)),
            _ => assert_eq!(longer, mismatch, "{name}"),
        }
    }
}

/// Method, target, header fields, body and signature.
type Case<'a> = (
    &'a str,
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a [u8],
    &'a str,
);

/// Cases of AWS's own test suite, with the signatures that it gives.
#[test]
fn agrees_with_the_published_suite() {
    let utf8 = "/\u{1234}";
    let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
    let utf8_is = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85";
    let unreserved_is = "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f";
    let order = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
    let form_is = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
    let cases: [Case<'_>; 9] = [
        ("GET", "/", &[], b"", vanilla),
        ("GET", "/?", &[], b"", vanilla),
        ("GET", "/example/..", &[], b"", vanilla),
        ("GET", "/example1/example2/../..", &[], b"", vanilla),
        ("GET", utf8, &[], b"", utf8_is),
        ("GET", unreserved, &[], b"", unreserved_is),
        ("GET", "/?Param2=value2&Param1=value1", &[], b"", order),
        ("POST", "/", &[], b"", post),
        ("POST", "/", &[form], b"Param1=value1", form_is),
    ];
    for (method, target, fields, body, signature) in cases {
        let mut head = head(method, target, fields);
        set(&mut head, "host", "example.amazonaws.com");
        set(&mut head, "x-amz-date", "20150830T123600Z");
        let names = match fields {
            [] => "host;x-amz-date",
            _ => "content-type;host;x-amz-date",
        };
        let scope = "20150830/us-east-1/service/aws4_request";
        set(
            &mut head,
            "authorization",
            &format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, \
             Signature={signature}"
            ),
        );
        assert!(verify(&head, body).is_ok(), "{method} {target}");
    }
}

#[test]
fn signs_as_botocore_does() {
    let (vector, original) = named("content hash given");
    let mut head = original.clone();
    head.headers.remove(AUTHORIZATION);
    head.headers.remove("x-amz-date");
    let body = body_sha256(vector.body.as_bytes());
    sign(
        &mut head,
        &body,
        &credentials(),
        "us-east-1",
        "lambda",
        NOW_S,
    )
    .unwrap();
    assert_eq!(authorization(&head), authorization(&original));
}

#[test]
fn signs_without_a_host_field() {
    let mut asked = head("GET", "http://h.example:9001/a?b=c%20d", &[]);
    sign(
        &mut asked,
        &body_sha256(b""),
        &credentials(),
        "us-east-1",
        "lambda",
        NOW_S,
    )
    .unwrap();
    assert_eq!(asked.headers[HOST], "h.example:9001");
    assert!(verify(&asked, b"").is_ok());
    // HTTP/2 has the host in the URI alone.
    asked.headers.remove(HOST);
    assert!(verify(&asked, b"").is_ok());
    asked.uri = "http://evil.example/a?b=c%20d".parse().unwrap();
    assert_eq!(verify(&asked, b""), Err(SigError::Mismatch));

    let mut nowhere = head("GET", "/a", &[]);
    let error = sign(&mut nowhere, &[0; 32], &credentials(), "r", "s", NOW_S);
    assert_eq!(error, Err(SignError::NoHost));
    let mut here = head("GET", "/a", &[("Host", "h")]);
    let odd = Credentials {
        access_key_id: "a\nb".to_owned(),
        ..credentials()
    };
    assert_eq!(
        sign(&mut here, &[0; 32], &odd, "r", "s", NOW_S),
        Err(SignError::AccessKey)
    );
}

#[test]
fn a_signature_may_be_anywhere_or_nowhere() {
    let plain = head("GET", "/", &[("Host", "h")]);
    assert!(Signature::parse(&plain, NOW_S).unwrap().is_none());
    let bearer = head("GET", "/", &[("Authorization", "Bearer abc")]);
    assert!(Signature::parse(&bearer, NOW_S).unwrap().is_none());

    let (_, presigned) = named("presigned");
    let mut both = signed();
    both.uri = presigned.uri.clone();
    assert!(matches!(verify(&both, b"{}"), Err(SigError::Incomplete(_))));
}

#[test]
fn takes_each_form_of_the_field() {
    let head = signed();
    let usual = authorization(&head);
    for form in [
        usual.replace(", ", ","),
        usual.replace(", ", ",   "),
        usual.replace(", ", " ,\t"),
        usual.replace(", ", " "),
        usual.replacen(' ', "  ", 1),
        format!("{usual},"),
        reordered(&usual),
    ] {
        let mut head = head.clone();
        set(&mut head, "authorization", &form);
        assert!(verify(&head, b"{}").is_ok(), "{form}");
    }
}

/// The same with the parts the other way round.
fn reordered(usual: &str) -> String {
    let parts = usual.strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
    let parts: Vec<_> = parts.split(", ").collect();
    format!("AWS4-HMAC-SHA256 {}, {}, {}", parts[2], parts[1], parts[0])
}

#[test]
fn refuses_malformed_fields() {
    let head = signed();
    let usual = authorization(&head);
    let part = |name: &str| {
        let parts = usual.split([',', ' ']).find(|part| part.starts_with(name));
        parts.unwrap().to_owned()
    };
    for form in [
        "AWS4-HMAC-SHA256".to_owned(),
        "AWS4-HMAC-SHA256 ".to_owned(),
        "AWS4-HMAC-SHA256 garbage".to_owned(),
        "AWS4-HMAC-SHA256 =,=,=".to_owned(),
        usual.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        usual.replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
        usual.replace(&part("Credential"), ""),
        usual.replace(&part("SignedHeaders"), ""),
        usual.replace(&part("Signature"), ""),
        usual.replace(&part("Signature"), "Signature="),
        format!("{usual}, {}", part("Credential")),
        format!("{usual}, {}", part("Signature")),
        format!("{usual}, X=1"),
        usual.replace("AKIDEXAMPLE/", ""),
        usual.replace("AKIDEXAMPLE/", "/"),
        usual.replace("AKIDEXAMPLE/", "AKID/EXAMPLE/"),
        usual.replace("us-east-1/", "/"),
        usual.replace("=content-type;host", "=host;content-type"),
        usual.replace("=content-type;host", "=Content-Type;host"),
        usual.replace("=content-type;host", "=content-type;content-type;host"),
        usual.replace("=content-type;host", "=;content-type;host"),
        usual.replace(";host", ";;host"),
    ] {
        let mut head = head.clone();
        set(&mut head, "authorization", &form);
        assert!(
            matches!(verify(&head, b"{}"), Err(SigError::Incomplete(_))),
            "{form}"
        );
    }
    let mut twice = head.clone();
    twice
        .headers
        .append(AUTHORIZATION, HeaderValue::from_str(&usual).unwrap());
    assert!(matches!(
        verify(&twice, b"{}"),
        Err(SigError::Incomplete(_))
    ));
    let mut odd = head.clone();
    odd.headers.insert(
        AUTHORIZATION,
        HeaderValue::from_bytes(b"AWS4-HMAC-SHA256 \xff").unwrap(),
    );
    assert!(matches!(verify(&odd, b"{}"), Err(SigError::Incomplete(_))));
    let mut long = head;
    set(
        &mut long,
        "authorization",
        &format!("{usual}{}", " ".repeat(limits::AUTHORIZATION_MAX)),
    );
    assert_eq!(verify(&long, b"{}"), Err(SigError::TooLarge));
}

#[test]
fn refuses_other_signatures() {
    let head = signed();
    let usual = authorization(&head);
    let (before, hex) = usual.split_once(SIGNATURE).unwrap();
    let mut flipped = hex.to_owned();
    let last = if hex.ends_with('0') { "1" } else { "0" };
    flipped.replace_range(63.., last);
    for other in [
        &hex[..62],
        &hex[..63],
        &format!("{hex}00"),
        &hex.to_uppercase(),
        &flipped,
        &"0".repeat(64),
        &"g".repeat(64),
        "x",
    ] {
        let mut head = head.clone();
        set(
            &mut head,
            "authorization",
            &format!("{before}{SIGNATURE}{other}"),
        );
        let error = verify(&head, b"{}").unwrap_err();
        assert_eq!(error, SigError::Mismatch, "{other}");
        assert!(!error.to_string().contains(hex));
    }
}

#[test]
fn refuses_changed_requests() {
    let head = signed();
    let change = |change: &dyn Fn(&mut Parts)| {
        let mut head = head.clone();
        change(&mut head);
        verify(&head, b"{}")
    };
    let mismatch = Err(SigError::Mismatch);
    let uri = |to: &'static str| change(&|head| head.uri = to.parse().unwrap());
    assert_eq!(change(&|head| head.method = Method::PUT), mismatch);
    assert_eq!(
        uri("/2015-03-31/functions/other/invocations?Qualifier=1&x=a"),
        mismatch
    );
    assert_eq!(
        uri("/2015-03-31/functions/hello/invocations?Qualifier=2&x=a"),
        mismatch
    );
    assert_eq!(
        uri("/2015-03-31/functions/hello/invocations?Qualifier=1"),
        mismatch
    );
    assert_eq!(
        uri("/2015-03-31/functions/hello/invocations?Qualifier=1&x=a&x=a"),
        mismatch
    );
    assert_eq!(
        uri("/2015-03-31/functions/hello%2Finvocations?Qualifier=1&x=a"),
        mismatch
    );
    // What says the same is the same.
    assert!(uri("/2015-03-31/functions/hello/invocations?x=%61&&Qualifier=1").is_ok());
    assert_eq!(
        change(&|head| set(head, "x-amz-invocation-type", "DryRun")),
        mismatch
    );
    assert_eq!(
        change(&|head| set(head, "content-type", "text/plain")),
        mismatch
    );
    let removed = |name| change(&|head| drop(head.headers.remove(name)));
    assert_eq!(removed("content-type"), mismatch);
    assert_eq!(removed("x-amz-invocation-type"), mismatch);
    assert_eq!(removed("host"), mismatch);
    assert_eq!(
        change(&|head| set(head, "x-amz-date", "20150830T123601Z")),
        mismatch
    );
    assert!(matches!(
        removed("x-amz-date"),
        Err(SigError::Incomplete(_))
    ));
    let appended = |name, value| {
        change(&|head| {
            head.headers.append(name, HeaderValue::from_static(value));
        })
    };
    assert_eq!(appended("host", "evil.example"), mismatch);
    assert_eq!(appended("x-amz-invocation-type", "DryRun"), mismatch);
    assert!(matches!(
        appended("x-amz-date", "20150830T123600Z"),
        Err(SigError::Incomplete(_))
    ));
    assert!(matches!(
        appended("x-amz-content-sha256", "0"),
        Err(SigError::Incomplete(_))
    ));
    // Not covered, so free to be there.
    assert!(appended("accept", "*/*").is_ok());
    assert!(appended("x-amzn-trace-id", "Root=1").is_ok());
    assert!(appended("x-amz-cf-id", "a").is_ok());
    let client_context = appended("x-amz-client-context", "e30=");
    assert_eq!(
        client_context,
        Err(SigError::NotSigned("x-amz-client-context".to_owned()))
    );
    assert_eq!(verify(&head, b"{ }"), Err(SigError::BodyMismatch));
}

#[test]
fn the_host_must_be_signed() {
    let mut head = signed();
    let without = authorization(&head).replace(";host", "");
    set(&mut head, "authorization", &without);
    assert_eq!(
        verify(&head, b"{}"),
        Err(SigError::NotSigned("Host".to_owned()))
    );
}

#[test]
fn holds_for_five_minutes() {
    let head = signed();
    let skew = limits::CLOCK_SKEW_S;
    for now_s in [NOW_S - skew, NOW_S - 1, NOW_S, NOW_S + skew] {
        assert!(verify_at(&head, b"{}", now_s).is_ok());
    }
    let early = verify_at(&head, b"{}", NOW_S - skew - 1).unwrap_err();
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z"
    );
    assert_eq!(early.kind(), "InvalidSignatureException");
    let late = verify_at(&head, b"{}", NOW_S + skew + 1).unwrap_err();
    assert_eq!(
        late.to_string(),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z"
    );
    assert!(verify_at(&head, b"{}", 0).is_err());
    assert!(verify_at(&head, b"{}", u64::MAX).is_err());
}

#[test]
fn a_presigned_url_holds_as_long_as_it_says() {
    let (_, head) = named("presigned");
    for (now_s, holds) in [
        (NOW_S - 301, false),
        (NOW_S - 300, true),
        (NOW_S + 60, true),
        (NOW_S + 61, false),
    ] {
        assert_eq!(verify_at(&head, b"", now_s).is_ok(), holds, "{now_s}");
    }
    let (_, week) = named("presigned with query");
    assert!(verify_at(&week, b"", NOW_S + 604_800).is_ok());
    assert!(matches!(
        verify_at(&week, b"", NOW_S + 604_801),
        Err(SigError::Expired { .. })
    ));

    let usual = head.uri.to_string();
    let with = |from: &str, to: &str| {
        let mut head = head.clone();
        head.uri = usual.replace(from, to).parse().unwrap();
        verify(&head, b"")
    };
    assert_eq!(with("Expires=60", "Expires=61"), Err(SigError::Mismatch));
    for (from, to) in [
        ("Expires=60", "Expires=604801"),
        ("Expires=60", "Expires=0"),
        ("Expires=60", "Expires=-1"),
        ("Expires=60", "Expires=%2B60"),
        ("Expires=60", "Expires=99999999999999999999999"),
        ("Expires=60", "Expires="),
        ("X-Amz-Expires=60&", ""),
        ("X-Amz-Date=20150830T123600Z&", ""),
        ("X-Amz-SignedHeaders=host&", ""),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60"),
        ("X-Amz-Signature=", "X-Amz-Signature=0&X-Amz-Signature="),
        ("X-Amz-Signature=", "X-Amz-Signature=%ff"),
    ] {
        assert!(
            matches!(with(from, to), Err(SigError::Incomplete(_))),
            "{to}"
        );
    }
    let mut field = head.clone();
    set(&mut field, "x-amz-meta-a", "b");
    assert_eq!(
        verify(&field, b""),
        Err(SigError::NotSigned("x-amz-meta-a".to_owned()))
    );
}

#[test]
fn reads_times() {
    let head = signed();
    for odd in [
        "",
        "20150830",
        "20150830T123600",
        "2015-08-30T12:36:00Z",
        "20150832T123600Z",
        "20150229T123600Z",
        "20151330T123600Z",
        "20150030T123600Z",
        "20150830T243600Z",
        "20150830T126000Z",
        "20150830T123660Z",
        "2015083aT123600Z",
        "020150830T123600Z",
        "00000101T000000Z",
        "Sun, 30 Aug 2015 12:36:00 GMT",
    ] {
        let mut head = head.clone();
        set(&mut head, "x-amz-date", odd);
        assert!(
            matches!(verify(&head, b"{}"), Err(SigError::Incomplete(_))),
            "{odd}"
        );
    }
    for (text, unix_s) in [
        ("19700101T000000Z", 0),
        ("20000229T235959Z", 951_868_799),
        ("20150830T123600Z", NOW_S),
        ("20991231T235959Z", 4_102_444_799),
        ("21000301T000000Z", 4_107_542_400),
        ("99991231T235959Z", 253_402_300_799),
    ] {
        assert_eq!(Timestamp::parse(text), Some(Timestamp(unix_s)));
        assert_eq!(Timestamp(unix_s).to_string(), text);
    }
    // One in each fortnight of a thousand years.
    for unix_s in (0..32_000_000_000).step_by(14 * 86_400 + 3_607) {
        assert_eq!(
            Timestamp::parse(&Timestamp(unix_s).to_string()),
            Some(Timestamp(unix_s))
        );
    }
    for text in [
        "Sun, 30 Aug 2015 12:36:00 GMT",
        "Sun, 30 Aug 2015 12:36:00 -0000",
        "Sunday, 30-Aug-15 12:36:00 GMT",
        "Sun Aug 30 12:36:00 2015",
    ] {
        assert_eq!(
            Timestamp::parse_http(text),
            Some(Timestamp(NOW_S)),
            "{text}"
        );
    }
}

#[test]
fn refuses_other_scopes() {
    let (_, usual) = named("list");
    let scope = |from: &str, to: &str| {
        let mut head = usual.clone();
        let value = authorization(&head).replace(from, to);
        set(&mut head, "authorization", &value);
        verify(&head, b"").unwrap_err()
    };
    for (from, to) in [
        ("/20150830/", "/20150829/"),
        ("/us-east-1/", "/eu-central-1/"),
        ("/lambda/", "/ec2/"),
        ("aws4_request", "aws4_other"),
    ] {
        let error = scope(from, to);
        assert!(matches!(error, SigError::WrongScope(_)), "{to}");
        assert_eq!(error.kind(), "InvalidSignatureException");
    }
    assert_eq!(scope("AKIDEXAMPLE", "AKIDOTHER"), SigError::UnknownKey);
    assert_eq!(SigError::UnknownKey.kind(), "UnrecognizedClientException");
    // One that we take, but which was not signed for.
    assert_eq!(scope("/lambda/", "/sts/"), SigError::Mismatch);
    let other = SigningKeys::new([Credentials {
        secret_access_key: "other".to_owned(),
        ..credentials()
    }]);
    let signature = Signature::parse(&usual, NOW_S).unwrap().unwrap();
    let checked = signature.check(Some(&body_sha256(b"")), &other, &OURS);
    assert_eq!(checked, Err(SigError::Mismatch));
}

#[test]
fn tells_what_the_body_must_be() {
    let head = signed();
    let signature = Signature::parse(&head, NOW_S).unwrap().unwrap();
    let signed = signature.check(None, &keys(), &OURS).unwrap();
    assert_eq!(signed.content_sha256, ContentHash::Hex(body_sha256(b"{}")));
    assert!(signed.content_sha256.admits(&body_sha256(b"{}")));
    assert!(!signed.content_sha256.admits(&body_sha256(b"")));
    assert!(ContentHash::Unsigned.admits(&[0; 32]));
    for odd in [
        "",
        "UNSIGNED",
        "streaming-x",
        &"A".repeat(64),
        &"a".repeat(63),
    ] {
        let mut head = head.clone();
        set(&mut head, "x-amz-content-sha256", odd);
        assert!(
            matches!(verify(&head, b"{}"), Err(SigError::Incomplete(_))),
            "{odd}"
        );
    }
}

#[test]
fn is_bounded() {
    let mut head = signed();
    let many: Vec<_> = (0..=limits::SIGNED_HEADERS_MAX)
        .map(|at| format!("a{at:04}"))
        .collect();
    let value = authorization(&head).replace("=content-type", &format!("={}", many.join(";")));
    set(&mut head, "authorization", &value);
    assert_eq!(verify(&head, b"{}"), Err(SigError::TooLarge));

    let mut head = signed();
    let query = "a&".repeat(limits::QUERY_PARAMETERS_MAX + 1);
    head.uri = format!("/?{query}").parse().unwrap();
    assert_eq!(verify(&head, b"{}"), Err(SigError::TooLarge));

    let mut head = signed();
    set(
        &mut head,
        "content-type",
        &"a".repeat(limits::CANONICAL_MAX),
    );
    assert_eq!(verify(&head, b"{}"), Err(SigError::TooLarge));
}

#[test]
fn keeps_few_keys() {
    let keys = SigningKeys::new((0..=limits::SIGNING_KEYS_MAX).map(|at| Credentials {
        access_key_id: format!("AKID{at}"),
        ..credentials()
    }));
    for at in (0..=limits::SIGNING_KEYS_MAX).rev() {
        let mut head = head("GET", "/", &[("Host", "h")]);
        let credentials = Credentials {
            access_key_id: format!("AKID{at}"),
            ..credentials()
        };
        sign(
            &mut head,
            &body_sha256(b""),
            &credentials,
            "us-east-1",
            "lambda",
            NOW_S,
        )
        .unwrap();
        let signature = Signature::parse(&head, NOW_S).unwrap().unwrap();
        let signed = signature.check(None, &keys, &OURS).unwrap();
        assert_eq!(signed.access_key_id, credentials.access_key_id);
        assert!(
            keys.kept(&format!("AKID{at}/20150830/us-east-1/lambda/aws4_request"))
                .is_some()
        );
    }
    let first = keys.kept("AKID9/20150830/us-east-1/lambda/aws4_request");
    assert!(first.is_none());
}

#[test]
fn a_wrong_signature_keeps_no_key() {
    let (_, mut head) = named("list");
    head.method = Method::PUT;
    let keys = keys();
    let signature = Signature::parse(&head, NOW_S).unwrap().unwrap();
    assert!(
        signature
            .check(Some(&body_sha256(b"")), &keys, &OURS)
            .is_err()
    );
    assert!(
        keys.kept("AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request")
            .is_none()
    );
}

#[test]
fn a_plus_sign_is_a_space() {
    let mut head = head("GET", "/?a=b%20c", &[("Host", "h")]);
    sign(
        &mut head,
        &body_sha256(b""),
        &credentials(),
        "us-east-1",
        "lambda",
        NOW_S,
    )
    .unwrap();
    head.uri = "/?a=b+c".parse().unwrap();
    assert!(verify(&head, b"").is_ok());
    head.uri = "/?a=b%2Bc".parse().unwrap();
    assert_eq!(verify(&head, b""), Err(SigError::Mismatch));
    head.uri = "/?a=b%2zc".parse().unwrap();
    assert_eq!(verify(&head, b""), Err(SigError::Mismatch));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", credentials(), keys());
    assert!(shown.contains("AKIDEXAMPLE"));
    assert!(!shown.contains("wJalr"));
}

#[test]
fn parts_of_a_signature_are_none() {
    let usual = signed();
    let value = authorization(&usual);
    for at in 0..value.len() {
        let mut head = usual.clone();
        set(&mut head, "authorization", &value[..at]);
        assert!(verify(&head, b"{}").is_err(), "{at}");
        let mut bytes = value.clone().into_bytes();
        bytes[at] ^= 1;
        head.headers
            .insert(AUTHORIZATION, HeaderValue::from_bytes(&bytes).unwrap());
        assert!(verify(&head, b"{}").is_err(), "{at}");
    }
    let (_, usual) = named("presigned with query");
    let target = usual.uri.to_string();
    for at in 1..target.len() {
        let mut head = usual.clone();
        head.uri = target[..at].parse().unwrap();
        assert!(verify(&head, b"").is_err(), "{at}");
        head.uri = format!("{}%{}", &target[..at], &target[at..])
            .parse()
            .unwrap();
        assert!(verify(&head, b"").is_err(), "{at}");
    }
}
