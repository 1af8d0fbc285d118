use std::fs::{self, File, Permissions};
use std::io::{Cursor, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fractus_func::limits::{ARCHIVE_DEPTH_MAX, ARCHIVE_UNPACKED_MAX, ARTIFACT_MAX};
use tempfile::TempDir;
use zip::ZipArchive;

use super::{Packed, folder};
use crate::output::Output;

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(root.path(), name, text);
    }
    root
}

fn pack(root: &Path) -> Packed {
    folder(root, &Output::new(false)).unwrap()
}

fn refused(root: &Path) -> String {
    folder(root, &Output::new(false)).unwrap_err().to_string()
}

fn names(packed: &Packed) -> Vec<String> {
    let zip = ZipArchive::new(Cursor::new(&packed.zip)).unwrap();
    let names = zip.file_names().map(|name| name.unwrap().into_owned());
    names.collect()
}

#[test]
fn the_same_files_make_the_same_bytes() {
    let files = [
        ("b/x.py", "pass\n"),
        ("a.py", "import b\n"),
        ("data", "1234"),
    ];
    let one = tree(&files);
    let two = tree(&[files[2], files[0], files[1]]);
    let old = SystemTime::now() - Duration::from_hours(1000);
    File::open(two.path().join("data"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    fs::set_permissions(two.path().join("a.py"), Permissions::from_mode(0o600)).unwrap();
    let packed = pack(one.path());
    assert_eq!(packed.zip, pack(two.path()).zip);
    assert_eq!(names(&packed), ["a.py", "b/x.py", "data"]);
    let mut zip = ZipArchive::new(Cursor::new(&packed.zip)).unwrap();
    let mut text = String::new();
    zip.by_name("b/x.py")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "pass\n");
    // What may be started is kept.
    fs::set_permissions(one.path().join("data"), Permissions::from_mode(0o711)).unwrap();
    let packed = pack(one.path());
    assert_ne!(packed.zip, pack(two.path()).zip);
    let mut zip = ZipArchive::new(Cursor::new(&packed.zip)).unwrap();
    assert_eq!(
        zip.by_name("data").unwrap().unix_mode().unwrap() & 0o777,
        0o755
    );
}

#[test]
fn what_belongs_to_tools_is_left_out() {
    let root = tree(&[
        ("app.py", ""),
        ("sub/fractus.toml", "kept: it is not ours"),
        ("fractus.toml", "name = \"a\""),
        (".git/config", ""),
        ("sub/__pycache__/x.cpython-311.pyc", ""),
        ("x.pyc", ""),
        (".DS_Store", ""),
        ("target/CACHEDIR.TAG", ""),
        ("target/release/x", ""),
        ("targets/x", ""),
        (".venv/bin/python", ""),
        ("my-env/pyvenv.cfg", ""),
        ("my-env/lib/x.py", ""),
        ("node_modules/.cache/x", ""),
        ("node_modules/a/index.js", ""),
        ("fractus-data/credentials.json", ""),
        ("cloud/credentials.json", ""),
        ("cloud/registry.db", ""),
        (".env", "kept"),
    ]);
    let expected = [
        ".env",
        "app.py",
        "node_modules/a/index.js",
        "sub/fractus.toml",
        "targets/x",
    ];
    assert_eq!(names(&pack(root.path())), expected);
}

#[test]
fn links_are_followed_as_long_as_they_stay() {
    let root = tree(&[("lib/x.py", "1"), ("app.py", "2")]);
    symlink("lib", root.path().join("linked")).unwrap();
    symlink("../app.py", root.path().join("lib/app.py")).unwrap();
    let expected = [
        "app.py",
        "lib/app.py",
        "lib/x.py",
        "linked/app.py",
        "linked/x.py",
    ];
    assert_eq!(names(&pack(root.path())), expected);
    // The root itself may be reached by one.
    let outside = tempfile::tempdir().unwrap();
    let to_root = outside.path().join("root");
    symlink(root.path(), &to_root).unwrap();
    assert_eq!(pack(&to_root).zip, pack(root.path()).zip);

    let with = |target: &str| {
        let root = tree(&[("app.py", ""), ("sub/x", "")]);
        symlink(target, root.path().join("sub/link")).unwrap();
        refused(root.path())
    };
    assert!(with("/etc/passwd").contains("outside of the function's folder"));
    assert!(with("../..").contains("outside of the function's folder"));
    assert!(with("..").contains("a folder that it is in"));
    assert!(with("nothing").contains("a symbolic link to nothing"));
}

#[test]
fn what_is_too_much_is_refused() {
    let root = tree(&[("app.py", "")]);
    let deep = "d/".repeat(ARCHIVE_DEPTH_MAX + 1) + "x";
    write(root.path(), &deep, "");
    assert!(refused(root.path()).contains("folders deep"));

    let root = tree(&[]);
    let big = File::create(root.path().join("big")).unwrap();
    big.set_len(ARCHIVE_UNPACKED_MAX + 1).unwrap();
    let told = refused(root.path());
    assert!(told.contains("more than 512.0 MiB together"), "{told}");
    assert!(told.contains("requirements.txt"), "{told}");

    // Bytes that cannot be made smaller.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..(1 << 20))
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    let root = tree(&[]);
    let mut big = File::create(root.path().join("big")).unwrap();
    for _ in 0..=ARTIFACT_MAX >> 20 {
        std::io::Write::write_all(&mut big, &noise).unwrap();
    }
    let told = refused(root.path());
    assert!(told.contains("more than 100.0 MiB when packed"), "{told}");
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let root = tree(&[]);
    let name = std::ffi::OsStr::from_bytes(b"\xff.py");
    fs::write(root.path().join(name), "").unwrap();
    assert!(refused(root.path()).contains("not UTF-8"));
}
