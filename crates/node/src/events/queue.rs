//! Queues: messages that wait until a function has worked them off.
//!
//! As in SQS, a message that is taken is hidden for a time rather than removed, comes again unless
//! it is deleted before, and goes to another queue when it came too often. Each time that it is
//! taken is on disk before it is handed out, so that a message that brings down the node counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fractus_func::RequestId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

use crate::events::dispatch::{Core, held};
use crate::events::index::Key;
use crate::events::store::{self, OpenError, Reader, parsed, raw};
use crate::events::writer::WriteError;
use crate::limits::{QUEUE_EXPIRED_MAX, QUEUE_NAME_MAX, QUEUES_MAX};

/// How a queue treats its messages (SQS: attributes of a queue).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct QueueSpec {
    /// A message that was taken and not deleted comes again after this time, in milliseconds.
    pub(crate) visibility_ms: u64,
    /// Older messages are dropped, in milliseconds.
    pub(crate) retention_ms: u64,
    /// A message that was taken so often goes to the dead letter queue instead of coming again.
    pub(crate) max_receives: Option<u32>,
    /// The name of that queue. While it does not exist, messages stay.
    pub(crate) dead_letter: Option<String>,
}

impl Default for QueueSpec {
    /// SQS's.
    fn default() -> Self {
        Self {
            visibility_ms: 30_000,
            retention_ms: 4 * 24 * 3_600 * 1_000,
            max_receives: None,
            dead_letter: None,
        }
    }
}

/// What is sent to a queue.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    /// The text; the caller has checked its length.
    pub(crate) body: String,
    /// Its MD5 (RFC 1321), in hexadecimal.
    pub(crate) md5: String,
    /// Its attributes, in the form of `messageAttributes` of an SQS event: an object.
    pub(crate) attributes: Option<Box<RawValue>>,
    /// It comes after this time, in milliseconds.
    pub(crate) delay_ms: u64,
}

/// A queue and how it stands. Times are milliseconds since the UNIX epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct QueueInfo {
    /// Its name.
    pub(crate) name: String,
    /// How it treats messages.
    pub(crate) spec: QueueSpec,
    /// When it was made.
    pub(crate) created_ms: u64,
    /// Messages that may be taken now.
    pub(crate) ready: u64,
    /// Messages that functions work at.
    pub(crate) in_flight: u64,
    /// Messages that come later: they were delayed, or not worked off.
    pub(crate) hidden: u64,
    /// When the oldest one was sent.
    pub(crate) oldest_ms: Option<u64>,
}

/// A queue could not be used.
#[derive(Clone, Debug, Error)]
pub(crate) enum QueueError {
    /// There is no queue of this name.
    #[error("there is no queue {name}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The name is none.
    #[error("a queue's name is 1 to {QUEUE_NAME_MAX} of A-Z, a-z, 0-9, - and _")]
    Name,
    /// There are as many queues as may be.
    #[error("a node has at most {QUEUES_MAX} queues")]
    TooMany,
    /// As many messages and events or bytes wait as may.
    #[error("as many messages wait as may; try again")]
    Full,
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

fn not_found(name: &str) -> QueueError {
    QueueError::NotFound {
        name: name.to_owned(),
    }
}

/// A message as it is handed out.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) seq: u64,
    pub(super) id: RequestId,
    pub(super) sent_ms: u64,
    pub(super) first_receive_ms: u64,
    /// How often it was taken, this time included.
    pub(super) receives: u32,
    pub(super) md5: String,
    /// JSON.
    pub(super) attributes: Box<RawValue>,
    pub(super) body: String,
}

/// The queues in memory. Like the index of events, the writer's thread changes them in the order
/// of their rows; what is taken is noted at once.
#[derive(Debug)]
pub(super) struct Queues {
    table: Mutex<BTreeMap<String, Queue>>,
    /// Messages came, or a function has ended.
    pub(super) changed: Notify,
}

#[derive(Debug)]
struct Queue {
    spec: QueueSpec,
    created_ms: u64,
    /// Bytes of messages, by when they are visible.
    waiting: BTreeMap<Key, u64>,
    /// Bytes of messages that are taken.
    taken: BTreeMap<u64, u64>,
}

impl Queue {
    fn new(spec: QueueSpec, created_ms: u64) -> Self {
        Self {
            spec,
            created_ms,
            waiting: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    /// Empties it; answers the bytes of each message.
    fn clear(&mut self) -> Vec<u64> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        let taken = std::mem::take(&mut self.taken).into_values();
        waiting.chain(taken).collect()
    }
}

impl Queues {
    /// Reads the queues and what waits in them; what waits is counted in `core`.
    pub(super) fn load(reader: &Reader, core: &Core) -> Result<Self, OpenError> {
        let queues = reader.read(|connection| {
            let mut query = connection.prepare("SELECT * FROM queues")?;
            let rows = query.query_map([], read_queue)?;
            rows.collect::<rusqlite::Result<BTreeMap<_, _>>>()
        });
        let mut table = queues.map_err(store::sqlite("read"))?;
        let messages = reader.read(|connection| {
            let mut query =
                connection.prepare("SELECT seq, queue, visible_ms, weight FROM messages")?;
            let rows = query.query_map([], |row| {
                Ok((row.get(1)?, (row.get(2)?, row.get(0)?), row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, Key, u64)>>>()
        });
        for (name, key, weight) in messages.map_err(store::sqlite("read"))? {
            core.recount(key.1, weight);
            // A message's queue is deleted together with it.
            if let Some(queue) = table.get_mut(&name) {
                queue.waiting.insert(key, weight);
            }
        }
        Ok(Self {
            table: Mutex::new(table),
            changed: Notify::new(),
        })
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a queue, or changes how one treats its messages.
    pub(super) async fn put(
        self: &Arc<Self>,
        core: &Core,
        name: &str,
        spec: QueueSpec,
    ) -> Result<(), QueueError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > QUEUE_NAME_MAX || !name.bytes().all(plain) {
            return Err(QueueError::Name);
        }
        {
            let table = self.table();
            if table.len() >= QUEUES_MAX && !table.contains_key(name) {
                return Err(QueueError::TooMany);
            }
        }
        let (created_ms, row_name, row) = (core.clock.now(), name.to_owned(), spec.clone());
        let act = move |connection: &Connection| put_queue(connection, &row_name, &row, created_ms);
        let (queues, name) = (Arc::clone(self), name.to_owned());
        let change = move |()| {
            let mut table = queues.table();
            let queue = table
                .entry(name)
                .or_insert_with(|| Queue::new(spec.clone(), created_ms));
            queue.spec = spec;
            drop(table);
            queues.changed.notify_one();
        };
        Ok(ask(core, 0, act, change).await?)
    }

    /// Removes a queue and its messages; false when there is none.
    pub(super) async fn remove(
        self: &Arc<Self>,
        core: &Arc<Core>,
        name: &str,
    ) -> Result<bool, WriteError> {
        let of = name.to_owned();
        let act = move |connection: &Connection| {
            connection.execute("DELETE FROM messages WHERE queue = ?1", [&of])?;
            connection.execute("DELETE FROM queues WHERE name = ?1", [&of])
        };
        let (queues, of, name) = (Arc::clone(self), Arc::clone(core), name.to_owned());
        let change = move |rows| {
            let queue = queues.table().remove(&name);
            for weight in queue.map(|mut queue| queue.clear()).unwrap_or_default() {
                of.release(weight);
            }
            rows > 0
        };
        ask(core, 0, act, change).await
    }

    /// Removes the messages of a queue, those that functions work at included.
    pub(super) async fn purge(
        self: &Arc<Self>,
        core: &Arc<Core>,
        name: &str,
    ) -> Result<(), QueueError> {
        let of = name.to_owned();
        let act = move |connection: &Connection| {
            connection.execute("DELETE FROM messages WHERE queue = ?1", [&of])
        };
        let (queues, of) = (Arc::clone(self), Arc::clone(core));
        let (change_of, name) = (name.to_owned(), name);
        let change = move |_| {
            let cleared = queues.table().get_mut(&change_of).map(Queue::clear);
            for weight in cleared.iter().flatten() {
                of.release(*weight);
            }
            cleared.is_some()
        };
        let found = ask(core, 0, act, change).await?;
        if found { Ok(()) } else { Err(not_found(name)) }
    }

    /// Sends a message; it is durable when this answers its id.
    pub(super) async fn send(
        self: &Arc<Self>,
        core: &Arc<Core>,
        name: &str,
        message: NewMessage,
    ) -> Result<RequestId, QueueError> {
        let id = random_id();
        let attributes = message
            .attributes
            .map_or("{}".to_owned(), |json| json.get().to_owned());
        let weight = (message.body.len() + attributes.len()) as u64;
        if !core.reserve(weight) {
            return Err(QueueError::Full);
        }
        let (seq, sent_ms) = (core.seq(), core.clock.now());
        let visible_ms = sent_ms.saturating_add(message.delay_ms);
        let of = name.to_owned();
        let act = move |connection: &Connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO messages
                 SELECT ?1, name, ?3, ?4, NULL, 0, ?5, ?6, ?7, ?8, ?9
                 FROM queues WHERE name = ?2",
            )?;
            insert.execute(params![
                seq,
                of,
                id.to_string(),
                sent_ms,
                visible_ms,
                weight,
                message.md5,
                attributes,
                message.body
            ])
        };
        let (queues, of, sent) = (Arc::clone(self), Arc::clone(core), name.to_owned());
        let (sender, receiver) = oneshot::channel();
        let done = move |result: Result<usize, WriteError>| {
            let result = result.map_err(QueueError::Write).and_then(|rows| {
                let mut table = queues.table();
                let queue = table.get_mut(&sent).filter(|_| rows > 0);
                let queue = queue.ok_or_else(|| not_found(&sent))?;
                queue.waiting.insert((visible_ms, seq), weight);
                Ok(id)
            });
            match result {
                Ok(_) => queues.changed.notify_one(),
                Err(_) => of.release(weight),
            }
            // Whoever asked may be gone.
            sender.send(result).ok();
        };
        core.writer.ask(held(weight), act, done);
        receiver.await.unwrap_or(Err(WriteError::Stopped.into()))
    }

    /// One queue, or all.
    pub(super) async fn list(&self, core: &Core, of: Option<&str>) -> Vec<QueueInfo> {
        let now_ms = core.clock.now();
        let mut infos = self.counted(of, now_ms);
        let reader = core.reader.clone();
        let oldest = tokio::task::spawn_blocking(move || {
            for info in &mut infos {
                let oldest = reader.read(|connection| oldest_ms(connection, &info.name));
                info.oldest_ms = oldest.ok().flatten();
            }
            infos
        });
        oldest.await.expect("asking the database does not panic")
    }

    fn counted(&self, of: Option<&str>, now_ms: u64) -> Vec<QueueInfo> {
        let table = self.table();
        let wanted = table
            .iter()
            .filter(|(name, _)| of.is_none_or(|of| of == *name));
        let info = wanted.map(|(name, queue)| {
            let ready = queue.waiting.range(..=(now_ms, u64::MAX)).count();
            QueueInfo {
                name: name.clone(),
                spec: queue.spec.clone(),
                created_ms: queue.created_ms,
                ready: ready as u64,
                in_flight: queue.taken.len() as u64,
                hidden: (queue.waiting.len() - ready) as u64,
                oldest_ms: None,
            }
        });
        info.collect()
    }

    /// Drops messages that are older than their queue keeps them, a bounded number.
    pub(super) async fn expire(self: &Arc<Self>, core: &Arc<Core>) {
        let now_ms = core.clock.now();
        let limits: Vec<_> = self
            .table()
            .iter()
            .filter(|(_, queue)| !queue.waiting.is_empty())
            .map(|(name, queue)| (name.clone(), now_ms.saturating_sub(queue.spec.retention_ms)))
            .collect();
        for (name, before_ms) in limits {
            let of = name.clone();
            let act = move |connection: &Connection| delete_expired(connection, &of, before_ms);
            let (queues, core_of) = (Arc::clone(self), Arc::clone(core));
            let change = move |expired: Vec<Key>| {
                for key in expired {
                    queues.forget(&core_of, &name, key);
                }
            };
            // Later, then.
            ask(core, 0, act, change).await.ok();
        }
    }

    /// A message is gone for good.
    fn forget(&self, core: &Core, name: &str, key: Key) {
        let mut table = self.table();
        let queue = table.get_mut(name);
        let weight = queue.and_then(|queue| {
            let waiting = queue.waiting.remove(&key);
            waiting.or_else(|| queue.taken.remove(&key.1))
        });
        drop(table);
        // A queue that was emptied meanwhile has given back all.
        if let Some(weight) = weight {
            core.release(weight);
        }
    }

    /// When a batch of up to `size` messages may be taken: at once if there are so many, otherwise
    /// when the first has waited for `window_ms`. `None` when nothing waits.
    pub(super) fn batch_due(
        &self,
        name: &str,
        size: usize,
        window_ms: u64,
        now_ms: u64,
    ) -> Option<u64> {
        let table = self.table();
        let queue = table.get(name)?;
        let (visible_ms, _) = queue.waiting.first_key_value()?.0;
        let due_ms = visible_ms.saturating_add(window_ms);
        if due_ms > now_ms {
            let ready = queue.waiting.range(..=(now_ms, u64::MAX));
            if ready.take(size).count() == size {
                return Some(now_ms);
            }
        }
        Some(due_ms)
    }

    /// Takes up to `size` messages of `bytes` together, but at least one if any is visible.
    pub(super) fn take(&self, name: &str, size: usize, bytes: u64, now_ms: u64) -> Vec<u64> {
        let mut table = self.table();
        let Some(queue) = table.get_mut(name) else {
            return Vec::new();
        };
        let (mut taken, mut sum) = (Vec::new(), 0_u64);
        while taken.len() < size
            && let Some(first) = queue.waiting.first_entry()
        {
            let (visible_ms, seq) = *first.key();
            sum = sum.saturating_add(*first.get());
            if visible_ms > now_ms || (sum > bytes && !taken.is_empty()) {
                break;
            }
            queue.taken.insert(seq, first.remove());
            taken.push(seq);
        }
        taken
    }

    /// Gives a message that was taken back to its queue.
    pub(super) fn give_back(&self, name: &str, seq: u64, visible_ms: u64) {
        let mut table = self.table();
        if let Some(queue) = table.get_mut(name)
            && let Some(weight) = queue.taken.remove(&seq)
        {
            queue.waiting.insert((visible_ms, seq), weight);
        }
        drop(table);
        self.changed.notify_one();
    }

    /// Writes down that these messages were taken, and answers them. Those that came too often are
    /// moved away, those that are gone are left out. When it fails, all are given back.
    pub(super) async fn receive(
        self: &Arc<Self>,
        core: &Arc<Core>,
        name: &str,
        seqs: Vec<u64>,
    ) -> Result<Received, WriteError> {
        let spec = self.table().get(name).map(|queue| queue.spec.clone());
        let (spec, now_ms) = (spec.unwrap_or_default(), core.clock.now());
        let visible_ms = now_ms.saturating_add(spec.visibility_ms);
        let (sender, receiver) = oneshot::channel();
        let act = {
            let seqs = seqs.clone();
            move |connection: &Connection| {
                let rows = seqs.iter().map(|seq| {
                    let hand_out = |seq| hand_out(connection, seq, &spec, now_ms, visible_ms);
                    Ok((*seq, hand_out(*seq)?))
                });
                rows.collect::<rusqlite::Result<Vec<_>>>()
            }
        };
        let (queues, of, name) = (Arc::clone(self), Arc::clone(core), name.to_owned());
        let done = move |result: Result<Vec<(u64, Handed)>, WriteError>| {
            let result = result.map(|rows| {
                let kept = rows.into_iter().filter_map(|(seq, handed)| match handed {
                    Handed::Out(message) => Some(message),
                    Handed::Away(to) => {
                        queues.redirect(&name, &to, seq, now_ms);
                        None
                    }
                    Handed::Gone => {
                        queues.forget(&of, &name, (u64::MAX, seq));
                        None
                    }
                });
                Received {
                    messages: kept.collect(),
                    visible_ms,
                }
            });
            if result.is_err() {
                let later_ms = now_ms.saturating_add(of.config.backoff_first_ms);
                for seq in seqs {
                    queues.give_back(&name, seq, later_ms);
                }
            }
            sender.send(result).ok();
        };
        core.writer.ask(0, act, done);
        receiver.await.unwrap_or(Err(WriteError::Stopped))
    }

    /// A message that was taken is in another queue now.
    fn redirect(&self, from: &str, to: &str, seq: u64, visible_ms: u64) {
        let mut table = self.table();
        let weight = table
            .get_mut(from)
            .and_then(|queue| queue.taken.remove(&seq));
        if let Some(weight) = weight
            && let Some(queue) = table.get_mut(to)
        {
            queue.waiting.insert((visible_ms, seq), weight);
        }
        drop(table);
        self.changed.notify_one();
    }

    /// Messages are worked off.
    pub(super) fn delete(self: &Arc<Self>, core: &Arc<Core>, name: &str, seqs: Vec<u64>) {
        let act = {
            let seqs = seqs.clone();
            move |connection: &Connection| {
                let mut delete =
                    connection.prepare_cached("DELETE FROM messages WHERE seq = ?1")?;
                seqs.iter()
                    .try_for_each(|seq| delete.execute([seq]).map(drop))
            }
        };
        let (queues, of, name) = (Arc::clone(self), Arc::clone(core), name.to_owned());
        core.writer.keep(act, move |result| {
            for seq in seqs.iter().filter(|_| result.is_ok()) {
                queues.forget(&of, &name, (u64::MAX, *seq));
            }
        });
    }

    /// Messages did not reach their function: they were not received.
    pub(super) fn untake(
        self: &Arc<Self>,
        core: &Core,
        name: &str,
        seqs: Vec<u64>,
        visible_ms: u64,
    ) {
        let act = {
            let seqs = seqs.clone();
            move |connection: &Connection| {
                let mut update = connection.prepare_cached(
                    "UPDATE messages SET receives = receives - 1, visible_ms = ?2 WHERE seq = ?1",
                )?;
                let mut put_off = |seq: &u64| update.execute([*seq, visible_ms]).map(drop);
                seqs.iter().try_for_each(&mut put_off)
            }
        };
        let (queues, name) = (Arc::clone(self), name.to_owned());
        core.writer.keep(act, move |result| {
            for seq in seqs.iter().filter(|_| result.is_ok()) {
                queues.give_back(&name, *seq, visible_ms);
            }
        });
    }
}

/// Messages that were handed out.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) messages: Vec<Message>,
    /// When they come again.
    pub(super) visible_ms: u64,
}

/// What became of a message that was taken.
enum Handed {
    Out(Message),
    /// To the dead letter queue of this name.
    Away(String),
    Gone,
}

/// An id that nothing has.
pub(super) fn random_id() -> RequestId {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the kernel has random bytes");
    RequestId::from_random(u128::from_le_bytes(bits))
}

/// Makes a change and, if it was made, another one in memory, on the writer's thread.
async fn ask<T: Send + 'static, U: Send + 'static>(
    core: &Core,
    weight: usize,
    act: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    change: impl FnOnce(T) -> U + Send + 'static,
) -> Result<U, WriteError> {
    let (sender, receiver) = oneshot::channel();
    core.writer.ask(weight, act, |result| {
        // Whoever asked may be gone.
        sender.send(result.map(change)).ok();
    });
    receiver.await.unwrap_or(Err(WriteError::Stopped))
}

fn read_queue(row: &Row<'_>) -> rusqlite::Result<(String, Queue)> {
    let spec = QueueSpec {
        visibility_ms: row.get(2)?,
        retention_ms: row.get(3)?,
        max_receives: row.get(4)?,
        dead_letter: row.get(5)?,
    };
    Ok((row.get(0)?, Queue::new(spec, row.get(1)?)))
}

fn put_queue(
    connection: &Connection,
    name: &str,
    spec: &QueueSpec,
    created_ms: u64,
) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT INTO queues VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE
         SET visibility_ms = excluded.visibility_ms, retention_ms = excluded.retention_ms,
             max_receives = excluded.max_receives, dead_letter = excluded.dead_letter",
    )?;
    let row = params![
        name,
        created_ms,
        spec.visibility_ms,
        spec.retention_ms,
        spec.max_receives,
        spec.dead_letter
    ];
    put.execute(row).map(drop)
}

fn oldest_ms(connection: &Connection, queue: &str) -> rusqlite::Result<Option<u64>> {
    let mut query =
        connection.prepare_cached("SELECT min(sent_ms) FROM messages WHERE queue = ?1")?;
    query.query_row([queue], |row| row.get(0))
}

fn delete_expired(
    connection: &Connection,
    queue: &str,
    before_ms: u64,
) -> rusqlite::Result<Vec<Key>> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM messages WHERE seq IN
             (SELECT seq FROM messages WHERE queue = ?1 AND sent_ms < ?2 LIMIT ?3)
         RETURNING visible_ms, seq",
    )?;
    let rows = delete.query_map(params![queue, before_ms, QUEUE_EXPIRED_MAX], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    rows.collect()
}

/// Counts that a message is handed out, or moves it to the dead letter queue if it was too often.
fn hand_out(
    connection: &Connection,
    seq: u64,
    spec: &QueueSpec,
    now_ms: u64,
    visible_ms: u64,
) -> rusqlite::Result<Handed> {
    if let (Some(max), Some(to)) = (spec.max_receives, &spec.dead_letter) {
        let mut away = connection.prepare_cached(
            "UPDATE messages SET queue = ?2, receives = 0, first_receive_ms = NULL, visible_ms = ?4
             WHERE seq = ?1 AND receives >= ?3 AND EXISTS (SELECT 1 FROM queues WHERE name = ?2)",
        )?;
        if away.execute(params![seq, to, max, now_ms])? > 0 {
            return Ok(Handed::Away(to.clone()));
        }
    }
    let mut update = connection.prepare_cached(
        "UPDATE messages SET receives = receives + 1, visible_ms = ?3,
             first_receive_ms = coalesce(first_receive_ms, ?2)
         WHERE seq = ?1
         RETURNING seq, id, sent_ms, first_receive_ms, receives, md5, attributes, body",
    )?;
    let message = update.query_row(params![seq, now_ms, visible_ms], |row| {
        Ok(Message {
            seq: row.get(0)?,
            id: parsed(row, 1)?,
            sent_ms: row.get(2)?,
            first_receive_ms: row.get(3)?,
            receives: row.get(4)?,
            md5: row.get(5)?,
            attributes: raw(row, 6)?,
            body: row.get(7)?,
        })
    });
    let message = message.optional()?;
    Ok(message.map_or(Handed::Gone, Handed::Out))
}

#[cfg(test)]
pub(super) mod tests;
