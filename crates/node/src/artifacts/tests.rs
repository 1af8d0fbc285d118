use std::collections::BTreeSet;
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::task::Poll;

use fractus_func::{Identity, Manifest};
use fractus_stdx::ErrorChain;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{ArtifactError, Artifacts, Digest};
use crate::fake::FakeRuntime;

fn open(dir: &Path, runtime: &FakeRuntime) -> Artifacts {
    Artifacts::open(dir.to_owned(), runtime.runtimes()).unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

async fn put(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
    let mut upload = artifacts.upload(digest(bytes)).await.unwrap();
    upload.write(bytes).await.unwrap();
    assert_eq!(upload.finish().await.unwrap(), bytes.len());
    digest(bytes)
}

fn files(dir: &TempDir) -> usize {
    fs::read_dir(dir.path()).unwrap().count()
}

#[test]
fn a_digest_reads_what_it_shows() {
    let digest = digest(b"x");
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    for wrong in ["", "ab", &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_compiled_once_stays_compiled() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = open(dir.path(), &FakeRuntime::default());
    let artifact = put(&artifacts, b"one").await;
    let first = artifacts.compile(artifact).await.unwrap();
    assert_eq!((first.size, first.compiled_size), (3, 3));
    assert!(artifacts.compiled(artifact).exists());
    assert_eq!(artifacts.compile(artifact).await.unwrap().compile_ms, 0);

    let other = open(dir.path(), &FakeRuntime::with_fingerprint("other engine"));
    assert!(other.compiled_size(artifact).is_none());
    other.compile(artifact).await.unwrap();
    other.retain(&BTreeSet::from([artifact])).unwrap();
    assert!(!artifacts.compiled(artifact).exists());
    assert!(other.compiled(artifact).exists());
    other.retain(&BTreeSet::new()).unwrap();
    assert_eq!(files(&dir), 0);
}

#[tokio::test]
async fn an_upload_that_is_wrong_or_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = open(dir.path(), &FakeRuntime::default());
    let mut upload = artifacts.upload(digest(b"right")).await.unwrap();
    upload.write(b"wrong").await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert!(matches!(error, ArtifactError::Mismatch { .. }));
    let mut upload = artifacts.upload(digest(b"right")).await.unwrap();
    upload.write(b"ri").await.unwrap();
    drop(upload);
    assert_eq!(files(&dir), 0);

    fs::write(dir.path().join("ab.7.new"), "left by a crash").unwrap();
    fs::write(dir.path().join("ab.f.compiled.new"), "left by a crash").unwrap();
    open(dir.path(), &FakeRuntime::default());
    assert_eq!(files(&dir), 0);
}

#[tokio::test]
async fn a_compilation_that_nobody_awaits_still_counts_and_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::default();
    let artifacts = open(dir.path(), &runtime);
    let [one, two] = [put(&artifacts, b"one").await, put(&artifacts, b"two").await];
    let (open_gate, gate) = mpsc::channel();
    *runtime.shared.compile_gate.lock().unwrap() = Some(gate);
    let (begun, ended) = &runtime.shared.compilations;
    {
        let mut given_up = Box::pin(artifacts.compile(one));
        poll_fn(|context| {
            assert!(given_up.as_mut().poll(context).is_pending());
            context.waker().wake_by_ref();
            match begun.load(Ordering::SeqCst) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
    }
    assert_eq!(artifacts.compiling.available_permits(), 0);
    open_gate.send(()).unwrap();
    // It was compiled once, for whoever asks next.
    assert_eq!(artifacts.compile(one).await.unwrap().compile_ms, 0);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    open_gate.send(()).unwrap();
    artifacts.compile(two).await.unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 2);
    assert_eq!(files(&dir), 4, "nothing is left over");
}

#[tokio::test]
async fn a_damaged_compiled_form_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = open(dir.path(), &FakeRuntime::default());
    let artifact = put(&artifacts, b"whole").await;
    fs::write(artifacts.compiled(artifact), FakeRuntime::TORN).unwrap();
    artifacts.compile(artifact).await.unwrap();
    assert_eq!(fs::read(artifacts.compiled(artifact)).unwrap(), b"torn");
    artifacts.compile_anew(artifact).await.unwrap();
    assert_eq!(fs::read(artifacts.compiled(artifact)).unwrap(), b"whole");
    assert_eq!(files(&dir), 2);
}

#[tokio::test]
async fn what_cannot_be_compiled_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = open(dir.path(), &FakeRuntime::default());
    let error = artifacts.compile(digest(b"absent")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Missing { .. }));
    let bad = put(&artifacts, FakeRuntime::INVALID).await;
    let error = artifacts.compile(bad).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Invalid(_)));
    assert!(artifacts.compiled_size(bad).is_none());
}

const ZIP: &[u8] = b"PK\x03\x04 and more";

#[tokio::test]
async fn each_form_has_its_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = FakeRuntime::with_fingerprint("w");
    let native = FakeRuntime::with_fingerprint("n/1");
    let open = || Artifacts::open(dir.path().to_owned(), wasm.beside(&native)).unwrap();
    let artifacts = open();
    let one = put(&artifacts, b"\0asm").await;
    let two = put(&artifacts, ZIP).await;
    let empty = put(&artifacts, b"PK\x05\x06").await;
    for artifact in [one, two, empty] {
        artifacts.compile(artifact).await.unwrap();
        let manifest = Manifest::named("a".parse().unwrap());
        artifacts
            .load(artifact, &manifest, &Identity::default())
            .unwrap();
    }
    let loads = |runtime: &FakeRuntime| runtime.shared.loads.load(Ordering::SeqCst);
    assert_eq!((loads(&wasm), loads(&native)), (1, 2));
    let compiled = dir.path().join(format!("{two}.n_1.compiled"));
    assert_eq!(artifacts.compiled(two), compiled);
    assert!(dir.path().join(format!("{two}.zip")).exists());
    assert_eq!(artifacts.size(two), Some(ZIP.len() as u64));

    // The runtime is told of what goes, before it goes.
    artifacts.remove(empty).unwrap();
    let forgotten = native.shared.forgotten.lock().unwrap().clone();
    assert_eq!(forgotten.len(), 1);
    assert!(!forgotten[0].exists());
    // And at a start, of what stays.
    let artifacts = open();
    artifacts.retain(&BTreeSet::from([one, two])).unwrap();
    artifacts.retain_in_runtimes(&BTreeSet::from([one, two]));
    let retained = |runtime: &FakeRuntime| runtime.shared.retained.lock().unwrap().clone();
    assert_eq!(retained(&native).unwrap(), [compiled]);
    assert_eq!(retained(&wasm).unwrap(), [artifacts.compiled(one)]);
}

#[tokio::test]
async fn an_archive_without_its_runtime_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = open(dir.path(), &FakeRuntime::default());
    let artifact = put(&artifacts, ZIP).await;
    let error = artifacts.compile(artifact).await.unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert!(
        told.contains("on this machine: none in this test"),
        "{told}"
    );
    let manifest = Manifest::named("a".parse().unwrap());
    let error = artifacts
        .load(artifact, &manifest, &Identity::default())
        .unwrap_err();
    assert!(error.to_string().contains("none in this test"), "{error}");
    artifacts.retain_in_runtimes(&BTreeSet::from([artifact]));
    artifacts.remove(artifact).unwrap();
    assert_eq!(files(&dir), 0);
}
