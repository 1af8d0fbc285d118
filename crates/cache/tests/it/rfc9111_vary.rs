//! RFC 9111 §4.1: Vary.

use fractus_cache::{NotStored, Variants, VaryKey, limits};

use crate::support::{Fields, headers, store};

fn key(vary: &str, request: &[(&str, &str)]) -> VaryKey {
    VaryKey::new(&headers(&[("vary", vary)]), &headers(request)).expect("a list of names")
}

#[test]
fn an_asterisk_anywhere_matches_nothing() {
    let cases: [Fields; 8] = [
        &[("vary", "*")],
        &[("vary", "*, *")],
        &[("vary", "*"), ("vary", "*")],
        &[("vary", ", *")],
        &[("vary", ""), ("vary", "*")],
        &[("vary", "*, Foo")],
        &[("vary", "Foo, *")],
        &[("vary", "Foo, no name")],
    ];
    for vary in cases {
        let response = [vary, &[("cache-control", "max-age=60")]].concat();
        let found = store(&[], 200, &response).err();
        assert_eq!(found, Some(NotStored::VaryAny), "{vary:?}");
    }
}

#[test]
fn selecting_fields_must_match() {
    for (vary, original, later, expect) in [
        ("Foo", &[("foo", "1")][..], &[("foo", "1")][..], true),
        ("Foo", &[("foo", "1")], &[("foo", "2")], false),
        ("Foo", &[("foo", "1")], &[], false),
        ("Foo", &[], &[("foo", "1")], false),
        ("Foo", &[], &[], true),
        ("Foo", &[("foo", "")], &[], false),
        (
            "Foo",
            &[("foo", "1"), ("other", "2")],
            &[("foo", "1"), ("other", "3")],
            true,
        ),
        (
            "Foo, Bar",
            &[("foo", "1"), ("bar", "2")],
            &[("bar", "2"), ("foo", "1")],
            true,
        ),
        (
            "Foo, Bar",
            &[("foo", "1"), ("bar", "2")],
            &[("foo", "1"), ("bar", "3")],
            false,
        ),
        ("Foo, Bar", &[("foo", "1")], &[("foo", "1")], true),
        // Lines combined, whitespace around commas ignored, nothing else.
        (
            "Foo",
            &[("foo", "1, 2")],
            &[("foo", "1"), ("foo", "2")],
            true,
        ),
        ("Foo", &[("foo", "1,2")], &[("foo", " 1 ,\t2 ")], true),
        (
            "Foo",
            &[("foo", "1"), ("foo", "2")],
            &[("foo", "1,,2")],
            true,
        ),
        ("Foo", &[("foo", "1,2")], &[("foo", "1")], false),
        ("Foo", &[("foo", "1")], &[("foo", "1,2")], false),
        (
            "Foo",
            &[("foo", "12")],
            &[("foo", "1"), ("foo", "2")],
            false,
        ),
        ("Foo", &[("foo", "1,2")], &[("foo", "2,1")], false),
        ("Foo", &[("foo", "a b")], &[("foo", "a  b")], false),
        ("Foo", &[("foo", "\"a, b\"")], &[("foo", "\"a,b\"")], false),
        ("Foo", &[("foo", "A")], &[("foo", "a")], false),
    ] {
        let matches = key(vary, original).matches(&headers(later));
        assert_eq!(matches, expect, "Vary: {vary}; {original:?}; {later:?}");
    }
}

#[test]
fn order_and_repetition_of_names_do_not_matter() {
    let request = [("foo", "1"), ("bar", "2")];
    assert_eq!(key("Foo, Bar", &request), key("bar,FOO, foo", &request));
    assert!(key("", &request).is_empty());
    assert_eq!(key("", &request).weight(), 0);
    assert!(key("foo", &request).weight() > 0);
}

#[test]
fn width_is_bounded() {
    let names = |count: usize| {
        (0..count)
            .map(|n| format!("x-{n}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let response = |vary: &str| headers(&[("vary", vary)]);
    let widest = response(&names(limits::MAX_VARY_FIELDS));
    assert!(VaryKey::new(&widest, &headers(&[])).is_ok());
    let wider = response(&names(limits::MAX_VARY_FIELDS + 1));
    assert_eq!(
        VaryKey::new(&wider, &headers(&[])),
        Err(NotStored::VaryTooWide)
    );
    let long = "x".repeat(limits::MAX_VARY_BYTES + 1);
    let request = headers(&[("foo", &long)]);
    assert_eq!(
        VaryKey::new(&response("foo"), &request),
        Err(NotStored::VaryTooWide)
    );
}

#[test]
fn variants_are_selected_newest_first() {
    let request = |value| [("foo", value)];
    let select = |set: &Variants<u32>, value| set.select(&headers(&request(value))).copied();
    let set = Variants::default()
        .with(key("foo", &request("1")), 1)
        .with(key("foo", &request("2")), 2);
    assert_eq!(
        (select(&set, "1"), select(&set, "2"), select(&set, "3")),
        (Some(1), Some(2), None)
    );

    let replaced = set.with(key("foo", &request("1")), 10);
    assert_eq!((select(&replaced, "1"), replaced.len()), (Some(10), 2));

    // Another Vary list for the same URI: both may match, the newer one wins.
    let other = set.with(key("bar", &request("1")), 3);
    assert_eq!((select(&other, "1"), other.len()), (Some(3), 3));

    // One that varies on nothing answers every request: the others are out of date.
    let plain = other.with(VaryKey::default(), 4);
    assert_eq!((select(&plain, "1"), plain.len()), (Some(4), 1));
    assert!(plain.without(|&variant| variant == 4).is_empty());
}

#[test]
fn variants_are_bounded() {
    let mut set = Variants::default();
    for n in 0..2 * limits::MAX_VARIANTS {
        let value = n.to_string();
        set = set.with(key("foo", &[("foo", &value)]), n);
    }
    assert_eq!(set.len(), limits::MAX_VARIANTS);
    assert_eq!(
        set.iter().next(),
        Some(&(2 * limits::MAX_VARIANTS - 1)),
        "the newest stays"
    );
    assert_eq!(
        set.iter().last(),
        Some(&limits::MAX_VARIANTS),
        "the oldest went"
    );
}
