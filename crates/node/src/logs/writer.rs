//! The thread that writes the logs.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use fractus_func::{FunctionName, RequestId};
use fractus_stdx::ErrorChain;
use tokio::sync::broadcast;

use crate::limits::LOG_FILES_OPEN_MAX;
use crate::logs::file::{self, LogFile};
use crate::logs::{Followed, LogLine, Losses, Message, Stream};

#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    losses: Arc<Losses>,
    followers: broadcast::Sender<Followed>,
    open: BTreeMap<FunctionName, Open>,
    /// Counts messages, to tell which file was used last.
    turn: u64,
    /// Whether the last write failed, so that a full disk is reported once.
    failing: bool,
}

#[derive(Debug)]
struct Open {
    file: LogFile,
    used: u64,
}

impl Writer {
    pub(super) fn new(
        folder: PathBuf,
        losses: Arc<Losses>,
        followers: broadcast::Sender<Followed>,
    ) -> Self {
        Self {
            folder,
            losses,
            followers,
            open: BTreeMap::new(),
            turn: 0,
            failing: false,
        }
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            self.handle(first);
            while let Ok(next) = messages.try_recv() {
                self.handle(next);
            }
            self.flush();
        }
    }

    fn handle(&mut self, message: Message) {
        self.turn += 1;
        match message {
            Message::Line {
                function,
                at_ms,
                request_id,
                stream,
                line,
            } => {
                let line = LogLine {
                    seq: 0,
                    at_ms,
                    request_id,
                    stream,
                    line,
                };
                if let Some(lost) = self.losses.take(&function) {
                    self.append(&function, loss(lost, at_ms, request_id));
                }
                self.append(&function, line);
            }
            Message::Flush(done) => {
                self.flush();
                // Whoever asked may be gone.
                done.send(()).ok();
            }
            Message::Remove(function) => {
                self.open.remove(&function);
                let removed = file::remove(&self.folder, &function);
                self.report(&function, removed);
            }
        }
    }

    fn append(&mut self, function: &FunctionName, mut line: LogLine) {
        let appended = self.file(function).and_then(|file| file.append(&mut line));
        let written = appended.is_ok();
        self.report(function, appended);
        if !written {
            self.losses.add(function);
            return;
        }
        if self.followers.receiver_count() > 0 {
            let line = Followed {
                function: function.clone(),
                line: Arc::new(line),
            };
            // The last follower may have gone in this moment.
            drop(self.followers.send(line));
        }
    }

    fn file(&mut self, function: &FunctionName) -> io::Result<&mut LogFile> {
        if !self.open.contains_key(function) {
            if self.open.len() >= LOG_FILES_OPEN_MAX {
                self.close_oldest();
            }
            let open = Open {
                file: LogFile::open(&self.folder, function)?,
                used: self.turn,
            };
            self.open.insert(function.clone(), open);
        }
        let open = self
            .open
            .get_mut(function)
            .expect("it was inserted if it was not there");
        open.used = self.turn;
        Ok(&mut open.file)
    }

    fn close_oldest(&mut self) {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
        if let Some((name, mut open)) = oldest
            .map(|(name, _)| name.clone())
            .and_then(|name| self.open.remove_entry(&name))
        {
            let flushed = open.file.flush();
            self.report(&name, flushed);
        }
    }

    fn flush(&mut self) {
        let flushed: Vec<_> = self
            .open
            .iter_mut()
            .map(|(name, open)| (name.clone(), open.file.flush()))
            .collect();
        for (name, result) in flushed {
            self.report(&name, result);
        }
    }

    /// Says that the disk fails, and that it does so no more; a file that failed is opened anew.
    fn report(&mut self, function: &FunctionName, result: io::Result<()>) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    let error = ErrorChain(&error);
                    tracing::warn!(%function, %error, "log lines are lost: they cannot be written");
                }
                self.failing = true;
                self.open.remove(function);
            }
        }
    }
}

fn loss(lost: u64, at_ms: u64, request_id: RequestId) -> LogLine {
    LogLine {
        seq: 0,
        at_ms,
        request_id,
        stream: Stream::System,
        line: format!(
            "{lost} lines before this one were dropped: they came too fast, or the disk is full"
        ),
    }
}
