//! An answer that is being fetched once for all who want it now.
//!
//! Its leader fetches; followers wait for the head and then read the growing body, each at its own
//! pace. As long as it is to be stored all pieces are kept. If it turns out too large, pieces go
//! when all have read them, the origin waits for the slowest, and nobody else may join.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use fractus_func::BodyError;
use http::HeaderMap;
use http_body::SizeHint;
use tokio::sync::Notify;

use crate::body::{Pieces, cut};
use crate::conn::lock;
use crate::limits::PASS_WINDOW;
use crate::store::{Era, Head, Stored};

/// Memory that all running fills of an edge may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    max: u64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            max,
        }
    }

    /// Takes `bytes`; false if that is more than there is, though they count as taken.
    fn take(&self, bytes: u64) -> bool {
        self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.max
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One fetch. Held by its leader or pump, its followers and readers, and the store while it runs.
#[derive(Debug)]
pub(crate) struct Fill {
    /// When the fetch began.
    pub(crate) era: Era,
    budget: Arc<Budget>,
    /// Requests that wait for the head.
    followers: AtomicUsize,
    /// Said when the head is known, or that there is none to come.
    head_known: Notify,
    /// Said when a reader or the last follower has gone, or a piece is taken that is not kept.
    reader_moved: Notify,
    /// Whether `reader_moved` is waited for by a pump that has no room.
    full: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    pieces: VecDeque<Bytes>,
    /// Number of the first of `pieces`.
    first: u64,
    /// Bytes of `pieces`.
    held: u64,
    /// Bytes that have come in all.
    received: u64,
    /// Whether all pieces are kept, to be stored.
    keep: bool,
    end: Option<Result<(), BodyError>>,
    readers: Vec<Option<Place>>,
}

/// What is known of the answer.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Nothing yet.
    Asked,
    /// Its head; the body comes. It may be stored.
    Streaming(Arc<Head>),
    /// It is, or is replaced by, this stored answer.
    Settled(Arc<Stored>),
    /// Nothing that others may use: each asks for itself.
    Released,
}

/// Where a reader is.
#[derive(Debug)]
struct Place {
    next: u64,
    waker: Option<Waker>,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Kept,
    /// Too much to be stored; it goes to the readers alone from here on.
    Passing,
}

impl Fill {
    pub(crate) fn new(era: Era, budget: Arc<Budget>) -> Self {
        Self {
            era,
            budget,
            followers: AtomicUsize::new(0),
            head_known: Notify::new(),
            reader_moved: Notify::new(),
            full: AtomicBool::new(false),
            state: Mutex::new(State {
                stage: Stage::Asked,
                pieces: VecDeque::new(),
                first: 0,
                held: 0,
                received: 0,
                keep: true,
                end: None,
                readers: Vec::new(),
            }),
        }
    }

    /// May a request with these fields wait for this answer? As far as is known.
    pub(crate) fn suits(&self, request: &HeaderMap) -> bool {
        let state = lock(&self.state);
        match &state.stage {
            Stage::Asked => true,
            Stage::Streaming(head) => state.keep && head.policy.vary().matches(request),
            Stage::Settled(stored) => stored.head.policy.vary().matches(request),
            Stage::Released => false,
        }
    }

    pub(crate) fn add_follower(&self) {
        self.followers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_follower(&self) {
        if self.followers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.reader_moved.notify_waiters();
        }
    }

    pub(crate) fn has_followers(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Waits until there is something to use, or nothing to wait for.
    pub(crate) async fn stage(&self) -> Stage {
        let mut known = pin!(self.head_known.notified());
        loop {
            known.as_mut().enable();
            let stage = lock(&self.state).stage.clone();
            if !matches!(stage, Stage::Asked) {
                return stage;
            }
            known.as_mut().await;
            known.set(self.head_known.notified());
        }
    }

    /// Says what is known now.
    pub(crate) fn publish(&self, stage: Stage) {
        lock(&self.state).stage = stage;
        self.head_known.notify_waiters();
    }

    /// Begins to read the body, of `length` bytes if that is known. `None` once pieces have gone.
    pub(crate) fn read(self: &Arc<Self>, length: Option<u64>) -> Option<Reader> {
        let mut state = lock(&self.state);
        if state.first > 0 {
            return None;
        }
        let place = Place {
            next: 0,
            waker: None,
        };
        let free = state.readers.iter().position(Option::is_none);
        let number = free.unwrap_or(state.readers.len());
        if number == state.readers.len() {
            state.readers.push(None);
        }
        state.readers[number] = Some(place);
        Some(Reader {
            fill: Arc::clone(self),
            number,
            skip: 0,
            length,
            left: length.unwrap_or(u64::MAX),
        })
    }

    /// Takes the next piece of the body, of which at most `max` bytes are to be stored.
    pub(crate) fn push(&self, piece: Bytes, max: u64) -> Pushed {
        let length = piece.len() as u64;
        let mut state = lock(&self.state);
        state.received += length;
        state.held += length;
        let has_room = self.budget.take(length);
        state.keep &= has_room && state.received <= max;
        state.pieces.push_back(piece);
        self.drop_read(&mut state);
        let pushed = if state.keep {
            Pushed::Kept
        } else {
            Pushed::Passing
        };
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        pushed
    }

    /// Says that the body is complete, or why it will never be.
    pub(crate) fn end(&self, end: Result<(), BodyError>) {
        let mut state = lock(&self.state);
        state.end = Some(end);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The body as it is to be stored, if all of it is there: `length` bytes if the head said so.
    /// [`BodyError::Disconnected`] if it is not that long.
    pub(crate) fn body(&self, length: Option<u64>) -> Result<Option<Pieces>, BodyError> {
        let state = lock(&self.state);
        if length.is_some_and(|length| length != state.received) {
            return Err(BodyError::Disconnected);
        }
        // The copy of small pieces is made outside of the lock.
        let pieces: Option<Vec<Bytes>> = state.keep.then(|| state.pieces.iter().cloned().collect());
        drop(state);
        Ok(pieces.map(|pieces| Pieces::new(pieces.iter())))
    }

    /// Waits until the slowest reader has taken enough for the next piece; at once while all is
    /// kept. False if all readers are gone and nothing is kept: then nobody wants the rest.
    pub(crate) async fn room(&self) -> bool {
        let mut moved = pin!(self.reader_moved.notified());
        loop {
            moved.as_mut().enable();
            {
                let state = lock(&self.state);
                if !state.keep && !state.has_readers() {
                    return false;
                }
                if state.keep || state.held < PASS_WINDOW {
                    self.full.store(false, Ordering::Relaxed);
                    return true;
                }
                self.full.store(true, Ordering::Relaxed);
            }
            moved.as_mut().await;
            moved.set(self.reader_moved.notified());
        }
    }

    /// Waits until nobody has read or followed for `patience`, whatever has come meanwhile.
    pub(crate) async fn abandoned(&self, patience: std::time::Duration) {
        loop {
            let mut moved = pin!(self.reader_moved.notified());
            moved.as_mut().enable();
            if lock(&self.state).has_readers() || self.has_followers() {
                moved.await;
                continue;
            }
            if tokio::time::timeout(patience, moved).await.is_err()
                && !lock(&self.state).has_readers()
                && !self.has_followers()
            {
                return;
            }
        }
    }

    /// Drops the pieces that need not be kept.
    fn drop_read(&self, state: &mut State) {
        if state.keep {
            return;
        }
        let slowest = state.readers.iter().flatten().map(|place| place.next).min();
        let slowest = slowest.unwrap_or(u64::MAX);
        while state.first < slowest {
            let Some(piece) = state.pieces.pop_front() else {
                break;
            };
            state.first += 1;
            state.held -= piece.len() as u64;
            self.budget.give_back(piece.len() as u64);
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.budget.give_back(lock(&self.state).held);
    }
}

impl State {
    fn has_readers(&self) -> bool {
        self.readers.iter().any(Option::is_some)
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        let places = self.readers.iter_mut().flatten();
        places.filter_map(|place| place.waker.take()).collect()
    }
}

/// Reads a fill's body, or a part of it.
#[derive(Debug)]
pub(crate) struct Reader {
    fill: Arc<Fill>,
    number: usize,
    /// Bytes to leave out before the first that goes out.
    skip: u64,
    /// Of what goes out in all, if known.
    length: Option<u64>,
    left: u64,
}

impl Reader {
    /// Reads the part from `first` to `last`, both included, in place of all.
    pub(crate) fn narrow(self, first: u64, last: u64) -> Self {
        let length = last + 1 - first;
        let mut narrowed = self;
        narrowed.skip = first;
        narrowed.length = Some(length);
        narrowed.left = length;
        narrowed
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = lock(&self.fill.state);
        loop {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            let State {
                pieces,
                first,
                readers,
                end,
                ..
            } = &mut *state;
            let place = readers[self.number]
                .as_mut()
                .expect("a reader's place is its own until it is dropped");
            let at = usize::try_from(place.next - *first).expect("pieces are counted in memory");
            let Some(piece) = pieces.get(at) else {
                return match end {
                    Some(Ok(())) => Poll::Ready(None),
                    Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
                    None => {
                        place.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            };
            place.next += 1;
            let wanted = cut(piece, &mut self.skip, &mut self.left);
            self.fill.drop_read(&mut state);
            if self.fill.full.load(Ordering::Relaxed) {
                self.fill.reader_moved.notify_waiters();
            }
            if let Some(wanted) = wanted {
                return Poll::Ready(Some(Ok(wanted)));
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(_) => SizeHint::with_exact(self.left),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.fill.state);
        state.readers[self.number] = None;
        self.fill.drop_read(&mut state);
        drop(state);
        self.fill.reader_moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
