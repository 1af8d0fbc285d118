use fractus_stdx::ErrorChain;

use super::{Instances, Manifest, ObjectChange, Payload};
use crate::RuntimeKind;

fn error(text: &str) -> String {
    match Manifest::from_toml(text) {
        Ok(manifest) => panic!("accepted as {manifest:?}"),
        Err(error) => ErrorChain(&error).to_string(),
    }
}

#[test]
fn a_full_manifest() {
    let manifest = Manifest::from_toml(
        r#"
        name = "resize"
        build = "make"
        artifact = "out/resize.wasm"
        [limits]
        memory_mb = 256
        timeout_s = 2.5
        cpu_s = 1
        request_mb = 1
        response_mb = 2
        concurrency = 3
        [env]
        BUCKET = "photos"
        [access]
        buckets = ["photos"]
        hosts = ["*.example.com", "*", "api.example.com:8443", "*:443"]
        private_hosts = ["127.0.0.1:9000", "[::1]:80"]
        [[routes]]
        path = "/resize/"
        [[routes]]
        host = "img.example.com"
        path = "/"
        "#,
    )
    .unwrap();
    assert_eq!(manifest.limits.memory_bytes(), 256 << 20);
    assert_eq!(manifest.limits.timeout_us(), 2_500_000);
    assert_eq!(manifest.limits.cpu_us(), 1_000_000);
    assert_eq!(manifest.limits.request_bytes(), 1 << 20);
    assert_eq!(manifest.routes.len(), 2);
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
}

#[test]
fn a_native_manifest() {
    let manifest = Manifest::from_toml(
        r#"
        name = "resize"
        runtime = "python3"
        handler = "src/app.handler"
        payload = "raw"
        [instances]
        provisioned = 2
        idle_s = 600
        [limits]
        memory_mb = 32768
        tmp_mb = 0
        timeout_s = 604800
        "#,
    )
    .unwrap();
    assert_eq!(manifest.runtime, Some(RuntimeKind::Python3));
    assert_eq!(manifest.payload, Some(Payload::Raw));
    assert_eq!(manifest.instances.provisioned, 2);
    assert_eq!(manifest.limits.tmp_bytes(), 0);
    assert_eq!(manifest.limits.timeout_us(), 604_800_000_000);
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    manifest.check_for(RuntimeKind::Python3).unwrap();
    assert!(manifest.check_for(RuntimeKind::Wasm).is_err());
}

#[test]
fn what_a_native_function_cannot_have_is_named() {
    for (text, said) in [
        (
            "[instances]\nprovisioned = 1\nidle_s = 0",
            "instances.provisioned",
        ),
        ("[limits]\ncpu_s = 1", "limits.cpu_s"),
    ] {
        let manifest = Manifest::from_toml(&format!("name = \"a\"\n{text}")).unwrap();
        let error = manifest.check_for(RuntimeKind::NodeJs).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn what_older_versions_stored_is_read() {
    let json = r#"{"name":"a","limits":{"memory_mb":64,"timeout_s":10.0,"request_mb":6,
        "response_mb":20,"concurrency":1000},"env":{},"access":{"buckets":[],"hosts":[],
        "private_hosts":[]},"routes":[]}"#;
    let manifest: Manifest = serde_json::from_str(json).unwrap();
    manifest.check().unwrap();
    assert_eq!(manifest.limits.tmp_mb, 512);
    assert_eq!(manifest.instances, Instances::default());
}

#[test]
fn a_name_is_enough() {
    let manifest = Manifest::from_toml("name = \"hello\"").unwrap();
    assert_eq!(manifest, Manifest::named("hello".parse().unwrap()));
    assert_eq!(manifest.limits.cpu_us(), manifest.limits.timeout_us());
}

#[test]
fn what_is_wrong_is_named() {
    for (text, said) in [
        ("", "missing field `name`"),
        ("name = \"he.llo\"", "`he.llo` cannot name a function"),
        ("name = \"a\"\nmemory = 5", "unknown field `memory`"),
        (
            "name = \"a\"\n[limits]\nmemory_mb = 0",
            "limits.memory_mb must be 1 to 32768, not 0",
        ),
        (
            "name = \"a\"\n[limits]\ntimeout_s = 604801",
            "limits.timeout_s must be 0.001 to 604800, not 604801",
        ),
        ("name = \"a\"\n[limits]\ntimeout_s = nan", "not NaN"),
        (
            "name = \"a\"\n[limits]\nconcurrency = 0",
            "limits.concurrency",
        ),
        ("name = \"a\"\n[env]\n\"A=B\" = \"x\"", "env: `A=B`"),
        (
            "name = \"a\"\n[access]\nhosts = [\"http://x/\"]",
            "access.hosts: `http://x/` is not a host",
        ),
        (
            "name = \"a\"\n[access]\nprivate_hosts = [\"*\"]",
            "must name one host exactly",
        ),
        (
            "name = \"a\"\n[access]\nbuckets = [\"a/b\"]",
            "is not a bucket's name",
        ),
        (
            "name = \"a\"\n[[routes]]\npath = \"x\"",
            "route `x` must start with /",
        ),
        (
            "name = \"a\"\n[[routes]]\npath = \"/x?y\"",
            "is a plain path",
        ),
        (
            "name = \"a\"\n[[routes]]\nhost = \"A.b\"\npath = \"/\"",
            "has a host that is not lower case",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(said), "{text:?} said: {error}");
    }
    assert!(error(&"#".repeat(70_000)).contains("larger than"));
    let env = format!("name = \"a\"\n[env]\nA = \"{}\"", "x".repeat(40_000));
    assert!(error(&env).contains("more than the 32768 allowed"));
}

#[test]
fn what_is_wrong_about_native_functions_is_named() {
    for (text, said) in [
        (
            "name = \"a\"\n[limits]\ntmp_mb = 10241",
            "limits.tmp_mb must be 0 to 10240",
        ),
        (
            "name = \"a\"\nruntime = \"python2\"",
            "unknown variant `python2`",
        ),
        ("name = \"a\"\npayload = \"soap\"", "unknown variant `soap`"),
        ("name = \"a\"\nhandler = \"\"", "is empty"),
        (
            "name = \"a\"\nhandler = \"../x.f\"",
            "handler: `../x.f` leaves the function's own folder",
        ),
        ("name = \"a\"\nhandler = \"a\\u0000b\"", "control character"),
        (
            "name = \"a\"\n[instances]\nprovisioned = 5\n[limits]\nconcurrency = 4",
            "instances.provisioned must be 0 to 4, not 5",
        ),
        (
            "name = \"a\"\n[instances]\nidle_s = 604801",
            "instances.idle_s must be 0 to 604800",
        ),
        (
            "name = \"a\"\n[instances]\nwarm = 1",
            "unknown field `warm`",
        ),
        (
            "name = \"a\"\nruntime = \"wasm\"\n[limits]\nmemory_mb = 4097",
            "limits.memory_mb must be 1 to 4096",
        ),
        (
            "name = \"a\"\nruntime = \"wasm\"\nhandler = \"a.b\"",
            "handler is not for wasm functions",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(said), "{text:?} said: {error}");
    }
}

#[test]
fn triggers_and_methods_are_read_and_checked() {
    let text = r#"
        name = "f"
        methods = ["GET", "M-SEARCH"]
        [[triggers.cron]]
        schedule = "*/5 * * * *"
        timezone = "Europe/Berlin"
        payload = "{\"a\": 1}"
        [[triggers.object]]
        bucket = "photos"
        prefix = "in/"
        suffix = ".jpg"
        [[triggers.queue]]
        queue = "jobs"
    "#;
    let manifest = Manifest::from_toml(text).unwrap();
    let object = &manifest.triggers.object[0];
    assert!(object.matches("photos", "in/a.jpg", ObjectChange::Created));
    for (bucket, key, change) in [
        ("photo", "in/a.jpg", ObjectChange::Created),
        ("photos", "out/a.jpg", ObjectChange::Created),
        ("photos", "in/a.png", ObjectChange::Created),
        ("photos", "in/a.jpg", ObjectChange::Removed),
    ] {
        assert!(
            !object.matches(bucket, key, change),
            "{bucket} {key} {change:?}"
        );
    }
    assert_eq!(manifest.triggers.queue[0].batch, 10);
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    for (line, told) in [
        ("methods = [\"get\"]", "no HTTP method"),
        ("[[triggers.cron]]\nschedule = \"* * *\"", "triggers.cron"),
        (
            "[[triggers.cron]]\nschedule = \"@daily\"\ntimezone = \"Mars\"",
            "Mars",
        ),
        (
            "[[triggers.cron]]\nschedule = \"@daily\"\npayload = \"{\"",
            "not JSON",
        ),
        ("[[triggers.object]]\nbucket = \"\"", "names no bucket"),
        ("[[triggers.object]]\nbucket = \"b\"\non = []", "no change"),
        ("[[triggers.queue]]\nqueue = \"a b\"", "is no queue"),
        (
            "[[triggers.queue]]\nqueue = \"a\"\nbatch = 0",
            "triggers.queue.batch",
        ),
        ("[[triggers.mail]]\nto = \"a\"", "cannot be read"),
    ] {
        let error = Manifest::from_toml(&format!("name = \"f\"\n{line}")).unwrap_err();
        let text = ErrorChain(&error).to_string();
        assert!(text.contains(told), "{line}: {text}");
    }
}
