//! One connection: what hyper reads and writes goes through [`Tap`], which notes what the
//! connection is doing, so that one sweep a worker ends those that stall. A request costs it a few
//! relaxed stores and no timer. It puts answers of ours in the place of those that hyper makes
//! itself.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::answer::Refusal;
use crate::framing::Framing;
use crate::ids::Ids;
use crate::limits::DRAIN_MAX;
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
    /// The client's end, after a refusal.
    Closing,
}

/// How a connection is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No = 0,
    /// After the answer it is at.
    Graceful = 1,
    /// After saying that the head is late.
    Late = 2,
    Now = 3,
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
    /// Whether `framing` is lost.
    lost: AtomicBool,
    /// Whether an origin was told that its request's body broke off.
    upload_lost: AtomicBool,
    /// Whether hyper has bytes of an answer of ours, or will have. Else all it writes is its own.
    answering: AtomicBool,
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
            lost: AtomicBool::new(false),
            upload_lost: AtomicBool::new(false),
            answering: AtomicBool::new(false),
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
            2 => Phase::Busy,
            _ => Phase::Closing,
        };
        (phase, packed >> 2)
    }

    /// hyper has read a request's head.
    pub(crate) fn begin_request(&self) {
        self.answering.store(true, Ordering::Relaxed);
        self.enter(Phase::Busy);
    }

    /// An answer has been handed to the socket's buffer, or given up.
    pub(crate) fn end_request(&self) {
        let in_head = lock(&self.framing).in_head();
        self.enter(if in_head { Phase::Head } else { Phase::Idle });
    }

    /// Why this connection's request number `request` must be refused, as far as is known.
    pub(crate) fn refusal(&self, request: u64) -> Option<Refusal> {
        if !self.is_lost() {
            return None;
        }
        lock(&self.framing).refusal(request)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The request that is being answered has a body that broke off, and its origin is told so.
    pub(crate) fn lose_upload(&self) {
        lock(&self.framing).lose(Refusal::Chunk);
        self.lost.store(true, Ordering::Release);
        self.upload_lost.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn has_lost_upload(&self) -> bool {
        self.upload_lost.load(Ordering::Acquire)
    }

    /// Notes what came in, nothing at its end. Returns how much of it hyper may see.
    fn read(&self, bytes: &[u8]) -> usize {
        let mut framing = lock(&self.framing);
        let was_in_head = framing.in_head();
        if bytes.is_empty() {
            framing.end();
        }
        let seen = framing.read(bytes);
        if framing.in_head() && !was_in_head && self.phase().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
        if framing.is_lost() {
            self.lost.store(true, Ordering::Release);
        }
        seen
    }

    /// hyper has no more bytes to write.
    fn flushed(&self) {
        if self.phase().0 != Phase::Busy {
            self.answering.store(false, Ordering::Relaxed);
        }
    }

    /// What to say in place of an answer of hyper's with this status.
    fn refusal_for(&self, status: &[u8]) -> Refusal {
        match status {
            b"414" => Refusal::TargetTooLong,
            b"431" => Refusal::HeadTooLarge,
            _ => self.refusal(u64::MAX).unwrap_or(Refusal::Head),
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
        let (since, allowed, ending) = match self.phase() {
            _ if blocked != 0 => (blocked - 1, patience.stall, Ending::Now),
            (Phase::Idle, since) => (since, patience.idle, Ending::Now),
            (Phase::Head, since) => (since, patience.header, Ending::Late),
            (Phase::Closing, since) => (since, patience.header, Ending::Now),
            (Phase::Busy, _) => return,
        };
        if self.clock.now().saturating_sub(since) > allowed {
            self.end(ending);
        }
    }

    /// Ends the connection once it is idle.
    pub(crate) fn end_gracefully(&self) {
        self.end(Ending::Graceful);
    }

    fn end(&self, ending: Ending) {
        self.ending.fetch_max(ending as u8, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }

    fn ending(&self) -> Ending {
        match self.ending.load(Ordering::Relaxed) {
            0 => Ending::No,
            1 => Ending::Graceful,
            2 => Ending::Late,
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
    ids: Arc<Ids>,
    /// What is left to send of an answer that takes the place of hyper's. It is the last one.
    last: Option<Bytes>,
    /// Bytes read for nothing since this side has said its last.
    drained: Option<usize>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.ending() == Ending::Late {
            if lock(&self.state.framing).in_head() {
                self.refuse(Refusal::HeadTimeout);
                ready!(self.poll_last(cx))?;
            }
            return Poll::Ready(Ok(()));
        }
        if self.state.is_lost() && lock(&self.state.framing).is_at_end() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let seen = self.state.read(&buf.filled()[before..]);
        buf.set_filled(before + seen);
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

    /// Answers in hyper's place.
    fn refuse(&mut self, refusal: Refusal) {
        if self.last.is_none() {
            let id = self.ids.draw();
            tracing::debug!(request = %id, ?refusal, "refused");
            self.last = Some(refusal.to_bytes(id));
        }
    }

    /// Takes what hyper answers by itself, and answers in its place. It does that when it cannot
    /// read a head, and says no more than a status.
    fn replace(&mut self, written: &[u8]) -> bool {
        if self.state.answering.load(Ordering::Relaxed) {
            return false;
        }
        let status = written.get(9..12).unwrap_or_default();
        self.refuse(self.state.refusal_for(status));
        true
    }

    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(last) = self.last.as_ref().filter(|last| last.has_remaining()) {
            let written = Pin::new(&mut self.socket).poll_write(cx, last);
            let count = ready!(self.note(written))?;
            if let Some(last) = &mut self.last {
                last.advance(count);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on for nothing, for a while: closed with bytes unread, the connection would be reset,
    /// and the refusal lost to a client that is still sending.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); 4 << 10];
        while self.state.ending() == Ending::No {
            let mut buf = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf));
            let count = buf.filled().len();
            let drained = self.drained.insert(self.drained.unwrap_or(0) + count);
            if read.is_err() || count == 0 || *drained > DRAIN_MAX {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replace(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replace(bufs.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last(cx))?;
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.drained.is_none() {
            ready!(self.poll_last(cx))?;
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            if self.last.is_none() && !self.state.is_lost() {
                return Poll::Ready(Ok(()));
            }
            self.drained = Some(0);
            self.state.enter(Phase::Closing);
        }
        self.poll_drain(cx).map(Ok)
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
            ids: requests.ids(),
            last: None,
            drained: None,
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
            // The tap sees to it.
            Ending::No | Ending::Late => {}
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
