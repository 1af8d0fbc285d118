use std::io::{Cursor, Read as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use fractus_func::{Manifest, RuntimeKind};
use fractus_lambda::limits::OL_CONFIG_MAX;
use fractus_stdx::ErrorChain;
use tar::{Builder, Header};
use zip::ZipArchive;

use super::{Package, PackageError, config_of, package};

/// An archive of files, each with its name, permissions and contents.
fn archive<T: AsRef<[u8]>>(files: &[(&str, u32, T)]) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, mode, contents) in files {
        let contents = contents.as_ref();
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, name, contents).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn packed(files: &[(&str, u32, &str)]) -> Result<Package, PackageError> {
    package("f".parse().unwrap(), &archive(files))
}

fn with_config(config: &str) -> Result<Manifest, PackageError> {
    let files = [
        ("f.py", 0o644, "def f(event): return event"),
        ("./ol.yaml", 0o644, config),
    ];
    packed(&files).map(|package| package.manifest)
}

#[track_caller]
fn refused(result: Result<Manifest, PackageError>, why: &str) {
    let told = ErrorChain(&result.unwrap_err()).to_string();
    assert!(told.contains(why), "{told}");
}

/// The configuration of a manifest, as it is told.
fn told(manifest: &Manifest) -> String {
    serde_json::to_string(&config_of(manifest)).unwrap()
}

#[test]
fn a_configuration_becomes_a_manifest_and_is_told_of_it() {
    let manifest = with_config(
        "triggers:\n  http: [{method: GET}, {method: POST}]\n  cron: [{schedule: '*/5 * * * *'}]\n\
         environment: {A: b}\nreuse-sandbox: false\n",
    );
    let manifest = manifest.unwrap();
    manifest.check().unwrap();
    assert_eq!(manifest.methods, ["GET", "POST"]);
    let [cron] = &manifest.triggers.cron[..] else {
        panic!("{manifest:?}");
    };
    assert_eq!(
        (cron.timezone.as_str(), cron.payload.as_deref()),
        ("UTC", Some("{}"))
    );
    assert_eq!(manifest.instances.idle_s, 0);
    assert_eq!(manifest.runtime, Some(RuntimeKind::Python3));
    assert_eq!(
        told(&manifest),
        r#"{"Triggers":{"HTTP":[{"Method":"GET"},{"Method":"POST"}],"#.to_owned()
            + r#""Cron":[{"Schedule":"*/5 * * * *"}],"Kafka":null},"#
            + r#""Environment":{"A":"b"},"ReuseSandbox":false}"#
    );
}

#[test]
fn what_is_not_said_is_as_it_is_in_openlambda() {
    let Package { manifest, zip } = packed(&[("f.py", 0o644, "def f(event): pass")]).unwrap();
    assert!(manifest.methods.is_empty() && manifest.instances.idle_s > 0);
    assert_eq!(ZipArchive::new(Cursor::new(zip)).unwrap().len(), 1);
    assert_eq!(
        told(&manifest),
        r#"{"Triggers":{"HTTP":[{"Method":"*"}],"Cron":null,"Kafka":null},"#.to_owned()
            + r#""Environment":{},"ReuseSandbox":true}"#
    );
    // One among others takes all.
    let any = with_config("triggers: {http: [{method: GET}, {method: '*'}]}").unwrap();
    assert!(any.methods.is_empty());
}

#[test]
fn what_nobody_would_do_is_refused() {
    let kafka = "triggers: {kafka: [{bootstrap_servers: ['h:9092'], topics: [t]}]}";
    refused(with_config(kafka), "nothing here reads Kafka");
    refused(
        with_config("triggers: {http: []}"),
        "triggers.http is empty",
    );
    refused(with_config("triggers: ["), "ol.yaml is not understood");
    let long = "#".repeat(OL_CONFIG_MAX + 1);
    refused(with_config(&long), "ol.yaml has more than");
    let binary = archive(&[("ol.yaml", 0o644, [0xe4])]);
    let binary = package("f".parse().unwrap(), &binary);
    refused(
        binary.map(|package| package.manifest),
        "ol.yaml is not UTF-8",
    );
}

#[test]
fn a_program_gets_what_runs_it() {
    let program = ("f.bin", 0o755, "\u{7f}ELF");
    let Package { manifest, zip } = packed(&[program]).unwrap();
    manifest.check().unwrap();
    assert_eq!(manifest.runtime, Some(RuntimeKind::Python3));
    assert_eq!(manifest.handler.as_deref(), Some("ol_f_bin.app"));
    let mut files = ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut text = String::new();
    files
        .by_name("ol_f_bin.py")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, include_str!("../fbin.py"));
    assert_eq!(files.by_name("f.bin").unwrap().unix_mode(), Some(0o100_755));

    // Python goes first, by whatever name.
    for (name, config) in [
        ("f.py", ""),
        ("app.py", "environment: {OL_ENTRY_FILE: app.py}"),
    ] {
        let files = [
            program,
            (name, 0o644, "def f(event): pass"),
            ("ol.yaml", 0o644, config),
        ];
        assert_eq!(packed(&files).unwrap().manifest.handler, None, "{name}");
    }
    let unused = packed(&[program, ("app.py", 0o644, "def f(event): pass")]).unwrap();
    assert!(unused.manifest.handler.is_some());
    let plain = packed(&[("f.bin", 0o644, "\u{7f}ELF")]);
    refused(plain.map(|package| package.manifest), "chmod +x");
}
