//! RFC 9213: CDN-Cache-Control.

use fractus_cache::{Forward, NotStored, RequestDirectives, Reuse};

use crate::support::{Fields, HOUR_LATER, at, store, stored};

const TAG: (&str, &str) = ("etag", "\"x\"");

const PRECEDENCE: &[(Fields, Result<i64, NotStored>)] = &[
    (&[("cdn-cache-control", "max-age=60")], Ok(60)),
    (
        &[
            ("cdn-cache-control", "max-age=60"),
            ("cache-control", "no-store"),
        ],
        Ok(60),
    ),
    (
        &[
            ("cdn-cache-control", "max-age=60"),
            ("cache-control", "private"),
        ],
        Ok(60),
    ),
    (
        &[
            ("cdn-cache-control", "max-age=60"),
            ("cache-control", "max-age=1"),
        ],
        Ok(60),
    ),
    (
        &[
            ("cdn-cache-control", "max-age=1"),
            ("cache-control", "max-age=60"),
        ],
        Ok(1),
    ),
    (
        &[("cdn-cache-control", "max-age=60"), ("expires", "0")],
        Ok(60),
    ),
    (
        &[("cdn-cache-control", "max-age=60"), ("age", "20"), TAG],
        Ok(40),
    ),
    (
        &[("cdn-cache-control", "max-age=60"), ("set-cookie", "a=b")],
        Ok(60),
    ),
    (
        &[
            ("cdn-cache-control", "no-store"),
            ("cache-control", "max-age=60"),
        ],
        Err(NotStored::NoStore),
    ),
    (
        &[
            ("cdn-cache-control", "private"),
            ("cache-control", "max-age=60"),
        ],
        Err(NotStored::Private),
    ),
    (
        &[("cdn-cache-control", "max-age=0"), ("expires", HOUR_LATER)],
        Err(NotStored::NothingToReuse),
    ),
    // Well-formed without freshness: neither Cache-Control nor Expires steps in.
    (
        &[
            ("cdn-cache-control", "foo"),
            ("cache-control", "max-age=60"),
        ],
        Err(NotStored::NothingToReuse),
    ),
    (
        &[("cdn-cache-control", "foo"), ("expires", HOUR_LATER)],
        Err(NotStored::NothingToReuse),
    ),
];

#[test]
fn section_2_1_it_takes_precedence() {
    for (response, expect) in PRECEDENCE {
        let found = store(&[], 200, response).map(|policy| policy.ttl(at(0)));
        assert_eq!(found, *expect, "{response:?}");
    }
}

#[test]
fn section_2_1_malformed_counts_as_absent() {
    for field in [
        "",
        " ",
        "max-age=60, &&&&&",
        "max-age=60,",
        ", max-age=60",
        "max-age=60 no-store",
        "MaX-aGe=60",
        "max-age =60",
        "max-age= 60",
        "max-age=",
        "max-age=1234567890123456",
        "max-age=-",
        "max-age=1.",
        "max-age=1.2345",
        "a=\"open",
        "a=\"bad \\x escape\"",
        "a=?2",
        "a=:open",
        "a=(1 2",
        "a=(1,2)",
        "a;B=1",
        "a=@1",
    ] {
        let response = [("cdn-cache-control", field), ("cache-control", "max-age=7")];
        assert_eq!(
            stored(&response).ttl(at(0)),
            7,
            "CDN-Cache-Control: {field}"
        );
    }
}

#[test]
fn structured_fields_are_parsed() {
    for (field, expect) in [
        ("max-age=60", 60),
        ("max-age=60;foo;bar=\"x\"", 60),
        ("foobar, max-age=60", 60),
        (
            "a=\"q, \\\"max-age=1\\\"\", b=(1 \"two\" three;x=1), c=:YQ==:, d=?0, max-age=60",
            60,
        ),
        ("a=1.5, b=-3, c=tok/en:*, max-age=60", 60),
        ("max-age=1,max-age=60", 60),
        ("max-age=1 \t,\t max-age=60", 60),
        ("max-age=-5", 0),
        ("max-age=2147483648", 2_147_483_648),
        ("max-age=99999999999", 2_147_483_648),
        ("no-store=?0, max-age=60", 60),
        ("s-maxage=90, max-age=60", 90),
        // Of a wrong type: no freshness, and Cache-Control does not step in.
        ("max-age=\"60\"", 0),
        ("max-age=60.0", 0),
        ("max-age", 0),
    ] {
        let response = [
            ("cdn-cache-control", field),
            ("cache-control", "max-age=7"),
            TAG,
        ];
        assert_eq!(
            stored(&response).ttl(at(0)),
            expect,
            "CDN-Cache-Control: {field}"
        );
    }
    let two_lines = [
        ("cdn-cache-control", "max-age=1"),
        ("cdn-cache-control", "max-age=60"),
        TAG,
    ];
    assert_eq!(stored(&two_lines).ttl(at(0)), 60);
}

#[test]
fn restrictions_hold_whatever_their_type() {
    for field in [
        "no-store=1",
        "no-store=\"x\", max-age=60",
        "max-age=60, no-store;x",
    ] {
        let found = store(&[], 200, &[("cdn-cache-control", field)]).err();
        assert_eq!(found, Some(NotStored::NoStore), "{field}");
    }
    let policy = stored(&[("cdn-cache-control", "no-cache, max-age=60"), TAG]);
    let reuse = policy.reuse(at(0), &RequestDirectives::default());
    assert_eq!(reuse, Reuse::Revalidate(Forward::Stale));
}
