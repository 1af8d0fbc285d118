use fractus_func::{Access, OutboundError};
use http::Uri;

use super::{Policy, Reach, Target};
use crate::outbound::address::AddressClass;

fn owned(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn policy(hosts: &[&str], private_hosts: &[&str]) -> Policy {
    Policy::new(&Access {
        writes: Vec::new(),
        buckets: Vec::new(),
        hosts: owned(hosts),
        private_hosts: owned(private_hosts),
    })
}

fn target(url: &str) -> Result<Target, OutboundError> {
    Target::of(&url.parse::<Uri>().expect(url))
}

/// What a policy says to URLs: `public`, `private` or `no`.
fn check(policy: &Policy, expected: &str, urls: &[&str]) {
    for url in urls {
        let said = match target(url).and_then(|target| policy.reach(&target)) {
            Ok(Reach::Public) => "public",
            Ok(Reach::Private) => "private",
            Err(OutboundError::Denied { .. }) => "no",
            Err(error) => panic!("{url}: {error}"),
        };
        assert_eq!(said, expected, "{url}");
    }
}

const EVERYWHERE: [&str; 12] = [
    "http://example.com/",
    "https://example.com/",
    "http://localhost/",
    "http://127.0.0.1/",
    "http://[::1]/",
    "http://10.0.0.5:8080/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2130706433/",
    "http://db/",
    "http://1.1.1.1/",
    "http://example.com:8080/",
    "http://0/",
];

#[test]
fn nothing_is_allowed_unless_it_is_named() {
    check(&policy(&[], &[]), "no", &EVERYWHERE);
    check(&Policy::default(), "no", &EVERYWHERE);
}

#[test]
fn entries_that_make_no_sense_allow_nothing() {
    let entries = [
        "",
        ".",
        ":80",
        "a:b",
        "example.com:",
        "example.com:0x50",
        "example.com:+80",
        "example.com:65536",
        "http:",
        "*.",
        "*.*",
        "**",
        "*.127.0.0.1",
        "*example.com",
        "[::1",
        "256.1.1.1",
    ];
    check(&policy(&entries, &entries), "no", &EVERYWHERE);
}

#[test]
fn an_exact_host_on_its_default_ports() {
    let policy = policy(&["api.Example.com"], &[]);
    check(
        &policy,
        "public",
        &[
            "http://api.example.com",
            "http://api.example.com/x?y",
            "https://api.example.com/",
            "http://API.EXAMPLE.COM/",
            "http://api.example.com./",
            "http://api.example.com:80/",
            "https://api.example.com:443/",
            "http://api.example.com:443/",
            "http://api.example.com:/",
        ],
    );
    check(
        &policy,
        "no",
        &[
            "http://api.example.com:8080/",
            "http://example.com/",
            "http://x.api.example.com/",
            "http://api.example.com.evil.test/",
            "http://api.example.org/",
            "http://apiexample.com/",
        ],
    );
    check(&policy, "no", &EVERYWHERE);
}

#[test]
fn a_port_stands_for_itself_alone() {
    let policy = policy(&["api.example.com:8443", "*.cdn.test:81"], &[]);
    check(
        &policy,
        "public",
        &[
            "https://api.example.com:8443/",
            "http://api.example.com:8443/",
            "http://a.cdn.test:81/",
        ],
    );
    check(
        &policy,
        "no",
        &[
            "https://api.example.com/",
            "http://api.example.com:844/",
            "http://a.cdn.test/",
        ],
    );
}

#[test]
fn a_wildcard_is_for_names_below() {
    let policy = policy(&["*.example.com"], &[]);
    check(
        &policy,
        "public",
        &[
            "http://a.example.com/",
            "http://a.b.c.example.com/",
            "https://A.EXAMPLE.com/",
        ],
    );
    check(
        &policy,
        "no",
        &[
            "http://example.com/",
            "http://evilexample.com/",
            "http://a.example.com.evil.test/",
        ],
    );
}

#[test]
fn the_star_is_every_host_but_no_private_address() {
    let all = policy(&["*"], &[]);
    // The addresses behind them are checked when the connection is made.
    check(
        &all,
        "public",
        &[
            "http://example.com/",
            "https://example.com/",
            "http://localhost/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://2130706433/",
            "http://0/",
        ],
    );
    check(
        &all,
        "no",
        &["http://example.com:8080/", "http://127.0.0.1:9090/"],
    );
    check(
        &policy(&["*:8080"], &[]),
        "public",
        &["http://example.com:8080/"],
    );
    check(&policy(&["*:8080"], &[]), "no", &["http://example.com/"]);
    assert!(Reach::Public.allows(AddressClass::Public));
    assert!(!Reach::Public.allows(AddressClass::Private("")));
    assert!(!Reach::Public.allows(AddressClass::Special("")));
}

#[test]
fn private_hosts_are_named_exactly() {
    let policy = policy(
        &["*"],
        &[
            "10.0.0.5:8080",
            "localhost:3000",
            "db.lab",
            "127.0.0.1",
            "[::1]:9000",
            "fd00::1",
        ],
    );
    check(
        &policy,
        "private",
        &[
            "http://10.0.0.5:8080/",
            "http://0xa000005:8080/",
            "http://[::ffff:10.0.0.5]:8080/",
            "http://localhost:3000/",
            "http://LOCALHOST.:3000/",
            "http://db.lab/",
            "https://db.lab/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:9000/",
            "http://[0:0::0:1]:9000/",
            "http://[fd00::1]/",
        ],
    );
    check(
        &policy,
        "public",
        &[
            "http://localhost/",
            "http://10.0.0.5/",
            "http://x.db.lab/",
            "http://[::1]/",
        ],
    );
    check(
        &policy,
        "no",
        &[
            "http://10.0.0.5:8081/",
            "http://localhost:3001/",
            "http://db.lab:5432/",
        ],
    );
    assert!(Reach::Private.allows(AddressClass::Public));
    assert!(Reach::Private.allows(AddressClass::Private("")));
    assert!(!Reach::Private.allows(AddressClass::Special("")));
}

#[test]
fn wildcards_open_no_private_host() {
    check(&policy(&[], &["*", "*.lab", "*:80"]), "no", &EVERYWHERE);
    check(&policy(&[], &["*", "*.lab"]), "no", &["http://db.lab/"]);
}

#[test]
fn what_is_no_target() {
    for (url, why) in [
        ("/path", "http://"),
        ("ftp://example.com/", "http://"),
        ("http://user@example.com/", "credentials"),
        ("http://user:pass@example.com/", "credentials"),
        ("http://example.com@127.0.0.1/", "credentials"),
        ("http://127.0.0.1:80@example.com/", "credentials"),
        ("http://example.com:99999/", "port"),
        ("http://1.2.3.4.5/", "no host name"),
        ("http://a..b/", "no host name"),
        ("http://example.123/", "no host name"),
    ] {
        match target(url) {
            Err(error @ OutboundError::Denied { .. }) => {
                assert!(error.to_string().contains(why), "{url}: {error}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn what_goes_out_is_canonical() {
    for (url, canonical) in [
        ("http://EXAMPLE.com.:80/a?b", "http://example.com/a?b"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        (
            "http://0x7f.1:8080/%2e%2e/x",
            "http://127.0.0.1:8080/%2e%2e/x",
        ),
        ("http://[0:0:0::1]:1/", "http://[::1]:1/"),
        ("http://[::FFFF:10.0.0.5]/", "http://10.0.0.5/"),
        ("http://example.com?q", "http://example.com/?q"),
    ] {
        let uri: Uri = url.parse().expect(url);
        let target = target(url).expect(url);
        assert_eq!(target.apply(uri).to_string(), canonical);
    }
}

#[test]
fn a_refusal_says_what_to_write() {
    for (url, entry) in [
        ("http://api.example.com/", "hosts = [\"api.example.com\"]"),
        (
            "https://api.example.com:8443/",
            "hosts = [\"api.example.com:8443\"]",
        ),
        (
            "http://[2606:4700::1]:81/",
            "hosts = [\"[2606:4700::1]:81\"]",
        ),
    ] {
        let target = target(url).expect(url);
        let error = Policy::default().reach(&target).expect_err(url).to_string();
        assert!(error.contains(entry), "{error}");
        // Written there, it is allowed.
        let written = entry.split('"').nth(1).expect("between quotes");
        check(&policy(&[written], &[]), "public", &[url]);
        check(&policy(&[], &[written]), "private", &[url]);
    }
}

#[test]
fn what_is_private_is_written_among_the_private_hosts() {
    for (url, entry) in [
        ("http://127.0.0.1:9090/", "127.0.0.1:9090"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://[::1]:81/", "[::1]:81"),
        ("http://169.254.169.254/", "169.254.169.254"),
        ("http://localhost:8080/", "localhost:8080"),
        ("http://db.LOCALHOST./", "db.localhost"),
    ] {
        let target = target(url).expect(url);
        let error = Policy::default().reach(&target).expect_err(url).to_string();
        let hint = format!("write `private_hosts = [\"{entry}\"]`");
        assert!(error.contains(&hint), "{error}");
        check(&policy(&[], &[entry]), "private", &[url]);
    }
}

#[test]
fn buckets_are_named_exactly() {
    let policy = Policy::new(&Access {
        buckets: owned(&["photos", "Not A Bucket", "*"]),
        ..Access::default()
    });
    assert!(policy.bucket("photos").is_some());
    for name in ["photo", "photos2", "PHOTOS", "*", "Not A Bucket", ""] {
        assert!(policy.bucket(name).is_none(), "{name}");
    }
}
