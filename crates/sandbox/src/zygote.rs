//! Zygotes: interpreters that have imported already and are forked for each new instance.
//!
//! They form a tree, as SOCK's do (Oakes et al., ATC 2018): the base has the standard library, and
//! each other zygote is forked from one that has a part of its packages. A function is only ever
//! forked from a zygote whose packages are all its own, so that code of a package which it did not
//! choose never ran in its interpreter.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use serde_json::json;

use crate::cgroup::{Bounds, Group, Groups};
use crate::keeper::{Keeper, SpawnError, system};
use crate::limits::{
    FORK_ANSWER_MS, SHARES_LEAST, ZYGOTE_ANSWER_MAX, ZYGOTE_ANSWER_MS, ZYGOTE_MEMORY_MAX,
    ZYGOTE_SHARES, ZYGOTE_WORDS_MAX,
};
use crate::opener::Opener;
use crate::plan::Plan;
use crate::process::Process;
use crate::profile::{
    LEVELS, Program, Root, after_fork, before_fork, forked_instance, forked_zygote, level_folder,
    nothing, packages, stand_by, zygote,
};
use crate::sys::{await_readable, nonblocking, receive_fds, send_fds, socket_pair};

/// A package as it lies on the host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Package {
    /// Its folder's name, which no other package has.
    pub(crate) name: String,
    /// Its folder on the host.
    pub(crate) folder: PathBuf,
    /// The modules that it brings, at the top level.
    pub(crate) modules: Vec<String>,
}

impl AsRef<str> for Package {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// An interpreter that is forked.
#[derive(Debug)]
pub(crate) struct Zygote {
    /// It did not answer in time, and is killed.
    is_broken: AtomicBool,
    socket: Mutex<OwnedFd>,
    process: Process,
    groups: Arc<Groups>,
    /// Packages that are mounted, with those of the zygotes above: (name, level).
    packages: Vec<(String, u8)>,
    /// Its distance from the base.
    level: u8,
    /// Kept from ending before those that are forked from it.
    _above: Option<Arc<Zygote>>,
}

/// What a zygote answers to imports.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Imported {
    pub(crate) imported: Vec<String>,
    pub(crate) failed: std::collections::BTreeMap<String, String>,
}

/// A process in namespaces of its own that has no function yet.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) process: Process,
    /// Our end of the socket over which it gets plans.
    pub(crate) socket: OwnedFd,
    /// Our end of its socket of frames, if that is another one.
    pub(crate) frames: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The far ends of a process's socket and output, and ours.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) near: OwnedFd,
    pub(crate) far: OwnedFd,
    pub(crate) stdout: (OwnedFd, OwnedFd),
    pub(crate) stderr: (OwnedFd, OwnedFd),
}

impl Lines {
    /// A socket of this kind and two pipes.
    pub(crate) fn open(kind: SocketType) -> Result<Self, SpawnError> {
        let open = system("open a sandbox's sockets and pipes");
        let (near, far) = socket_pair(kind).map_err(&open)?;
        let pipe = || {
            let flags = rustix::pipe::PipeFlags::CLOEXEC;
            rustix::pipe::pipe_with(flags).map_err(|e| open(e.into()))
        };
        Ok(Self {
            near,
            far,
            stdout: pipe()?,
            stderr: pipe()?,
        })
    }

    /// What the process gets, in the order that plans expect.
    pub(crate) fn far(&self) -> [BorrowedFd<'_>; 3] {
        [
            self.far.as_fd(),
            self.stdout.1.as_fd(),
            self.stderr.1.as_fd(),
        ]
    }
}

impl Zygote {
    /// Starts the base zygote.
    pub(crate) fn base(
        keeper: &Keeper,
        groups: &Arc<Groups>,
        root: &Root,
        program: &Program,
    ) -> Result<Self, SpawnError> {
        let lines = Lines::open(SocketType::SEQPACKET)?;
        let plan = zygote(root, keeper.users().privileged(), program);
        let process = keeper.spawn(&plan, lines.near.as_fd(), &lines.far())?;
        drop(lines.far);
        let zygote = Self {
            is_broken: AtomicBool::new(false),
            socket: Mutex::new(lines.near),
            process,
            groups: Arc::clone(groups),
            packages: Vec::new(),
            level: 0,
            _above: None,
        };
        zygote.settle(lines.stdout.0, lines.stderr.0)?;
        Ok(zygote)
    }

    /// Waits until it can be asked, and bounds it.
    fn settle(&self, stdout: OwnedFd, stderr: OwnedFd) -> Result<(), SpawnError> {
        let answer = self.answer(b'R');
        if answer.is_err() {
            let mut words = vec![0; ZYGOTE_WORDS_MAX];
            if nonblocking(&stderr).is_ok() {
                let read = rustix::io::read(&stderr, &mut words).unwrap_or(0);
                tracing::warn!(said = %String::from_utf8_lossy(&words[..read]), "a zygote failed");
            }
        }
        // Nobody reads what a zygote prints, and its pipes may break.
        drop((stdout, stderr));
        answer.map(drop)
    }

    fn bounds() -> Bounds {
        Bounds {
            memory: ZYGOTE_MEMORY_MAX,
            shares: ZYGOTE_SHARES,
        }
    }

    /// Whether its process is gone or going, though nobody asked for that. It closes its socket
    /// first, and is gone only after all that it forked: those that are frozen never go by
    /// themselves.
    pub(crate) fn has_ended(&self) -> bool {
        if self.is_broken.load(Ordering::Relaxed) {
            return true;
        }
        // Whoever speaks with it hears so.
        let Ok(socket) = self.socket.try_lock() else {
            return false;
        };
        let hung_up = rustix::event::PollFlags::HUP;
        let mut poll = [rustix::event::PollFd::new(&*socket, hung_up)];
        let now = rustix::event::Timespec::default();
        matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1))
    }

    /// The names of the packages that it has.
    pub(crate) fn has(&self) -> BTreeSet<&str> {
        self.packages
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Where the packages that it has are mounted, by name.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, String)> {
        self.packages
            .iter()
            .map(|(name, level)| (name.as_str(), format!("{}/{name}", level_folder(*level))))
    }

    /// The level at which those forked from it mount what is their own.
    pub(crate) fn next_level(&self) -> u8 {
        self.level + u8::from(!self.packages.is_empty())
    }

    /// Whether it is the root of the tree.
    pub(crate) fn is_base(&self) -> bool {
        self.packages.is_empty()
    }

    /// Whether it may have zygotes below.
    pub(crate) fn may_branch(&self) -> bool {
        self.next_level() + 1 < LEVELS
    }

    /// Memory of its group in bytes, those it was forked from not included.
    pub(crate) fn memory(&self) -> u64 {
        self.process
            .group
            .as_ref()
            .and_then(Group::memory)
            .unwrap_or(0)
    }

    fn request(
        &self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
        (kind, wait_ms): (u8, u64),
    ) -> Result<Vec<u8>, SpawnError> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = send_fds(socket.as_fd(), message, fds).map_err(system("ask a zygote"));
        let answer = sent.and_then(|_| hear(socket.as_fd(), kind, wait_ms));
        if answer.is_err() {
            // An answer that comes late would be taken for that to the next request.
            self.is_broken.store(true, Ordering::Relaxed);
            self.process.kill().ok();
        }
        answer
    }

    fn answer(&self, kind: u8) -> Result<Vec<u8>, SpawnError> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        hear(socket.as_fd(), kind, ZYGOTE_ANSWER_MS)
    }

    fn fork_process(
        &self,
        verb: u8,
        (child, later): (&Plan, Option<&Plan>),
        lines: &Lines,
    ) -> Result<Process, SpawnError> {
        let mut message = vec![verb];
        for plan in [&before_fork(), child, &after_fork()]
            .into_iter()
            .chain(later)
        {
            let plan = plan.encode().ok_or(SpawnError::TooLarge)?;
            let length = u32::try_from(plan.len()).expect("plans are bounded");
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(&plan);
        }
        let tells = system("learn who a sandbox is");
        rustix::net::sockopt::set_socket_passcred(&lines.near, true)
            .map_err(|e| tells(e.into()))?;
        let answer = self.request(&message, &lines.far(), (b'K', FORK_ANSWER_MS))?;
        let result = i64::from_le_bytes(answer.try_into().unwrap_or_default());
        if result <= 0 {
            return Err(crate::keeper::step_failed(&result.to_le_bytes()));
        }
        let pid = hear_pid(lines.near.as_fd()).map_err(&tells)?;
        rustix::net::sockopt::set_socket_passcred(&lines.near, false)
            .map_err(|e| tells(e.into()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| tells(e.into()))?;
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        Process::adopt(pid, pidfd, &self.groups)
    }

    /// Forks an instance, which waits in its own namespaces for the function that it is to be.
    /// One that is not waited for has time to touch the pages that its first call will.
    pub(crate) fn fork(&self, is_spare: bool) -> Result<Fork, SpawnError> {
        let verb = if is_spare { b'K' } else { b'Q' };
        let lines = Lines::open(SocketType::STREAM)?;
        let process = self.fork_process(verb, (&forked_instance(), Some(&stand_by())), &lines)?;
        if let Some(group) = process.group.as_ref().filter(|_| is_spare) {
            // It is in nobody's way while it makes itself ready.
            group.weigh(SHARES_LEAST).map_err(system("weigh a spare"))?;
        }
        let go_on = nothing().encode().ok_or(SpawnError::TooLarge)?;
        send_fds(lines.near.as_fd(), &go_on, &lines.far()[..1]).map_err(system("send a plan"))?;
        Ok(Fork {
            process,
            socket: lines.near,
            frames: None,
            stdout: lines.stdout.0,
            stderr: lines.stderr.0,
        })
    }

    /// Forks a zygote that mounts `more` packages and imports modules of theirs.
    pub(crate) fn branch(
        self: &Arc<Self>,
        opener: &Opener,
        more: &[Package],
    ) -> Result<(Self, Imported), SpawnError> {
        let lines = Lines::open(SocketType::SEQPACKET)?;
        let mut process = self.fork_process(b'G', (&forked_zygote(), None), &lines)?;
        if let Some(group) = &mut process.group {
            group
                .bound(Self::bounds())
                .map_err(system("bound a zygote"))?;
        }
        let names: Vec<_> = more.iter().map(|package| package.name.clone()).collect();
        let level = self.next_level();
        // Without ours, its end is heard.
        drop(lines.far);
        send_packages(opener, lines.near.as_fd(), more, level, true)?;
        let own = names.into_iter().map(|name| (name, level));
        let zygote = Self {
            is_broken: AtomicBool::new(false),
            socket: Mutex::new(lines.near),
            process,
            groups: Arc::clone(&self.groups),
            packages: self.packages.iter().cloned().chain(own).collect(),
            level,
            _above: Some(Arc::clone(self)),
        };
        zygote.settle(lines.stdout.0, lines.stderr.0)?;
        let paths: Vec<_> = zygote.places().map(|(_, place)| place).collect();
        let modules: Vec<_> = more.iter().flat_map(|package| &package.modules).collect();
        let request = json!({"modules": modules, "paths": paths}).to_string();
        let answer = zygote.request(
            format!("Z{request}").as_bytes(),
            &[],
            (b'Z', ZYGOTE_ANSWER_MS),
        )?;
        Ok((zygote, serde_json::from_slice(&answer).unwrap_or_default()))
    }
}

/// Has a process that waits for plans mount packages at a level; it waits for another plan
/// afterwards unless that `ends`.
pub(crate) fn send_packages(
    opener: &Opener,
    socket: BorrowedFd<'_>,
    more: &[Package],
    level: u8,
    ends: bool,
) -> Result<(), SpawnError> {
    for (plan, packages) in packages(more, level, 3, ends) {
        let trees: Result<Vec<_>, _> = packages.iter().map(|p| opener.open(&p.folder)).collect();
        let trees = trees?;
        let fds: Vec<_> = trees.iter().map(OwnedFd::as_fd).collect();
        let plan = plan.encode().ok_or(SpawnError::TooLarge)?;
        send_fds(socket, &plan, &fds).map_err(system("send a plan"))?;
    }
    Ok(())
}

/// Reads an answer of this kind, which comes within a time.
fn hear(socket: BorrowedFd<'_>, kind: u8, wait_ms: u64) -> Result<Vec<u8>, SpawnError> {
    const WHO: SpawnError = SpawnError::Gone("a zygote");
    let hears = system("hear from a zygote");
    await_readable(socket, wait_ms).map_err(&hears)?;
    let mut answer = vec![0; ZYGOTE_ANSWER_MAX];
    let (length, _none) = receive_fds(socket, &mut answer).map_err(hears)?;
    if length == 13 && answer[0] == b'!' {
        return Err(crate::keeper::step_failed(&answer[5..13]));
    }
    if length == 0 || answer[0] != kind {
        return Err(WHO);
    }
    Ok(answer[1..length].to_vec())
}

/// Reads the byte that says that the first phase is done, and who wrote it.
fn hear_pid(socket: BorrowedFd<'_>) -> io::Result<Pid> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut iov = [io::IoSliceMut::new(&mut byte)];
    await_readable(socket, FORK_ANSWER_MS)?;
    let got = rustix::net::recvmsg(socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
            _ => None,
        })
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
