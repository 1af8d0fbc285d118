//! An instance: a sandbox that is a function's, while it works and while it waits.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use fractus_func::{Host, LogStream, Memory};
use fractus_lambda::Driver;
use fractus_stdx::ErrorChain;
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::cgroup::Group;
use crate::egress::Egress;
use crate::frame::{Frame, FrameError, HandlerKind};
use crate::keeper::SpawnError;
use crate::limits::{FRAME_EXTRA, READ_CHUNK, READS_AT_ONCE};
use crate::process::Process;
use crate::sys::Exit;
use crate::zygote::Zygote;

/// How the node speaks with the program in an instance.
#[derive(Debug)]
pub(crate) enum Channel {
    /// Frames with our own bootstraps.
    Frames(Frames),
    /// The Runtime API.
    Api(Api),
}

/// The node's side of the Runtime API, and what accepts the guest's connections to it.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) driver: Driver,
    pub(crate) accepting: AbortHandle,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The socket of frames, and what has arrived on it.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) socket: OwnedFd,
    pub(crate) buffer: BytesMut,
    /// The largest payload of a frame.
    pub(crate) frame_max: usize,
}

/// Standard output and error.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// A sandbox and all that belongs to it. Dropping it ends every process in it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    pub(crate) output: Output,
    /// Its way out, if its function may reach anything.
    pub(crate) egress: Option<Egress>,
    pub(crate) handler: HandlerKind,
    /// Modules that loading the handler imported from packages.
    pub(crate) modules: Vec<String>,
    pub(crate) frozen: bool,
    /// It is not to be called again if this call fails: it said that it ends, or has not sent all.
    pub(crate) is_exiting: bool,
    /// Since when it waits.
    pub(crate) idle_since: Instant,
    pub(crate) reserved: Reserved,
    _alive: Alive,
    /// Kept, for it lives in the zygote's pid namespace.
    zygote: Option<Arc<Zygote>>,
}

/// Memory taken from the node's account; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    account: Arc<dyn Memory>,
    bytes: usize,
    /// Told when memory is given back.
    freed: Arc<tokio::sync::Notify>,
}

impl Reserved {
    /// Takes memory, if there is so much.
    pub(crate) fn take(
        account: &Arc<dyn Memory>,
        freed: &Arc<tokio::sync::Notify>,
        bytes: usize,
    ) -> Option<Self> {
        account.reserve(bytes).then(|| Self {
            account: Arc::clone(account),
            bytes,
            freed: Arc::clone(freed),
        })
    }

    /// Changes how much is taken, as far as the account allows.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            if self.account.reserve(bytes - self.bytes) {
                self.bytes = bytes;
            }
        } else if bytes < self.bytes {
            self.account.release(self.bytes - bytes);
            self.bytes = bytes;
            self.freed.notify_one();
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.account.release(self.bytes);
        self.freed.notify_one();
    }
}

/// What the guest sent instead of an answer.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    /// Its process is gone.
    #[error("the runtime exited")]
    Gone,
    /// Its socket failed.
    #[error("the runtime's socket failed")]
    Socket(#[source] io::Error),
    /// It sent what is no frame, or one that has no place here.
    #[error("the runtime broke its protocol")]
    Protocol,
    /// It sent more than its function may answer.
    #[error("the runtime sent more than an answer may have")]
    TooLarge,
    /// A step of building the sandbox failed.
    #[error("the sandbox could not be finished")]
    Build(#[source] SpawnError),
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        tracing::debug!(error = %ErrorChain(&error), "a guest's frame is too long");
        Self::TooLarge
    }
}

/// What an instance is made of.
pub(crate) struct Parts {
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    pub(crate) output: Output,
    pub(crate) egress: Option<Egress>,
    pub(crate) zygote: Option<Arc<Zygote>>,
    pub(crate) reserved: Reserved,
    pub(crate) alive: Alive,
}

/// Counts an instance for as long as it lives.
#[derive(Debug)]
pub(crate) struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub(crate) fn count(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Instance {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            process: parts.process,
            channel: parts.channel,
            output: parts.output,
            egress: parts.egress,
            handler: HandlerKind::Lambda,
            modules: Vec::new(),
            frozen: false,
            is_exiting: false,
            idle_since: Instant::now(),
            reserved: parts.reserved,
            _alive: parts.alive,
            zygote: parts.zygote,
        }
    }

    /// From here on it works on a call, or starts for one.
    pub(crate) fn enter(&self, host: &Arc<dyn Host>) {
        if let Some(egress) = &self.egress {
            egress.enter(host);
        }
    }

    /// From here on it works on none.
    pub(crate) fn leave(&self) {
        if let Some(egress) = &self.egress {
            egress.leave();
        }
    }

    /// The most that its function may answer, in bytes.
    pub(crate) fn answer_max(&self) -> u64 {
        match &self.channel {
            Channel::Frames(frames) => (frames.frame_max - FRAME_EXTRA) as u64,
            Channel::Api(_) => u64::MAX,
        }
    }

    /// Whether it is gone, or goes as soon as it is not frozen: it dies with its zygote.
    pub(crate) fn has_ended(&self) -> bool {
        let zygote_ended = || {
            self.zygote
                .as_ref()
                .is_some_and(|zygote| zygote.has_ended())
        };
        self.process.ended().is_some() || zygote_ended()
    }

    /// Whether pid 1 of its pid namespace is ours, and the program its child.
    pub(crate) fn has_init(&self) -> bool {
        self.zygote.is_none()
    }

    /// Whether it waits for a call: it runs, and has sent nothing that nobody asked for.
    pub(crate) fn is_fit(&self) -> bool {
        if self.frozen && self.has_ended() {
            return false;
        }
        match &self.channel {
            Channel::Api(_) => self.process.ended().is_none(),
            Channel::Frames(frames) => {
                let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
                let peeked = rustix::net::recv(&frames.socket, &mut [0; 1], flags);
                frames.buffer.is_empty() && matches!(peeked, Err(rustix::io::Errno::AGAIN))
            }
        }
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        if self.frozen == frozen {
            return;
        }
        let Some(group) = &self.process.group else {
            return;
        };
        match group.freeze(frozen) {
            Ok(()) => self.frozen = frozen,
            Err(error) => {
                let error = ErrorChain(&error);
                tracing::warn!(error = %error, frozen, "a sandbox cannot be frozen or thawed");
            }
        }
    }

    /// How it ended, for a message: the kernel's word, and whether memory was the reason. Waits a
    /// moment, since a socket may close before its process is gone.
    pub(crate) async fn ended(&self) -> (Exit, bool) {
        let mut exit = self.process.ended();
        for _ in 0..50 {
            if exit.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            exit = self.process.ended();
        }
        let memory = self
            .process
            .group
            .as_ref()
            .is_some_and(Group::ran_out_of_memory);
        (exit.unwrap_or(Exit::Unknown), memory)
    }
}

/// Receives into a buffer; false at the end.
fn fill(fd: BorrowedFd<'_>, buffer: &mut BytesMut) -> io::Result<bool> {
    buffer.reserve(READ_CHUNK);
    let room = buffer.spare_capacity_mut();
    let (read, _rest) = rustix::io::read(fd, room)?;
    let read = read.len();
    // SAFETY: so many bytes of the spare capacity were just written.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read > 0)
}

/// A descriptor whose readiness is told.
pub(crate) type Watched<'a> = AsyncFd<BorrowedFd<'a>>;

/// Watches a descriptor on the calling thread's event loop.
pub(crate) fn watch(fd: &OwnedFd, interest: Interest) -> io::Result<Watched<'_>> {
    // SAFETY: the descriptor is borrowed, so it stays open until it is watched no more.
    let watched = unsafe { AsyncFd::register_with_interest(fd.as_fd(), interest) };
    watched.map_err(io::Error::from)
}

/// The way to and from a guest while it works: its frames, and what it prints.
pub(crate) struct Wire<'a> {
    socket: Watched<'a>,
    buffer: &'a mut BytesMut,
    frame_max: usize,
    prints: Prints<'a>,
}

/// What a guest prints while it works.
pub(crate) struct Prints<'a> {
    stdout: Option<Watched<'a>>,
    stderr: Option<Watched<'a>>,
    log: &'a (dyn Fn(LogStream, &[u8]) + Send + Sync),
}

impl<'a> Prints<'a> {
    pub(crate) fn watch(
        output: &'a Output,
        log: &'a (dyn Fn(LogStream, &[u8]) + Send + Sync),
    ) -> io::Result<Self> {
        Ok(Self {
            stdout: Some(watch(&output.stdout, Interest::READABLE)?),
            stderr: Some(watch(&output.stderr, Interest::READABLE)?),
            log,
        })
    }

    /// Hands on what is printed, for as long as it is awaited.
    pub(crate) async fn follow(&mut self) {
        loop {
            let stream = tokio::select! {
                () = readable(self.stdout.as_ref()) => LogStream::Stdout,
                () = readable(self.stderr.as_ref()) => LogStream::Stderr,
            };
            while self.pour(stream) {
                // A flood: others on this thread have their turn.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Hands on what has been printed already, of a flood only a part.
    pub(crate) fn drain(&mut self) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            self.pour(stream);
        }
    }

    /// Reads what there is of a stream, and tells whether there may be more. A pipe whose writers
    /// are gone is let go.
    fn pour(&mut self, stream: LogStream) -> bool {
        let fd = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr | LogStream::System => &mut self.stderr,
        };
        let mut chunk = [0; READ_CHUNK];
        for _ in 0..READS_AT_ONCE {
            let Some(watched) = fd else { return false };
            match rustix::io::read(watched.get_ref(), &mut chunk) {
                Ok(read) if read > 0 => (self.log)(stream, &chunk[..read]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return false,
                Ok(_) | Err(_) => *fd = None,
            }
        }
        true
    }
}

async fn readable(fd: Option<&Watched<'_>>) {
    match fd {
        Some(fd) => {
            // The read tells what is wrong.
            if let Ok(mut ready) = fd.readable().await {
                ready.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}

impl<'a> Wire<'a> {
    /// Watches a guest on the calling thread's event loop.
    pub(crate) fn open(
        frames: &'a mut Frames,
        output: &'a Output,
        log: &'a (dyn Fn(LogStream, &[u8]) + Send + Sync),
    ) -> io::Result<Self> {
        Ok(Self {
            socket: watch(&frames.socket, Interest::READABLE | Interest::WRITABLE)?,
            buffer: &mut frames.buffer,
            frame_max: frames.frame_max,
            prints: Prints::watch(output, log)?,
        })
    }

    /// Sends bytes, and hands on what is printed meanwhile.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let flags = rustix::net::SendFlags::NOSIGNAL;
            match rustix::net::send(self.socket.get_ref(), rest, flags) {
                Ok(sent) => rest = &rest[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let socket = &self.socket;
                    tokio::select! {
                        ready = socket.writable() => {
                            ready.map_err(Broken::Socket)?.clear_ready();
                        }
                        () = self.prints.follow() => {}
                    }
                }
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {
                    return Err(Broken::Gone);
                }
                Err(error) => return Err(Broken::Socket(error.into())),
            }
        }
        Ok(())
    }

    /// The next frame; hands on what is printed until it is there.
    pub(crate) async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = Frame::take(self.buffer, self.frame_max)? {
                return Ok(frame);
            }
            match fill(*self.socket.get_ref(), self.buffer) {
                Ok(true) => continue,
                Ok(false) => return Err(Broken::Gone),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Broken::Gone);
                }
                Err(error) => return Err(Broken::Socket(error)),
            }
            let socket = &self.socket;
            tokio::select! {
                ready = socket.readable() => ready.map_err(Broken::Socket)?.clear_ready(),
                () = self.prints.follow() => {}
            }
        }
    }

    /// The next frame, if it has arrived whole.
    pub(crate) fn try_next(&mut self) -> Result<Option<Frame>, Broken> {
        if let Some(frame) = Frame::take(self.buffer, self.frame_max)? {
            return Ok(Some(frame));
        }
        match fill(*self.socket.get_ref(), self.buffer) {
            Ok(true) => Ok(Frame::take(self.buffer, self.frame_max)?),
            // The next read tells.
            Ok(false) | Err(_) => Ok(None),
        }
    }

    /// Waits until the guest has sent something; hands on what is printed meanwhile.
    pub(crate) async fn arrived(&mut self) {
        if !self.buffer.is_empty() {
            return;
        }
        let socket = &self.socket;
        tokio::select! {
            // The read tells what is wrong.
            _ready = socket.readable() => {}
            () = self.prints.follow() => {}
        }
    }

    /// Hands on all that has been printed.
    pub(crate) fn drain(&mut self) {
        self.prints.drain();
    }
}
