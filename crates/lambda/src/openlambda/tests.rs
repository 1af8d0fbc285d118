use serde_json::json;

use super::{OlConfig, OlConfigError, bad_name, method_not_allowed};
use crate::limits::{OL_CONFIG_DEPTH_MAX, OL_CONFIG_MAX};

fn parse(text: &str) -> OlConfig {
    OlConfig::parse(text).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

fn told(text: &str) -> String {
    let error = OlConfig::parse(text).unwrap_err();
    fractus_stdx::ErrorChain(&error).to_string()
}

#[test]
fn what_is_not_said_is_the_default() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "{}",
        "triggers:\nenvironment:\n",
        "triggers: {cron: , kafka: null}",
    ] {
        assert_eq!(parse(text), OlConfig::default(), "{text:?}");
    }
    let config = OlConfig::default();
    assert!(config.reuse_sandbox);
    assert_eq!(config.methods().collect::<Vec<_>>(), ["*"]);
}

#[test]
fn all_that_it_can_say() {
    let config = parse(
        r#"
triggers:
  http:  [{method: GET}, {method: "*"}]
  cron:
    - schedule: "*/5 * * * *"
    - schedule: "@daily"
  kafka:
    - bootstrap_servers:
        - "localhost:9092"
      topics: ["t", u]
      auto_offset_reset: latest
environment:
  OL_ENTRY_FILE: "app.py"
  PORT: 5432
  RATIO: 0.30
  OCTAL: 007
  DEBUG: true
  URL: "postgresql://user:pass@localhost/db"
  EMPTY:
  NULL_TOO: ~
reuse-sandbox: false
"#,
    );
    assert_eq!(config.methods().collect::<Vec<_>>(), ["GET", "*"]);
    let schedules = config.triggers.cron.iter().map(|trigger| &trigger.schedule);
    assert_eq!(schedules.collect::<Vec<_>>(), ["*/5 * * * *", "@daily"]);
    assert_eq!(config.triggers.kafka[0].topics, ["t", "u"]);
    assert!(!config.reuse_sandbox);
    let environment = config.environment.iter();
    let environment = environment.map(|(name, value)| format!("{name}={value}"));
    assert_eq!(
        environment.collect::<Vec<_>>(),
        [
            "DEBUG=true",
            "EMPTY=",
            "NULL_TOO=",
            "OCTAL=007",
            "OL_ENTRY_FILE=app.py",
            "PORT=5432",
            "RATIO=0.30",
            "URL=postgresql://user:pass@localhost/db",
        ]
    );
}

#[test]
fn http_is_open_unless_it_is_named() {
    let only_cron = parse("triggers: {cron: [{schedule: '@daily'}]}");
    assert_eq!(only_cron.methods().collect::<Vec<_>>(), ["*"]);
    for closed in ["triggers: {http: []}", "triggers:\n  http:\n"] {
        assert_eq!(parse(closed).methods().count(), 0, "{closed}");
    }
}

#[test]
fn unknown_keys_are_named() {
    for (text, key) in [
        ("reuse_sandbox: true", "reuse_sandbox"),
        ("limits: {mem_mb: 5}", "limits"),
        ("triggers: {https: []}", "https"),
        ("triggers: {http: [{method: GET, path: /}]}", "path"),
        (
            "triggers: {cron: [{schedule: '@daily', zone: UTC}]}",
            "zone",
        ),
        ("triggers: {kafka: [{group: g}]}", "group"),
    ] {
        let told = told(text);
        assert!(told.contains(key), "{told}");
        assert!(told.contains("unknown"), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn wrong_values_are_told() {
    for (text, part) in [
        ("triggers: {http: [{}]}", "method"),
        (
            "triggers: {http: [{method: ''}]}",
            "triggers.http has an empty method",
        ),
        (
            "triggers: {cron: [{schedule: ''}]}",
            "triggers.cron has an empty schedule",
        ),
        (
            "triggers: {kafka: [{bootstrap_servers: [a]}]}",
            "triggers.kafka has no topics",
        ),
        (
            "triggers: {kafka: [{topics: [a]}]}",
            "triggers.kafka has no bootstrap_servers",
        ),
        ("environment: {'': a}", "environment cannot have ``"),
        ("environment: {'A=B': a}", "environment cannot have `A=B`"),
        ("environment: {A: \"\\0\"}", "environment cannot have `A`"),
        ("environment: [a]", "not understood"),
        ("environment: {A: {b: c}}", "not understood"),
        ("environment: {A: 1, A: 2}", "not understood"),
        ("reuse-sandbox: perhaps", "not understood"),
        ("triggers: all", "not understood"),
        ("a: b: c", "not understood"),
        ("\"", "not understood"),
        ("{}\n---\n{}", "not understood"),
    ] {
        let told = told(text);
        assert!(told.contains(part), "{text}: {told}");
    }
}

#[test]
fn bombs_end_early() {
    let long = format!("#{}", "x".repeat(OL_CONFIG_MAX));
    assert!(matches!(
        OlConfig::parse(&long),
        Err(OlConfigError::TooLarge)
    ));
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='p').zip('a'..) {
        let items = vec![format!("*{before}"); 9].join(",");
        bomb.extend([format!("{name}: &{name} [{items}]\n")]);
    }
    for text in [
        bomb.clone(),
        format!("environment:\n{}", bomb.replace('\n', "\n  ").trim_end()),
        "[".repeat(OL_CONFIG_MAX),
        "{a: ".repeat(OL_CONFIG_MAX / 4),
        "- ".repeat(OL_CONFIG_MAX / 2),
        format!("environment: {}x", "{a: ".repeat(OL_CONFIG_DEPTH_MAX)),
        "environment: &a {x: *a}".to_owned(),
        format!("environment: {{a: &a x{}}}", ", b: *a".repeat(5000)),
    ] {
        assert!(
            matches!(OlConfig::parse(&text), Err(OlConfigError::Yaml(_))),
            "{text:.60}"
        );
    }
    // Aliases as such are fine.
    let alias = parse("environment: {A: &a text, B: *a}");
    assert_eq!(alias.environment["B"], "text");
}

#[test]
fn its_json_is_that_of_its_registry() {
    let json = |text| serde_json::to_value(parse(text)).unwrap();
    assert_eq!(
        json("triggers: {http: [{method: POST}]}"),
        json!({
            "Triggers": {"HTTP": [{"Method": "POST"}], "Cron": null, "Kafka": null},
            "Environment": {},
            "ReuseSandbox": true,
        })
    );
    assert_eq!(
        json("triggers: {cron: [{schedule: a}], kafka: [{topics: [t], bootstrap_servers: [b]}]}"),
        json!({
            "Triggers": {
                "HTTP": [{"Method": "*"}],
                "Cron": [{"Schedule": "a"}],
                "Kafka": [{"bootstrap_servers": ["b"], "topics": ["t"], "auto_offset_reset": ""}],
            },
            "Environment": {},
            "ReuseSandbox": true,
        })
    );
}

#[test]
fn texts_are_those_of_its_worker() {
    assert_eq!(
        method_not_allowed("PUT", ["GET", "POST"]),
        "HTTP method not allowed. Sent: PUT, Allowed: [GET POST]\n"
    );
    assert_eq!(
        method_not_allowed("PUT", []),
        "HTTP method not allowed. Sent: PUT, Allowed: []\n"
    );
    assert_eq!(
        bad_name("a b"),
        "invalid function name \"a b\"; must match ^[A-Za-z0-9\\.\\-\\_]+$\n"
    );
}
