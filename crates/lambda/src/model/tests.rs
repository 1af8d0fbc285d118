use std::collections::BTreeMap;

use fractus_func::{Manifest, RuntimeKind};
use serde_json::{Value, json};

use super::{
    Alias, ConfigChange, CreateFunction, Object, Permission, Policy, Settings, Tags, UrlAuth, View,
    check_tags, configuration, is_runtime, iso_seconds, iso_time, runtime_kind,
};

fn change(json: Value) -> ConfigChange {
    let Object(change) = serde_json::from_value(json).unwrap();
    change
}

/// What a change makes of a new function.
fn applied(json: Value) -> Result<(Manifest, Settings), (&'static str, String)> {
    let mut manifest = Manifest::named("f".parse().unwrap());
    let mut settings = Settings::default();
    let made = change(json).apply(&mut manifest, &mut settings);
    made.map_err(|error| (error.kind, error.message))?;
    manifest.check().unwrap();
    Ok((manifest, settings))
}

/// Asserts that one member takes these values, and refuses those with this exception.
fn edges(member: &str, good: &[Value], (kind, bad): (&str, &[Value])) {
    for value in good {
        let made = applied(json!({member: value}));
        assert!(made.is_ok(), "{member} {value}: {made:?}");
    }
    for value in bad {
        let (found, message) = applied(json!({member: value})).unwrap_err();
        assert_eq!(found, kind, "{member} {value}: {message}");
    }
}

const INVALID: &str = "InvalidParameterValueException";
const BROKEN: &str = "ValidationException";

#[test]
fn numbers_have_the_limits_of_aws() {
    let numbers = |all: &[i64]| all.iter().map(|n| json!(n)).collect::<Vec<_>>();
    edges(
        "MemorySize",
        &numbers(&[128, 129, 10_240]),
        (BROKEN, &numbers(&[127, 10_241, 0, -1, i64::MIN])),
    );
    edges(
        "Timeout",
        &numbers(&[1, 900]),
        (BROKEN, &numbers(&[0, 901, -1, i64::MAX])),
    );
    let sizes = |all: &[i64]| all.iter().map(|n| json!({"Size": n})).collect::<Vec<_>>();
    edges(
        "EphemeralStorage",
        &sizes(&[512, 10_240]),
        (BROKEN, &sizes(&[511, 10_241])),
    );
}

#[test]
fn texts_have_the_limits_of_aws() {
    let texts = |all: &[String]| all.iter().map(|text| json!(text)).collect::<Vec<_>>();
    edges(
        "Description",
        &texts(&[String::new(), "x".repeat(256), "\u{fc}".repeat(256)]),
        (BROKEN, &texts(&["x".repeat(257), "\u{fc}".repeat(257)])),
    );
    edges(
        "Handler",
        &texts(&["app.handler".to_owned(), "h".repeat(128)]),
        (
            BROKEN,
            &texts(&["h".repeat(129), "a b".to_owned(), String::new()]),
        ),
    );
    let role = "arn:aws:iam::123456789012:role/".to_owned();
    edges(
        "Role",
        &texts(&[format!("{role}a"), format!("{role}p/a_b+=,.@-")]),
        (
            BROKEN,
            &texts(&[
                String::new(),
                "role".to_owned(),
                format!("{role}a b"),
                "arn:aws:iam::12:role/a".to_owned(),
            ]),
        ),
    );
}

#[test]
fn words_are_those_of_aws() {
    let mode = |mode: &str| json!({"Mode": mode});
    edges(
        "TracingConfig",
        &[mode("Active"), mode("PassThrough"), json!({}), Value::Null],
        (BROKEN, &[mode("active"), mode("")]),
    );
    let apply = |on: &str| json!({"ApplyOn": on});
    edges(
        "SnapStart",
        &[apply("None"), apply("PublishedVersions")],
        (BROKEN, &[apply("Sometimes")]),
    );
    let format = |format: &str| json!({"LogFormat": format});
    edges(
        "LoggingConfig",
        &[format("JSON"), format("Text")],
        (BROKEN, &[format("XML")]),
    );
    edges(
        "Runtime",
        &[
            json!("python3.12"),
            json!("nodejs22.x"),
            json!("provided.al2023"),
            json!("wasm"),
        ],
        (
            INVALID,
            &[
                json!("python0.1"),
                json!("PYTHON3.12"),
                json!("java21"),
                json!(""),
            ],
        ),
    );
    assert_eq!(runtime_kind("python3.9"), Some(RuntimeKind::Python3));
    assert_eq!(runtime_kind("python3."), None);
    assert!(is_runtime("java21") && is_runtime("python3.12"));
    assert!(!is_runtime("python0.1"));
}

fn variables(all: &[(&str, &str)]) -> Value {
    let all: BTreeMap<_, _> = all.iter().copied().collect();
    json!({"Variables": all})
}

#[test]
fn variables_together_have_four_kilobytes_as_json() {
    let of = |size: usize| {
        let empty = serde_json::to_string(&variables(&[("LARGE", "")])["Variables"]).unwrap();
        variables(&[("LARGE", &"x".repeat(size - empty.len()))])
    };
    edges("Environment", &[of(4096)], (INVALID, &[of(4097)]));
}

#[test]
fn variables_have_names_of_their_own() {
    let one = |name: &str| variables(&[(name, "1")]);
    let good = [
        "aB_9",
        "Ab",
        "AWS_LAMBDA_EXEC_WRAPPER",
        "PATH",
        "LD_LIBRARY_PATH",
        "TZ",
    ];
    let bad = ["A", "1A", "A-B", "A B", "_A", "", "\u{dc}\u{dc}", "A=B"];
    let good: Vec<_> = good.iter().map(|name| one(name)).collect();
    let bad: Vec<_> = bad.iter().map(|name| one(name)).collect();
    edges("Environment", &good, (BROKEN, &bad));
    let reserved = [
        "AWS_REGION",
        "_HANDLER",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
    ];
    let reserved: Vec<_> = reserved.iter().map(|name| one(name)).collect();
    edges("Environment", &[], (INVALID, &reserved));
}

#[test]
fn what_is_not_there_is_refused_unless_it_is_empty() {
    let list = |length: usize| json!(vec!["arn"; length]);
    edges("Layers", &[list(0), list(5)], (INVALID, &[list(6)]));
    edges(
        "VpcConfig",
        &[
            Value::Null,
            json!({}),
            json!({"SubnetIds": [], "SecurityGroupIds": []}),
        ],
        (INVALID, &[json!({"SubnetIds": ["subnet-1"]})]),
    );
    edges(
        "KMSKeyArn",
        &[json!("")],
        (INVALID, &[json!("arn:aws:kms:::key/1")]),
    );
    edges(
        "FileSystemConfigs",
        &[json!([])],
        (INVALID, &[json!([{"Arn": "a"}])]),
    );
    edges(
        "ImageConfig",
        &[json!({})],
        (INVALID, &[json!({"Command": ["a"]})]),
    );
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let whole = json!({
        "Role": "arn:aws:iam::123456789012:role/a",
        "Handler": "app.handler",
        "Runtime": "python3.12",
        "Timeout": 7,
        "MemorySize": 256,
        "Description": "said",
        "Environment": variables(&[("AB", "1")]),
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"},
        "TracingConfig": {"Mode": "Active"},
        "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
        "RevisionId": null,
    });
    let (mut manifest, mut settings) = applied(whole).unwrap();
    assert_eq!(manifest.env["AWS_LAMBDA_LOG_LEVEL"], "DEBUG");
    let before = (manifest.clone(), settings.clone());
    change(json!({}))
        .apply(&mut manifest, &mut settings)
        .unwrap();
    assert_eq!((manifest.clone(), settings.clone()), before);

    // Other variables leave those of the logging configuration.
    let other = json!({"Environment": variables(&[("CD", "2")])});
    change(other).apply(&mut manifest, &mut settings).unwrap();
    let names: Vec<_> = manifest.env.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL", "CD"]
    );
    let none = json!({"DeadLetterConfig": {}, "LoggingConfig": {"LogFormat": "Text"}});
    change(none).apply(&mut manifest, &mut settings).unwrap();
    assert_eq!(settings.dead_letter, None);
    assert!(!manifest.env.contains_key("AWS_LAMBDA_LOG_LEVEL"));

    // A component exports its handler.
    let wasm = json!({"Runtime": "wasm", "Handler": "app.handler"});
    assert_eq!(applied(wasm).unwrap().0.handler, None);
}

#[test]
fn bodies_have_the_form_of_the_model() {
    let create = |json: &str| serde_json::from_str::<Object<CreateFunction>>(json);
    let whole = r#"{"FunctionName": "f", "Code": {"ZipFile": "UEs="}, "Publish": null, "Tags": null,
                    "Timeout": 3, "Environment": null, "FromTheFuture": [1]}"#;
    let Object(read) = create(whole).unwrap();
    assert_eq!(read.config.timeout, Some(3));
    assert_eq!(read.code.unwrap().inline().unwrap().unwrap(), "PK");
    for wrong in [
        "[]",
        "null",
        "\"f\"",
        r#"{"Code": []}"#,
        r#"{"Code": "text"}"#,
        r#"{"Environment": []}"#,
        r#"{"Environment": {"Variables": {"AB": 1}}}"#,
        r#"{"Environment": {"Variables": ["AB"]}}"#,
        r#"{"EphemeralStorage": 512}"#,
        r#"{"EphemeralStorage": [512]}"#,
        r#"{"Timeout": "3"}"#,
        r#"{"Timeout": 1e300}"#,
        r#"{"Timeout": 3, "Timeout": 4}"#,
        r#"{"FunctionName": "f", "FunctionName": "g"}"#,
        r#"{"MemorySize": true}"#,
        r#"{"Layers": "one"}"#,
        r#"{"Layers": [null]}"#,
        r#"{"LoggingConfig": []}"#,
        r#"{"Publish": "maybe"}"#,
        r#"{"Tags": ["a"]}"#,
    ] {
        let error = create(wrong).unwrap_err();
        assert!(error.is_data(), "{wrong}: {error}");
    }
}

#[test]
fn tags_are_fifty_with_short_texts() {
    let tags = |pairs: &[(&str, &str)]| -> Tags {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    };
    let many = |count: usize| -> Tags {
        (0..count)
            .map(|n| (format!("k{n}"), String::new()))
            .collect()
    };
    assert!(check_tags(&many(50)).is_ok());
    let error = check_tags(&many(51)).unwrap_err();
    assert!(
        error
            .message
            .starts_with("Number of tags exceeds resource tag limit")
    );
    let (key, value) = ("\u{fc}".repeat(128), "\u{fc}".repeat(256));
    assert!(check_tags(&tags(&[(&key, &value)])).is_ok());
    for (name, value) in [
        (String::new(), String::new()),
        (format!("{key}x"), String::new()),
        ("k".to_owned(), format!("{value}x")),
        ("aws:k".to_owned(), String::new()),
    ] {
        assert_eq!(
            check_tags(&tags(&[(&name, &value)])).unwrap_err().kind,
            INVALID,
            "{name}"
        );
    }
}

fn permission(url_auth: Option<UrlAuth>) -> Permission {
    Permission {
        id: "s".to_owned(),
        action: "lambda:InvokeFunctionUrl".to_owned(),
        principal: "*".to_owned(),
        url_auth,
        ..Permission::default()
    }
}

fn allows(permission: Permission) -> [bool; 2] {
    let policy = Policy {
        statements: vec![permission],
    };
    [UrlAuth::None, UrlAuth::AwsIam].map(|auth| policy.allows_url(auth))
}

#[test]
fn a_url_is_open_to_all_only_by_a_statement_for_all() {
    assert_eq!(allows(permission(None)), [true, true]);
    assert_eq!(allows(permission(Some(UrlAuth::None))), [true, false]);
    assert_eq!(allows(permission(Some(UrlAuth::AwsIam))), [false, true]);
    for action in ["*", "lambda:*"] {
        let mut any = permission(None);
        any.action = action.to_owned();
        assert_eq!(allows(any), [true, true], "{action}");
    }
    let mut others = vec![permission(None); 5];
    others[0].action = "lambda:InvokeFunction".to_owned();
    others[1].principal = "123456789012".to_owned();
    others[2].source_arn = Some("arn:aws:s3:::b".to_owned());
    others[3].source_account = Some("123456789012".to_owned());
    others[4].organisation = Some("o-1234567890".to_owned());
    for other in others {
        assert_eq!(allows(other.clone()), [false, false], "{other:?}");
    }
    assert!(!Policy::default().allows_url(UrlAuth::None));
}

#[test]
fn a_policy_is_told_as_a_document() {
    let mut first = permission(Some(UrlAuth::None));
    first.via_url = Some(true);
    let second = Permission {
        id: "t".to_owned(),
        action: "lambda:InvokeFunction".to_owned(),
        principal: "s3.amazonaws.com".to_owned(),
        source_arn: Some("arn:aws:s3:::b".to_owned()),
        source_account: Some("123456789012".to_owned()),
        ..Permission::default()
    };
    let policy = Policy {
        statements: vec![first, second],
    };
    let expected = json!({
        "Version": "2012-10-17",
        "Id": "default",
        "Statement": [
            {
                "Sid": "s",
                "Effect": "Allow",
                "Principal": "*",
                "Action": "lambda:InvokeFunctionUrl",
                "Resource": "arn",
                "Condition": {
                    "StringEquals": {"lambda:FunctionUrlAuthType": "NONE"},
                    "Bool": {"lambda:InvokedViaFunctionUrl": "true"},
                },
            },
            {
                "Sid": "t",
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "lambda:InvokeFunction",
                "Resource": "arn",
                "Condition": {
                    "StringEquals": {"AWS:SourceAccount": "123456789012"},
                    "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"},
                },
            },
        ],
    });
    assert_eq!(policy.document("arn"), expected);
    let mut account = permission(None);
    account.principal = "123456789012".to_owned();
    let told = account.document("arn");
    assert_eq!(
        told["Principal"],
        json!({"AWS": "arn:aws:iam::123456789012:root"})
    );
    assert!(told.get("Condition").is_none());
    let kept = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&kept).unwrap(), policy);
}

#[test]
fn an_alias_shares_its_calls() {
    let mut alias = Alias {
        version: "1".to_owned(),
        description: String::new(),
        additional: None,
        revision: 1,
    };
    assert_eq!(alias.choose(0.0), "1");
    alias.additional = Some(("2".to_owned(), 0.25));
    for (chance, version) in [(0.0, "2"), (0.249, "2"), (0.25, "1"), (0.999, "1")] {
        assert_eq!(alias.choose(chance), version, "{chance}");
    }
    alias.additional = Some(("2".to_owned(), 0.0));
    assert_eq!(alias.choose(0.0), "1");
    alias.additional = Some(("2".to_owned(), 1.0));
    assert_eq!(alias.choose(0.999_999), "2");
}

fn view<'a>(manifest: &'a Manifest, settings: &'a Settings) -> View<'a> {
    View {
        manifest,
        settings,
        kind: RuntimeKind::Python3,
        version: "$LATEST",
        arn: "arn",
        code_sha256: &[0; 32],
        code_size: 7,
        modified_ms: 1_769_903_999_123,
        revision_id: "r",
    }
}

#[test]
fn a_configuration_tells_what_was_asked_for() {
    let (manifest, settings) = applied(json!({
        "Runtime": "python3.13",
        "Handler": "app.h",
        "Role": "arn:aws:iam::123456789012:role/a",
        "Environment": variables(&[("AB", "1")]),
        "LoggingConfig": {"LogFormat": "JSON"},
        "DeadLetterConfig": {"TargetArn": "arn:q"},
    }))
    .unwrap();
    let told = configuration(&view(&manifest, &settings));
    for (member, value) in [
        ("FunctionName", json!("f")),
        ("FunctionArn", json!("arn")),
        ("Runtime", json!("python3.13")),
        ("Handler", json!("app.h")),
        ("CodeSize", json!(7)),
        (
            "CodeSha256",
            json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ),
        ("LastModified", json!("2026-01-31T23:59:59.123+0000")),
        ("Version", json!("$LATEST")),
        ("State", json!("Active")),
        ("LastUpdateStatus", json!("Successful")),
        ("PackageType", json!("Zip")),
        // Not those that stand for the logging configuration.
        ("Environment", json!({"Variables": {"AB": "1"}})),
        (
            "LoggingConfig",
            json!({"LogFormat": "JSON", "LogGroup": "/aws/lambda/f"}),
        ),
        ("DeadLetterConfig", json!({"TargetArn": "arn:q"})),
    ] {
        assert_eq!(told[member], value, "{member}");
    }
    assert!(told.get("Layers").is_none());
}

#[test]
fn a_function_of_other_origin_has_a_configuration_too() {
    let mut manifest = Manifest::named("f".parse().unwrap());
    manifest.limits.timeout_s = 0.2;
    let told = configuration(&view(&manifest, &Settings::default()));
    assert_eq!(told["Timeout"], 1);
    assert_eq!(told["Runtime"], "python3.12");
    assert_eq!(told["Handler"], "lambda_function.lambda_handler");
    assert!(told.get("Environment").is_none());
}

#[test]
fn times_are_texts() {
    assert_eq!(iso_time(0), "1970-01-01T00:00:00.000+0000");
    assert_eq!(iso_time(1_709_164_800_007), "2024-02-29T00:00:00.007+0000");
    assert_eq!(iso_seconds(1_709_164_799_999), "2024-02-28T23:59:59Z");
}
