//! What a guest is, what it sees, and what it may not do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::{Bench, named};

/// Runs Python in a function of the runtime that is shared.
async fn told(code: &str) -> Value {
    let probe = Bench::shared().probe(|_| {});
    probe.python(code).await.unwrap()
}

fn texts(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap()).collect()
}

#[tokio::test]
async fn it_has_no_privileges_and_neither_have_its_children() {
    let status = r#"
def look():
    pairs = (line.partition(":") for line in read("/proc/self/status").splitlines())
    lines = {name: value.strip() for name, _, value in pairs}
    names = "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"
    return " ".join(lines[name] for name in names)

import subprocess
ran = subprocess.run([sys.executable, "-c", "print(open('/proc/self/status').read())"],
                     capture_output=True, text=True)
answer = [look()]
read = lambda path: ran.stdout
answer.append(look())
"#;
    let none = "0000000000000000";
    let expected = format!("{none} {none} {none} {none} {none} 1 2");
    assert_eq!(told(status).await, json!([expected, expected]));
}

#[tokio::test]
async fn its_user_is_nobody_of_the_hosts() {
    let code = "answer = [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), len(os.getgroups()),
                          attempt(os.setuid, 0), attempt(os.setgid, 0), attempt(os.setgroups, [0])]";
    let told = told(code).await;
    if crate::support::is_root() {
        assert_eq!(
            told,
            json!([993, 993, 990, 990, 0, "EPERM", "EPERM", "EPERM"])
        );
    } else {
        // The only user that the node may give, under the number 0.
        assert_eq!(told[5], Value::Null, "{told}");
    }
}

#[tokio::test]
async fn its_namespaces_are_not_the_hosts() {
    const KINDS: [&str; 7] = ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup"];
    let code = "answer = {kind: os.readlink('/proc/self/ns/' + kind) for kind in KINDS}";
    let told = told(&code.replace("KINDS", &format!("{KINDS:?}"))).await;
    for kind in KINDS {
        let here = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let there = told[kind].as_str().unwrap();
        assert!(there.starts_with(kind), "{there}");
        assert_ne!(here.to_str(), Some(there), "{kind}");
    }
}

#[tokio::test]
async fn only_tmp_can_be_written() {
    let code = r#"
def write(path):
    with open(path, "ab") as file:
        file.write(b"x")

folders = ["/", "/var/task", "/var/runtime", "/etc", "/dev", "/opt", "/var/packages", "/var/packages/0", "/proc", "/usr/lib",
           "/var", os.path.dirname(sys.executable), os.path.dirname(os.__file__)]
files = ["/var/task/f.py", "/var/runtime/bootstrap.py", "/etc/passwd", "/proc/self/oom_score_adj",
         "/proc/self/uid_map", "/proc/self/setgroups", sys.executable, os.__file__]
places = [folder.rstrip("/") + "/written" for folder in folders] + files
refused = {place: attempt(write, place) for place in places}
for folder in folders:
    refused["mkdir " + folder] = attempt(os.mkdir, folder.rstrip("/") + "/made")
refused["rename"] = attempt(os.rename, "/var/task/f.py", "/var/task/g.py")
refused["remove"] = attempt(os.unlink, "/var/task/f.py")
refused["chmod"] = attempt(os.chmod, "/var/task/f.py", 0o777)
refused["link"] = attempt(os.link, "/var/task/f.py", "/tmp/f.py")
refused["utime"] = attempt(os.utime, "/var/task/f.py")
refused["mount point"] = attempt(os.rmdir, "/tmp")
allowed = [attempt(write, place) for place in ("/tmp/x", "/dev/shm/y", "/dev/null")]
answer = [refused, allowed]
"#;
    let told = told(code).await;
    for (place, result) in told[0].as_object().unwrap() {
        let refused = ["EROFS", "EACCES", "EPERM", "EXDEV", "ENOENT", "EBUSY"];
        // How likely it is to be killed for want of memory may only be raised.
        let is_own = place.ends_with("oom_score_adj") && *result == "EINVAL";
        let is_refused = result.as_str().is_some_and(|name| refused.contains(&name));
        assert!(is_refused || is_own, "{place}: {result}");
    }
    assert_eq!(told[1], json!([null, null, null]));
}

/// System calls that no function needs; without arguments most of them do nothing.
const REFUSED: &[(&str, i64)] = &[
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("adjtimex", libc::SYS_adjtimex),
    ("bpf", libc::SYS_bpf),
    ("chroot", libc::SYS_chroot),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("clock_settime", libc::SYS_clock_settime),
    ("clone3", libc::SYS_clone3),
    ("delete_module", libc::SYS_delete_module),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("finit_module", libc::SYS_finit_module),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("init_module", libc::SYS_init_module),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kcmp", libc::SYS_kcmp),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("lookup_dcookie", libc::SYS_lookup_dcookie),
    ("memfd_secret", libc::SYS_memfd_secret),
    ("migrate_pages", libc::SYS_migrate_pages),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("move_pages", libc::SYS_move_pages),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pivot_root", libc::SYS_pivot_root),
    ("process_madvise", libc::SYS_process_madvise),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace),
    ("quotactl", libc::SYS_quotactl),
    ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key),
    ("setdomainname", libc::SYS_setdomainname),
    ("sethostname", libc::SYS_sethostname),
    ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("vhangup", libc::SYS_vhangup),
];

#[tokio::test]
async fn system_calls_that_reach_beyond_it_are_refused() {
    let numbers: Vec<i64> = REFUSED.iter().map(|(_, number)| *number).collect();
    let code = "answer = [syscall(number, 0, 0, 0, 0, 0, 0) for number in NUMBERS]";
    let told = told(&code.replace("NUMBERS", &format!("{numbers:?}"))).await;
    for ((name, _), result) in REFUSED.iter().zip(told.as_array().unwrap()) {
        let result = result.as_i64().unwrap();
        let refused = [-i64::from(libc::EPERM), -i64::from(libc::ENOSYS)];
        assert!(refused.contains(&result), "{name} answered {result}");
    }
}

#[tokio::test]
async fn no_namespace_can_be_made_or_joined() {
    let code = r#"
flags = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80
answer = []
for flag in flags:
    answer.append(syscall(UNSHARE, flag))
    if flag != 0x80:  # For clone, this is a part of the signal.
        answer.append(syscall(CLONE, flag | 17, 0, 0, 0, 0))
own = os.open("/proc/self/ns/net", os.O_RDONLY)
answer.append(syscall(SETNS, own, 0))
"#;
    let code = code.replace("UNSHARE", &libc::SYS_unshare.to_string());
    let code = code.replace("CLONE", &libc::SYS_clone.to_string());
    let told = told(&code.replace("SETNS", &libc::SYS_setns.to_string())).await;
    for result in told.as_array().unwrap() {
        assert_eq!(*result, -libc::EPERM, "{told}");
    }
}

#[tokio::test]
async fn only_sockets_of_its_own_network_can_be_made() {
    let code = r"
def socket_of(family, kind=socket.SOCK_RAW, protocol=0):
    made = syscall(SOCKET, family, kind, protocol)
    return os.close(made) if made >= 0 else errno.errorcode[-made]

families = {family: socket_of(family) for family in range(48) if family not in (1, 2, 10, 16)}
netlink = {protocol: socket_of(16, socket.SOCK_RAW, protocol) for protocol in range(1, 24)}
raw = [socket_of(2, socket.SOCK_RAW, 1), socket_of(10, socket.SOCK_RAW, 58)]
allowed = [socket_of(1, socket.SOCK_STREAM), socket_of(2, socket.SOCK_STREAM),
           socket_of(10, socket.SOCK_DGRAM), socket_of(16)]
answer = [families, netlink, raw, allowed]
";
    let told = told(&code.replace("SOCKET", &libc::SYS_socket.to_string())).await;
    let asked = told[0].as_object().unwrap().iter();
    for (family, result) in asked.chain(told[1].as_object().unwrap()) {
        assert_eq!(result, "EPERM", "{family}");
    }
    assert_eq!(told[2], json!(["EPERM", "EPERM"]));
    assert_eq!(told[3], json!([null, null, null, null]));
}

#[tokio::test]
async fn devices_cannot_be_made() {
    let code = r#"
import stat
answer = [
    attempt(os.mknod, "/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
    attempt(os.mknod, "/tmp/memory", stat.S_IFCHR | 0o600, os.makedev(1, 1)),
    attempt(os.mknod, "/tmp/null", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    attempt(os.mkfifo, "/tmp/pipe"),
    sorted(os.listdir("/dev")),
]
"#;
    let there = [
        "fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero",
    ];
    let told = told(code).await;
    assert_eq!(told, json!(["EPERM", "EPERM", "EPERM", null, there]));
}

#[tokio::test]
async fn its_root_is_the_top() {
    let code = r#"
top = os.stat("/")
up = os.open("/", os.O_RDONLY)
for _ in range(64):
    up = os.open("..", os.O_RDONLY, dir_fd=up) if _ < 32 else up
def same(status):
    return (status.st_dev, status.st_ino) == (top.st_dev, top.st_ino)
answer = [
    attempt(os.chroot, "/tmp"),
    same(os.fstat(up)), same(os.stat("/proc/1/root")), same(os.stat("/proc/self/root/../..")),
    os.listdir("/"),
]
"#;
    let told = told(code).await;
    assert_eq!(
        (&told[0], &told[1], &told[2], &told[3]),
        (&json!("EPERM"), &json!(true), &json!(true), &json!(true))
    );
    let there = texts(&told[4]);
    for absent in ["boot", "home", "media", "mnt", "run", "srv", "sys"] {
        assert!(!there.contains(absent), "{there:?}");
    }
}

#[tokio::test]
async fn proc_shows_its_own_processes_and_nothing_of_the_host() {
    let code = r#"
absent = ["/proc/" + name for name in (
    "kcore", "kmsg", "kallsyms", "kpageflags", "sysrq-trigger", "sys", "timer_list", "sched_debug",
    "keys", "modules", "config.gz", "cmdline", "partitions", "slabinfo", "bus", "fs", "acpi")]
absent += ["/sys", "/sys/kernel", "/sys/fs/cgroup", "/sys/firmware", "/run", "/dev/kmsg", "/dev/mem",
           "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/vda", "/dev/sda", "/dev/pts", "/dev/ptmx"]
pids = [name for name in os.listdir("/proc") if name.isdigit()]
threads = [name for pid in pids for name in os.listdir("/proc/%s/task" % pid)]
answer = [[path for path in absent if os.path.lexists(path)], pids, threads, os.getpid(),
          attempt(os.listdir, "/proc/%d/task" % HOST), attempt(os.kill, HOST, 0)]
"#;
    let here = std::process::id().max(100);
    let told = told(&code.replace("HOST", &here.to_string())).await;
    let one = json!(["1"]);
    let expected = json!([[], one, one, 1, "ENOENT", "ESRCH"]);
    assert_eq!(told, expected);
}

#[tokio::test]
async fn its_environment_has_nothing_of_the_nodes() {
    let code = r#"
answer = [list(os.environ), [entry.partition("=")[0] for entry in
          read("/proc/1/environ").split("\0") if entry]]
"#;
    let told = told(code).await;
    let (now, first) = (texts(&told[0]), texts(&told[1]));
    assert_eq!(first, BTreeSet::from(["HOME", "LANG", "PATH", "TZ"]));
    let known = |name: &&&str| {
        ["AWS_", "LAMBDA_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || ["LD_LIBRARY_PATH", "_HANDLER"].contains(name)
            || first.contains(*name)
    };
    let unknown: Vec<_> = now.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn paths_of_the_host_lead_nowhere() {
    let bench = Bench::shared();
    let probe = bench.probe(|_| {});
    let folder = bench.path().to_str().unwrap();
    let code = r#"
paths = ["/etc/shadow", "/etc/hostname", "/etc/machine-id", "/home", "/var/lib",
         "/var/log", "/var/run", "FOLDER", "FOLDER/code", "FOLDER/packages"]
answer = [path for path in paths if os.path.lexists(path)]
"#;
    let told = probe.python(&code.replace("FOLDER", folder)).await.unwrap();
    assert_eq!(told, json!([]));
}

#[tokio::test]
async fn signals_of_its_children_do_not_end_the_first_process() {
    let code = r"
import signal
child = os.fork()
if child == 0:
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV):
        os.kill(1, number)
        attempt(os.kill, -1, number)
    os._exit(7)
answer = [os.waitpid(child, 0)[1] >> 8, os.getpid()]
";
    assert_eq!(told(code).await, json!([7, 1]));
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn system_calls_of_other_architectures_end_it() {
    let probe = Bench::shared().probe(|_| {});
    // mov eax, 20 (getpid for 32 bits); int 0x80; ret
    let code = r#"
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
answer = call()
"#;
    let error = probe.python(code).await.unwrap_err();
    assert_eq!(named(&error).0, "Runtime.ExitError", "{error:?}");
    // The numbers of x32, which share the table.
    let x32 = format!("answer = syscall(0x40000000 | {})", libc::SYS_getpid);
    let told = probe.python(&x32).await.unwrap();
    assert!(
        [-libc::EPERM, -libc::ENOSYS].contains(&i32::try_from(told.as_i64().unwrap()).unwrap())
    );
}

#[tokio::test]
async fn its_resources_are_limited() {
    let code = r#"
import resource
names = "NOFILE", "CORE", "MEMLOCK", "MSGQUEUE"
answer = [resource.getrlimit(getattr(resource, "RLIMIT_" + name, 12)) for name in names]
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
except ValueError:
    answer.append("refused")
answer.append([read("/proc/self/oom_score_adj").strip(), attempt(
    lambda: open("/proc/self/oom_score_adj", "w").write("0"))])
"#;
    let memlock = 64 << 10;
    let expected = json!([
        [1024, 1024],
        [0, 0],
        [memlock, memlock],
        [0, 0],
        "refused",
        ["1000", "EACCES"]
    ]);
    assert_eq!(told(code).await, expected);
}
