//! One suite for every disk, and what the simulated one promises beyond it.

use std::io::IoSlice;

use crate::disk::sim::{Fault, SimDisk};
use crate::disk::{Disk, RealDisk, is_full};

fn suite(disk: &dyn Disk) {
    assert_eq!(disk.list().expect("lists"), Vec::<String>::new());
    assert!(disk.open("absent").is_err());
    let file = disk.create("file").expect("creates");
    let mut slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    file.write_at(&mut slices, 3).expect("writes");
    assert_eq!(file.len().expect("has a length"), 8);
    file.sync().expect("syncs");
    disk.sync().expect("syncs");
    file.forget_cached().expect("forgets");
    let mut buffer = [9; 10];
    assert_eq!(file.read_at(&mut buffer, 0).expect("reads"), 8);
    assert_eq!(&buffer, b"\0\0\0abcde\x09\x09");
    assert_eq!(file.read_at(&mut buffer, 8).expect("reads at the end"), 0);
    file.allocate(8, 4096).expect("allocates");
    assert_eq!(file.len().expect("has a length"), 4096);
    let many = vec![b'x'; 3000];
    let mut slices: Vec<_> = many.chunks(1).map(IoSlice::new).collect();
    file.write_at(&mut slices, 0)
        .expect("writes more slices than one call takes");
    file.truncate(2999).expect("truncates");
    let again = disk.open("file").expect("opens");
    assert_eq!(again.len().expect("has a length"), 2999);
    let mut buffer = vec![0; 4000];
    assert_eq!(again.read_at(&mut buffer, 0).expect("reads"), 2999);
    assert_eq!(buffer[..2999], many[..2999]);
    assert_eq!(
        disk.create("file")
            .expect("creates anew")
            .len()
            .expect("has a length"),
        0
    );
    assert_eq!(disk.list().expect("lists"), ["file"]);
    assert!(disk.free().expect("has room") > 0);
}

#[test]
fn the_real_disk_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    suite(&RealDisk::open(directory.path()).expect("opens"));
}

#[test]
fn the_simulated_disk_passes() {
    suite(&SimDisk::new(0));
}

#[test]
fn a_crash_keeps_what_was_synced_and_tears_the_rest() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = disk.create("file").expect("creates");
        file.write_at(&mut [IoSlice::new(&[1; 512])], 0)
            .expect("writes");
        file.sync().expect("syncs");
        disk.sync().expect("syncs");
        file.write_at(&mut [IoSlice::new(&[2; 1024])], 512)
            .expect("writes");
        disk.crash();
        let content = disk.edit("file", |bytes| bytes.clone());
        assert_eq!(content[..512], [1; 512]);
        outcomes.insert(content[512..].chunks(512).map(|c| c[0]).collect::<Vec<_>>());
    }
    assert_eq!(
        outcomes.len(),
        4,
        "nothing, either sector, both: {outcomes:?}"
    );
}

#[test]
fn planned_faults_come_when_planned() {
    let disk = SimDisk::new(0);
    let file = disk.create("file").expect("creates");
    disk.fail(2, Fault::Full);
    file.allocate(0, 10).expect("not yet");
    let full = file.allocate(10, 20).expect_err("the second fails");
    assert!(is_full(&full));
    disk.fail(1, Fault::Error);
    assert!(!is_full(&file.sync().expect_err("fails")));
    file.sync().expect("once only");
}
