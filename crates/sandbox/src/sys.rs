//! System calls that no library offers as we need them.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Descriptors in one message, as in `init/init.rs`.
pub(crate) const FDS_MAX: usize = 28;

/// Sends bytes with descriptors in one message.
pub(crate) fn send_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let iov = [io::IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(
        socket,
        &iov,
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// Waits until something can be received, for so many milliseconds at most.
pub(crate) fn await_readable(socket: BorrowedFd<'_>, wait_ms: u64) -> io::Result<()> {
    let wait = std::time::Duration::from_millis(wait_ms);
    let wait = rustix::event::Timespec::try_from(wait).expect("bounds are short");
    let events = rustix::event::PollFlags::IN;
    let mut poll = [rustix::event::PollFd::from_borrowed_fd(socket, events)];
    match rustix::event::poll(&mut poll, Some(&wait))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Receives a message of at most `into.len()` bytes and the descriptors with it.
pub(crate) fn receive_fds(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut iov = [io::IoSliceMut::new(into)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut iov, &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((got.bytes, fds))
}

fn owned(result: i64) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel made it for us just now.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a copy of a descriptor out of another process.
pub(crate) fn pidfd_getfd(process: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers and returns one.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// A detached copy of the mount at `path` and of what is mounted below, to be attached elsewhere.
pub(crate) fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | AT_RECURSIVE;
    // SAFETY: the path lives until the call returns.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// `OPEN_TREE_CLONE` of `<linux/mount.h>`.
pub(crate) const OPEN_TREE_CLONE: u32 = 1;
/// `AT_RECURSIVE` of `<linux/fcntl.h>`.
pub(crate) const AT_RECURSIVE: u32 = 0x8000;

/// How a process has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel does not tell: it does since 6.15.
    Unknown,
}

/// How the process of a pidfd has ended; None while it has not.
pub(crate) fn exit_of(process: BorrowedFd<'_>) -> Option<Exit> {
    /// `struct pidfd_info` of `<linux/pidfd.h>`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const INFO_EXIT: u64 = 1 << 3;
    let mut poll = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::event::Timespec::default();
    if !matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1)) {
        return None;
    }
    let mut info = Info {
        mask: INFO_EXIT,
        ..Info::default()
    };
    // _IOWR(0xff, 11, struct of 64 bytes).
    let request: libc::c_ulong = 0xc040_ff0b;
    // SAFETY: the kernel writes at most the 64 bytes that the request names.
    let done = unsafe { libc::ioctl(process.as_raw_fd(), request, &raw mut info) };
    if done != 0 || info.mask & INFO_EXIT == 0 {
        return Some(Exit::Unknown);
    }
    let code = info.exit_code;
    Some(match code & 0x7f {
        0 => Exit::Status((code >> 8) & 0xff),
        signal => Exit::Signal(signal),
    })
}

/// Starts a program from memory with one descriptor, its 3.
pub(crate) fn spawn(
    program: &[u8],
    name: &str,
    socket: OwnedFd,
) -> io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt as _;
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::io::write(&file, program)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut command = std::process::Command::new(path);
    command
        .arg0(name)
        .env_clear()
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    let from = socket.as_raw_fd();
    let hook = move || {
        // SAFETY: async-signal-safe calls on numbers.
        let moved = unsafe { libc::dup2(from, 3) };
        if moved < 0 {
            return Err(io::Error::last_os_error());
        }
        if from == 3 {
            // SAFETY: as above.
            unsafe { libc::fcntl(3, libc::F_SETFD, 0) };
        }
        // SAFETY: as above; what it leaves open is closed at exec.
        unsafe { libc::close_range(4, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
        Ok(())
    };
    // SAFETY: the hook only makes async-signal-safe calls.
    unsafe { command.pre_exec(hook) };
    let child = command.spawn();
    drop(socket);
    child
}

/// A pair of connected sockets: (ours, theirs).
pub(crate) fn socket_pair(kind: rustix::net::SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        kind,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Makes reads and writes of a descriptor return at once.
pub(crate) fn nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)? | rustix::fs::OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(&fd, flags)?)
}

#[cfg(test)]
mod tests;
