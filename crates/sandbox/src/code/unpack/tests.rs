use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use fractus_func::CompileError;
use fractus_func::limits::{ARCHIVE_DEPTH_MAX, ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_MAX};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Archive, normal};

/// An archive of these files.
fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes, mode) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(*mode);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// One stored entry, byte by byte, so that it can be wrong in any way.
struct Raw {
    name: Vec<u8>,
    /// Type and permissions; the system that made it is Unix.
    mode: u32,
    flags: u16,
    method: u16,
    data: Vec<u8>,
    /// Its checksum, unless it lies.
    sum: Option<u32>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            name: b"f.py".to_vec(),
            mode: 0o100_644,
            flags: 0,
            method: 0,
            data: b"pass".to_vec(),
            sum: None,
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (0u32.wrapping_sub(crc & 1)))
        })
    };
    !bytes.iter().fold(!0, step)
}

fn raw(entries: &[Raw]) -> Vec<u8> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = u32::try_from(zip.len()).unwrap();
        let size = u32::try_from(entry.data.len()).unwrap();
        let mut common = Vec::new();
        common.extend(20u16.to_le_bytes());
        common.extend(entry.flags.to_le_bytes());
        common.extend(entry.method.to_le_bytes());
        common.extend([0, 0, 0x21, 0]);
        common.extend(
            entry
                .sum
                .unwrap_or_else(|| crc32(&entry.data))
                .to_le_bytes(),
        );
        common.extend(size.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(&entry.name);
        zip.extend(&entry.data);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        // No comment, first disk, no internal attributes.
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
    }
    let (start, length) = (zip.len(), directory.len());
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    zip.extend([count, count].concat());
    zip.extend(u32::try_from(length).unwrap().to_le_bytes());
    zip.extend(u32::try_from(start).unwrap().to_le_bytes());
    zip.extend([0, 0]);
    zip
}

fn named(name: &[u8]) -> Raw {
    Raw {
        name: name.to_vec(),
        ..Raw::default()
    }
}

/// What is said of an archive, be it when its table is read or when it is unpacked.
fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let unpacked = Archive::read(bytes).and_then(|mut archive| archive.unpack(&target));
    let told = match unpacked {
        Err(CompileError::Archive(why)) => why,
        other => panic!("{other:?}"),
    };
    let beside = fs::read_dir(folder.path()).unwrap().count();
    assert!(beside <= 1, "nothing is written beside the target");
    told
}

#[test]
fn files_come_out_as_they_went_in() {
    let tool = vec![7; 200_000];
    let bytes = archive(&[
        ("bootstrap", b"#!/bin/sh\n", 0o644),
        ("./lib//x.py", b"x = 1\n", 0o600),
        ("lib/tool", &tool, 0o755),
        ("größe.txt", b"", 0o444),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let mut archive = Archive::read(&bytes).unwrap();
    let files: Vec<_> = archive.files().map(str::to_owned).collect();
    assert_eq!(files, ["bootstrap", "größe.txt", "lib/tool", "lib/x.py"]);
    archive.unpack(&target).unwrap();
    let mode = |path: &str| {
        let metadata = fs::metadata(target.join(path)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(
        mode("bootstrap"),
        0o755,
        "it is started, whatever its mode was"
    );
    assert_eq!(mode("lib"), 0o755);
    assert_eq!(mode("lib/x.py"), 0o644);
    assert_eq!(mode("lib/tool"), 0o755);
    assert_eq!(mode("größe.txt"), 0o644);
    assert_eq!(fs::read(target.join("lib/tool")).unwrap(), tool);
}

#[test]
fn our_own_archives_are_read() {
    let folder = named(b"lib/");
    let bytes = raw(&[
        Raw {
            mode: 0o040_755,
            data: Vec::new(),
            ..folder
        },
        named(b"lib/f.py"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    Archive::read(&bytes).unwrap().unpack(&target).unwrap();
    assert_eq!(fs::read(target.join("lib/f.py")).unwrap(), b"pass");
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    for (name, why) in [
        (&b"../f.py"[..], "leaves the function's own folder"),
        (b"a/../../f.py", "leaves the function's own folder"),
        (b"a/..", "leaves the function's own folder"),
        (b"/etc/passwd", "is absolute"),
        (b"a\\..\\f.py", "holds a backslash"),
        (b"C:\\f.py", "holds a backslash"),
        (b"a\0.py", "holds a NUL"),
        (b"\xff\xfe.py", "is not UTF-8"),
        (b".", "names no file"),
    ] {
        let told = refused(&raw(&[named(name)]));
        assert!(told.contains(why), "{}: {told}", name.escape_ascii());
    }
    let long = "x".repeat(256);
    assert!(normal(&long).unwrap_err().contains("255"));
    assert!(normal(&"xx/".repeat(400)).unwrap_err().contains("1024"));
    assert!(
        normal(&"x/".repeat(ARCHIVE_DEPTH_MAX + 1))
            .unwrap_err()
            .contains("deep")
    );
    assert_eq!(normal("./a//b/./c/").unwrap(), "a/b/c");
}

#[test]
fn what_is_neither_file_nor_folder_is_refused() {
    for (mode, why) in [
        (0o120_777, "symbolic link"),
        (0o020_644, "neither a file nor a folder"),
        (0o060_644, "neither a file nor a folder"),
        (0o010_644, "neither a file nor a folder"),
        (0o140_644, "neither a file nor a folder"),
        (0o040_755, "neither a file nor a folder"),
    ] {
        let entry = Raw {
            mode,
            ..Raw::default()
        };
        let told = refused(&raw(&[entry]));
        assert!(told.contains(why), "{mode:o}: {told}");
    }
    let encrypted = Raw {
        flags: 1,
        ..Raw::default()
    };
    assert!(refused(&raw(&[encrypted])).contains("is encrypted"));
    let exotic = Raw {
        method: 14,
        ..Raw::default()
    };
    assert!(refused(&raw(&[exotic])).contains("pack it with deflate"));
}

#[test]
fn a_name_stands_for_one_thing() {
    for names in [
        ["f.py", "f.py"],
        ["f.py", "./f.py"],
        ["a/f.py", "a//f.py"],
        ["a", "a/f.py"],
        ["a/f.py", "a"],
    ] {
        let told = refused(&raw(&names.map(|name| named(name.as_bytes()))));
        let said = told.contains("same name") || told.contains("both a file and a folder");
        assert!(said, "{names:?}: {told}");
    }
}

#[test]
fn damage_is_seen() {
    let whole = archive(&[("f.py", &[b'#'; 10_000], 0o644), ("g.py", b"pass", 0o644)]);
    for end in [0, 3, 30, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..end]);
    }
    let wrong = Raw {
        sum: Some(1),
        ..Raw::default()
    };
    assert!(refused(&raw(&[wrong])).contains("`f.py` is damaged"));
    // Whatever is flipped, nothing panics and nothing leaves the target.
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x41;
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        drop(Archive::read(&flipped).and_then(|mut archive| archive.unpack(&target)));
        assert!(
            fs::read_dir(folder.path()).unwrap().count() <= 1,
            "byte {at}"
        );
    }
}

#[test]
fn an_archive_has_bounds() {
    let deep = format!("{}f.py", "d/".repeat(ARCHIVE_DEPTH_MAX - 1));
    Archive::read(&raw(&[named(deep.as_bytes())])).unwrap();
    // Few entries, but each with many folders of its own.
    let many: Vec<Raw> = (0..ARCHIVE_ENTRIES_MAX / 60)
        .map(|number| named(format!("{number}/{}f.py", "d/".repeat(61)).as_bytes()))
        .collect();
    assert!(refused(&raw(&many)).contains("files and folders"));
}

#[test]
fn a_bomb_does_not_go_off() {
    // 600 MiB of zeros take 600 KiB.
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let zeros = vec![0; 1 << 20];
    for number in 0..2 {
        zip.start_file(format!("{number}.py"), options).unwrap();
        for _ in 0..300 {
            zip.write_all(&zeros).unwrap();
        }
    }
    let mut bytes = zip.finish().unwrap().into_inner();
    assert!(bytes.len() < 1 << 20);
    assert!(refused(&bytes).contains("unpacks to more than 512.0 MiB"));
    // What its table says of sizes is no matter: here, that both files are tiny.
    let size = 300u32 << 20;
    assert!(u64::from(size) * 2 > ARCHIVE_UNPACKED_MAX);
    let told = size.to_le_bytes();
    while let Some(at) = bytes.windows(4).rposition(|word| word == told) {
        bytes[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
    }
    refused(&bytes);
}
