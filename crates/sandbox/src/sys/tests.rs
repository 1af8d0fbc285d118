use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Exit, exit_of};

#[test]
fn how_a_process_ended_is_told_after_it_is_gone() {
    for (command, ends) in [("exit 3", Exit::Status(3)), ("kill -9 $$", Exit::Signal(9))] {
        let mut child = Command::new("sh").args(["-c", command]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        let exit = exit_of(pidfd.as_fd()).unwrap();
        assert!(exit == ends || exit == Exit::Unknown, "{exit:?}");
    }
}

#[test]
fn who_runs_has_not_ended() {
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    assert_eq!(exit_of(own.as_fd()), None);
}
