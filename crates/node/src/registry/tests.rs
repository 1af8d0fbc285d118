use std::collections::{BTreeMap, BTreeSet};

use fractus_func::{Counters, Manifest, RuntimeKind};
use fractus_lambda::model::{Attachments, Code, Settings};

use super::{DocumentKind, Ledger, Registry, RegistryError, Revision, STEPS, Sums};
use crate::artifacts::Digest;
use crate::functions::LastError;

fn revision(name: &str, artifact: u8) -> Revision {
    Revision {
        manifest: Manifest::named(name.parse().unwrap()),
        artifact: Digest([artifact; 32]),
        size: 7,
        kind: None,
        settings: None,
        created_ms: u64::from(artifact),
    }
}

fn calls(calls: u64) -> Counters {
    Counters {
        calls,
        ..Counters::default()
    }
}

fn deploy(registry: &Registry, revision: &Revision) -> u64 {
    registry.deploy(revision, None, None).unwrap().revision
}

#[test]
fn versions_count_up_and_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let registry = Registry::open(&path).unwrap();
    assert_eq!(deploy(&registry, &revision("a", 1)), 1);
    assert_eq!(deploy(&registry, &revision("a", 2)), 2);
    assert_eq!(deploy(&registry, &revision("b", 1)), 1);
    let ledger = Ledger {
        sums: Sums {
            counters: calls(5),
            revisions: BTreeMap::from([(2, calls(4))]),
        },
        last_error: Some(LastError {
            at_ms: 9,
            request_id: fractus_func::RequestId::from_random(1),
            outcome: fractus_func::Outcome::Trap,
            message: "unreachable".to_owned(),
        }),
    };
    let saved = BTreeMap::from([("a".parse().unwrap(), ledger)]);
    registry.save(&saved).unwrap();
    drop(registry);

    let registry = Registry::open(&path).unwrap();
    let functions = registry.functions().unwrap();
    assert_eq!(functions.len(), 2);
    assert_eq!(functions[0].number, 2);
    assert_eq!(functions[0].current.artifact, Digest([2; 32]));
    assert_eq!(functions[0].ledger.sums.counters, calls(5));
    assert_eq!(
        functions[0].ledger.last_error.as_ref().unwrap().message,
        "unreachable"
    );
    assert_eq!(functions[1].ledger.sums, Sums::default());
}

#[test]
fn only_the_last_versions_hold_their_artifacts() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry.db")).unwrap();
    for artifact in 1..=11 {
        deploy(&registry, &revision("a", artifact));
    }
    assert!(!registry.has_artifact(Digest([1; 32])).unwrap());
    assert!(registry.has_artifact(Digest([2; 32])).unwrap());
    let name = "a".parse().unwrap();
    assert_eq!(registry.artifacts(Some(&name)).unwrap().len(), 10);
    assert!(registry.remove(&name).unwrap());
    assert!(!registry.remove(&name).unwrap());
    assert!(registry.artifacts(None).unwrap().is_empty());
    assert!(!registry.has_artifact(Digest([11; 32])).unwrap());
    assert_eq!(deploy(&registry, &revision("a", 1)), 1);
}

#[test]
fn a_newer_schema_and_a_damaged_row_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let registry = Registry::open(&path).unwrap();
    deploy(&registry, &revision("a", 1));
    registry
        .with("damage", |c| {
            c.execute("UPDATE versions SET manifest = '{'", [])
        })
        .unwrap();
    let error = registry.functions().unwrap_err();
    assert!(matches!(
        error,
        RegistryError::Damaged {
            what: "manifest",
            ..
        }
    ));
    registry
        .with("age", |c| c.pragma_update(None, "user_version", 3))
        .unwrap();
    drop(registry);
    let error = Registry::open(&path).unwrap_err();
    assert!(matches!(error, RegistryError::Newer { found: 3 }));
}

#[test]
fn published_versions_stay_and_have_numbers_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let registry = Registry::open(&path).unwrap();
    deploy(&registry, &revision("a", 1));
    assert_eq!(registry.publish(&revision("a", 1)).unwrap(), (1, 2));
    for artifact in 2..=30 {
        deploy(&registry, &revision("a", artifact));
    }
    let new = revision("a", 31);
    let numbers = registry.deploy(&new, None, Some(&new)).unwrap();
    assert_eq!((numbers.revision, numbers.published), (32, Some((2, 33))));
    let name = "a".parse().unwrap();
    registry.unpublish(&name, 2).unwrap();
    assert_eq!(registry.publish(&new).unwrap().0, 3);
    drop(registry);

    let registry = Registry::open(&path).unwrap();
    let [function] = &registry.functions().unwrap()[..] else {
        panic!("one function");
    };
    assert_eq!((function.number, function.last_published), (32, 3));
    let published: Vec<_> = function.published.keys().copied().collect();
    assert_eq!(published, [1, 3]);
    assert_eq!(function.published[&1].1.artifact, Digest([1; 32]));
    assert!(registry.has_artifact(Digest([1; 32])).unwrap());
    assert!(registry.remove(&name).unwrap());
    assert!(registry.artifacts(None).unwrap().is_empty());
}

#[test]
fn numbers_of_versions_are_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let registry = Registry::open(&path).unwrap();
    let (name, other) = (revision("f", 1), revision("g", 1));
    for expected in 1..=3 {
        deploy(&registry, &name);
        assert_eq!(registry.publish(&name).unwrap().0, expected);
    }
    assert!(registry.remove(&name.manifest.name).unwrap());
    drop(registry);
    let registry = Registry::open(&path).unwrap();
    deploy(&registry, &other);
    assert_eq!(registry.publish(&other).unwrap().0, 1);
    for expected in [4, 5] {
        deploy(&registry, &name);
        assert_eq!(registry.publish(&name).unwrap().0, expected);
        assert!(registry.remove(&name.manifest.name).unwrap());
    }
    // What was never published leaves nothing behind.
    deploy(&registry, &revision("h", 1));
    assert!(registry.remove(&"h".parse().unwrap()).unwrap());
    let kept = registry.documents(DocumentKind::LastPublished).unwrap();
    assert_eq!(kept, [("f".to_owned(), "5".to_owned())]);
}

#[test]
fn attachments_settings_and_documents_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry.db")).unwrap();
    let mut attachments = Attachments::default();
    attachments.tags.insert("k".to_owned(), "v".to_owned());
    let mut new = revision("a", 1);
    new.kind = Some(RuntimeKind::Python3);
    new.settings = Some(Settings {
        description: "what".to_owned(),
        code: Some(Code {
            digest: Digest([9; 32]).to_string(),
            size: 3,
        }),
        ..Settings::default()
    });
    registry.deploy(&new, Some(&attachments), None).unwrap();
    let function = registry.functions().unwrap().remove(0);
    assert_eq!((function.current, function.attachments), (new, attachments));
    assert!(registry.has_artifact(Digest([9; 32])).unwrap());
    registry
        .attach(&"a".parse().unwrap(), &Attachments::default())
        .unwrap();
    let function = registry.functions().unwrap().remove(0);
    assert_eq!(function.attachments, Attachments::default());

    let layer = DocumentKind::Layer;
    let artifact = Some(Digest([8; 32]));
    registry.put_document(layer, "l", artifact, "{}").unwrap();
    registry
        .put_document(DocumentKind::Mapping, "m", None, "[]")
        .unwrap();
    assert_eq!(
        registry.documents(layer).unwrap(),
        [("l".to_owned(), "{}".to_owned())]
    );
    let expected = [[1; 32], [8; 32], [9; 32]].map(Digest);
    assert_eq!(registry.artifacts(None).unwrap(), BTreeSet::from(expected));
    assert!(registry.delete_document(layer, "l").unwrap());
    assert!(!registry.delete_document(layer, "l").unwrap());
    assert!(!registry.has_artifact(Digest([8; 32])).unwrap());
}

#[test]
fn what_an_older_node_wrote_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(STEPS[0]).unwrap();
    let old = format!(
        "INSERT INTO functions VALUES ('a', 4, '{{\"calls\":3,\"errors\":0,\"throttled\":0,
             \"cold\":1,\"billed_ms\":9,\"cpu_us\":1,\"response_bytes\":2}}', NULL);
         INSERT INTO versions VALUES ('a', 4, '{{\"name\":\"a\"}}', '{}', 7, 1);",
        Digest([1; 32])
    );
    connection.execute_batch(&old).unwrap();
    drop(connection);
    let registry = Registry::open(&path).unwrap();
    let function = registry.functions().unwrap().remove(0);
    assert_eq!(
        (function.number, function.ledger.sums.counters.calls),
        (4, 3)
    );
    assert_eq!(
        (function.current.kind, function.current.settings),
        (None, None)
    );
    assert_eq!(deploy(&registry, &revision("a", 2)), 5);
}
