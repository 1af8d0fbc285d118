//! One connection: what hyper reads and writes goes through [`Tap`], which notes what the
//! connection is doing, so that one sweep a worker ends those that stall. A request costs it a few
//! relaxed stores and no timer.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::framing::Framing;
use crate::service::Requests;

/// Milliseconds since the worker began, as of its last sweep.
#[derive(Debug, Default)]
pub(crate) struct CoarseClock(AtomicU64);

impl CoarseClock {
    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// An answer, or for it to be sent.
    Busy,
}

/// How a connection is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No = 0,
    /// After the answer it is at.
    Graceful = 1,
    Now = 2,
}

/// Times, in milliseconds, after which the sweep ends a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) header: u64,
    pub(crate) idle: u64,
    pub(crate) stall: u64,
}

/// What is shared of a connection between its parts and its worker's sweep. One thread touches it;
/// the atomics are there to say so to the compiler at no cost.
#[derive(Debug)]
pub(crate) struct ConnState {
    clock: Arc<CoarseClock>,
    /// [`Phase`] in the lowest two bits, the time it began above.
    phase: AtomicU64,
    /// When the peer stopped taking bytes, plus one; 0 if it has not.
    blocked: AtomicU64,
    ending: AtomicU8,
    waker: Mutex<Option<Waker>>,
    framing: Mutex<Framing>,
}

impl ConnState {
    pub(crate) fn new(clock: Arc<CoarseClock>) -> Self {
        let state = Self {
            clock,
            phase: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            ending: AtomicU8::new(Ending::No as u8),
            waker: Mutex::new(None),
            framing: Mutex::default(),
        };
        // A client that connects owes a head.
        state.enter(Phase::Head);
        state
    }

    fn enter(&self, phase: Phase) {
        let phase = phase as u64 | self.clock.now() << 2;
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn phase(&self) -> (Phase, u64) {
        let packed = self.phase.load(Ordering::Relaxed);
        let phase = match packed & 0b11 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, packed >> 2)
    }

    /// hyper has read a request's head.
    pub(crate) fn begin_request(&self) {
        self.enter(Phase::Busy);
    }

    /// An answer has been handed to the socket's buffer, or given up.
    pub(crate) fn end_request(&self) {
        let in_head = lock(&self.framing).in_head();
        self.enter(if in_head { Phase::Head } else { Phase::Idle });
    }

    /// Was the head of this connection's request number `request` one that must be refused?
    pub(crate) fn is_ambiguous(&self, request: u64) -> bool {
        lock(&self.framing).is_ambiguous(request)
    }

    fn read(&self, bytes: &[u8]) {
        let mut framing = lock(&self.framing);
        let was_in_head = framing.in_head();
        framing.read(bytes);
        if framing.in_head() && !was_in_head && self.phase().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn wrote(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.blocked.store(0, Ordering::Relaxed);
        }
        // The last piece of an answer may be large: nobody is idle who still takes of it.
        if self.phase().0 == Phase::Idle {
            self.enter(Phase::Idle);
        }
    }

    fn could_not_write(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(self.clock.now() + 1, Ordering::Relaxed);
        }
    }

    /// Ends the connection if its peer has stalled.
    pub(crate) fn sweep(&self, patience: Patience) {
        let blocked = self.blocked.load(Ordering::Relaxed);
        let (since, allowed) = match self.phase() {
            _ if blocked != 0 => (blocked - 1, patience.stall),
            (Phase::Idle, since) => (since, patience.idle),
            (Phase::Head, since) => (since, patience.header),
            (Phase::Busy, _) => return,
        };
        if self.clock.now().saturating_sub(since) > allowed {
            self.end(Ending::Now);
        }
    }

    /// Ends the connection once it is idle.
    pub(crate) fn end_gracefully(&self) {
        self.end(Ending::Graceful);
    }

    fn end(&self, ending: Ending) {
        self.ending.fetch_max(ending as u8, Ordering::Relaxed);
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }

    fn ending(&self) -> Ending {
        match self.ending.load(Ordering::Relaxed) {
            0 => Ending::No,
            1 => Ending::Graceful,
            _ => Ending::Now,
        }
    }

    fn wake_on_ending(&self, waker: &Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }
}

/// Nothing that is done under one of our locks panics half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket whose traffic is noted.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: TcpStream,
    state: Arc<ConnState>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.state.read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl Tap {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.state.could_not_write();
        } else {
            self.state.wrote();
        }
        written
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// hyper's connection, ended when [`ConnState`] says so.
pub(crate) struct Connection {
    http: Pin<Box<http1::Connection<TokioIo<Tap>, Requests>>>,
    state: Arc<ConnState>,
    /// Whether `state` knows whom to wake; a task's waker stays the same.
    begun: bool,
    draining: bool,
}

impl Connection {
    pub(crate) fn new(builder: &http1::Builder, socket: TcpStream, requests: Requests) -> Self {
        let state = requests.connection();
        let io = TokioIo::new(Tap {
            socket,
            state: Arc::clone(&state),
        });
        Self {
            http: Box::pin(builder.serve_connection(io, requests)),
            state,
            begun: false,
            draining: false,
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun {
            self.begun = true;
            self.state.wake_on_ending(cx.waker());
        }
        match self.state.ending() {
            Ending::No => {}
            Ending::Graceful if self.draining => {}
            Ending::Graceful => {
                self.draining = true;
                self.http.as_mut().graceful_shutdown();
            }
            Ending::Now => return Poll::Ready(()),
        }
        self.http.as_mut().poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(error = %fractus_stdx::ErrorChain(&error), "connection ended");
            }
        })
    }
}
