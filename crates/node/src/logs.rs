//! What functions write, in `DIR/logs/NAME.jsonl`.
//!
//! Calls hand lines to one writer thread over a bounded queue and never wait: what does not fit is
//! dropped, counted, and said in the log. Lines of a function are numbered without a gap, also over
//! restarts. A file that has reached its limit becomes `NAME.jsonl.1`, in place of the one before.
//! Readers read the files, so that memory is bounded however much is written.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fractus_func::limits::LOG_LINE_MAX;
use fractus_func::{FunctionName, LogStream, RequestId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::now_ms;
use crate::limits::{LOG_FOLLOW_LAG, LOG_QUEUE_MAX};

mod file;
mod writer;

/// One line of a function's log, as it is stored and told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct LogLine {
    /// Counts up by one for each line of a function, from 1.
    pub(crate) seq: u64,
    /// When it was written, in milliseconds since the UNIX epoch.
    pub(crate) at_ms: u64,
    /// The call that wrote it.
    pub(crate) request_id: RequestId,
    /// Who wrote it.
    pub(crate) stream: Stream,
    /// What it says, without a line end.
    pub(crate) line: String,
}

/// [`LogStream`] as it is stored.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    System,
}

impl From<LogStream> for Stream {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Stdout => Self::Stdout,
            LogStream::Stderr => Self::Stderr,
            LogStream::System => Self::System,
        }
    }
}

/// The functions' logs. Clones share them; the writer ends with the last.
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    queue: SyncSender<Message>,
    losses: Arc<Losses>,
    followers: broadcast::Sender<Followed>,
}

/// Lines that were dropped since the last one that was taken, by function.
#[derive(Debug, Default)]
struct Losses(Mutex<BTreeMap<FunctionName, u64>>);

/// A line just written, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// The function.
    pub(crate) function: FunctionName,
    /// The line.
    pub(crate) line: Arc<LogLine>,
}

/// What the writer is asked to do.
#[derive(Debug)]
enum Message {
    Line {
        function: FunctionName,
        at_ms: u64,
        request_id: RequestId,
        stream: Stream,
        line: String,
    },
    Flush(SyncSender<()>),
    Remove(FunctionName),
}

impl Losses {
    fn add(&self, function: &FunctionName) {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *losses.entry(function.clone()).or_default() += 1;
    }

    fn take(&self, function: &FunctionName) -> Option<u64> {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        losses.remove(function)
    }
}

impl Logs {
    /// Opens the logs in `folder` and starts the writer.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        let (queue, messages) = sync_channel(LOG_QUEUE_MAX);
        let (followers, _) = broadcast::channel(LOG_FOLLOW_LAG);
        let losses = Arc::<Losses>::default();
        let writer = writer::Writer::new(folder.clone(), Arc::clone(&losses), followers.clone());
        let run = move |messages: Receiver<Message>| writer.run(&messages);
        thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || run(messages))?;
        Ok(Self {
            shared: Arc::new(Shared {
                folder,
                queue,
                losses,
                followers,
            }),
        })
    }

    /// Takes a line, or drops and counts it while too many wait. Never blocks.
    pub(crate) fn write(
        &self,
        function: &FunctionName,
        request_id: RequestId,
        stream: LogStream,
        line: &str,
    ) {
        let message = Message::Line {
            function: function.clone(),
            at_ms: now_ms(),
            request_id,
            stream: stream.into(),
            line: line[..line.floor_char_boundary(LOG_LINE_MAX)].to_owned(),
        };
        match self.shared.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.losses.add(function);
            }
        }
    }

    /// Blocks until all that was taken before is in the files.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.shared.queue.send(Message::Flush(done)).is_ok() {
            // The writer answers, or it is gone and there is nothing to wait for.
            wait.recv().ok();
        }
    }

    /// Removes a function's log. Blocks while the queue is full.
    pub(crate) fn remove(&self, function: &FunctionName) {
        // A writer that is gone writes nothing either.
        drop(self.shared.queue.send(Message::Remove(function.clone())));
    }

    /// Reads lines that are still kept: the first `limit` after number `after`, or the last
    /// `limit`. Blocks for disk.
    pub(crate) fn read(
        &self,
        function: &FunctionName,
        after: Option<u64>,
        limit: usize,
    ) -> io::Result<Vec<LogLine>> {
        self.flush();
        file::read(&self.shared.folder, function, after, limit)
    }

    /// All lines of all functions that are written from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Followed> {
        self.shared.followers.subscribe()
    }
}

#[cfg(test)]
mod tests;
