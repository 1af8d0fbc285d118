//! RFC 9111 §4.2.4, §4.3, §5.2.1 and RFC 5861: use of what is stored.

use fractus_cache::{
    Exchange, Forward, NotStored, Policy, RequestDirectives, Reuse, Timestamp,
    is_stale_if_error_status, strip_conditions,
};
use http::{HeaderMap, StatusCode};

use crate::support::{DATE, EARLIER, HOUR_LATER, asks, at, exchange, headers, stored};

const TAG: (&str, &str) = ("etag", "\"x\"");
const STALE: Reuse = Reuse::Revalidate(Forward::Stale);
const REQUEST: Reuse = Reuse::Revalidate(Forward::Request);

fn kept(cache_control: &str) -> Policy {
    stored(&[("cache-control", cache_control), TAG])
}

fn reuse(policy: &Policy, seconds: u64, request: &'static str) -> Reuse {
    policy.reuse(at(seconds), &asks(request))
}

#[test]
fn section_4_2_fresh_until_its_lifetime_ends() {
    let policy = kept("max-age=60");
    let nothing = RequestDirectives::default();
    let last_fresh = Timestamp::from_millis(at(60).as_millis() - 1);
    assert_eq!(policy.reuse(at(0), &nothing), Reuse::Fresh);
    assert_eq!(policy.reuse(last_fresh, &nothing), Reuse::Fresh);
    assert_eq!(policy.reuse(at(60), &nothing), STALE);
    // A clock set back leaves it fresh, with no age.
    assert_eq!(
        policy.reuse(Timestamp::from_millis(0), &nothing),
        Reuse::Fresh
    );
    assert_eq!(policy.age(Timestamp::from_millis(0)), 0);
}

#[test]
fn section_5_2_2_4_no_cache_is_always_validated() {
    for cache_control in [
        "no-cache, max-age=60",
        "max-age=60, No-Cache",
        "no-cache=\"set-cookie\"",
    ] {
        let policy = kept(cache_control);
        assert_eq!(reuse(&policy, 0, ""), STALE, "{cache_control}");
        assert_eq!(reuse(&policy, 0, "max-stale"), STALE, "{cache_control}");
        assert!(
            !policy.may_serve_on_error(at(0), &asks("stale-if-error=60")),
            "{cache_control}"
        );
    }
}

#[test]
fn section_5_2_1_the_request_restricts() {
    let policy = stored(&[("cache-control", "max-age=60"), ("age", "10"), TAG]);
    for (request, expect) in [
        ("no-cache", REQUEST),
        ("max-age=0", REQUEST),
        ("max-age=9", REQUEST),
        ("max-age=10", Reuse::Fresh),
        ("max-age=x", REQUEST),
        ("min-fresh=50", Reuse::Fresh),
        ("min-fresh=51", REQUEST),
        ("min-fresh=x", REQUEST),
        ("no-store", Reuse::Fresh),
        ("only-if-cached", Reuse::Fresh),
        ("max-stale=5", Reuse::Fresh),
    ] {
        assert_eq!(reuse(&policy, 0, request), expect, "{request}");
    }
}

#[test]
fn section_5_2_1_2_max_stale() {
    let policy = kept("max-age=60");
    assert_eq!(reuse(&policy, 70, "max-stale=10"), Reuse::Stale);
    assert_eq!(reuse(&policy, 71, "max-stale=10"), STALE);
    assert_eq!(reuse(&policy, 1_000_000, "max-stale"), Reuse::Stale);
    assert_eq!(reuse(&policy, 70, "max-stale, max-age=60"), STALE);
    assert_eq!(reuse(&policy, 70, "max-stale, min-fresh=0"), STALE);
    assert_eq!(reuse(&policy, 70, "max-stale, no-cache"), STALE);
}

#[test]
fn section_4_2_4_stale_only_where_allowed() {
    for directive in [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=60",
        "no-cache",
    ] {
        let cache_control =
            format!("max-age=60, stale-while-revalidate=60, stale-if-error=60, {directive}");
        let policy = kept(&cache_control);
        assert_eq!(reuse(&policy, 70, ""), STALE, "{directive}");
        assert_eq!(reuse(&policy, 70, "max-stale"), STALE, "{directive}");
        assert!(
            !policy.may_serve_on_error(at(70), &asks("stale-if-error=60")),
            "{directive}"
        );
    }
    assert!(!kept("max-age=60").may_serve_on_error(at(70), &asks("")));
}

#[test]
fn rfc5861_section_3_stale_while_revalidate() {
    let policy = kept("max-age=60, stale-while-revalidate=30");
    assert_eq!(reuse(&policy, 59, ""), Reuse::Fresh);
    assert_eq!(reuse(&policy, 60, ""), Reuse::StaleWhileRevalidate);
    assert_eq!(reuse(&policy, 89, ""), Reuse::StaleWhileRevalidate);
    assert_eq!(reuse(&policy, 90, ""), STALE);
    assert_eq!(reuse(&policy, 70, "no-cache"), STALE);
    assert_eq!(reuse(&policy, 70, "max-age=60"), STALE);
    assert_eq!(reuse(&policy, 70, "min-fresh=1"), STALE);
}

#[test]
fn rfc5861_section_4_stale_if_error() {
    let policy = kept("max-age=60, stale-if-error=30");
    assert!(policy.may_serve_on_error(at(89), &asks("")));
    assert!(!policy.may_serve_on_error(at(90), &asks("")));
    assert!(policy.may_serve_on_error(at(90), &asks("stale-if-error=31")));
    assert!(!policy.may_serve_on_error(at(70), &asks("no-cache")));
    for (status, expect) in [
        (500, true),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(is_stale_if_error_status(status), expect, "{status}");
    }
    assert!(!is_stale_if_error_status(StatusCode::NOT_FOUND));
}

#[test]
fn section_4_3_1_validation_request() {
    let policy = stored(&[TAG, ("last-modified", EARLIER)]);
    let mut request = headers(&[
        ("if-none-match", "\"client\""),
        ("if-modified-since", DATE),
        ("if-range", "\"client\""),
        ("range", "bytes=0-1"),
        ("accept", "image/webp"),
    ]);
    policy.add_conditions(&mut request);
    let expect = headers(&[
        ("if-none-match", "\"x\""),
        ("if-modified-since", EARLIER),
        ("accept", "image/webp"),
    ]);
    assert_eq!(request, expect);

    strip_conditions(&mut request);
    assert_eq!(request, headers(&[("accept", "image/webp")]));
}

/// What a 304 with these fields makes of a response with those, 100 seconds after it was stored.
fn renew(
    response: &[(&str, &str)],
    not_modified: &[(&str, &str)],
    request: &[(&str, &str)],
) -> Option<(HeaderMap, Result<Policy, NotStored>)> {
    let (stored_headers, request, not_modified) =
        (headers(response), headers(request), headers(not_modified));
    let exchange = Exchange {
        requested: at(100),
        received: at(100),
        ..exchange(&request, 304, &not_modified)
    };
    let refreshed = stored(response).on_not_modified(&stored_headers, &exchange)?;
    Some((refreshed.headers, refreshed.policy))
}

#[test]
fn section_4_3_4_fields_of_a_304_replace_stored_ones() {
    let response = [
        ("cache-control", "max-age=10"),
        ("etag", "\"x\""),
        ("date", DATE),
        ("age", "7"),
        ("content-length", "36"),
        ("content-encoding", "gzip"),
        ("content-type", "text/plain"),
        ("x-kept", "old"),
        ("x-many", "1"),
        ("x-many", "2"),
    ];
    let (renewed, policy) = renew(
        &response,
        &[
            ("cache-control", "max-age=50"),
            ("etag", "\"x\""),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "text/html"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("x-many", "3"),
            ("x-new", "1"),
        ],
        &[],
    )
    .expect("the tags match");
    let expect = headers(&[
        ("cache-control", "max-age=50"),
        ("etag", "\"x\""),
        ("content-length", "36"),
        ("content-encoding", "gzip"),
        ("content-type", "text/html"),
        ("x-kept", "old"),
        ("x-many", "3"),
        ("x-new", "1"),
    ]);
    assert_eq!(renewed, expect);
    let policy = policy.expect("storable");
    assert_eq!((policy.age(at(100)), policy.ttl(at(100))), (0, 50));
    assert_eq!(policy.status(), StatusCode::OK);
}

#[test]
fn section_4_3_4_the_304_must_be_about_the_stored_response() {
    let about = |stored: &[(&str, &str)], not_modified: &[(&str, &str)]| {
        renew(stored, not_modified, &[]).is_some()
    };
    let weak = ("etag", "W/\"x\"");
    let (old, new) = (("last-modified", EARLIER), ("last-modified", HOUR_LATER));
    assert!(about(&[TAG], &[TAG]));
    assert!(about(&[TAG], &[weak]));
    assert!(about(&[weak], &[weak]));
    assert!(about(&[TAG], &[]));
    assert!(about(&[old], &[old]));
    assert!(about(&[old], &[]));
    assert!(about(&[TAG, old], &[old]));
    assert!(about(&[old], &[TAG, old]), "validated by its date");
    assert!(!about(&[TAG], &[("etag", "\"y\"")]));
    assert!(
        !about(&[weak], &[TAG]),
        "a strong validator must match strongly"
    );
    assert!(!about(&[old], &[new]));
    assert!(!about(&[old], &[TAG]));
}

#[test]
fn section_4_3_4_a_304_may_end_storing() {
    let response = [("cache-control", "max-age=10"), TAG];
    let (_, policy) = renew(&response, &[("cache-control", "no-store")], &[]).expect("about it");
    let why = policy.expect_err("no-store");
    assert_eq!((why, why.is_of_request()), (NotStored::NoStore, false));

    let (_, policy) = renew(&response, &[], &[("cache-control", "no-store")]).expect("about it");
    let why = policy.expect_err("no-store");
    assert_eq!(
        (why, why.is_of_request()),
        (NotStored::RequestNoStore, true)
    );
}
