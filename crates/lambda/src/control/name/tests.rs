use super::{
    FunctionRef, LayerRef, Qualifier, alias_name, function_arn, layer_arn, layer_version_arn,
    mapping_arn, url_id,
};

const ACCOUNT: &str = "123456789012";
const REGION: &str = "us-east-1";

fn parts(text: &str) -> (Option<String>, Option<String>, String, Option<Qualifier>) {
    let all = FunctionRef::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (all.region, all.account, all.name, all.qualifier)
}

#[test]
fn functions_have_many_names() {
    let alias = |name: &str| Some(Qualifier::Alias(name.to_owned()));
    let forms = [
        ("", false, false),
        ("function:", false, false),
        ("123456789012:", false, true),
        ("123456789012:function:", false, true),
        ("us-east-1:123456789012:function:", true, true),
        ("us-east-1:123456789012:", true, true),
        (
            "arn:aws:lambda:us-east-1:123456789012:function:",
            true,
            true,
        ),
        (
            "arn:aws-cn:lambda:us-east-1:123456789012:function:",
            true,
            true,
        ),
    ];
    let qualifiers = [
        ("", None),
        (":$LATEST", Some(Qualifier::Latest)),
        (":7", Some(Qualifier::Version(7))),
        (":prod", alias("prod")),
        (":7a", alias("7a")),
    ];
    for (prefix, has_region, has_account) in forms {
        for (suffix, qualifier) in &qualifiers {
            for name in ["hello", "function", "a", "A-z_09", "123456789012"] {
                let text = format!("{prefix}{name}{suffix}");
                // These are read from the left.
                let is_account = prefix.is_empty() && name == ACCOUNT;
                let is_word = !prefix.contains("function:") && name == "function";
                if (is_account || is_word) && !suffix.is_empty() {
                    continue;
                }
                let region = has_region.then(|| REGION.to_owned());
                let account = has_account.then(|| ACCOUNT.to_owned());
                let expected = (region, account, name.to_owned(), qualifier.clone());
                assert_eq!(parts(&text), expected, "{text}");
            }
        }
    }
    let account = Some(ACCOUNT.to_owned());
    assert_eq!(
        parts("123456789012:a"),
        (None, account, "a".to_owned(), None)
    );
    assert_eq!(parts("function:a"), (None, None, "a".to_owned(), None));
}

#[test]
fn other_texts_are_no_functions() {
    for text in [
        "a b",
        "a.b",
        "a/b",
        "a:",
        ":a",
        "a:b:c",
        "a:b c",
        "\u{e9}",
        "a\0",
        "$LATEST",
        "function:",
        "a:$LATEST.PUBLISHED",
        "a:$LATES",
        "arn:aws:lambda:us-east-1:1:function:a",
        "arn:aws:lambda:us-east-1:123456789012:layer:a",
        "arn:aws:lambda:us-east-1:123456789012:a",
        "arn:aws:lambda::123456789012:function:a",
        "arn:aws:s3:us-east-1:123456789012:function:a",
        "arn:other:lambda:us-east-1:123456789012:function:a",
        "arn:aws:lambda:US:123456789012:function:a",
        "arn:aws:lambda:us-east-1:123456789012:function:",
        "12345678901:function:a",
    ] {
        let error = FunctionRef::parse(text).unwrap_err();
        assert_eq!(error.kind, "ValidationException", "{text}");
        let start = format!("1 validation error detected: Value '{text}' at 'functionName'");
        assert!(error.message.starts_with(&start), "{text}");
        let pattern = "Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:";
        assert!(error.message.contains(pattern), "{text}: {}", error.message);
    }
    for (text, why) in [
        (String::new(), "greater than or equal to 1"),
        ("a".repeat(141), "less than or equal to 140"),
        ("a".repeat(257), "less than or equal to 256"),
    ] {
        let error = FunctionRef::parse(&text).unwrap_err();
        assert!(error.message.ends_with(why), "{}", error.message);
    }
    for text in ["a".repeat(65), format!("function:{}:1", "a".repeat(65))] {
        let long = FunctionRef::parse(&text).unwrap();
        let error = long.check_new(&text).unwrap_err();
        assert_eq!(error.kind, "InvalidParameterValueException");
        assert!(
            error.message.ends_with("less than or equal to 64"),
            "{}",
            error.message
        );
    }
    let longest = FunctionRef::parse(&"a".repeat(64)).unwrap();
    assert_eq!(longest.check_new(&longest.name), Ok(()));
    let arn = "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:";
    let longest = format!("{arn}{}:{}", "f".repeat(64), "q".repeat(128));
    assert!(FunctionRef::parse(&longest).is_ok());
    assert!(FunctionRef::parse(&format!("f:{}", "q".repeat(129))).is_err());
}

#[test]
fn functions_of_other_regions_are_told_from_those_of_none() {
    let check = |region: &str| {
        let text = format!("arn:aws:lambda:{region}:123456789012:function:a");
        FunctionRef::parse(&text)
            .unwrap()
            .check_region(&text, "local")
    };
    assert_eq!(check("local"), Ok(()));
    assert_eq!(
        FunctionRef::parse("a").unwrap().check_region("a", "local"),
        Ok(())
    );
    for region in [
        "eu-north-1",
        "us-gov-west-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "eusc-de-east-1",
    ] {
        let error = check(region).unwrap_err();
        assert_eq!(error.kind, "ResourceNotFoundException", "{region}");
        let text = format!("Functions from '{region}' are not reachable in this region ('local')");
        assert_eq!(error.message, text);
    }
    for region in [
        "invalid-region",
        "eu-north-",
        "eu-north-11",
        "e-north-1",
        "eu--1",
        "x",
        "eu-isobb-east-1",
    ] {
        assert_eq!(
            check(region).unwrap_err().kind,
            "ValidationException",
            "{region}"
        );
    }
}

#[test]
fn a_qualifier_is_told_once_or_twice_the_same() {
    let merge = |text, qualifier| FunctionRef::parse(text).unwrap().with_qualifier(qualifier);
    let alias = Some(Qualifier::Alias("prod".to_owned()));
    assert_eq!(merge("f", None).unwrap().qualifier, None);
    assert_eq!(merge("f", Some("")).unwrap().qualifier, None);
    assert_eq!(merge("f", Some("prod")).unwrap().qualifier, alias);
    assert_eq!(merge("f:prod", None).unwrap().qualifier, alias);
    assert_eq!(merge("f:prod", Some("prod")).unwrap().qualifier, alias);
    for other in ["1", "$LATEST", "Prod"] {
        let error = merge("f:prod", Some(other)).unwrap_err();
        assert_eq!(error.kind, "InvalidParameterValueException");
        assert_eq!(
            error.message,
            "The derived qualifier from the function name does not match the specified qualifier."
        );
    }
    let error = merge("f", Some("a b")).unwrap_err();
    assert!(error.message.contains("Value 'a b' at 'qualifier'"));
    assert!(error.message.ends_with("pattern: (|[a-zA-Z0-9$_-]+)"));
    let error = merge("f", Some(&"a".repeat(129))).unwrap_err();
    assert!(error.message.ends_with("less than or equal to 128"));

    assert!(FunctionRef::parse("f").unwrap().unqualified().is_ok());
    assert!(FunctionRef::parse("f:1").unwrap().unqualified().is_err());
}

#[test]
fn qualifiers_are_of_three_kinds() {
    for (text, qualifier) in [
        ("$LATEST", Qualifier::Latest),
        ("1", Qualifier::Version(1)),
        ("18446744073709551615", Qualifier::Version(u64::MAX)),
        ("1a", Qualifier::Alias("1a".to_owned())),
        ("-", Qualifier::Alias("-".to_owned())),
        ("$latest", Qualifier::Alias("$latest".to_owned())),
    ] {
        assert_eq!(Qualifier::parse(text).unwrap(), qualifier);
        assert_eq!(qualifier.to_string(), text);
    }
    assert!(Qualifier::parse("").is_err());
    for (name, may_be) in [
        ("prod", true),
        ("1a", true),
        ("1", false),
        ("", false),
        ("$LATEST", false),
        ("a.b", false),
    ] {
        assert_eq!(alias_name(name).is_ok(), may_be, "{name}");
    }
    assert!(alias_name(&"a".repeat(128)).is_ok());
    assert!(alias_name(&"a".repeat(129)).is_err());
}

#[test]
fn arns_are_read_as_they_are_written() {
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:f";
    assert_eq!(function_arn(REGION, ACCOUNT, "f", None), arn);
    for qualifier in [
        Qualifier::Latest,
        Qualifier::Version(3),
        Qualifier::Alias("a".to_owned()),
    ] {
        let qualified = function_arn(REGION, ACCOUNT, "f", Some(&qualifier));
        assert_eq!(qualified, format!("{arn}:{qualifier}"));
        assert_eq!(parts(&qualified).3, Some(qualifier));
    }
    let layer = layer_arn(REGION, ACCOUNT, "l");
    assert_eq!(layer, "arn:aws:lambda:us-east-1:123456789012:layer:l");
    let read = LayerRef::parse(&layer).unwrap();
    assert_eq!((&*read.name, read.version), ("l", None));
    assert_eq!(read.account.as_deref(), Some(ACCOUNT));
    assert_eq!(read.region.as_deref(), Some(REGION));
    let version = layer_version_arn(REGION, ACCOUNT, "l", 4);
    assert_eq!(LayerRef::parse(&version).unwrap().version, Some(4));
    assert_eq!(LayerRef::parse("l").unwrap().account, None);
    for odd in [
        "",
        "a b",
        "a:1",
        &format!("{layer}:x"),
        &format!("{layer}:"),
        arn,
    ] {
        assert_eq!(
            LayerRef::parse(odd).unwrap_err().kind,
            "ValidationException",
            "{odd}"
        );
    }
    assert!(LayerRef::parse(&"l".repeat(141)).is_err());
    assert_eq!(
        mapping_arn(REGION, ACCOUNT, "0-1"),
        "arn:aws:lambda:us-east-1:123456789012:event-source-mapping:0-1"
    );
}

#[test]
fn url_ids_are_32_letters_and_digits() {
    // SHA-256 of nothing: RFC 4648 base 32 of its first 20 bytes.
    assert_eq!(url_id(""), "4oymiquy7qobjgx36tejs35zeqt24qpe");
    let id = url_id("arn:aws:lambda:us-east-1:123456789012:function:f");
    assert_eq!(id.len(), 32);
    assert!(id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')));
    assert_ne!(
        id,
        url_id("arn:aws:lambda:us-east-1:123456789012:function:f:prod")
    );
}
