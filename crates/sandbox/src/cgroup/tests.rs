use std::path::PathBuf;

use super::find;

#[test]
fn groups_of_both_versions_are_found_below_this_process() {
    let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                  cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                  cgroup /sys/fs/cgroup/blkio cgroup rw,blkio 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                  tmpfs /tmp tmpfs rw 0 0\nbroken\n";
    let own = "4:memory:/a/b\n3:cpu,cpuacct:/\n0::/init.scope\nnonsense\n";
    let found = find(mounts, own);
    let expected = [
        ("cpu", "/sys/fs/cgroup/cpu,cpuacct"),
        ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
        ("memory", "/sys/fs/cgroup/memory/a/b"),
    ];
    let expected: Vec<_> = expected.map(|(c, p)| (c, PathBuf::from(p))).into();
    assert_eq!(found.v1, expected);
    let v2 = PathBuf::from("/sys/fs/cgroup/unified/init.scope");
    assert_eq!(found.v2, Some(v2));
}

#[test]
fn without_mounts_there_is_nothing() {
    let found = find("", "");
    assert!(found.v1.is_empty() && found.v2.is_none());
}
