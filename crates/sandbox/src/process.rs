//! The first process of a sandbox, and the control group that it is in.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use crate::cgroup::{Group, Groups};
use crate::keeper::{SpawnError, system};
use crate::sys::{Exit, exit_of};

/// A process in namespaces of its own. Dropping it ends it, and with it all processes of its pid
/// namespace; its group is used again when they are gone.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// None where there are no control groups.
    pub(crate) group: Option<Group>,
    groups: Arc<Groups>,
}

impl Process {
    /// Takes a process over that was made just now, into a group of its own, before it does
    /// anything of a function's.
    pub(crate) fn adopt(
        pid: u32,
        pidfd: OwnedFd,
        groups: &Arc<Groups>,
    ) -> Result<Self, SpawnError> {
        let mut process = Self {
            pid,
            pidfd,
            group: None,
            groups: Arc::clone(groups),
        };
        if groups.trees().are_there() {
            let group = groups.take().map_err(system("make a control group"))?;
            let attached = group.attach(pid);
            process.group = Some(group);
            attached.map_err(system("move a process into its control group"))?;
        }
        Ok(process)
    }

    /// How it has ended; None while it runs.
    pub(crate) fn ended(&self) -> Option<Exit> {
        exit_of(self.pidfd.as_fd())
    }

    /// Ends it, and all others of its pid namespace.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let signal = rustix::process::Signal::KILL;
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        self.kill().ok();
        if let Some(group) = self.group.take() {
            self.groups.give_back(group);
        }
    }
}
