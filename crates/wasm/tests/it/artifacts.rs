//! What may not become a function, and what it is told.

use fractus_func::{CompileError, Identity, Manifest, Runtime, RuntimeKind};

use crate::support::{example, runtime};

fn manifest() -> Manifest {
    Manifest::named("a".parse().unwrap())
}

#[test]
fn a_manifest_must_suit_a_component() {
    let path = std::path::Path::new("not/read");
    let described = runtime().describe(path, &manifest()).unwrap();
    assert_eq!(described.runtime, RuntimeKind::Wasm);
    let mut other = manifest();
    other.runtime = Some(RuntimeKind::Python3);
    let error = runtime().describe(path, &other).unwrap_err();
    assert!(
        matches!(error, CompileError::OtherRuntime { .. }),
        "{error}"
    );
    let mut large = manifest();
    large.limits.memory_mb = 4097;
    let error = runtime().describe(path, &large).unwrap_err();
    assert!(matches!(error, CompileError::Unfit(_)), "{error}");
}

#[test]
fn what_is_wrong_with_an_artifact_is_named() {
    let runtime = runtime();
    let hello = example("hello");
    let core = b"\0asm\x01\0\0\0";
    let empty_component = b"\0asm\x0d\0\x01\0";
    for (bytes, said) in [
        (&b"#!/bin/sh\n"[..], "not WebAssembly"),
        (&b""[..], "not WebAssembly"),
        (&core[..], "a core WebAssembly module, not a component"),
        (
            &empty_component[..],
            "must export `wasi:http/incoming-handler@0.2`; its exports are: none",
        ),
        (&hello[..hello.len() / 2], "not a valid component"),
        (&hello[..6], "not a valid component"),
    ] {
        let error = runtime.compile(bytes).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn an_unknown_import_is_named() {
    let mut bytes = example("faults");
    // The same component, but it wants its environment from somebody else.
    let (from, to) = (b"wasi:cli/environment@", b"wasi:cli/environmenq@");
    let mut hits = 0;
    for at in 0..bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from {
            bytes[at..at + from.len()].copy_from_slice(to);
            hits += 1;
        }
    }
    assert!(hits > 0, "std asks for its environment");
    let error = runtime().compile(&bytes).unwrap_err().to_string();
    assert!(error.contains("wasi:cli/environmenq@"), "{error}");
}

#[test]
fn a_fingerprint_is_stable_and_damage_is_an_error() {
    assert_eq!(runtime().fingerprint(), runtime().fingerprint());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, b"not compiled code").unwrap();
    assert!(
        runtime()
            .load(&path, &manifest(), &Identity::default())
            .is_err()
    );
    assert!(
        runtime()
            .load(
                &dir.path().join("absent"),
                &manifest(),
                &Identity::default()
            )
            .is_err()
    );
    let sound = runtime().compile(&example("hello")).unwrap();
    std::fs::write(&path, &sound).unwrap();
    assert!(
        runtime()
            .load(&path, &manifest(), &Identity::default())
            .is_ok()
    );
    for at in [sound.len() / 4, sound.len() / 2, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let error = runtime()
            .load(&path, &manifest(), &Identity::default())
            .unwrap_err();
        assert_eq!(
            error.reason, "its checksum is wrong",
            "a bit flipped at {at}"
        );
    }
}
