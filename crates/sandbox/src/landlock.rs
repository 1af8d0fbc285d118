//! Landlock: a second fence around files, abstract sockets and signals, put on by the process
//! itself. See `<linux/landlock.h>`.

use crate::plan::{Arg, Plan};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Abstract UNIX sockets and signals stay within the sandbox; since version 6.
const SCOPED: u64 = 3;

/// The kernel's version of Landlock; 0 where it is absent or off.
pub(crate) fn version() -> u32 {
    // SAFETY: without attributes it only answers the version.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            1_u32,
        )
    };
    u32::try_from(answer).unwrap_or(0)
}

/// All rights over files that a version knows.
fn rights(version: u32) -> u64 {
    match version {
        0 => 0,
        1 => REFER - 1,
        2 => TRUNCATE - 1,
        3 | 4 => IOCTL_DEV - 1,
        _ => (IOCTL_DEV << 1) - 1,
    }
}

/// Adds to a plan: from here on all may be read and run, and only what is named may be written.
/// Takes registers 0 to 3.
pub(crate) fn restrict(plan: &mut Plan, version: u32, writable: &[&str]) {
    let all = rights(version);
    if all == 0 {
        return;
    }
    let scoped = if version >= 6 { SCOPED } else { 0 };
    let size: u64 = if version >= 6 { 24 } else { 8 };
    // handled_access_fs, handled_access_net, scoped.
    let attributes = plan.words(&[all, 0, scoped]);
    plan.call(
        libc::SYS_landlock_create_ruleset,
        &[attributes, size.into(), 0.into()],
    )
    .save(0);
    allow(plan, "/", all & (EXECUTE | READ_FILE | READ_DIR));
    for path in writable {
        allow(plan, path, all);
    }
    allow(
        plan,
        "/dev",
        all & (READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE),
    );
    plan.call(
        libc::SYS_landlock_restrict_self,
        &[Arg::Register(0), 0.into()],
    );
    plan.call(libc::SYS_close, &[Arg::Register(0)]);
}

fn allow(plan: &mut Plan, path: &str, rights: u64) {
    let path = plan.text(path);
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    plan.call(
        libc::SYS_openat,
        &[libc::AT_FDCWD.into(), path, flags.into()],
    )
    .save(1);
    // struct landlock_path_beneath_attr is packed: the rights, and a descriptor of 32 bits. The
    // descriptor is known only when the plan runs, so it gets a number of its own.
    plan.call(
        libc::SYS_dup3,
        &[Arg::Register(1), RULE_FD.into(), libc::O_CLOEXEC.into()],
    );
    let rule = plan.words(&[rights, u64::from(RULE_FD)]);
    plan.call(
        libc::SYS_landlock_add_rule,
        &[Arg::Register(0), 1.into(), rule, 0.into()],
    );
    plan.call(libc::SYS_close, &[Arg::Register(1)]);
    plan.call(libc::SYS_close, &[RULE_FD.into()]);
}

/// The number that a rule's directory has while the rule is added.
const RULE_FD: u32 = 99;
