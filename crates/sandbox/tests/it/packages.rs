//! Python packages and the zygotes that have imported them, with wheels that are made here.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::{Bench, Function, child, is_root};

/// Makes a wheel with one module.
fn wheel(folder: &Path, name: &str, version: &str, module: &str) {
    let info = format!("{name}-{version}.dist-info");
    let files = [
        (format!("{name}/__init__.py"), module.to_owned()),
        (
            format!("{info}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
        ),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
        (format!("{info}/RECORD"), String::new()),
    ];
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        zip.start_file(path, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let file = folder.join(format!("{name}-{version}-py3-none-any.whl"));
    std::fs::write(file, zip.finish().unwrap().into_inner()).unwrap();
}

/// Has a test run in a process whose pip finds these wheels alone. None in the parent, which has
/// waited for it.
fn with_wheels(test: &str, wheels: &[(&str, &str, &str)]) -> Option<Arc<Bench>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, version, module) in wheels {
        wheel(folder.path(), name, version, module);
    }
    let test = format!("packages::{test}");
    (!child::is_run_with_wheels(&test, folder.path())).then(Bench::new)
}

fn function(bench: &Arc<Bench>, requirements: &str, text: &str, idle_s: u32) -> Function {
    let files = [("f.py", text), ("requirements.txt", requirements)];
    bench.function(&files, |manifest| manifest.instances.idle_s = idle_s)
}

async fn told(function: &Function) -> Value {
    function.event(&Value::Null).await.unwrap()
}

#[tokio::test]
async fn two_versions_of_a_package_live_side_by_side() {
    const TEST: &str = "two_versions_of_a_package_live_side_by_side";
    let one = "VERSION = 'one'";
    let two = "VERSION = 'two'";
    let wheels = [
        ("versioned", "1.0", one),
        ("versioned", "2.0", two),
        ("plain", "1.0", ""),
    ];
    let Some(bench) = with_wheels(TEST, &wheels) else {
        return;
    };
    let text = "
import sys, versioned
def f(event):
    return [versioned.VERSION, versioned.__file__, 'plain' in sys.modules]";
    let old = function(&bench, "versioned==1.0\n", text, 0);
    let new = function(&bench, "versioned>1\nplain\n", text, 0);
    for _ in 0..10 {
        let (old, new) = tokio::join!(told(&old), told(&new));
        assert_eq!((&old[0], &new[0]), (&json!("one"), &json!("two")));
        assert!(
            old[1].as_str().unwrap().starts_with("/var/packages/"),
            "{old}"
        );
        assert_eq!((&old[2], &new[2]), (&json!(false), &json!(false)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each lies there once, whoever asked for it, and may not be changed.
    let code = "
import os, versioned
def f(event):
    try:
        open(versioned.__file__, 'a')
    except OSError as error:
        return error.errno";
    let another = function(&bench, "versioned==1.0\n", code, 0);
    let refused = told(&another).await;
    assert!(
        refused == libc::EROFS || refused == libc::EACCES,
        "{refused}"
    );
    let folders = std::fs::read_dir(bench.path().join("packages")).unwrap();
    let folders: Vec<_> = folders.map(|entry| entry.unwrap().file_name()).collect();
    let wheels = folders
        .iter()
        .filter(|name| !name.to_string_lossy().starts_with('.'));
    assert_eq!(wheels.count(), 3, "{folders:?}");
}

const SLOW: &str = "
import time
time.sleep(0.3)
BORN = time.time()
";

#[tokio::test]
async fn imports_are_paid_once_for_all_functions_with_a_package() {
    const TEST: &str = "imports_are_paid_once_for_all_functions_with_a_package";
    let Some(bench) = with_wheels(TEST, &[("slow", "1.0", SLOW)]) else {
        return;
    };
    let text = "
import slow, os, sys
TOKEN = os.urandom(8).hex()
def f(event):
    return [slow.BORN, TOKEN, [name for name in sys.modules if 'slow' in name]]";
    let first = function(&bench, "slow\n", text, 0);
    if !is_root() {
        // Code of packages would run as the node's own user: each instance imports for itself.
        let births = [told(&first).await[0].clone(), told(&first).await[0].clone()];
        assert_ne!(births[0], births[1], "a zygote has imported it");
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let known = loop {
        let began = Instant::now();
        let now = told(&first).await;
        if began.elapsed() < Duration::from_millis(100) {
            break now;
        }
        assert!(Instant::now() < deadline, "each start still imports it");
    };
    // One that was never called before, of other code.
    let second = function(&bench, "slow\n", &format!("{text}\n# other code"), 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let now = told(&second).await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(now[0], known[0], "it was imported when the other's was");
    assert_ne!(now[1], known[1]);
    // One without it never sees it.
    let look = "
import sys, os
def f(event):
    import importlib.util
    try:
        found = importlib.util.find_spec('slow') is not None
    except ValueError:
        found = True
    seen = [name for name in sys.modules if 'slow' in name]
    paths = [path for path in sys.path if 'slow' in path]
    mounts = [line for line in open('/proc/self/mountinfo') if 'slow' in line]
    return [found, seen, paths, mounts]";
    let without = bench.function(&[("f.py", look)], |_| {});
    assert_eq!(told(&without).await, json!([false, [], [], []]));
}

#[tokio::test]
async fn a_module_of_the_functions_own_goes_before_what_was_imported() {
    const TEST: &str = "a_module_of_the_functions_own_goes_before_what_was_imported";
    let Some(bench) = with_wheels(TEST, &[("shadowed", "1.0", "FROM = 'package'")]) else {
        return;
    };
    let text = "
import shadowed
def f(event):
    return shadowed.FROM";
    let first = function(&bench, "shadowed\n", text, 0);
    assert_eq!(told(&first).await, "package");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let files = [
        ("f.py", text),
        ("requirements.txt", "shadowed\n"),
        ("shadowed.py", "FROM = 'its own'"),
    ];
    let own = bench.function(&files, |_| {});
    assert_eq!(told(&own).await, "its own");
    assert_eq!(told(&first).await, "package");
}

#[tokio::test]
async fn a_package_that_cannot_be_imported_ahead_is_no_misfortune() {
    const TEST: &str = "a_package_that_cannot_be_imported_ahead_is_no_misfortune";
    // One that ends its process, one that hangs, one that starts a thread, one that reads its env.
    let wheels = [
        (
            "exits",
            "1.0",
            "import os\nif os.getpid() == 1 and not os.environ.get('GO'): os._exit(3)",
        ),
        (
            "threads",
            "1.0",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()",
        ),
        (
            "raises",
            "1.0",
            "import os\nif not os.environ.get('GO'): raise SystemExit(4)",
        ),
        ("spends", "1.0", "KEPT = bytearray(b'x' * (2 << 30))"),
    ];
    let Some(bench) = with_wheels(TEST, &wheels) else {
        return;
    };
    let plain = bench.probe(|manifest| manifest.instances.idle_s = 0);
    for name in ["exits", "threads", "raises", "spends"] {
        let text = format!("import {name}\ndef f(event): return 'good'");
        let files = [("f.py", text.as_str()), ("requirements.txt", name)];
        let function = bench.function(&files, |manifest| {
            manifest.instances.idle_s = 0;
            let _before = manifest.env.insert("GO".to_owned(), "1".to_owned());
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..3 {
            let told = function.event(&Value::Null).await;
            // What does not fit into its memory fails there, and nowhere else.
            assert_eq!(told.is_ok(), name != "spends", "{name}: {told:?}");
        }
        assert_eq!(plain.python("answer = CALLS").await.unwrap(), 1, "{name}");
    }
}

#[tokio::test]
async fn what_a_package_drew_at_random_may_be_shared_but_no_key_is() {
    const TEST: &str = "what_a_package_drew_at_random_may_be_shared_but_no_key_is";
    let module = "import random, ssl\nDRAWN = [random.random(), ssl.RAND_bytes(8)]";
    let Some(bench) = with_wheels(TEST, &[("draws", "1.0", module)]) else {
        return;
    };
    let text = "
import draws, random, secrets, ssl, uuid
def f(event):
    return [ssl.RAND_bytes(16).hex(), random.random(), secrets.token_hex(), str(uuid.uuid4())]";
    let function = function(&bench, "draws\n", text, 0);
    let mut seen: Vec<Value> = Vec::new();
    for _ in 0..12 {
        seen.push(told(&function).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for at in 0..4 {
        let mut values: Vec<String> = seen.iter().map(|told| told[at].to_string()).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), seen.len(), "{at}: {values:?}");
    }
}
