//! Who may be connected: so many at once, and whoever waits without a request goes for whoever
//! comes. So nobody who only holds connections open keeps an operator out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The seats of a listener.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

/// Connections without a request, the longest so first.
#[derive(Debug, Default)]
struct Idle {
    next: u64,
    leave: BTreeMap<u64, Arc<Notify>>,
}

/// The seat of one connection; given back when all clones are gone.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    leave: Arc<Notify>,
    /// Where it stands among the idle, if it does.
    place: Mutex<Option<u64>>,
    has_served: AtomicBool,
    /// Held as long as the seat is taken.
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            idle: Mutex::default(),
        })
    }

    /// Takes a seat. When none is free, the connection that has been idle for longest leaves; when
    /// none is idle, the first one to become so.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Seat> {
        if self.free.available_permits() == 0 {
            self.free_one();
        }
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let seat = Arc::new(Seat {
            seats: Arc::clone(self),
            leave: Arc::default(),
            place: Mutex::default(),
            has_served: AtomicBool::new(false),
            _permit: permit.expect("the semaphore is never closed"),
        });
        seat.begin_to_idle();
        seat
    }

    /// Makes the connection leave that has been idle for longest.
    pub(super) fn free_one(&self) {
        if let Some((_, leave)) = self.idle().leave.pop_first() {
            leave.notify_one();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until the seat is wanted by somebody else.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }

    /// Whether there was a request, so that an answer may still be on its way.
    pub(super) fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
    }

    /// Keeps the seat until what is returned is dropped.
    pub(super) fn serve(self: &Arc<Self>) -> Serving {
        self.has_served.store(true, Ordering::Relaxed);
        self.end_to_idle();
        Serving(Arc::clone(self))
    }

    fn place(&self) -> MutexGuard<'_, Option<u64>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_to_idle(&self) {
        let mut idle = self.seats.idle();
        let number = idle.next;
        idle.next += 1;
        idle.leave.insert(number, Arc::clone(&self.leave));
        *self.place() = Some(number);
    }

    fn end_to_idle(&self) {
        let number = self.place().take();
        if let Some(number) = number {
            self.seats.idle().leave.remove(&number);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.end_to_idle();
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct Serving(Arc<Seat>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.begin_to_idle();
        // Somebody may have found nobody idle, and be waiting.
        if self.0.seats.free.available_permits() == 0 {
            self.0.seats.free_one();
        }
    }
}

/// The body of an answer; the request is in progress until it is gone.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _serving: Serving,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
