//! Cache keys: RFC 3986 §6.2.2 and §6.2.3, and what must stay apart.

use std::hash::{BuildHasherDefault, DefaultHasher, RandomState};

use fractus_cache::{CacheKey, KeyError, Scheme, limits, normal_target};

use Scheme::{Http, Https};

fn key(scheme: Scheme, host: &str, target: &str) -> Result<CacheKey, KeyError> {
    CacheKey::new(
        scheme,
        host,
        target,
        &BuildHasherDefault::<DefaultHasher>::default(),
    )
}

#[test]
fn keys_are_normalised() {
    for (scheme, host, target, expect) in [
        (Http, "a.example", "/", "http://a.example/"),
        (Http, "A.Example", "/B", "http://a.example/B"),
        (Http, "a.example:80", "/", "http://a.example/"),
        (Http, "a.example:", "/", "http://a.example/"),
        (Http, "a.example:443", "/", "http://a.example:443/"),
        (Https, "a.example:443", "/", "https://a.example/"),
        (Https, "a.example:80", "/", "https://a.example:80/"),
        (Http, "[::1]", "/", "http://[::1]/"),
        (Http, "[::A]:80", "/", "http://[::a]/"),
        (Http, "[::1]:8080", "/", "http://[::1]:8080/"),
        (Http, "a.example", "", "http://a.example/"),
        (Http, "a.example", "?q", "http://a.example/?q"),
        (Http, "a", "/%7euser/%2fx%3a", "http://a/~user/%2Fx%3A"),
        (Http, "a", "/%41%2d%5F?x=%7E%26", "http://a/A-_?x=~%26"),
        (Http, "a", "/%zz%4%", "http://a/%zz%4%"),
        (Http, "a", "/%+1", "http://a/%+1"),
        (Http, "a", "/\u{e9}%C3%a9", "http://a/\u{e9}%C3%A9"),
        (Http, "a", "/a/../b/./c", "http://a/a/../b/./c"),
        (Http, "a", "/?b=2&a=1", "http://a/?b=2&a=1"),
    ] {
        let found = key(scheme, host, target).expect("a key");
        assert_eq!(found.as_str(), expect, "{host:?} {target:?}");
        if !target.is_empty() && !target.starts_with('?') {
            assert!(expect.ends_with(&*normal_target(target)), "{target:?}");
        }
    }
}

#[test]
fn a_normalised_key_is_its_own_key() {
    for target in [
        "/%7euser/%2fx%3a",
        "/%2541",
        "/a/%2e%2E/b?x=%20",
        "/%zz",
        "/",
    ] {
        let once = key(Http, "A.example:80", target).expect("a key");
        let target = once
            .as_str()
            .strip_prefix("http://a.example")
            .expect("its origin");
        assert_eq!(key(Http, "a.example", target).as_ref(), Ok(&once));
    }
}

#[test]
fn different_resources_have_different_keys() {
    let keys = [
        key(Http, "a", "/b"),
        key(Https, "a", "/b"),
        key(Http, "a:8080", "/b"),
        key(Http, "a", "/B"),
        key(Http, "a", "/b/"),
        key(Http, "a", "/b?"),
        key(Http, "a", "/b?x"),
        key(Http, "a", "/b?x&y"),
        key(Http, "a", "/b?y&x"),
        key(Http, "a", "/%62%2F"),
        key(Http, "a", "//b"),
    ];
    for (n, one) in keys.iter().enumerate() {
        for other in &keys[n + 1..] {
            assert_ne!(one, other);
        }
    }
    assert_eq!(key(Http, "A:80", "/%62"), key(Http, "a", "/b"));
}

#[test]
fn what_is_no_host_or_path_has_no_key() {
    for host in [
        "",
        ":80",
        "a/b",
        "a?b",
        "a#b",
        "x@a",
        "a b",
        "a\\b",
        "a:8o",
        "\u{e9}.example",
    ] {
        assert_eq!(key(Http, host, "/").err(), Some(KeyError::Host), "{host:?}");
    }
    for target in ["*", "a", "/a b", "/a#b", "/a\nb", "/\u{7f}"] {
        assert_eq!(
            key(Http, "a", target).err(),
            Some(KeyError::Path),
            "{target:?}"
        );
    }
    let long = format!("/{}", "x".repeat(limits::MAX_KEY_BYTES));
    assert_eq!(key(Http, "a", &long).err(), Some(KeyError::TooLong));
}

#[test]
fn ways_to_write_a_path_have_one_decoded_path() {
    for (target, decoded) in [
        ("/a%2Fb%2f?q=%41", "/a/b/"),
        ("/%25%4%zz%", "/%%4%zz%"),
        ("/\u{e9}%C3%A9", "/\u{e9}\u{e9}"),
        ("/plain", "/plain"),
        ("?q", "/"),
    ] {
        let found = key(Http, "a.example:81", target).expect("a key");
        assert_eq!(&*found.decoded_path(), decoded.as_bytes(), "{target:?}");
    }
}

#[test]
fn the_hash_is_the_hasher_s() {
    let (one, other) = (RandomState::new(), RandomState::new());
    let hash = |state: &RandomState| CacheKey::new(Http, "a", "/b", state).map(|k| k.hash_value());
    assert_eq!(hash(&one), hash(&one));
    assert_ne!(hash(&one), hash(&other), "seeded");
}
