//! RFC 9111 §3, §4.2, §4.4, §5: what is stored, and how long it is fresh.

use fractus_cache::{
    CacheKey, Exchange, Forward, Lookup, NotStored, Policy, RequestDirectives, Scheme, Timestamp,
    invalidates, lookup, storable,
};
use http::{Method, StatusCode};

use crate::support::{
    DATE, EARLIER, Fields, HOUR_LATER, asks, at, exchange, headers, store, stored,
};

const PLAIN: Fields = &[];
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

struct Case {
    section: &'static str,
    request: Fields,
    status: u16,
    response: Fields,
    /// Seconds of freshness left on arrival, or why not.
    expect: Result<i64, NotStored>,
}

const fn case(
    section: &'static str,
    request: Fields,
    status: u16,
    response: Fields,
    expect: Result<i64, NotStored>,
) -> Case {
    Case {
        section,
        request,
        status,
        response,
        expect,
    }
}

fn check(cases: &[Case]) {
    for case in cases {
        let found = store(case.request, case.status, case.response).map(|policy| policy.ttl(at(0)));
        let Case {
            section,
            request,
            status,
            response,
            expect,
        } = case;
        assert_eq!(
            found, *expect,
            "§{section}: {request:?} -> {status} {response:?}"
        );
    }
}

#[test]
fn section_3_storing() {
    use NotStored::{NoStore, Private, RequestNoStore};
    check(&[
        case("3", PLAIN, 200, &[FRESH], Ok(60)),
        case(
            "3",
            PLAIN,
            200,
            &[("cache-control", "max-age=60, no-store")],
            Err(NoStore),
        ),
        case(
            "3",
            PLAIN,
            200,
            &[("cache-control", "max-age=60, No-StOrE")],
            Err(NoStore),
        ),
        case(
            "3",
            PLAIN,
            200,
            &[FRESH, ("cache-control", "no-store")],
            Err(NoStore),
        ),
        case(
            "3",
            PLAIN,
            200,
            &[("cache-control", "private, max-age=60")],
            Err(Private),
        ),
        case(
            "5.2.2.7",
            PLAIN,
            200,
            &[FRESH, ("cache-control", "private=\"x\"")],
            Err(Private),
        ),
        case(
            "5.2.1.5",
            &[("cache-control", "no-store")],
            200,
            &[FRESH],
            Err(RequestNoStore),
        ),
    ]);
}

#[test]
fn section_3_statuses() {
    use NotStored::{Partial, Status};
    check(&[
        case("3.3", PLAIN, 206, &[FRESH], Err(Partial)),
        // A 304, 412 or 416 answers fields of the request that are no part of the key.
        case("3", PLAIN, 304, &[FRESH], Err(Status)),
        case("3", PLAIN, 412, &[FRESH], Err(Status)),
        case("3", PLAIN, 416, &[FRESH], Err(Status)),
        case("3", PLAIN, 103, &[FRESH], Err(Status)),
        // Any final status with explicit freshness, none of the others without.
        case("3", PLAIN, 302, &[FRESH], Ok(60)),
        case("3", PLAIN, 503, &[FRESH], Ok(60)),
        case("3", PLAIN, 599, &[FRESH], Ok(60)),
        case("3", PLAIN, 302, &[("etag", "\"x\"")], Err(Status)),
        case(
            "3",
            PLAIN,
            503,
            &[("last-modified", EARLIER), ("date", DATE)],
            Err(Status),
        ),
        case("3", PLAIN, 599, &[("etag", "\"x\"")], Err(Status)),
    ]);
}

#[test]
fn section_7_3_cookies() {
    use NotStored::SetCookie;
    check(&[
        case(
            "7.3",
            PLAIN,
            200,
            &[FRESH, ("set-cookie", "a=b")],
            Err(SetCookie),
        ),
        case(
            "7.3",
            PLAIN,
            200,
            &[
                ("set-cookie", "a=b"),
                ("cache-control", "public, max-age=60"),
            ],
            Ok(60),
        ),
        case(
            "7.3",
            PLAIN,
            200,
            &[("set-cookie", "a=b"), ("cache-control", "s-maxage=60")],
            Ok(60),
        ),
    ]);
}

#[test]
fn section_3_5_authorization() {
    const AUTHORISED: Fields = &[("authorization", "Basic eDp5")];
    let refused = Err(NotStored::Authorization);
    check(&[
        case("3.5", AUTHORISED, 200, &[FRESH], refused),
        case(
            "3.5",
            AUTHORISED,
            200,
            &[("cache-control", "proxy-revalidate, max-age=60")],
            refused,
        ),
        case(
            "3.5",
            AUTHORISED,
            200,
            &[("cache-control", "public, max-age=60")],
            Ok(60),
        ),
        case(
            "3.5",
            AUTHORISED,
            200,
            &[("cache-control", "must-revalidate, max-age=60")],
            Ok(60),
        ),
        case(
            "3.5",
            AUTHORISED,
            200,
            &[("cache-control", "s-maxage=60")],
            Ok(60),
        ),
    ]);
}

#[test]
fn section_5_2_2_3_must_understand() {
    let understood: Fields = &[("cache-control", "max-age=60, no-store, must-understand")];
    check(&[
        case("5.2.2.3", PLAIN, 200, understood, Ok(60)),
        case("5.2.2.3", PLAIN, 599, understood, Err(NotStored::Status)),
        case(
            "5.2.2.3",
            PLAIN,
            599,
            &[("cache-control", "max-age=60, must-understand")],
            Err(NotStored::Status),
        ),
    ]);
}

#[test]
fn nothing_to_reuse_is_not_stored() {
    let useless = Err(NotStored::NothingToReuse);
    check(&[
        case("4.2", PLAIN, 200, &[], useless),
        case("4.2", PLAIN, 200, &[("cache-control", "public")], useless),
        case(
            "4.2",
            PLAIN,
            200,
            &[("cache-control", "max-age=0")],
            useless,
        ),
        case(
            "4.2",
            PLAIN,
            200,
            &[("cache-control", "max-age=60"), ("age", "60")],
            useless,
        ),
        case(
            "5.2.2.4",
            PLAIN,
            200,
            &[("cache-control", "no-cache, max-age=60")],
            useless,
        ),
        // A validator, or a window in which stale is served, is something.
        case("4.3", PLAIN, 200, &[("etag", "\"x\"")], Ok(0)),
        case(
            "4.3",
            PLAIN,
            200,
            &[("cache-control", "max-age=0"), ("etag", "\"x\"")],
            Ok(0),
        ),
        case(
            "5.2.2.4",
            PLAIN,
            200,
            &[("cache-control", "no-cache, max-age=60"), ("etag", "\"x\"")],
            Ok(60),
        ),
        case(
            "4.2.4",
            PLAIN,
            200,
            &[("cache-control", "max-age=0, stale-while-revalidate=9")],
            Ok(0),
        ),
    ]);
}

#[test]
fn section_4_2_1_lifetime() {
    const TAG: (&str, &str) = ("etag", "\"x\"");
    const DATED: (&str, &str) = ("date", DATE);
    const LATER: (&str, &str) = ("expires", HOUR_LATER);
    check(&[
        case(
            "4.2.1",
            PLAIN,
            200,
            &[("cache-control", "max-age=60, s-maxage=90")],
            Ok(90),
        ),
        case(
            "4.2.1",
            PLAIN,
            200,
            &[("cache-control", "s-maxage=0, max-age=60"), TAG],
            Ok(0),
        ),
        case("5.3", PLAIN, 200, &[LATER, DATED], Ok(3600)),
        case("5.3", PLAIN, 200, &[LATER], Ok(3600)),
        case("5.3", PLAIN, 200, &[LATER, DATED, FRESH], Ok(60)),
        case(
            "5.3",
            PLAIN,
            200,
            &[LATER, DATED, ("cache-control", "s-maxage=1")],
            Ok(1),
        ),
        // Expires equal to Date, past, or no date at all: stale.
        case("5.3", PLAIN, 200, &[("expires", DATE), DATED, TAG], Ok(0)),
        case(
            "5.3",
            PLAIN,
            200,
            &[("expires", EARLIER), DATED, TAG],
            Ok(0),
        ),
        case("5.3", PLAIN, 200, &[("expires", "0"), DATED, TAG], Ok(0)),
        // An invalid Expires is explicit and must not give way to a guess.
        case(
            "5.3",
            PLAIN,
            200,
            &[("expires", "-1"), DATED, ("last-modified", EARLIER)],
            Ok(0),
        ),
    ]);
}

#[test]
fn section_4_2_2_heuristic() {
    const DATED: (&str, &str) = ("date", DATE);
    const CHANGED: (&str, &str) = ("last-modified", EARLIER);
    const LONG_AGO: (&str, &str) = ("last-modified", "Sat, 06 Nov 1971 08:49:37 GMT");
    const FUTURE: (&str, &str) = ("last-modified", HOUR_LATER);
    check(&[
        case("4.2.2", PLAIN, 200, &[DATED, CHANGED], Ok(600)),
        case("4.2.2", PLAIN, 200, &[DATED, LONG_AGO], Ok(86_400)),
        case("4.2.2", PLAIN, 200, &[DATED, FUTURE], Ok(0)),
        case("4.2.2", PLAIN, 200, &[DATED, CHANGED, FRESH], Ok(60)),
        // Explicitly cacheable, though the status is not.
        case(
            "4.2.2",
            PLAIN,
            599,
            &[DATED, CHANGED, ("cache-control", "public")],
            Ok(600),
        ),
        // Without Last-Modified nothing is guessed.
        case("4.2.2", PLAIN, 200, &[DATED, ("etag", "\"x\"")], Ok(0)),
    ]);
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        check(&[case("4.2.2", PLAIN, status, &[DATED, CHANGED], Ok(600))]);
    }
    for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504] {
        check(&[case(
            "4.2.2",
            PLAIN,
            status,
            &[DATED, CHANGED],
            Err(NotStored::Status),
        )]);
    }
}

#[test]
fn section_4_2_3_age() {
    const HOUR: (&str, &str) = ("cache-control", "max-age=3600");
    const TAG: (&str, &str) = ("etag", "\"x\"");
    let age = |fields: &[(&str, &str)]| stored(&[&[HOUR, TAG], fields].concat()).age(at(0));
    assert_eq!(age(&[]), 0);
    assert_eq!(age(&[("age", "30")]), 30);
    assert_eq!(age(&[("date", EARLIER)]), 6000, "apparent age, from Date");
    assert_eq!(
        age(&[("date", EARLIER), ("age", "9000")]),
        9000,
        "the greater counts"
    );
    assert_eq!(
        age(&[("date", HOUR_LATER), ("age", "5")]),
        5,
        "a clock ahead gives no credit"
    );

    let policy = stored(&[HOUR, ("age", "30")]);
    assert_eq!((policy.age(at(10)), policy.ttl(at(10))), (40, 3560));
    assert_eq!(policy.ttl(at(3571)), -1);
}

#[test]
fn section_4_2_3_transit_counts_as_age() {
    let (request, response) = (
        headers(&[]),
        headers(&[FRESH, ("age", "5"), ("date", DATE)]),
    );
    let slow = Exchange {
        received: at(7),
        ..exchange(&request, 200, &response)
    };
    assert_eq!(storable(&slow).expect("fresh").age(at(7)), 12);
}

#[test]
fn section_4_2_3_a_fraction_of_a_second_is_no_age() {
    let (request, response) = (headers(&[]), headers(&[FRESH, ("date", DATE)]));
    let arrival = Timestamp::from_millis(at(0).as_millis() + 999);
    let exchange = Exchange {
        requested: arrival,
        received: arrival,
        ..exchange(&request, 200, &response)
    };
    let policy = storable(&exchange).expect("fresh");
    assert_eq!((policy.age(arrival), policy.ttl(arrival)), (0, 60));
}

#[test]
fn section_5_1_age_parsing() {
    let age = |fields: &[(&str, &str)]| {
        stored(
            &[
                &[("cache-control", "max-age=3600"), ("etag", "\"x\"")],
                fields,
            ]
            .concat(),
        )
        .age(at(0))
    };
    for (value, expect) in [
        ("7200", 7200),
        ("007200", 7200),
        ("7200, 0", 7200),
        ("0, 7200", 0),
        ("0, 0", 0),
        ("abc", 0),
        ("-7200", 0),
        ("7200.0", 0),
        ("7200;foo=bar", 0),
        ("\"7200\"", 0),
        ("", 0),
        ("2147483647", 2_147_483_647),
        ("2147483648", 2_147_483_648),
        ("2147483649", 2_147_483_648),
        ("99999999999999999999999", 2_147_483_648),
    ] {
        assert_eq!(age(&[("age", value)]), expect, "Age: {value}");
    }
    assert_eq!(age(&[("age", "7200"), ("age", "0")]), 7200);
    assert_eq!(age(&[("age", "0"), ("age", "7200")]), 0);
}

#[test]
fn section_5_2_cache_control_parsing() {
    let ttl = |value: &str| stored(&[("cache-control", value), ("etag", "\"x\"")]).ttl(at(0));
    for (value, expect) in [
        ("max-age=1800, max-age=1", 1800),
        ("max-age=1, max-age=1800", 1),
        ("MaX-aGe=1800", 1800),
        ("  ,, max-age=1800 ,", 1800),
        ("max-age=\"1800\"", 1800),
        ("max-age=001800", 1800),
        ("foo, bar=baz, max-age=1800", 1800),
        ("foo=\"a, no-store, b\", max-age=1800", 1800),
        ("foo=\"\\\", max-age=1\", max-age=1800", 1800),
        ("extension=\"max-age=3600\", max-age=1", 1),
        ("max-age=1, extension=\"max-age=3600\"", 1),
        ("foo=\"unterminated, max-age=1800", 0),
        // What is no number is stale (§4.2.1).
        ("max-age='1800'", 0),
        ("max-age=1800.0", 0),
        ("max-age=-1800", 0),
        ("max-age=1800a", 0),
        ("max-age=a1800", 0),
        ("max-age=", 0),
        ("max-age", 0),
        ("max-age=\"1800", 0),
        // §1.2.2: larger than any cache can represent.
        ("max-age=2147483648", 2_147_483_648),
        ("max-age=99999999999", 2_147_483_648),
        ("max-age=99999999999999999999999999", 2_147_483_648),
        // The more restrictive of two that contradict each other is no-cache, seen by `reuse`.
        ("max-age=1800, immutable", 1800),
    ] {
        assert_eq!(ttl(value), expect, "Cache-Control: {value}");
    }
    let two_lines = stored(&[
        ("cache-control", "foo"),
        ("cache-control", "max-age=9"),
        ("etag", "\"x\""),
    ]);
    assert_eq!(two_lines.ttl(at(0)), 9);
}

#[test]
fn cache_control_of_any_bytes_is_read() {
    let value = http::HeaderValue::from_bytes(b"max-age=5, \xFF\"\xFE\\").expect("a field value");
    let mut response = headers(&[]);
    response.insert("cache-control", value);
    let request = headers(&[]);
    let policy = storable(&exchange(&request, 200, &response));
    assert_eq!(policy.map(|policy| policy.ttl(at(0))), Ok(5));
}

#[test]
fn section_5_2_1_request_directives() {
    assert_eq!(
        asks("no-cache, No-Store, only-if-cached, max-age=1, min-fresh=2, max-stale=3"),
        RequestDirectives {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: Some(1),
            min_fresh: Some(2),
            max_stale: Some(3),
            stale_if_error: None,
        }
    );
    assert_eq!(asks("max-stale").max_stale, Some(u32::MAX));
    assert_eq!(asks("max-stale=x").max_stale, Some(0));
    assert_eq!(asks("min-fresh=x").min_fresh, Some(u32::MAX));
    assert_eq!(asks("stale-if-error=9").stale_if_error, Some(9));
    assert_eq!(
        asks("foo, private, s-maxage=9"),
        RequestDirectives::default()
    );
}

#[test]
fn only_get_is_stored() {
    let (request, response) = (headers(&[]), headers(&[FRESH]));
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        let exchange = Exchange {
            method: &method,
            ..exchange(&request, 200, &response)
        };
        assert_eq!(
            storable(&exchange).err(),
            Some(NotStored::Method),
            "{method}"
        );
    }
}

#[test]
fn section_4_lookup() {
    let outcome = |method: Method, fields: Fields| lookup(&method, &headers(fields));
    let cached = Lookup::Cache(RequestDirectives::default());
    let bypass = Lookup::Forward(Forward::Bypass);
    assert_eq!(outcome(Method::GET, &[]), cached);
    assert_eq!(outcome(Method::HEAD, &[]), cached);
    assert_eq!(outcome(Method::GET, &[("range", "bytes=0-1")]), cached);
    assert_eq!(outcome(Method::GET, &[("if-none-match", "\"x\"")]), cached);
    assert_eq!(outcome(Method::GET, &[("content-length", "0")]), cached);
    assert_eq!(
        outcome(Method::GET, &[("pragma", "no-cache")]),
        cached,
        "§5.4: deprecated"
    );
    assert_eq!(
        outcome(Method::GET, &[("cache-control", "only-if-cached")]),
        Lookup::Cache(asks("only-if-cached"))
    );
    assert_eq!(outcome(Method::GET, &[("content-length", "3")]), bypass);
    assert_eq!(
        outcome(Method::GET, &[("transfer-encoding", "chunked")]),
        bypass
    );
    assert_eq!(outcome(Method::GET, &[("upgrade", "websocket")]), bypass);
    assert_eq!(outcome(Method::GET, &[("if-match", "\"x\"")]), bypass);
    assert_eq!(
        outcome(Method::GET, &[("if-unmodified-since", DATE)]),
        bypass
    );
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(outcome(method, &[]), Lookup::Forward(Forward::Method));
    }
}

#[test]
fn section_4_4_invalidation() {
    let outcome = |method: &str, status| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        invalidates(&method, StatusCode::from_u16(status).expect("a status"))
    };
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        assert!(
            outcome(method, 200) && outcome(method, 204) && outcome(method, 303),
            "{method}"
        );
        assert!(!outcome(method, 404) && !outcome(method, 500), "{method}");
    }
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert!(!outcome(method, 200), "{method}");
    }
}

#[test]
fn section_4_4_location_of_same_origin() {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    let base = CacheKey::new(Scheme::Http, "a.example:8080", "/b/c/d?q=1", &hasher).expect("a key");
    for (reference, expect) in [
        ("e", Some("http://a.example:8080/b/c/e")),
        ("e?x=y", Some("http://a.example:8080/b/c/e?x=y")),
        ("./e/", Some("http://a.example:8080/b/c/e/")),
        ("../e", Some("http://a.example:8080/b/e")),
        ("../../../e", Some("http://a.example:8080/e")),
        ("..", Some("http://a.example:8080/b/")),
        (".", Some("http://a.example:8080/b/c/")),
        ("/", Some("http://a.example:8080/")),
        ("/e/./f/../g", Some("http://a.example:8080/e/g")),
        ("?x", Some("http://a.example:8080/b/c/d?x")),
        ("", Some("http://a.example:8080/b/c/d?q=1")),
        ("#f", Some("http://a.example:8080/b/c/d?q=1")),
        ("e#f", Some("http://a.example:8080/b/c/e")),
        ("//A.example:8080/e", Some("http://a.example:8080/e")),
        ("HTTP://a.EXAMPLE:8080/e", Some("http://a.example:8080/e")),
        ("http://a.example:8080", Some("http://a.example:8080/")),
        // Another origin must not be invalidated.
        ("http://a.example/e", None),
        ("https://a.example:8080/e", None),
        ("//b.example:8080/e", None),
        ("http://x@a.example:8080/e", None),
        ("mailto:x@a.example", None),
        ("http:e", None),
    ] {
        let resolved = base.resolve(reference, &hasher);
        assert_eq!(
            resolved.as_ref().map(CacheKey::as_str),
            expect,
            "{reference:?}"
        );
    }
}

#[test]
fn a_policy_stays_small() {
    assert!(size_of::<Policy>() <= 168, "{}", size_of::<Policy>());
}
