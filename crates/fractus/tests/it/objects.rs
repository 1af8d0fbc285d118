//! Objects into buckets and out again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{cloud, failed, fractus, get, noise};

#[test]
fn a_file_comes_back_as_it_was() {
    let (directory, node) = cloud();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let bytes = noise(1, 5 << 20);
    fs::write(at("photo.jpg"), &bytes).unwrap();

    let missing = failed(&node.run(&["cp", &at("photo.jpg"), "fractus://pics/"]), 1);
    assert!(missing.contains("pics"), "{missing}");
    node.ok(&["bucket", "create", "pics", "--public"]);
    node.ok(&["cp", &at("photo.jpg"), "fractus://pics/a b/"]);
    let listed = node.json(&["bucket", "ls", "pics", "--prefix", "a b/"]);
    let object = &listed["objects"][0];
    assert_eq!(object["key"], "a b/photo.jpg");
    assert_eq!(
        (object["size"].as_u64(), object["content_type"].as_str()),
        (Some(5 << 20), Some("image/jpeg"))
    );

    node.ok(&["cp", "fractus://pics/a b/photo.jpg", &at("back.jpg")]);
    assert!(fs::read(at("back.jpg")).unwrap() == bytes);
    node.ok(&["cp", "fractus://pics/a b/photo.jpg", "/dev/null"]);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let piped = node.run(&["cp", "fractus://pics/a b/photo.jpg", "-"]);
    assert!(piped.status.success() && piped.stdout == bytes);
    let (status, head, body) = get(node.address("edge"), "/b/pics/a%20b/photo.jpg");
    assert!(status == 200 && body == bytes, "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: image/jpeg"),
        "{head}"
    );
}

#[test]
fn standard_input_becomes_an_object() {
    let (directory, node) = cloud();
    node.ok(&["bucket", "create", "pipes"]);
    let bytes = noise(2, 300_000);
    let data = directory.path().join("data");
    let mut cp = fractus(&data, &["cp", "-", "fractus://pipes/in.bin"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    cp.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(cp.wait().unwrap().success());
    assert!(node.run(&["cp", "fractus://pipes/in.bin", "-"]).stdout == bytes);

    let full = failed(&node.run(&["bucket", "rm", "pipes"]), 1);
    assert!(full.contains("pipes"), "{full}");
    node.ok(&["rm", "fractus://pipes/in.bin"]);
    node.ok(&["bucket", "rm", "pipes"]);
    assert_eq!(
        node.json(&["bucket", "ls"])["buckets"],
        serde_json::json!([])
    );
}

#[test]
fn a_private_bucket_looks_like_none() {
    let (directory, node) = cloud();
    let file = directory.path().join("secret.txt");
    fs::write(&file, "secret").unwrap();
    node.ok(&["bucket", "create", "private"]);
    node.ok(&["cp", file.to_str().unwrap(), "fractus://private/secret.txt"]);
    let edge = node.address("edge");
    let there = get(edge, "/b/private/secret.txt");
    let absent = get(edge, "/b/absent/secret.txt");
    assert_eq!((there.0, there.2 == b"secret"), (404, false));
    assert_eq!(there.0, absent.0);
}

#[test]
fn a_failed_copy_leaves_nothing_behind() {
    let (directory, node) = cloud();
    node.ok(&["bucket", "create", "empty"]);
    let place = directory.path().join("place");
    fs::create_dir(&place).unwrap();
    let told = failed(
        &node.run(&["cp", "fractus://empty/none", place.to_str().unwrap()]),
        1,
    );
    assert!(told.contains("none") || told.contains("404"), "{told}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn a_refused_upload_tells_the_nodes_reason() {
    let (directory, node) = cloud();
    node.ok(&["bucket", "create", "there"]);
    let large = directory.path().join("large.bin");
    fs::File::create(&large).unwrap().set_len(64 << 20).unwrap();
    let large = large.to_str().unwrap();
    for _ in 0..5 {
        let told = failed(&node.run(&["cp", large, "fractus://absent/x"]), 1);
        assert!(told.contains("there is no bucket `absent`"), "{told}");
    }
    let credentials = directory.path().join("data/credentials.json");
    let mut wrong = node.file("credentials.json");
    wrong["admin_token"] = "wrong".into();
    fs::write(&credentials, wrong.to_string()).unwrap();
    for _ in 0..5 {
        let told = failed(&node.run(&["cp", large, "fractus://there/x"]), 1);
        assert!(told.contains("credentials.json does not belong"), "{told}");
    }
    fs::remove_file(&credentials).unwrap();
    let told = failed(&node.run(&["cp", large, "fractus://there/x"]), 1);
    assert!(
        told.contains("credentials.json") && told.contains("try: "),
        "{told}"
    );
}

#[test]
fn what_is_absent_is_named() {
    let (directory, node) = cloud();
    node.ok(&["bucket", "create", "there"]);
    let place = directory.path().join("x");
    let cp = |from| failed(&node.run(&["cp", from, place.to_str().unwrap()]), 1);
    assert!(cp("fractus://absent/k").contains("there is no bucket `absent`"));
    assert!(cp("fractus://there/k").contains("no object `k` in bucket `there`"));
    let told = failed(&node.run(&["rm", "fractus://there/k"]), 1);
    assert!(told.contains("no object fractus://there/k"), "{told}");
    let told = failed(&node.run(&["rm", "fractus://absent/k"]), 1);
    assert!(told.contains("there is no bucket `absent`"), "{told}");
}

#[test]
fn a_bucket_keeps_its_readers_unless_told_otherwise() {
    let (_directory, node) = cloud();
    let public = || node.json(&["bucket", "ls"])["buckets"][0]["public"].clone();
    for (flag, is_public) in [
        (None, false),
        (Some("--public"), true),
        (None, true),
        (Some("--private"), false),
        (None, false),
    ] {
        let create = ["bucket", "create", "photos"];
        node.ok(&[&create[..], flag.as_slice()].concat());
        assert_eq!(public(), is_public, "{flag:?}");
    }
}

#[test]
fn links_and_pipes_are_written_through() {
    let (directory, node) = cloud();
    node.ok(&["bucket", "create", "pics"]);
    let at = |name: &str| directory.path().join(name);
    let bytes = noise(3, 100_000);
    fs::write(at("source"), &bytes).unwrap();
    node.ok(&["cp", at("source").to_str().unwrap(), "fractus://pics/x"]);

    fs::create_dir(at("else")).unwrap();
    fs::write(at("else/file"), "old").unwrap();
    symlink("else/file", at("link")).unwrap();
    node.ok(&["cp", "fractus://pics/x", at("link").to_str().unwrap()]);
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    assert!(fs::read(at("else/file")).unwrap() == bytes);
    symlink("nowhere", at("dangling")).unwrap();
    let dangling = node.run(&["cp", "fractus://pics/x", at("dangling").to_str().unwrap()]);
    assert!(failed(&dangling, 1).contains("leads nowhere"));

    let fifo = at("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    symlink(&fifo, at("to-fifo")).unwrap();
    for target in [&fifo, &at("to-fifo")] {
        let reader = thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        node.ok(&["cp", "fractus://pics/x", target.to_str().unwrap()]);
        assert!(reader.join().unwrap() == bytes);
        assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    }
}

/// Changes the last byte of `bytes` on the disk of a node's store.
fn damage(data: &Path, bytes: &[u8]) {
    let volumes = fs::read_dir(data.join("store/volumes")).unwrap();
    let found = volumes.into_iter().find_map(|file| {
        let path = file.unwrap().path();
        let volume = fs::read(&path).unwrap();
        let tail = &bytes[bytes.len() - 32..];
        let at = volume.windows(32).position(|window| window == tail)?;
        Some((path, at as u64 + 31))
    });
    let (path, at) = found.unwrap();
    let volume = fs::File::options().write(true).open(path).unwrap();
    let other = [!bytes[bytes.len() - 1]];
    volume.write_all_at(&other, at).unwrap();
}

#[test]
fn damaged_objects_are_told_and_not_given() {
    let (directory, node) = cloud();
    node.ok(&["bucket", "create", "pics"]);
    for (length, told) in [(10_000, "found damaged data"), (6 << 20, "damaged data")] {
        let bytes = noise(length as u64, length);
        let (file, back) = (directory.path().join("x"), directory.path().join("back"));
        fs::write(&file, &bytes).unwrap();
        node.ok(&["cp", file.to_str().unwrap(), "fractus://pics/x"]);
        damage(&directory.path().join("data"), &bytes);
        let output = node.run(&["cp", "fractus://pics/x", back.to_str().unwrap()]);
        let said = failed(&output, 1);
        assert!(said.contains(told), "{said}");
        assert!(!back.exists());
    }
}
