//! The one thread that writes. What arrives while a transaction is on its way to disk waits and
//! becomes the next one, so that a sync is paid by all who wait for it together.
//!
//! There are two kinds of changes. Somebody waits for those that are *asked*: they fail when their
//! transaction does. Those that are *kept* record what has happened already: they are tried again
//! until the disk takes them. A transaction that failed for another reason than a full disk or a
//! lock ends the writer for good: after a failed sync nobody knows what the disk holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use fractus_stdx::ErrorChain;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use thiserror::Error;
#[cfg(test)]
use tokio::sync::oneshot;

use crate::limits::{
    EVENT_BATCH_MAX, EVENT_GATHER_US, EVENT_LINGER_MS, EVENT_REWRITE_MS, EVENT_WRITE_BYTES_MAX,
    EVENT_WRITES_MAX, EVENTS_UNSETTLED_MAX,
};

/// A change was not written.
#[derive(Clone, Debug, Error)]
pub enum WriteError {
    /// As many changes wait as may.
    #[error("as many changes of events wait to be written as may; try again")]
    Full,
    /// The disk is full.
    #[error("the disk is full")]
    NoSpace,
    /// The database could not take it now.
    #[error("the events' database did not take it")]
    Failed(#[source] Arc<rusqlite::Error>),
    /// The node is shutting down, or the disk has failed and nothing is written any more.
    #[error("events are not written any more: the node is shutting down, or its disk has failed")]
    Stopped,
}

/// A change of the database.
trait Change: Send {
    /// About how many bytes it holds.
    fn weight(&self) -> usize;
    /// Makes it. May be called again, in another transaction, when the first one failed.
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Says how it ended: it is on disk, or not in the database.
    fn end(self: Box<Self>, result: Result<(), WriteError>);
}

struct Task<T, A, D> {
    weight: usize,
    act: A,
    answer: Option<T>,
    done: D,
}

impl<T, A, D> Change for Task<T, A, D>
where
    T: Send,
    A: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    D: FnOnce(Result<T, WriteError>) + Send,
{
    fn weight(&self) -> usize {
        self.weight
    }

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.answer = Some((self.act)(connection)?);
        Ok(())
    }

    fn end(self: Box<Self>, result: Result<(), WriteError>) {
        let answer = self.answer;
        (self.done)(result.map(|()| answer.expect("a transaction is made of what was applied")));
    }
}

/// The thread's other end.
#[derive(Debug)]
pub(super) struct Writer {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Kept changes that are not on disk yet.
    unsettled: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    asked: Vec<Box<dyn Change>>,
    /// Bytes of those.
    weight: usize,
    kept: Vec<Box<dyn Change>>,
    /// The writer wants to be woken when so many are asked.
    wanted: usize,
    /// Nothing is taken any more.
    closed: bool,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("asked", &self.asked.len())
            .field("kept", &self.kept.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let thread = Thread {
            inbox: Arc::clone(&inbox),
            connection,
        };
        let thread = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            inbox,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Makes a change of about `weight` bytes. `done` is called once, by the writer or at once.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        weight: usize,
        act: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        done: impl FnOnce(Result<T, WriteError>) + Send + 'static,
    ) {
        let mut waiting = self.inbox.lock();
        let full = waiting.asked.len() >= EVENT_WRITES_MAX
            || waiting.weight.saturating_add(weight) > EVENT_WRITE_BYTES_MAX;
        if waiting.closed || full {
            let error = if waiting.closed {
                WriteError::Stopped
            } else {
                WriteError::Full
            };
            drop(waiting);
            return done(Err(error));
        }
        waiting.weight += weight;
        waiting.asked.push(Box::new(Task {
            weight,
            act,
            answer: None,
            done,
        }));
        if waiting.asked.len() >= waiting.wanted {
            self.inbox.arrived.notify_one();
        }
    }

    /// The same, and waits for it.
    #[cfg(test)]
    pub(super) async fn run<T: Send + 'static>(
        &self,
        weight: usize,
        act: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, WriteError> {
        let (sender, receiver) = oneshot::channel();
        self.ask(weight, act, move |result| {
            // Whoever asked may be gone.
            sender.send(result).ok();
        });
        receiver.await.unwrap_or(Err(WriteError::Stopped))
    }

    /// Makes a change that nobody waits for. `done` is called when it is on disk, or when the
    /// writer has stopped.
    pub(super) fn keep<T: Send + 'static>(
        &self,
        act: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        done: impl FnOnce(Result<T, WriteError>) + Send + 'static,
    ) {
        let mut waiting = self.inbox.lock();
        if waiting.closed {
            drop(waiting);
            return done(Err(WriteError::Stopped));
        }
        self.inbox.unsettled.fetch_add(1, Ordering::Relaxed);
        waiting.kept.push(Box::new(Task {
            weight: 0,
            act,
            answer: None,
            done,
        }));
        // The first begins the time that it may wait.
        if waiting.kept.len() == 1 || waiting.kept.len() == EVENT_BATCH_MAX {
            self.inbox.arrived.notify_one();
        }
    }

    /// Whether what happens is not written down as fast as it happens, or not at all.
    pub(super) fn is_behind(&self) -> bool {
        self.inbox.unsettled.load(Ordering::Relaxed) >= EVENTS_UNSETTLED_MAX || self.is_closed()
    }

    /// Whether nothing is taken any more.
    pub(super) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// Writes what waits, and ends the thread. Blocks.
    pub(super) fn close(&self) {
        self.inbox.lock().closed = true;
        self.inbox.arrived.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The last to hold the engine may have been a change: a thread cannot wait for itself.
        let thread = thread.filter(|thread| thread.thread().id() != thread::current().id());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes events has panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        time: Duration,
    ) -> MutexGuard<'a, Waiting> {
        let woken = self.arrived.wait_timeout(waiting, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for something to do: for what is asked, and then a moment more for those who were
    /// answered last, `expected` of them; for what is kept alone until it has waited long enough.
    /// `None` when nothing is left and nothing will come.
    fn next(&self, expected: usize, gather: Duration) -> Option<Batch> {
        let mut waiting = self.lock();
        waiting.wanted = 1;
        let mut linger = None;
        while waiting.asked.is_empty() && !waiting.closed {
            let mut time = Duration::MAX;
            if !waiting.kept.is_empty() {
                let until = linger
                    .get_or_insert_with(|| Instant::now() + Duration::from_millis(EVENT_LINGER_MS));
                time = until.saturating_duration_since(Instant::now());
                if time.is_zero() || waiting.kept.len() >= EVENT_BATCH_MAX {
                    break;
                }
            }
            waiting = self.wait(waiting, time);
        }
        if !waiting.asked.is_empty() {
            waiting.wanted = expected;
            let until = Instant::now() + gather;
            while waiting.asked.len() < expected && !waiting.closed {
                let time = until.saturating_duration_since(Instant::now());
                if time.is_zero() {
                    break;
                }
                waiting = self.wait(waiting, time);
            }
        }
        if waiting.closed && waiting.asked.is_empty() && waiting.kept.is_empty() {
            return None;
        }
        Some(waiting.take())
    }
}

/// What becomes one transaction.
#[derive(Default)]
struct Batch {
    kept: Vec<Box<dyn Change>>,
    asked: Vec<Box<dyn Change>>,
}

impl Waiting {
    /// Takes as much as fits into one transaction.
    fn take(&mut self) -> Batch {
        let batch = Batch {
            kept: first(&mut self.kept),
            asked: first(&mut self.asked),
        };
        self.weight -= batch
            .asked
            .iter()
            .map(|change| change.weight())
            .sum::<usize>();
        batch
    }
}

fn first(changes: &mut Vec<Box<dyn Change>>) -> Vec<Box<dyn Change>> {
    let rest = changes.split_off(changes.len().min(EVENT_BATCH_MAX));
    mem::replace(changes, rest)
}

struct Thread {
    inbox: Arc<Inbox>,
    connection: Connection,
}

impl Thread {
    /// Writes until the inbox is closed and empty, or the disk fails.
    fn run(mut self) {
        let mut expected = 1;
        let mut gather = Duration::ZERO;
        while let Some(mut batch) = self.inbox.next(expected, gather) {
            expected = batch.asked.len();
            let begin = Instant::now();
            if let Err(error) = self.write(&mut batch) {
                if self.fail(batch, error) {
                    break;
                }
                continue;
            }
            gather = (begin.elapsed() / 4).min(Duration::from_micros(EVENT_GATHER_US));
            self.settled(batch.kept, &Ok(()));
            end(batch.asked, &Ok(()));
        }
        self.stop();
    }

    fn write(&mut self, batch: &mut Batch) -> rusqlite::Result<()> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        for change in batch.kept.iter_mut().chain(&mut batch.asked) {
            change.apply(&transaction)?;
        }
        transaction.commit()
    }

    /// Answers those who asked; true when the writer must stop. What is kept is tried once more by
    /// itself, since it mostly makes room, and otherwise later.
    fn fail(&mut self, batch: Batch, error: rusqlite::Error) -> bool {
        let cause = ErrorChain(&error);
        tracing::error!(error = %cause, "a transaction of events failed");
        let mut fatal = is_fatal(&error);
        let answer = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => WriteError::NoSpace,
            _ if fatal => WriteError::Stopped,
            _ => WriteError::Failed(Arc::new(error)),
        };
        end(batch.asked, &Err(answer));
        let mut alone = Batch {
            kept: batch.kept,
            asked: Vec::new(),
        };
        if !fatal && !alone.kept.is_empty() {
            match self.write(&mut alone) {
                Ok(()) => {
                    self.settled(alone.kept, &Ok(()));
                    return false;
                }
                Err(error) => fatal = is_fatal(&error),
            }
        }
        let mut waiting = self.inbox.lock();
        let later = mem::replace(&mut waiting.kept, alone.kept);
        waiting.kept.extend(later);
        // Whoever fills the disk is slowed down by this; and a node that stops does not wait for
        // room on it.
        let time = Duration::from_millis(EVENT_REWRITE_MS);
        fatal || !waiting.kept.is_empty() && self.inbox.wait(waiting, time).closed
    }

    fn settled(&self, kept: Vec<Box<dyn Change>>, result: &Result<(), WriteError>) {
        self.inbox
            .unsettled
            .fetch_sub(kept.len(), Ordering::Relaxed);
        end(kept, result);
    }

    /// Takes nothing any more, and says so to those who wait.
    fn stop(self) {
        let rest = {
            let mut waiting = self.inbox.lock();
            waiting.closed = true;
            Batch {
                kept: mem::take(&mut waiting.kept),
                asked: mem::take(&mut waiting.asked),
            }
        };
        self.settled(rest.kept, &Err(WriteError::Stopped));
        end(rest.asked, &Err(WriteError::Stopped));
    }
}

fn end(changes: Vec<Box<dyn Change>>, result: &Result<(), WriteError>) {
    for change in changes {
        change.end(result.clone());
    }
}

/// Whether nobody knows what the disk holds after this error, or the next transaction would fail
/// as well.
fn is_fatal(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
        )
    )
}

#[cfg(test)]
mod tests;
