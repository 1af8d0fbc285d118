//! Which system calls a function may make: an allow-list. What is not on it answers EPERM, or
//! ENOSYS where programs then fall back to something older.
//!
//! The filter is a binary tree over the numbers, not a list of comparisons: the kernel runs it for
//! every number when it is put on, and that is on the way of a cold start.

use std::collections::BTreeMap;

/// System calls that exist on every architecture we run on. In groups: files, memory, processes,
/// signals and time, descriptors and events, sockets.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_close, libc::SYS_close_range, libc::SYS_read,
    libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_lseek,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_mkdirat, libc::SYS_unlinkat,
    libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fadvise64,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_flock,
    libc::SYS_utimensat, libc::SYS_umask, libc::SYS_copy_file_range, libc::SYS_sendfile,
    libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice, libc::SYS_readahead,
    libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr,
    libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_setxattr, libc::SYS_lsetxattr,
    libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    libc::SYS_mknodat,

    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect,
    libc::SYS_madvise, libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2,
    libc::SYS_munlock, libc::SYS_mlockall, libc::SYS_munlockall, libc::SYS_membarrier,
    libc::SYS_memfd_create, libc::SYS_mbind, libc::SYS_get_mempolicy, libc::SYS_set_mempolicy,
    libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect, libc::SYS_shmget,
    libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_shmdt, libc::SYS_semget, libc::SYS_semop,
    libc::SYS_semctl, libc::SYS_semtimedop, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv,
    libc::SYS_msgctl, libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive, libc::SYS_mq_notify, libc::SYS_mq_getsetattr,

    libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4,
    libc::SYS_waitid, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid,
    libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_getuid, libc::SYS_geteuid,
    libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid,
    libc::SYS_getgroups, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid,
    libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setgroups,
    libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_capget, libc::SYS_capset, libc::SYS_prctl,
    libc::SYS_prlimit64, libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_getrusage,
    libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_ioprio_get, libc::SYS_ioprio_set,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_setparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler, libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min, libc::SYS_sched_rr_get_interval, libc::SYS_sched_getattr,
    libc::SYS_sched_setattr, libc::SYS_getcpu, libc::SYS_set_tid_address,
    libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_futex, libc::SYS_rseq,
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_times, libc::SYS_getrandom, libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    libc::SYS_restart_syscall,

    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigpending,
    libc::SYS_rt_sigqueueinfo, libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack,
    libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_signalfd4, libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
    libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,

    libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_pipe2,
    libc::SYS_eventfd2, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_ppoll, libc::SYS_pselect6,

    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_connect, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt,
    libc::SYS_setsockopt, libc::SYS_shutdown, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_sendmmsg, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg,
];

/// Older names of some of the above, which only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access,
    libc::SYS_readlink, libc::SYS_getdents, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink,
    libc::SYS_rename, libc::SYS_link, libc::SYS_symlink, libc::SYS_chmod, libc::SYS_chown,
    libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_mknod,
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_pause,
    libc::SYS_alarm, libc::SYS_time, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_eventfd,
    libc::SYS_signalfd, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_poll,
    libc::SYS_select, libc::SYS_arch_prctl,
];

#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// Asked for by runtimes that do without when it is not there.
const ABSENT: &[i64] = &[
    // Its flags lie in memory, where a filter cannot look; the C library falls back to clone.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_secret,
    // Counted for the whole machine, or for the node's user: one function could take all.
    libc::SYS_inotify_init1,
    libc::SYS_io_setup,
];

/// All flags of clone that make a namespace.
const CLONE_NEW: u32 = 0x7e02_0000;

/// An instruction of classic BPF, `struct sock_filter`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Instruction {
    code: u16,
    /// Instructions to skip if a condition holds, or if it does not.
    skip: (u8, u8),
    value: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

/// Where `struct seccomp_data` has the number, the architecture and the low half of an argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

#[cfg(target_arch = "x86_64")]
const ARCH_HERE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH_HERE: u32 = 0xc000_00b7;

/// What becomes of a system call: instructions that end in an answer.
type Answer = Vec<Instruction>;

fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        skip: (0, 0),
        value: offset,
    }
}

fn jump(code: u16, value: u32, skip: (u8, u8)) -> Instruction {
    Instruction { code, skip, value }
}

fn answer(value: u32) -> Instruction {
    jump(RETURN, value, (0, 0))
}

fn errno(number: i32) -> Instruction {
    answer(ERRNO | number.cast_unsigned())
}

/// Allowed without a flag that makes a namespace.
fn clone() -> Answer {
    vec![
        load(argument(0)),
        jump(JUMP_ANY_BIT, CLONE_NEW, (0, 1)),
        errno(libc::EPERM),
        answer(ALLOW),
    ]
}

/// Allowed for these families: TCP and UDP, and of netlink only routes, which are the sandbox's
/// own. Other protocols would have the kernel load what nothing else here needs.
fn socket() -> Answer {
    let family = |family: i32, skip| jump(JUMP_EQUAL, family.cast_unsigned(), skip);
    let protocol = |protocol: i32, skip| jump(JUMP_EQUAL, protocol.cast_unsigned(), skip);
    vec![
        load(argument(0)),
        family(libc::AF_UNIX, (9, 0)),
        family(libc::AF_INET, (4, 0)),
        family(libc::AF_INET6, (3, 0)),
        family(libc::AF_NETLINK, (0, 7)),
        load(argument(2)),
        protocol(libc::NETLINK_ROUTE, (4, 5)),
        load(argument(2)),
        protocol(libc::IPPROTO_IP, (2, 0)),
        protocol(libc::IPPROTO_TCP, (1, 0)),
        protocol(libc::IPPROTO_UDP, (0, 1)),
        answer(ALLOW),
        errno(libc::EPERM),
    ]
}

/// Allowed to ask, and to stay an ordinary Linux program.
fn personality() -> Answer {
    vec![
        load(argument(0)),
        jump(JUMP_EQUAL, 0, (1, 0)),
        jump(JUMP_EQUAL, 0xffff_ffff, (0, 1)),
        answer(ALLOW),
        errno(libc::EPERM),
    ]
}

/// What becomes of each number, by the first of each run of numbers that fare alike.
fn runs() -> Vec<(u32, Answer)> {
    let number = |number: &i64| u32::try_from(*number).expect("numbers are small");
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    for call in ALLOWED.iter().chain(ALLOWED_HERE) {
        answers.insert(number(call), vec![answer(ALLOW)]);
    }
    for call in ABSENT {
        answers.insert(number(call), vec![errno(libc::ENOSYS)]);
    }
    answers.insert(number(&libc::SYS_clone), clone());
    answers.insert(number(&libc::SYS_socket), socket());
    answers.insert(number(&libc::SYS_personality), personality());
    let refused = vec![errno(libc::EPERM)];
    let last = answers.keys().next_back().copied().unwrap_or(0);
    let mut runs: Vec<(u32, Answer)> = Vec::new();
    for number in 0..=last + 1 {
        let fares = answers.get(&number).unwrap_or(&refused);
        if runs.last().is_none_or(|(_, before)| before != fares) {
            runs.push((number, fares.clone()));
        }
    }
    runs
}

/// A binary search for the run of the number that is loaded.
fn tree(runs: &[(u32, Answer)]) -> Vec<Instruction> {
    let [_, _, ..] = runs else {
        return runs[0].1.clone();
    };
    let (left, right) = runs.split_at(runs.len() / 2);
    let (first, left, right) = (right[0].0, tree(left), tree(right));
    let mut all = if let Ok(near) = u8::try_from(left.len()) {
        vec![jump(JUMP_AT_LEAST, first, (near, 0))]
    } else {
        let far = u32::try_from(left.len()).expect("filters are short");
        vec![jump(JUMP_AT_LEAST, first, (0, 1)), jump(JUMP, far, (0, 0))]
    };
    all.extend(left);
    all.extend(right);
    all
}

fn program() -> Vec<Instruction> {
    let mut all = vec![
        load(ARCH),
        jump(JUMP_EQUAL, ARCH_HERE, (1, 0)),
        answer(KILL),
        load(NUMBER),
    ];
    all.extend(tree(&runs()));
    all
}

/// The filter, as an array of `struct sock_filter`.
#[expect(clippy::host_endian_bytes, reason = "the kernel's own order")]
pub(crate) fn filter() -> Vec<u8> {
    let bytes = |i: Instruction| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&i.code.to_ne_bytes());
        (bytes[2], bytes[3]) = i.skip;
        bytes[4..].copy_from_slice(&i.value.to_ne_bytes());
        bytes
    };
    program().into_iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests;
