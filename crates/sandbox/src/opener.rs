//! Takes copies of mounts, to be attached in sandboxes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::net::SocketType;

use crate::keeper::{Keeper, SpawnError, Users, await_ready, system};
use crate::process::Process;
use crate::profile::{TAKEN_FD, open_mount, wait_for_mounts};
use crate::sys::{open_tree, pidfd_getfd, send_fds};
use crate::zygote::Lines;

/// Who takes copies of mounts: the node itself where it may, or else a process in a user namespace
/// of its own that sees the host's files as the node does.
#[derive(Debug)]
pub(crate) struct Opener(Option<Mutex<Helper>>);

#[derive(Debug)]
struct Helper {
    process: Process,
    /// Its socket; the output is kept so that it may be written to.
    lines: Lines,
}

impl Opener {
    /// Starts the helper, if one is needed.
    pub(crate) fn start(keeper: &Keeper) -> Result<Self, SpawnError> {
        if keeper.users() == Users::Own {
            return Ok(Self(None));
        }
        let lines = Lines::open(SocketType::STREAM)?;
        let process = keeper.spawn(&wait_for_mounts(), lines.near.as_fd(), &lines.far())?;
        Ok(Self(Some(Mutex::new(Helper { process, lines }))))
    }

    /// A detached copy of the mount at a path.
    pub(crate) fn open(&self, path: &Path) -> Result<OwnedFd, SpawnError> {
        let opens = system("open a folder as a mount");
        let Some(helper) = &self.0 else {
            return open_tree(path).map_err(opens);
        };
        let helper = helper.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = open_mount(path).encode().ok_or(SpawnError::TooLarge)?;
        let near = helper.lines.near.as_fd();
        send_fds(near, &plan, &[near]).map_err(&opens)?;
        await_ready(near)?;
        pidfd_getfd(helper.process.pidfd.as_fd(), TAKEN_FD).map_err(|error: io::Error| opens(error))
    }
}
