//! RFC 9110: dates (§5.6.7), connection fields (§7.6.1), conditions (§13), ranges (§14).

use fractus_cache::{
    Conditional, RangeAnswer, Timestamp, Validators, conditional_cached, conditional_origin,
    limits, not_modified_headers, range_answer, strip_hop_by_hop, strip_nominated,
};
use http::{HeaderValue, Method};

use crate::support::{DATE, EARLIER, Fields, HOUR_LATER, at, headers, stored};

use Conditional::{Full, NotModified, PreconditionFailed};

#[test]
fn section_5_6_7_dates() {
    let seconds = |date: &'static str| {
        Timestamp::from_http_date(&HeaderValue::from_static(date)).map(|at| at.as_millis() / 1000)
    };
    for (date, expect) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        ("Sun Nov  6 08:49:37 1994", 784_111_777),
        ("Sun Nov 06 08:49:37 1994", 784_111_777),
        ("SUN, 06 nov 1994 08:49:37 gmt", 784_111_777),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
        ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
        ("Sun, 21 Nov 2286 04:46:39 GMT", 10_000_039_599),
        ("Thursday, 18-Aug-50 02:01:18 GMT", 2_544_400_878),
        ("Thu Aug  8 02:01:18 2050", 2_543_536_878),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
    ] {
        assert_eq!(seconds(date), Some(expect), "{date}");
    }
    for date in [
        "",
        "0",
        "-1",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 18 Aug 2050 24:01:18 GMT",
        "Thu, 18 Aug 2050 02:60:18 GMT",
        "Thu, 30 Feb 2050 02:01:18 GMT",
        "Thu, 29 Feb 2100 02:01:18 GMT",
        "Thu, 00 Aug 2050 02:01:18 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Thu, 18 Foo 2050 02:01:18 GMT",
        "Thu, +8 Aug 2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
    ] {
        assert_eq!(seconds(date), None, "{date}");
    }
}

#[test]
fn section_5_6_7_any_bytes_are_no_date_and_no_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..20_000 {
        let mut date = DATE.as_bytes().to_vec();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state % 29).expect("small");
            date[at] = (state >> 32).to_le_bytes()[0];
        }
        if let Ok(value) = HeaderValue::from_bytes(&date) {
            let parsed = Timestamp::from_http_date(&value);
            assert!(parsed.is_none_or(|at| at < Timestamp::from_secs(253_402_300_801)));
        }
    }
}

#[test]
fn section_7_6_1_connection_fields() {
    let mut fields = headers(&[
        ("connection", "a, B ,close"),
        (
            "connection",
            "host, cache-control, Authorization, vary, te, no name",
        ),
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("host", "a.example"),
        ("cache-control", "private"),
        ("authorization", "Basic eDp5"),
        ("vary", "a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ]);
    let mut partly = fields.clone();
    strip_nominated(&mut partly);
    for (name, is_kept) in [
        ("connection", false),
        ("a", false),
        ("te", true),
        ("vary", true),
    ] {
        assert_eq!(partly.contains_key(name), is_kept, "{name}");
    }
    strip_hop_by_hop(&mut fields);
    let kept = headers(&[
        ("c", "3"),
        ("host", "a.example"),
        ("cache-control", "private"),
        ("authorization", "Basic eDp5"),
        ("vary", "a"),
    ]);
    assert_eq!(fields, kept);
}

struct Object {
    etag: Option<HeaderValue>,
    last_modified: Option<Timestamp>,
}

impl Object {
    fn new(etag: &'static str, last_modified: Option<Timestamp>) -> Self {
        let etag = (!etag.is_empty()).then(|| HeaderValue::from_static(etag));
        Self {
            etag,
            last_modified,
        }
    }

    fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.etag.as_ref(),
            last_modified: self.last_modified,
        }
    }
}

#[test]
fn section_13_1_2_if_none_match() {
    for (etag, condition, expect) in [
        ("\"x\"", "\"x\"", NotModified),
        ("\"x\"", "W/\"x\"", NotModified),
        ("W/\"x\"", "\"x\"", NotModified),
        ("W/\"x\"", "W/\"x\"", NotModified),
        ("\"x\"", "\"1\", \"x\", \"2\"", NotModified),
        ("\"x\"", "\"1\",\"2\" , W/\"x\"", NotModified),
        ("\"x\"", "*", NotModified),
        ("", "*", NotModified),
        ("\"a,b\"", "\"1\", \"a,b\"", NotModified),
        ("\"x\"", "\"y\"", Full),
        ("\"x\"", "\"X\"", Full),
        ("\"x\"", "x", Full),
        ("", "\"x\"", Full),
        ("\"b\"", "\"a,b\"", Full),
        ("\"x\"", "w/\"x\"", Full),
    ] {
        let object = Object::new(etag, None);
        let request = headers(&[("if-none-match", condition)]);
        let answer = conditional_cached(&request, object.validators());
        assert_eq!(answer, expect, "ETag: {etag}; If-None-Match: {condition}");
    }
    let lines = headers(&[("if-none-match", "\"1\""), ("if-none-match", "\"x\"")]);
    assert_eq!(
        conditional_cached(&lines, Object::new("\"x\"", None).validators()),
        NotModified
    );
}

#[test]
fn tags_compared_are_bounded() {
    let answer = |before: usize| {
        let tags = format!("{}\"x\"", "\"y\",".repeat(before));
        let request = headers(&[("if-none-match", &tags)]);
        conditional_cached(&request, Object::new("\"x\"", None).validators())
    };
    assert_eq!(answer(limits::MAX_ENTITY_TAGS - 1), NotModified);
    assert_eq!(answer(limits::MAX_ENTITY_TAGS), Full);
}

#[test]
fn section_13_1_3_if_modified_since() {
    for (modified, condition, expect) in [
        (Some(at(0)), DATE, NotModified),
        (Some(at(0)), HOUR_LATER, NotModified),
        (Some(at(0)), EARLIER, Full),
        (Some(at(1)), DATE, Full),
        (
            Some(Timestamp::from_millis(at(0).as_millis() + 999)),
            DATE,
            NotModified,
        ),
        (Some(at(0)), "yesterday", Full),
        (None, DATE, Full),
    ] {
        let object = Object::new("", modified);
        let request = headers(&[("if-modified-since", condition)]);
        let answer = conditional_cached(&request, object.validators());
        assert_eq!(
            answer, expect,
            "{modified:?}; If-Modified-Since: {condition}"
        );
    }
}

#[test]
fn section_13_2_2_precedence() {
    let object = Object::new("\"x\"", Some(at(0)));
    let both = |tag, date| headers(&[("if-none-match", tag), ("if-modified-since", date)]);
    let cached = |request| conditional_cached(&request, object.validators());
    assert_eq!(cached(both("\"x\"", EARLIER)), NotModified);
    assert_eq!(cached(both("\"y\"", HOUR_LATER)), Full);
    assert_eq!(cached(headers(&[])), Full);
    // Only the origin evaluates these.
    assert_eq!(cached(headers(&[("if-match", "\"y\"")])), Full);
    assert_eq!(cached(headers(&[("if-unmodified-since", EARLIER)])), Full);
}

#[test]
fn section_13_at_the_origin() {
    let object = Object::new("\"x\"", Some(at(0)));
    let cases: &[(Method, Fields, Conditional)] = &[
        (Method::GET, &[], Full),
        (Method::GET, &[("if-match", "\"x\"")], Full),
        (Method::GET, &[("if-match", "*")], Full),
        (Method::GET, &[("if-match", "\"y\"")], PreconditionFailed),
        (Method::GET, &[("if-match", "W/\"x\"")], PreconditionFailed),
        (Method::GET, &[("if-unmodified-since", DATE)], Full),
        (
            Method::GET,
            &[("if-unmodified-since", EARLIER)],
            PreconditionFailed,
        ),
        (Method::GET, &[("if-unmodified-since", "never")], Full),
        (
            Method::PUT,
            &[("if-match", "\"x\""), ("if-unmodified-since", EARLIER)],
            Full,
        ),
        (
            Method::GET,
            &[("if-match", "\"x\""), ("if-none-match", "\"x\"")],
            NotModified,
        ),
        (Method::GET, &[("if-none-match", "\"x\"")], NotModified),
        (Method::HEAD, &[("if-none-match", "*")], NotModified),
        (Method::PUT, &[("if-none-match", "*")], PreconditionFailed),
        (Method::PUT, &[("if-none-match", "\"y\"")], Full),
        (Method::GET, &[("if-modified-since", DATE)], NotModified),
        (Method::PUT, &[("if-modified-since", DATE)], Full),
    ];
    for (method, request, expect) in cases {
        let answer = conditional_origin(method, &headers(request), object.validators());
        assert_eq!(answer, *expect, "{method} {request:?}");
    }
}

#[test]
fn rfc9111_section_4_3_2_date_stands_in_for_last_modified() {
    let request = headers(&[("if-modified-since", DATE)]);
    let policy = stored(&[("cache-control", "max-age=60"), ("date", DATE)]);
    assert_eq!(
        conditional_cached(&request, policy.validators()),
        NotModified
    );
    let undated = stored(&[("cache-control", "max-age=60")]);
    assert_eq!(
        conditional_cached(&request, undated.validators()),
        NotModified
    );
    let newer = stored(&[("cache-control", "max-age=60"), ("date", HOUR_LATER)]);
    assert_eq!(conditional_cached(&request, newer.validators()), Full);
}

#[test]
fn section_15_4_5_fields_of_a_304() {
    let full = headers(&[
        ("cache-control", "max-age=60"),
        ("content-length", "5"),
        ("content-location", "/x"),
        ("content-type", "text/plain"),
        ("date", DATE),
        ("etag", "\"x\""),
        ("expires", HOUR_LATER),
        ("last-modified", EARLIER),
        ("vary", "a"),
        ("vary", "b"),
        ("x-other", "1"),
    ]);
    let kept = headers(&[
        ("cache-control", "max-age=60"),
        ("content-location", "/x"),
        ("date", DATE),
        ("etag", "\"x\""),
        ("expires", HOUR_LATER),
        ("vary", "a"),
        ("vary", "b"),
    ]);
    assert_eq!(not_modified_headers(&full), kept);
    let untagged = headers(&[("last-modified", EARLIER)]);
    assert_eq!(not_modified_headers(&untagged), untagged);
}

fn range(fields: &[(&str, &str)], length: u64) -> RangeAnswer {
    let object = Object::new("\"x\"", Some(at(0)));
    range_answer(&headers(fields), object.validators(), length)
}

#[test]
fn section_14_1_2_byte_ranges() {
    let partial = |first, last| RangeAnswer::Partial { first, last };
    let unsatisfiable = RangeAnswer::NotSatisfiable;
    for (spec, expect) in [
        ("bytes=0-0", partial(0, 0)),
        ("bytes=0-9", partial(0, 9)),
        ("bytes=2-5", partial(2, 5)),
        ("BYTES = 2-5 ", partial(2, 5)),
        ("bytes=9-", partial(9, 9)),
        ("bytes=0-", partial(0, 9)),
        ("bytes=5-100", partial(5, 9)),
        ("bytes=5-99999999999999999999999", partial(5, 9)),
        ("bytes=-1", partial(9, 9)),
        ("bytes=-10", partial(0, 9)),
        ("bytes=-99999999999999999999999", partial(0, 9)),
        ("bytes=10-", unsatisfiable),
        ("bytes=10-20", unsatisfiable),
        ("bytes=99999999999999999999999-", unsatisfiable),
        ("bytes=-0", unsatisfiable),
        ("bytes=5-2", RangeAnswer::Full),
        ("bytes=0-1,3-4", RangeAnswer::Full),
        ("bytes=", RangeAnswer::Full),
        ("bytes=-", RangeAnswer::Full),
        ("bytes=a-b", RangeAnswer::Full),
        ("bytes=+1-2", RangeAnswer::Full),
        ("bytes=1 - 2", RangeAnswer::Full),
        ("bytes=--1", RangeAnswer::Full),
        ("items=0-1", RangeAnswer::Full),
        ("0-1", RangeAnswer::Full),
    ] {
        assert_eq!(range(&[("range", spec)], 10), expect, "{spec}");
    }
    assert_eq!(range(&[], 10), RangeAnswer::Full);
    assert_eq!(
        range(&[("range", "bytes=0-1"), ("range", "bytes=0-1")], 10),
        RangeAnswer::Full
    );
    for spec in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
        assert_eq!(
            range(&[("range", spec)], 0),
            unsatisfiable,
            "{spec} of nothing"
        );
    }
    assert_eq!(
        range(&[("range", "bytes=-1")], u64::MAX),
        partial(u64::MAX - 1, u64::MAX - 1)
    );
}

#[test]
fn section_13_1_5_if_range() {
    let partial = RangeAnswer::Partial { first: 0, last: 1 };
    for (condition, expect) in [
        ("\"x\"", partial),
        (DATE, partial),
        ("W/\"x\"", RangeAnswer::Full),
        ("\"y\"", RangeAnswer::Full),
        (HOUR_LATER, RangeAnswer::Full),
        (EARLIER, RangeAnswer::Full),
        ("x", RangeAnswer::Full),
    ] {
        let answer = range(&[("range", "bytes=0-1"), ("if-range", condition)], 10);
        assert_eq!(answer, expect, "If-Range: {condition}");
    }
    let weak = Object::new("W/\"x\"", None);
    let request = headers(&[("range", "bytes=0-1"), ("if-range", "W/\"x\"")]);
    assert_eq!(
        range_answer(&request, weak.validators(), 10),
        RangeAnswer::Full
    );
}
