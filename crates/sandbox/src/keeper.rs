//! The keeper: a tiny process that clones every sandbox which no zygote forks. It holds no memory
//! worth copying and no thread, so that a clone is quick, and it dies with the node, and its
//! children with it.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::SocketType;
use thiserror::Error;

use crate::cgroup::Groups;
use crate::limits::FORK_ANSWER_MS;
use crate::plan::Plan;
use crate::process::Process;
use crate::profile::{Guest, NAMESPACES, await_mapping};
use crate::sys::{await_readable, receive_fds, send_fds, socket_pair, spawn};

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// A sandbox that cannot be made.
#[derive(Debug, Error)]
pub(crate) enum SpawnError {
    /// What it needs of the system is refused.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The plan is longer than may be sent.
    #[error("the function's environment is too large")]
    TooLarge,
    /// A step of building it failed, inside.
    #[error("step {step} of building the sandbox failed")]
    Step {
        /// Which, in the order of the plan.
        step: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A zygote or sandbox ended where it should have answered.
    #[error("{0} ended unexpectedly")]
    Gone(&'static str),
}

pub(crate) fn system(action: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::System { action, source }
}

/// Which users the node may give to sandboxes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Users {
    /// Two of its own for each sandbox: the node is privileged.
    Own,
    /// The node's own user is all there is.
    Shared,
}

impl Users {
    /// What this process may do.
    pub(crate) fn here() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Own
        } else {
            Self::Shared
        }
    }

    /// The guest's user, inside.
    pub(crate) fn guest(self) -> Guest {
        match self {
            Self::Own => Guest::User { uid: 993, gid: 990 },
            Self::Shared => Guest::Same,
        }
    }

    pub(crate) fn privileged(self) -> bool {
        self == Self::Own
    }
}

/// Host users that no system has accounts for, two for each sandbox, used in turn.
const USERS_FROM: u32 = 0x4000_0000;
const USERS: u32 = 0x1000_0000;

const START: &str = "start the keeper of sandboxes";

/// The keeper, as the node sees it.
#[derive(Debug)]
pub(crate) struct Keeper {
    line: Mutex<Line>,
    users: Users,
    groups: Arc<Groups>,
}

/// The process, and the way to it.
#[derive(Debug)]
struct Line {
    process: Child,
    socket: OwnedFd,
    next_user: u32,
}

impl Line {
    fn start(next_user: u32) -> io::Result<Self> {
        let (socket, theirs) = socket_pair(SocketType::SEQPACKET)?;
        Ok(Self {
            process: spawn(PROGRAM, "fractus-keeper", theirs)?,
            socket,
            next_user,
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Its children die with it.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Keeper {
    /// Starts the keeper.
    pub(crate) fn start(users: Users, groups: &Arc<Groups>) -> Result<Self, SpawnError> {
        let line = Line::start(0).map_err(system(START))?;
        Ok(Self {
            line: Mutex::new(line),
            users,
            groups: Arc::clone(groups),
        })
    }

    /// Which users it gives to sandboxes.
    pub(crate) fn users(&self) -> Users {
        self.users
    }

    /// Makes a process in namespaces of its own, which runs `plan` once its users are mapped.
    /// `near` is our end of the process's socket, the first of `fds`.
    pub(crate) fn spawn(
        &self,
        plan: &Plan,
        near: BorrowedFd<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Process, SpawnError> {
        let plan = plan.encode().ok_or(SpawnError::TooLarge)?;
        let (process, user) = self.clone_child(fds)?;
        map_users(process.pid, self.users, user).map_err(system("map a sandbox's users"))?;
        // Its descriptors came with the first plan; a plan takes those that come with it.
        send_fds(near, &plan, fds).map_err(system("send a plan"))?;
        Ok(process)
    }

    #[expect(clippy::host_endian_bytes, reason = "both ends are on this machine")]
    fn clone_child(&self, fds: &[BorrowedFd<'_>]) -> Result<(Process, u32), SpawnError> {
        let waiting = await_mapping().encode().expect("two calls");
        let flags = u64::from(NAMESPACES.cast_unsigned());
        let message = [flags.to_ne_bytes().as_slice(), &waiting].concat();
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(line.process.try_wait(), Ok(None)) {
            tracing::error!("the keeper of sandboxes ended, and all sandboxes with it");
            *line = Line::start(line.next_user).map_err(system(START))?;
        }
        let user = USERS_FROM + line.next_user;
        line.next_user = (line.next_user + 2) % USERS;
        send_fds(line.socket.as_fd(), &message, fds).map_err(system("ask the keeper"))?;
        let mut answer = [0; 8];
        let heard = await_readable(line.socket.as_fd(), FORK_ANSWER_MS)
            .and_then(|()| receive_fds(line.socket.as_fd(), &mut answer));
        if heard.is_err() {
            // Its answer would be taken for that to the next request.
            line.process.kill().ok();
        }
        let (length, mut received) = heard.map_err(system("hear from the keeper"))?;
        drop(line);
        if length != 8 {
            return Err(SpawnError::Gone("the keeper of sandboxes"));
        }
        let pid = i64::from_ne_bytes(answer);
        if let (Ok(pid), Some(pidfd)) = (u32::try_from(pid), received.pop()) {
            return Ok((Process::adopt(pid, pidfd, &self.groups)?, user));
        }
        let errno = i32::try_from(-pid).unwrap_or(libc::EIO);
        let source = io::Error::from_raw_os_error(errno);
        Err(system("clone a process into namespaces")(source))
    }
}

/// Gives the users 0 and the guest's of a new user namespace their meaning outside.
fn map_users(pid: u32, users: Users, from: u32) -> io::Result<()> {
    let write = |file: &str, content: &str| fs::write(format!("/proc/{pid}/{file}"), content);
    match users.guest() {
        Guest::User { uid, gid } => {
            let next = from + 1;
            write("uid_map", &format!("0 {from} 1\n{uid} {next} 1\n"))?;
            write("gid_map", &format!("0 {from} 1\n{gid} {next} 1\n"))
        }
        Guest::Same => {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            write("setgroups", "deny")?;
            write("uid_map", &format!("0 {} 1\n", uid.as_raw()))?;
            write("gid_map", &format!("0 {} 1\n", gid.as_raw()))
        }
    }
}

/// Reads what a sandbox says of its first phase: nothing but that it is done, or which step failed.
pub(crate) fn await_ready(near: BorrowedFd<'_>) -> Result<(), SpawnError> {
    let mut answer = [0; 13];
    let heard = await_readable(near, FORK_ANSWER_MS).and_then(|()| receive_fds(near, &mut answer));
    let (length, _none) = heard.map_err(system("hear from a sandbox"))?;
    match length {
        0 => Err(SpawnError::Gone("a sandbox")),
        13 => Err(step_failed(&answer[5..])),
        _ => Ok(()),
    }
}

/// What the interpreter of plans says when a step failed.
pub(crate) fn step_failed(answer: &[u8]) -> SpawnError {
    let failed = -i64::from_le_bytes(answer.try_into().unwrap_or_default());
    SpawnError::Step {
        step: (failed >> 16).cast_unsigned(),
        source: io::Error::from_raw_os_error(i32::try_from(failed & 0xffff).unwrap_or(libc::EIO)),
    }
}
