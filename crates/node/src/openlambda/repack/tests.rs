use std::io::{Cursor, Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use fractus_func::limits::{ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_MAX};
use fractus_stdx::ErrorChain;
use tar::{Builder, EntryType, Header};
use zip::ZipArchive;

use super::{RepackError, repack};
use crate::limits::TAR_EXTENSION_MAX;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The header of an entry whose name may be one that the library would not write.
fn header(kind: EntryType, name: &[u8], mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size.try_into().unwrap());
    header.set_cksum();
    header
}

fn tar(entries: &[(EntryType, &[u8], u32, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, mode, contents) in entries {
        let header = header(*kind, name, *mode, contents.len());
        tar.append(&header, *contents).unwrap();
    }
    tar.into_inner().unwrap()
}

fn file<'a>(name: &'a str, contents: &'a str) -> (EntryType, &'a [u8], u32, &'a [u8]) {
    (
        EntryType::Regular,
        name.as_bytes(),
        0o644,
        contents.as_bytes(),
    )
}

/// Each entry of a zip file as its name, permissions and contents.
fn unzip(bytes: &[u8]) -> Vec<String> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut entries = Vec::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut contents = String::new();
        entry.read_to_string(&mut contents).unwrap();
        let mode = entry.unix_mode().unwrap();
        entries.push(format!("{} {mode:o} {contents}", entry.name().unwrap()));
    }
    entries
}

fn told(bytes: &[u8]) -> String {
    ErrorChain(&repack(bytes).unwrap_err()).to_string()
}

#[test]
fn files_stay_as_they_are() {
    let tar = tar(&[
        (
            EntryType::XGlobalHeader,
            b"pax_global_header",
            0o666,
            b"13 comment=a\n",
        ),
        (EntryType::Directory, b"./", 0o755, b""),
        file("./f.py", "def f(event): return event"),
        (EntryType::Regular, b"f.bin", 0o4755, b"\x7fELF"),
        file("requirements.txt", ""),
        file("ol.yaml", "triggers: {}"),
        (EntryType::Directory, b"pkg/", 0o700, b""),
        (EntryType::Continuous, b"pkg//./a.txt", 0o600, b"a"),
        // Named again, since something is added.
        (EntryType::Directory, b"pkg", 0o755, b""),
        file("other/without/a/folder", "b"),
        // A folder of before there were types.
        file("old/", ""),
    ]);
    let zip = repack(&gzip(&tar)).unwrap();
    assert_eq!(
        unzip(&zip),
        [
            "f.py 100644 def f(event): return event",
            "f.bin 100755 \u{7f}ELF",
            "requirements.txt 100644 ",
            "ol.yaml 100644 triggers: {}",
            "pkg/ 40700 ",
            "pkg/a.txt 100600 a",
            "other/without/a/folder 100644 b",
            "old/ 40644 ",
        ]
    );
    // In pieces, as `cat a.gz b.gz` makes them, and with the same result each time.
    let (head, tail) = tar.split_at(700);
    assert_eq!(repack(&[gzip(head), gzip(tail)].concat()).unwrap(), zip);
    assert!(unzip(&repack(&gzip(b"")).unwrap()).is_empty());
}

#[test]
fn long_names_in_both_dialects() {
    let long = format!("{}/name", "folder/".repeat(40));
    let pax = format!("{} path={long}\n", long.len() + 10);
    assert_eq!(pax.len(), long.len() + 10);
    let gnu = format!("{long}\0");
    for (kind, extension) in [(EntryType::XHeader, pax), (EntryType::GNULongName, gnu)] {
        let tar = tar(&[
            (kind, b"././@LongLink", 0o644, extension.as_bytes()),
            file("short", "of the long name"),
            file("next", "has its own name"),
        ]);
        let zip = repack(&gzip(&tar)).unwrap();
        let long = long.replace("//", "/");
        assert_eq!(
            unzip(&zip),
            [
                format!("{long} 100644 of the long name"),
                "next 100644 has its own name".to_owned()
            ]
        );
    }
    let endless = vec![b'a'; usize::try_from(TAR_EXTENSION_MAX).unwrap() + 1];
    let tar = tar(&[(EntryType::GNULongName, b"././@LongLink", 0o644, &endless)]);
    assert!(told(&gzip(&tar)).ends_with("has a name that is too long"));
}

#[test]
fn nothing_but_files_below_the_folder() {
    let refused = |kind, name: &[u8]| told(&gzip(&tar(&[(kind, name, 0o644, b"")])));
    for (kind, name, problem) in [
        (EntryType::Regular, "/etc/passwd", "is absolute"),
        (
            EntryType::Regular,
            "../f.py",
            "leaves the function's own folder",
        ),
        (
            EntryType::Directory,
            "a/../../b",
            "leaves the function's own folder",
        ),
        (
            EntryType::Symlink,
            "../f.py",
            "leaves the function's own folder",
        ),
        (EntryType::Symlink, "f.py", "is a link"),
        (EntryType::Link, "f.py", "is a link"),
        (EntryType::Char, "f.py", "is neither a file nor a folder"),
        (EntryType::Block, "f.py", "is neither a file nor a folder"),
        (EntryType::Fifo, "f.py", "is neither a file nor a folder"),
        (
            EntryType::new(b'Z'),
            "f.py",
            "is neither a file nor a folder",
        ),
        (EntryType::GNUSparse, "f.py", "is sparse"),
        (EntryType::Regular, ".", "names no file"),
    ] {
        let told = refused(kind, name.as_bytes());
        let entry = format!("`{name}` in the archive {problem}");
        assert!(told.starts_with(&entry), "{told}");
    }
    assert_eq!(
        refused(EntryType::Regular, b"a\n\xff"),
        "`a\\n\u{fffd}` in the archive has a name that is not UTF-8"
    );
    // Names that are told beforehand are looked at too.
    for extension in [&b"16 path=../f.py\n"[..], b"22 GNU.sparse.major=1\n"] {
        let tar = tar(&[
            (EntryType::XHeader, b"x", 0o644, extension),
            file("f.py", ""),
        ]);
        assert!(matches!(
            repack(&gzip(&tar)),
            Err(RepackError::Entry { .. })
        ));
    }
    let twice = gzip(&tar(&[file("f.py", "a"), file("./f.py", "b")]));
    assert_eq!(told(&twice), "`./f.py` in the archive is there twice");
}

#[test]
fn no_more_than_may_be() {
    // A bomb: nearly nothing, until it is unpacked.
    let size = usize::try_from(ARCHIVE_UNPACKED_MAX).unwrap();
    let head = header(EntryType::Regular, b"zeros", 0o644, size);
    let zeros = gzip(&vec![0; 1 << 20]).repeat(size >> 20);
    let bomb = [gzip(head.as_bytes()), zeros].concat();
    assert!(bomb.len() < 8 << 20);
    assert!(matches!(repack(&bomb), Err(RepackError::TooLarge)));

    let mut many = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for number in 0..=ARCHIVE_ENTRIES_MAX {
        let name = number.to_string();
        many.append(
            &header(EntryType::Regular, name.as_bytes(), 0o644, 0),
            &b""[..],
        )
        .unwrap();
    }
    let many = many.into_inner().unwrap().finish().unwrap();
    assert!(matches!(repack(&many), Err(RepackError::TooMany)));
}

#[test]
fn what_is_damaged_is_refused() {
    let contents: String = (0..2000).map(|number| number.to_string()).collect();
    let plain = tar(&[file("f.py", &contents), file("g.py", "b")]);
    let whole = gzip(&plain);
    assert!(repack(&whole).is_ok());
    for end in [0, 1, 9, 10, 100, whole.len() / 2, whole.len() - 1] {
        assert!(
            matches!(repack(&whole[..end]), Err(RepackError::Broken(_))),
            "{end}"
        );
    }
    // The checksum is at the end.
    for at in [whole.len() - 8, whole.len() - 4] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(
            matches!(repack(&damaged), Err(RepackError::Broken(_))),
            "{at}"
        );
    }
    // A tar file that is cut off, in a gzip file that is not.
    for end in [100, 512, 600, 512 + contents.len() - 1] {
        assert!(
            matches!(repack(&gzip(&plain[..end])), Err(RepackError::Broken(_))),
            "{end}"
        );
    }
    for other in [&b"PK\x03\x04"[..], b"plain text", &plain] {
        assert!(matches!(repack(other), Err(RepackError::Broken(_))));
    }
    assert!(told(b"PK\x03\x04").starts_with("the archive is not a whole tar.gz: "));
    let mut broken = plain.clone();
    broken[0] ^= 1;
    assert!(matches!(
        repack(&gzip(&broken)),
        Err(RepackError::Broken(_))
    ));
}
