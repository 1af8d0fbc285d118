use super::Host;

fn canonical(text: &str) -> Option<String> {
    Host::parse(text).map(|host| match host {
        Host::Name(name) => format!("name {name}"),
        Host::Address(address) => format!("address {address}"),
    })
}

fn check(expected: Option<&str>, texts: &[&str]) {
    for text in texts {
        assert_eq!(canonical(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn names_are_lower_case_without_a_final_dot() {
    check(
        Some("name example.com"),
        &["example.com", "EXAMPLE.com", "Example.Com."],
    );
    check(Some("name db"), &["db", "DB", "db."]);
    check(
        Some("name xn--bcher-kva.example"),
        &["xn--bcher-kva.example"],
    );
    check(Some("name my_service"), &["my_service"]);
    check(Some("name 1.2.3.4.example"), &["1.2.3.4.example"]);
    check(Some("name 0xg.example.0xg"), &["0xg.example.0xg"]);
}

#[test]
fn every_spelling_of_an_ipv4_address_is_that_address() {
    check(
        Some("address 127.0.0.1"),
        &[
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0X7F000001",
            "0x7F.1",
            "0x7f.0.0.0x1",
            "017700000001",
            "0177.0.0.1",
            "0177.0.0.01",
            "00177.1",
            "127.0x1",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:FFFF:7F00:0001]",
        ],
    );
    check(
        Some("address 169.254.169.254"),
        &[
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.16689662",
            "169.254.43518",
            "025177524776",
        ],
    );
    check(
        Some("address 0.0.0.0"),
        &["0", "0.", "0x", "00", "0x0", "0.0", "0.0.0.0"],
    );
    check(
        Some("address 255.255.255.255"),
        &["4294967295", "255.0xffffff"],
    );
}

#[test]
fn ipv6_addresses() {
    check(Some("address ::1"), &["::1", "[::1]", "[0:0:0:0:0:0:0:1]"]);
    check(
        Some("address 64:ff9b::7f00:1"),
        &["[64:ff9b::127.0.0.1]", "64:FF9B::7f00:1"],
    );
}

#[test]
fn what_is_no_host() {
    check(
        None,
        &[
            "",
            ".",
            "..",
            "a..b",
            ".example.com",
            "example.com..",
            "a b",
            "a/b",
            "a@b",
            "a%2eb",
            "127%2e0.0.1",
            "a:b",
            "ex\u{e4}mple.com",
            "\u{ff11}27.0.0.1",
            "*",
            "*.example.com",
            "[127.0.0.1]",
            "[::1",
            "::1]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[]",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "1.256.3.4",
            "4294967296",
            "0x100000000",
            "99999999999999999999999",
            "09",
            "1.2.3.08",
            "127.0.0.+1",
            "example.123",
            "example.0x1",
            "a.0x",
        ],
    );
    check(None, &[&"a".repeat(64), &format!("{}a", "ab.".repeat(90))]);
}

#[test]
fn a_subdomain_is_one_only_behind_a_dot() {
    for (name, under) in [
        ("api.example.com", true),
        ("a.b.example.com", true),
        ("API.Example.Com.", true),
        ("example.com", false),
        ("evilexample.com", false),
        ("example.com.evil", false),
    ] {
        let host = Host::parse(name).expect(name);
        assert_eq!(host.is_under("example.com"), under, "{name}");
    }
    let address = Host::parse("10.0.0.1").expect("an address");
    assert!(!address.is_under("0.0.1"));
}
