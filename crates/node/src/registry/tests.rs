use std::collections::BTreeMap;

use fractus_func::{Counters, Manifest};

use super::{Ledger, NewVersion, Registry, RegistryError};
use crate::artifacts::Digest;
use crate::functions::LastError;

fn version(name: &str, artifact: u8) -> NewVersion {
    NewVersion {
        manifest: Manifest::named(name.parse().unwrap()),
        artifact: Digest([artifact; 32]),
        size: 7,
        created_ms: u64::from(artifact),
    }
}

#[test]
fn versions_count_up_and_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let registry = Registry::open(&path).unwrap();
    assert_eq!(registry.deploy(&version("a", 1)).unwrap(), 1);
    assert_eq!(registry.deploy(&version("a", 2)).unwrap(), 2);
    assert_eq!(registry.deploy(&version("b", 1)).unwrap(), 1);
    let ledger = Ledger {
        counters: Counters {
            calls: 5,
            ..Counters::default()
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
    assert_eq!(functions[0].version, 2);
    assert_eq!(functions[0].current.artifact, Digest([2; 32]));
    assert_eq!(functions[0].ledger.counters.calls, 5);
    assert_eq!(
        functions[0].ledger.last_error.as_ref().unwrap().message,
        "unreachable"
    );
    assert_eq!(functions[1].ledger.counters, Counters::default());
}

#[test]
fn only_the_last_versions_hold_their_artifacts() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry.db")).unwrap();
    for artifact in 1..=11 {
        registry.deploy(&version("a", artifact)).unwrap();
    }
    assert!(!registry.has_artifact(Digest([1; 32])).unwrap());
    assert!(registry.has_artifact(Digest([2; 32])).unwrap());
    let name = "a".parse().unwrap();
    assert_eq!(registry.artifacts(Some(&name)).unwrap().len(), 10);
    assert!(registry.remove(&name).unwrap());
    assert!(!registry.remove(&name).unwrap());
    assert!(registry.artifacts(None).unwrap().is_empty());
    assert!(!registry.has_artifact(Digest([11; 32])).unwrap());
    assert_eq!(registry.deploy(&version("a", 1)).unwrap(), 1);
}

#[test]
fn a_newer_schema_and_a_damaged_row_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    let registry = Registry::open(&path).unwrap();
    registry.deploy(&version("a", 1)).unwrap();
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
        .with("age", |c| c.pragma_update(None, "user_version", 2))
        .unwrap();
    drop(registry);
    let error = Registry::open(&path).unwrap_err();
    assert!(matches!(error, RegistryError::Newer { found: 2 }));
}
