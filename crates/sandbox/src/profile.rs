//! What a sandbox is, as plans: the root that it sees, its namespaces, and what it may not do.
//!
//! A sandbox is made in two phases. The first needs no function: namespaces, the root file system,
//! the loopback interface. Then it waits as a spare. The second makes it a function's: its code is
//! mounted, and all privileges go.

use std::path::{Path, PathBuf};

use crate::code::OPT;
use crate::landlock;
use crate::limits::{
    EGRESS_BACKLOG, FILES_OPEN_MAX, ROOT_BYTES, RUNTIME_API_BACKLOG, SIGNALS_PENDING_MAX,
    ZYGOTE_TMP_BYTES,
};
use crate::plan::{Arg, Plan};
use crate::seccomp;
use crate::sys::{AT_RECURSIVE, OPEN_TREE_CLONE};

/// Where the function's code is.
pub(crate) const TASK: &str = "/var/task";
/// Where our own bootstraps are.
pub(crate) const RUNTIME: &str = "/var/runtime";
/// Where packages are mounted, a folder for each level of the zygote tree.
pub(crate) const PACKAGES: &str = "/var/packages";
/// Where the layers that a function stands on are.
const LAYERS: &str = "/opt";
/// Levels of the zygote tree, the instance's own included.
pub(crate) const LEVELS: u8 = 6;
/// Where the Runtime API listens, inside.
pub(crate) const RUNTIME_API_PORT: u16 = 9001;
/// The number under which the Runtime API's socket waits for the node to take it.
pub(crate) const LISTENER_FD: i32 = 90;
/// Where the proxy to the outside listens, inside, if the function may reach anything.
pub(crate) const EGRESS_PORT: u16 = 3128;
/// The number under which its socket waits for the node to take it, until the second phase.
pub(crate) const EGRESS_FD: i32 = 91;

/// Every namespace that a sandbox has of its own, but that of control groups, which is made once
/// the process is in its own group.
pub(crate) const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Those that an instance gets which a zygote forks; its pid namespace is made before the fork,
/// and the user namespace is the zygote's.
const FORKED: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// The files that a sandbox sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root {
    /// Folders and files of the host, read-only at the same place or another: (host's, sandbox's).
    pub(crate) mounts: Vec<(PathBuf, String)>,
    /// Symbolic links: (place, target).
    pub(crate) links: Vec<(String, String)>,
    /// Small files that are made: (place, content).
    pub(crate) files: Vec<(String, String)>,
    /// Further empty folders.
    pub(crate) folders: Vec<String>,
}

/// Who a guest is, inside of its user namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guest {
    /// A user of its own; only where the node may map two.
    User {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The only user that there is, without its privileges.
    Same,
}

/// What the second phase needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Confinement {
    pub(crate) guest: Guest,
    pub(crate) landlock: u32,
    /// Bytes of `/tmp`.
    pub(crate) tmp_bytes: u64,
    /// Private memory of each process in bytes, where no control group bounds that of all.
    pub(crate) data: Option<u64>,
    /// Processes of its user, where no control group bounds them.
    pub(crate) processes: Option<u64>,
}

const MS_RDONLY: u64 = libc::MS_RDONLY;
const MS_PLAIN: u64 = libc::MS_NOSUID | libc::MS_NODEV;
const ATTR_RDONLY: u64 = 1;
const ATTR_NOSUID: u64 = 2;
const ATTR_NODEV: u64 = 4;
const MOVE_EMPTY_PATH: u32 = 4;
/// The first register for mounts: those before hold descriptors that came along.
const MOUNTS: u8 = 6;

fn at_cwd() -> Arg {
    libc::AT_FDCWD.into()
}

fn mkdir(plan: &mut Plan, path: &str) {
    let path = plan.text(path);
    plan.call(libc::SYS_mkdirat, &[at_cwd(), path, 0o755_u32.into()])
        .may_fail();
}

fn mkdirs(plan: &mut Plan, made: &mut Vec<String>, path: &Path) {
    let mut so_far = PathBuf::new();
    for part in path.components() {
        so_far.push(part);
        let text = so_far.to_string_lossy().into_owned();
        if !made.contains(&text) {
            mkdir(plan, &text);
            made.push(text);
        }
    }
}

fn mount(plan: &mut Plan, kind: &str, target: &str, flags: u64, options: &str) {
    let (kind, target) = (plan.text(kind), plan.text(target));
    let options = plan.text(options);
    plan.call(
        libc::SYS_mount,
        &[kind, target, kind, flags.into(), options],
    );
}

fn remount_read_only(plan: &mut Plan, target: &str) {
    let (none, target) = (plan.text("none"), plan.text(target));
    let flags = libc::MS_REMOUNT | libc::MS_BIND | MS_PLAIN | MS_RDONLY;
    plan.call(
        libc::SYS_mount,
        &[none, target, none, flags.into(), 0.into()],
    );
}

/// Attaches a detached mount, read-only.
fn attach(plan: &mut Plan, register: u8, target: &str, attributes: u64) {
    let empty = plan.text("");
    let set = plan.words(&[attributes, 0, 0, 0]);
    let flags = libc::AT_EMPTY_PATH.cast_unsigned() | AT_RECURSIVE;
    let from = Arg::Register(register);
    plan.call(
        libc::SYS_mount_setattr,
        &[from, empty, flags.into(), set, 32.into()],
    );
    let target = plan.text(target);
    plan.call(
        libc::SYS_move_mount,
        &[from, empty, at_cwd(), target, MOVE_EMPTY_PATH.into()],
    );
    plan.call(libc::SYS_close, &[from]);
}

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The first phase up to the root, in fresh namespaces whose users are mapped: [`Root`] in place of
/// the host's files. `privileged` is whether user 0 here is another than the node's.
pub(crate) fn enter_root(plan: &mut Plan, root: &Root, privileged: bool) {
    own_groups(plan);
    let (slash, none) = (plan.text("/"), plan.text("none"));
    let private = libc::MS_REC | libc::MS_PRIVATE;
    plan.call(
        libc::SYS_mount,
        &[none, slash, 0.into(), private.into(), 0.into()],
    );
    // Found as the node's user, who may see them, before this becomes another.
    let devices = DEVICES.map(|name| {
        (
            PathBuf::from(format!("/dev/{name}")),
            format!("/dev/{name}"),
        )
    });
    let sources: Vec<_> = root.mounts.iter().chain(&devices).collect();
    for (at, (source, _)) in sources.iter().enumerate() {
        let path = plan.text(source.as_os_str().as_encoded_bytes());
        let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | AT_RECURSIVE;
        plan.call(libc::SYS_open_tree, &[at_cwd(), path, flags.into()])
            .save(register(at));
    }
    if privileged {
        become_user(plan, 0, 0);
    }
    let staging = plan.text("/tmp");
    mount(
        plan,
        "tmpfs",
        "/tmp",
        MS_PLAIN,
        &format!("mode=0755,size={ROOT_BYTES}"),
    );
    plan.call(libc::SYS_chdir, &[staging]);
    fill(plan, root, &sources);
    mount(
        plan,
        "proc",
        "proc",
        MS_PLAIN | libc::MS_NOEXEC,
        "subset=pid",
    );
    let dot = plan.text(".");
    plan.call(libc::SYS_pivot_root, &[dot, dot]);
    plan.call(libc::SYS_umount2, &[dot, libc::MNT_DETACH.into()]);
    plan.call(libc::SYS_chdir, &[slash]);
    remount_read_only(plan, "/");
}

fn register(at: usize) -> u8 {
    let register = MOUNTS + u8::try_from(at).expect("few mounts");
    assert!(register < 31, "a root has at most {} mounts", 31 - MOUNTS);
    register
}

/// Links to the layers, which lie in the code. Where something of the host's is below their place,
/// only what AWS Lambda's runtimes look for is linked.
fn layer_links(root: &Root, sources: &[&(PathBuf, String)]) -> Vec<(String, String)> {
    let below = format!("{LAYERS}/");
    let folders = root
        .folders
        .iter()
        .chain(root.links.iter().map(|(place, _)| place));
    let mut places = folders.chain(sources.iter().map(|(_, place)| place));
    let target = format!("{TASK}/{OPT}");
    if places.any(|place| place == LAYERS || place.starts_with(&below)) {
        let known = ["bin", "lib", "nodejs", "python"];
        let links = known.iter();
        return links
            .map(|name| (format!("{LAYERS}/{name}"), format!("{target}/{name}")))
            .collect();
    }
    vec![(LAYERS.to_owned(), target)]
}

/// Makes folders, links and files in the new root, which is the working directory, and attaches
/// the mounts.
fn fill(plan: &mut Plan, root: &Root, sources: &[&(PathBuf, String)]) {
    let mut made = Vec::new();
    let relative = |path: &str| PathBuf::from(path.trim_start_matches('/'));
    let folders = ["/proc", "/tmp", "/dev", TASK, RUNTIME, PACKAGES];
    for folder in folders
        .into_iter()
        .chain(root.folders.iter().map(String::as_str))
    {
        mkdirs(plan, &mut made, &relative(folder));
    }
    for level in 0..LEVELS {
        mkdirs(plan, &mut made, &relative(&level_folder(level)));
    }
    let layers = layer_links(root, sources);
    for (place, target) in root.links.iter().chain(&layers) {
        mkdirs(
            plan,
            &mut made,
            relative(place).parent().unwrap_or(Path::new("")),
        );
        let (target, place) = (plan.text(target), plan.text(place.trim_start_matches('/')));
        plan.call(libc::SYS_symlinkat, &[target, at_cwd(), place]);
    }
    for (place, content) in &root.files {
        mkdirs(
            plan,
            &mut made,
            relative(place).parent().unwrap_or(Path::new("")),
        );
        write_file(plan, place.trim_start_matches('/'), content.as_bytes());
    }
    for (at, (source, place)) in sources.iter().enumerate() {
        let target = relative(place);
        if source.is_dir() {
            mkdirs(plan, &mut made, &target);
        } else {
            mkdirs(plan, &mut made, target.parent().unwrap_or(Path::new("")));
            write_file(plan, &target.to_string_lossy(), b"");
        }
        let device = source.starts_with("/dev");
        let attributes = if device {
            ATTR_NOSUID
        } else {
            ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
        };
        attach(plan, register(at), &target.to_string_lossy(), attributes);
    }
    for (place, target) in [
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
        ("dev/shm", "/tmp"),
    ] {
        let (target, place) = (plan.text(target), plan.text(place));
        plan.call(libc::SYS_symlinkat, &[target, at_cwd(), place]);
    }
}

fn write_file(plan: &mut Plan, path: &str, content: &[u8]) {
    let path = plan.text(path);
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    plan.call(
        libc::SYS_openat,
        &[at_cwd(), path, flags.into(), 0o644_u32.into()],
    )
    .save(5);
    if !content.is_empty() {
        let bytes = plan.bytes(content);
        plan.call(
            libc::SYS_write,
            &[Arg::Register(5), bytes, (content.len() as u64).into()],
        );
    }
    plan.call(libc::SYS_close, &[Arg::Register(5)]);
}

/// Where the packages of a level of the zygote tree are.
pub(crate) fn level_folder(level: u8) -> String {
    format!("{PACKAGES}/{level}")
}

fn become_user(plan: &mut Plan, uid: u32, gid: u32) {
    plan.call(libc::SYS_setgroups, &[0.into(), 0.into()])
        .may_fail();
    plan.call(libc::SYS_setresgid, &[gid.into(), gid.into(), gid.into()]);
    plan.call(libc::SYS_setresuid, &[uid.into(), uid.into(), uid.into()]);
}

fn die_with_parent(plan: &mut Plan) {
    prctl(
        plan,
        libc::PR_SET_PDEATHSIG,
        libc::SIGKILL.cast_unsigned().into(),
    );
    prctl(plan, libc::PR_SET_DUMPABLE, 1);
}

fn prctl(plan: &mut Plan, option: i32, value: u64) {
    let none = Arg::from(0);
    plan.call(
        libc::SYS_prctl,
        &[option.into(), value.into(), none, none, none],
    );
}

/// When the whole machine has no memory left, the kernel ends functions before anything else.
fn go_first(plan: &mut Plan) {
    let path = plan.text("/proc/self/oom_score_adj");
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    plan.call(libc::SYS_openat, &[at_cwd(), path, flags.into()])
        .save(5)
        .may_fail();
    let most = plan.bytes(b"1000");
    plan.call(libc::SYS_write, &[Arg::Register(5), most, 4.into()])
        .may_fail();
    plan.call(libc::SYS_close, &[Arg::Register(5)]).may_fail();
}

/// Takes the sandbox's name and brings its loopback interface up.
#[expect(clippy::host_endian_bytes, reason = "the kernel's own order")]
fn start_network(plan: &mut Plan) {
    let name = plan.text("sandbox");
    plan.call(libc::SYS_sethostname, &[name, 7.into()]);
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    plan.call(
        libc::SYS_socket,
        &[libc::AF_INET.into(), kind.into(), 0.into()],
    )
    .save(5);
    // struct ifreq: the name in 16 bytes, then the flags.
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    let up = u16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("small flags");
    request[16..18].copy_from_slice(&up.to_ne_bytes());
    let request = plan.bytes(&request);
    plan.call(
        libc::SYS_ioctl,
        &[Arg::Register(5), SIOCSIFFLAGS.into(), request],
    );
    plan.call(libc::SYS_close, &[Arg::Register(5)]);
}

const SIOCSIFFLAGS: u32 = 0x8914;

/// Opens a socket that listens at `port` of the loopback address as descriptor `number`, for the
/// node to take.
#[expect(clippy::host_endian_bytes, reason = "the kernel's own order")]
fn listen(plan: &mut Plan, port: u16, backlog: u32, number: i32) {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    plan.call(
        libc::SYS_socket,
        &[libc::AF_INET.into(), kind.into(), 0.into()],
    )
    .save(5);
    // struct sockaddr_in.
    let mut address = [0; 16];
    let family = u16::try_from(libc::AF_INET).expect("a small number");
    address[..2].copy_from_slice(&family.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    let address = plan.bytes(&address);
    plan.call(libc::SYS_bind, &[Arg::Register(5), address, 16.into()]);
    plan.call(libc::SYS_listen, &[Arg::Register(5), backlog.into()]);
    plan.call(
        libc::SYS_dup3,
        &[Arg::Register(5), number.into(), libc::O_CLOEXEC.into()],
    );
    plan.call(libc::SYS_close, &[Arg::Register(5)]);
}

/// Opens the proxy's socket. Every sandbox has it until it has a function: whether that may reach
/// anything is known only then, and by then the socket must be there.
fn listen_for_egress(plan: &mut Plan) {
    listen(plan, EGRESS_PORT, EGRESS_BACKLOG, EGRESS_FD);
}

fn dup(plan: &mut Plan, register: u8, number: i32) {
    plan.call(
        libc::SYS_dup3,
        &[Arg::Register(register), number.into(), 0.into()],
    );
}

/// The program that a sandbox becomes.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

fn exec(plan: &mut Plan, program: &Program) {
    let path = plan.text(program.path.as_os_str().as_encoded_bytes());
    let arguments = plan.texts(&program.arguments);
    let env = plan.texts(
        program
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    plan.call(libc::SYS_execve, &[path, arguments, env]);
}

/// A zygote: sees `root`, keeps the privileges that its user namespace gives over its own
/// namespaces, and becomes `program`. Descriptors: its socket, standard output and error.
pub(crate) fn zygote(root: &Root, privileged: bool, program: &Program) -> Plan {
    let mut plan = Plan::default();
    enter_root(&mut plan, root, privileged);
    mount(
        &mut plan,
        "tmpfs",
        "/tmp",
        MS_PLAIN,
        &format!("mode=1777,size={ZYGOTE_TMP_BYTES}"),
    );
    start_network(&mut plan);
    die_with_parent(&mut plan);
    prctl(&mut plan, libc::PR_SET_NO_NEW_PRIVS, 1);
    for (register, number) in [(0, 3), (1, 1), (2, 2)] {
        dup(&mut plan, register, number);
    }
    exec(&mut plan, program);
    plan
}

/// What a zygote does before it forks: the child gets a pid namespace.
pub(crate) fn before_fork() -> Plan {
    let mut plan = Plan::default();
    plan.call(libc::SYS_unshare, &[libc::CLONE_NEWPID.into()]);
    plan
}

/// What a zygote does after it forked: later children are its own again, until the next time.
pub(crate) fn after_fork() -> Plan {
    let mut plan = Plan::default();
    let own = plan.text("/proc/self/ns/pid");
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    plan.call(libc::SYS_openat, &[at_cwd(), own, flags.into()])
        .save(8);
    plan.call(
        libc::SYS_setns,
        &[Arg::Register(8), libc::CLONE_NEWPID.into()],
    );
    plan.call(libc::SYS_close, &[Arg::Register(8)]);
    plan
}

/// The first phase of whom a zygote forked. Descriptors: its socket, standard output and error.
fn forked(plan: &mut Plan) {
    for (register, number) in [(0, 3), (1, 1), (2, 2)] {
        dup(plan, register, number);
    }
    plan.call(
        libc::SYS_close_range,
        &[4.into(), u32::MAX.into(), 0.into()],
    );
    die_with_parent(plan);
    plan.call(libc::SYS_unshare, &[FORKED.into()]);
    mount(
        plan,
        "proc",
        "/proc",
        MS_PLAIN | libc::MS_NOEXEC,
        "subset=pid",
    );
    start_network(plan);
}

/// The first phase of an instance that a zygote forked: it tells who it is and waits for
/// [`nothing`], so that it is in its control group before it has memory of its own.
pub(crate) fn forked_instance() -> Plan {
    let mut plan = Plan::default();
    forked(&mut plan);
    listen_for_egress(&mut plan);
    ready(&mut plan);
    plan.receive(3);
    plan
}

/// A plan of nothing: what it is sent to goes on. It goes with a descriptor, which it closes: what
/// is read of a stream ends behind one, so that the next plan is never taken for a part of this.
pub(crate) fn nothing() -> Plan {
    let mut plan = Plan::default();
    plan.call(libc::SYS_close, &[Arg::Register(0)]);
    own_groups(&mut plan);
    plan
}

/// From here on the process's control group is the root of those that it sees.
fn own_groups(plan: &mut Plan) {
    plan.call(libc::SYS_unshare, &[libc::CLONE_NEWCGROUP.into()]);
}

/// Waits, as a spare, for [`confine`].
pub(crate) fn stand_by() -> Plan {
    let mut plan = Plan::default();
    plan.receive(3);
    plan
}

/// A zygote forked from another one: packages are mounted at its level once they come along with
/// [`packages`].
pub(crate) fn forked_zygote() -> Plan {
    let mut plan = Plan::default();
    forked(&mut plan);
    ready(&mut plan);
    plan.receive(3);
    plan
}

/// Packages whose descriptors travel with one plan.
const PACKAGES_AT_ONCE: usize = 24;

/// Plans that mount packages at a level, each with the packages whose descriptors it takes in
/// registers from 0 on. `socket` is where the next plan comes from; after the last one none does
/// if `ends`.
pub(crate) fn packages<'a, T: AsRef<str>>(
    names: &'a [T],
    level: u8,
    socket: i32,
    ends: bool,
) -> Vec<(Plan, &'a [T])> {
    let folder = level_folder(level);
    let chunks = names.chunks(PACKAGES_AT_ONCE);
    let count = chunks.len();
    let plan = |(at, chunk): (usize, &'a [T])| {
        let mut plan = Plan::default();
        if at == 0 {
            mount(&mut plan, "tmpfs", &folder, MS_PLAIN, "mode=0755,size=64k");
        }
        for (register, name) in (0..).zip(chunk) {
            let place = format!("{folder}/{}", name.as_ref());
            mkdir(&mut plan, &place);
            attach(
                &mut plan,
                register,
                &place,
                ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV,
            );
        }
        if at + 1 == count {
            remount_read_only(&mut plan, &folder);
        }
        if at + 1 < count || !ends {
            plan.receive(socket);
        }
        (plan, chunk)
    };
    chunks.enumerate().map(plan).collect()
}

/// The second phase: the code, whose descriptor comes along, and `/tmp` are mounted, and all
/// privileges go.
fn confined(plan: &mut Plan, with: &Confinement) {
    confined_after(plan, with, 0);
}

/// As [`confined`]; `flags` are those of the mount of `/tmp`, which may be there already.
fn confined_after(plan: &mut Plan, with: &Confinement, flags: u64) {
    // The node has its copy, or nobody listens there any more.
    plan.call(libc::SYS_close, &[EGRESS_FD.into()]).may_fail();
    let options = format!("mode=1777,size={},nr_inodes=65536", with.tmp_bytes);
    mount(plan, "tmpfs", "/tmp", MS_PLAIN | flags, &options);
    attach(plan, 0, TASK, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    drop_privileges(plan, with);
}

fn drop_privileges(plan: &mut Plan, with: &Confinement) {
    let limits = [
        (libc::RLIMIT_NOFILE, FILES_OPEN_MAX),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_MEMLOCK, 64 << 10),
        (libc::RLIMIT_MSGQUEUE, 0),
        (libc::RLIMIT_SIGPENDING, SIGNALS_PENDING_MAX),
    ];
    let space = with.data.map(|bytes| (libc::RLIMIT_DATA, bytes));
    let processes = with.processes.map(|count| (libc::RLIMIT_NPROC, count));
    for (resource, limit) in limits.into_iter().chain(space).chain(processes) {
        let limit = plan.words(&[limit, limit]);
        plan.call(
            libc::SYS_prlimit64,
            &[0.into(), resource.into(), limit, 0.into()],
        )
        .may_fail();
    }
    for capability in 0_u64..64 {
        let arguments = [
            libc::PR_CAPBSET_DROP.into(),
            capability.into(),
            0.into(),
            0.into(),
            0.into(),
        ];
        plan.call(libc::SYS_prctl, &arguments).may_fail();
    }
    // Being user 0 gives nothing, and no capability is kept or raised over exec; all locked.
    prctl(plan, libc::PR_SET_SECUREBITS, 0b1110_1111);
    if let Guest::User { uid, gid } = with.guest {
        become_user(plan, uid, gid);
    }
    // struct __user_cap_header_struct of version 3, and no capability in any set.
    let (header, none) = (plan.words(&[0x2008_0522]), plan.words(&[0; 3]));
    plan.call(libc::SYS_capset, &[header, none]);
    prctl(plan, libc::PR_SET_NO_NEW_PRIVS, 1);
    die_with_parent(plan);
    go_first(plan);
    landlock::restrict(plan, with.landlock, &["/tmp"]);
    let filter = seccomp::filter();
    let count = filter.len() as u64 / 8;
    let filter = plan.bytes(&filter);
    let program = plan.counted(count, filter);
    plan.call(libc::SYS_seccomp, &[1.into(), 0.into(), program]);
}

/// The second phase of an instance that a zygote forked; it goes on as it is.
pub(crate) fn confine(with: &Confinement) -> Plan {
    let mut plan = Plan::default();
    confined(&mut plan, with);
    plan
}

/// Waits until its users are mapped: the first thing that the keeper's children do. Descriptors:
/// the socket, standard output and error.
pub(crate) fn await_mapping() -> Plan {
    let mut plan = Plan::default();
    plan.receive(Arg::Register(0));
    plan
}

/// The number under which a mount waits for the node to take it.
pub(crate) const TAKEN_FD: i32 = 80;

/// A process that sees the host's files and waits for [`open_mount`]. Descriptors: the socket,
/// standard output and error.
pub(crate) fn wait_for_mounts() -> Plan {
    let mut plan = Plan::default();
    let (slash, none) = (plan.text("/"), plan.text("none"));
    let private = libc::MS_REC | libc::MS_PRIVATE;
    plan.call(
        libc::SYS_mount,
        &[none, slash, 0.into(), private.into(), 0.into()],
    );
    die_with_parent(&mut plan);
    keep_descriptors(&mut plan);
    plan.receive(3);
    plan
}

/// Opens a folder as a detached mount under [`TAKEN_FD`], and waits for the next.
pub(crate) fn open_mount(folder: &Path) -> Plan {
    let mut plan = Plan::default();
    // What came along is of no use here.
    plan.call(libc::SYS_close, &[Arg::Register(0)]);
    let path = plan.text(folder.as_os_str().as_encoded_bytes());
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | AT_RECURSIVE;
    plan.call(libc::SYS_open_tree, &[at_cwd(), path, flags.into()])
        .save(1);
    let to = [Arg::Register(1), TAKEN_FD.into(), libc::O_CLOEXEC.into()];
    plan.call(libc::SYS_dup3, &to);
    plan.call(libc::SYS_close, &[Arg::Register(1)]);
    ready(&mut plan);
    plan.receive(3);
    plan
}

/// The first phase of a sandbox for a native program, which then waits for [`start`]. Descriptors:
/// the socket, standard output and error.
pub(crate) fn native(root: &Root, privileged: bool) -> Plan {
    let mut plan = Plan::default();
    enter_root(&mut plan, root, privileged);
    start_network(&mut plan);
    die_with_parent(&mut plan);
    keep_descriptors(&mut plan);
    listen(
        &mut plan,
        RUNTIME_API_PORT,
        RUNTIME_API_BACKLOG,
        LISTENER_FD,
    );
    listen_for_egress(&mut plan);
    ready(&mut plan);
    plan.receive(3);
    plan
}

/// The socket as 3, standard output and error at their places, and nothing else but what the
/// parent shall have.
fn keep_descriptors(plan: &mut Plan) {
    for (register, number) in [(0, 3), (1, 1), (2, 2)] {
        dup(plan, register, number);
    }
    plan.call(
        libc::SYS_close_range,
        &[4.into(), u32::MAX.into(), 0.into()],
    );
}

/// Tells over the socket that the first phase is done.
fn ready(plan: &mut Plan) {
    let byte = plan.bytes(b"!");
    plan.call(libc::SYS_write, &[3.into(), byte, 1.into()]);
}

/// The second phase of [`native`]: it forks; pid 1 reaps, and the child becomes the program.
pub(crate) fn start(with: &Confinement, program: &Program) -> Plan {
    let mut plan = Plan::default();
    confined(&mut plan, with);
    let task = plan.text(TASK);
    plan.call(libc::SYS_chdir, &[task]);
    plan.fork(|plan| {
        plan.call(libc::SYS_close, &[3.into()]);
        plan.call(libc::SYS_close, &[LISTENER_FD.into()]).may_fail();
        die_with_parent(plan);
        exec(plan, program);
    });
    plan
}

/// A sandbox whose program starts before it has a function: pid 1 waits for [`admit`], its child
/// becomes the program at once. Descriptors: pid 1's socket, standard output and error, the
/// program's socket (its 3).
pub(crate) fn started(
    root: &Root,
    privileged: bool,
    with: &Confinement,
    program: &Program,
) -> Plan {
    let mut plan = Plan::default();
    enter_root(&mut plan, root, privileged);
    start_network(&mut plan);
    die_with_parent(&mut plan);
    dup(&mut plan, 1, 1);
    dup(&mut plan, 2, 2);
    // It is bounded once it has a function, but it must be there: Landlock allows what lies below
    // the folder that it was told, and a mount over that hides it.
    let options = format!("mode=1777,size={ZYGOTE_TMP_BYTES}");
    mount(&mut plan, "tmpfs", "/tmp", MS_PLAIN, &options);
    // The parent may still mount, here and so for the child.
    plan.fork(|plan| {
        dup(plan, 3, 3);
        plan.call(
            libc::SYS_close_range,
            &[4.into(), u32::MAX.into(), 0.into()],
        );
        drop_privileges(plan, with);
        exec(plan, program);
    });
    plan.call(libc::SYS_dup3, &[Arg::Register(0), 3.into(), 0.into()]);
    plan.call(
        libc::SYS_close_range,
        &[4.into(), u32::MAX.into(), 0.into()],
    );
    listen_for_egress(&mut plan);
    ready(&mut plan);
    plan.receive(3);
    plan
}

/// The number of the node's end of the program's socket in pid 1, until `begin` is written to it.
const BEGIN_FD: i32 = 70;

/// The second phase of [`started`]: code is mounted and `/tmp` bounded, pid 1 loses its privileges
/// too, and reaps. Then it tells the program to begin: nobody else knows when all is in place.
/// Descriptors: the code, and the node's end of the program's socket.
pub(crate) fn admit(with: &Confinement, begin: &[u8]) -> Plan {
    let mut plan = Plan::default();
    dup(&mut plan, 1, BEGIN_FD);
    plan.call(libc::SYS_close, &[Arg::Register(1)]);
    confined_after(&mut plan, with, libc::MS_REMOUNT);
    let length = begin.len() as u64;
    let begin = plan.bytes(begin);
    plan.call(libc::SYS_write, &[BEGIN_FD.into(), begin, length.into()]);
    plan.call(libc::SYS_close, &[BEGIN_FD.into()]);
    plan
}

#[cfg(test)]
mod tests;
