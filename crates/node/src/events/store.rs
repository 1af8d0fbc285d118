//! The database: its tables, and each statement on events and letters.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::FunctionName;
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::events::policy::State;
use crate::events::{Destination, Event, Letter, Source};
use crate::limits::EVENT_LOG_PAGES;

/// The schema's version, in `user_version`.
const SCHEMA_VERSION: i64 = 1;
/// What is asked without its payload comes before it: a long row continues on pages of its own.
const SCHEMA: &str = "
    CREATE TABLE events (
        seq            INTEGER PRIMARY KEY,
        id             TEXT NOT NULL UNIQUE,
        function       TEXT NOT NULL,
        source         INTEGER NOT NULL,
        enqueued_ms    INTEGER NOT NULL,
        attempts       INTEGER NOT NULL,
        throttles      INTEGER NOT NULL,
        due_ms         INTEGER NOT NULL,
        weight         INTEGER NOT NULL,
        qualifier      TEXT,
        trace          TEXT,
        client_context TEXT,
        payload        BLOB NOT NULL
    ) STRICT;
    CREATE INDEX events_by_function ON events (function);
    CREATE TABLE letters (
        seq         INTEGER PRIMARY KEY,
        event       TEXT NOT NULL,
        function    TEXT NOT NULL,
        destination TEXT NOT NULL,
        tries       INTEGER NOT NULL,
        due_ms      INTEGER NOT NULL,
        attributes  TEXT NOT NULL,
        body        BLOB NOT NULL
    ) STRICT;
    CREATE TABLE schedules (
        function       TEXT NOT NULL,
        name           TEXT NOT NULL,
        expression     TEXT NOT NULL,
        timezone       TEXT NOT NULL,
        qualifier      TEXT,
        payload        BLOB,
        decided_ms     INTEGER NOT NULL,
        last_fire_ms   INTEGER,
        missed         INTEGER NOT NULL,
        last_missed_ms INTEGER,
        PRIMARY KEY (function, name)
    ) STRICT;
    CREATE TABLE queues (
        name          TEXT PRIMARY KEY,
        created_ms    INTEGER NOT NULL,
        visibility_ms INTEGER NOT NULL,
        retention_ms  INTEGER NOT NULL,
        max_receives  INTEGER,
        dead_letter   TEXT
    ) STRICT;
    CREATE TABLE messages (
        seq              INTEGER PRIMARY KEY,
        queue            TEXT NOT NULL,
        id               TEXT NOT NULL,
        sent_ms          INTEGER NOT NULL,
        first_receive_ms INTEGER,
        receives         INTEGER NOT NULL,
        visible_ms       INTEGER NOT NULL,
        weight           INTEGER NOT NULL,
        md5              TEXT NOT NULL,
        attributes       TEXT NOT NULL,
        body             TEXT NOT NULL
    ) STRICT;
    CREATE INDEX messages_by_queue ON messages (queue, sent_ms);
    PRAGMA user_version = 1;";

/// The events cannot be read.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The database or the disk below it failed.
    #[error("the events cannot be {action}")]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// What the database said.
        #[source]
        source: rusqlite::Error,
    },
    /// Written by a later version of Fractus.
    #[error(
        "the events have schema version {found} and this Fractus knows {SCHEMA_VERSION}: run a \
         newer one"
    )]
    Newer {
        /// The version found.
        found: i64,
    },
    /// There is no thread to write with.
    #[error("no thread can be started for the events")]
    Thread(#[source] std::io::Error),
}

pub(super) fn sqlite(action: &'static str) -> impl Fn(rusqlite::Error) -> OpenError {
    move |source| OpenError::Sqlite { action, source }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Opened {
    /// For the one who writes.
    pub(super) connection: Connection,
    /// For all others.
    pub(super) reader: Reader,
}

/// Reads what is committed. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Reader(Arc<Mutex<Connection>>);

impl Reader {
    /// Reads. Blocks.
    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        ask(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens the database, or makes one.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let connection = Connection::open(path)
        .and_then(prepare)
        .map_err(sqlite("opened"))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    match version.map_err(sqlite("opened"))? {
        0 => {
            let make = connection.unchecked_transaction().and_then(|transaction| {
                transaction.execute_batch(SCHEMA)?;
                transaction.commit()
            });
            make.map_err(sqlite("given their tables"))?;
        }
        SCHEMA_VERSION => {}
        found => return Err(OpenError::Newer { found }),
    }
    grow_log(&connection, path).map_err(sqlite("given their log"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags)
        .and_then(|reader| {
            reader.busy_timeout(Duration::from_secs(10))?;
            Ok(reader)
        })
        .map_err(sqlite("opened"))?;
    Ok(Opened {
        connection,
        reader: Reader(Arc::new(Mutex::new(reader))),
    })
}

fn prepare(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", EVENT_LOG_PAGES)?;
    // In KiB: the tree of ids is written to at random places.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Makes the write-ahead log as long as it ever gets. Syncing bytes that were written over takes a
/// fraction of the time that a file takes that grew, and every event waits for that. A full disk
/// goes without.
fn grow_log(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let length = Path::new(&log).metadata().map_or(0, |file| file.len());
    if length >= EVENT_LOG_PAGES * 4096 {
        return Ok(());
    }
    // A crash in between leaves the table.
    let filled = connection.execute_batch(&format!(
        "DROP TABLE IF EXISTS filler;
         CREATE TABLE filler (bytes BLOB);
         INSERT INTO filler VALUES (zeroblob({}));
         DROP TABLE filler;",
        EVENT_LOG_PAGES * 4096
    ));
    match filled {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!("the disk is full: events are slow, if they can be taken at all");
        }
        filled => filled?,
    }
    // Answers a row of numbers; whether all could be written back does not matter.
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
}

/// An event as the index needs it.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) seq: u64,
    pub(super) function: FunctionName,
    pub(super) due_ms: u64,
    pub(super) weight: u64,
}

/// A letter as the index needs it.
#[derive(Debug)]
pub(super) struct LetterRow {
    pub(super) seq: u64,
    pub(super) destination: Destination,
    pub(super) due_ms: u64,
    pub(super) weight: u64,
}

/// All events that are not done.
pub(super) fn event_rows(connection: &Connection) -> rusqlite::Result<Vec<EventRow>> {
    let mut query = connection.prepare("SELECT seq, function, due_ms, weight FROM events")?;
    let rows = query.query_map([], |row| {
        Ok(EventRow {
            seq: row.get(0)?,
            function: parsed(row, 1)?,
            due_ms: row.get(2)?,
            weight: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// All letters that are not delivered.
pub(super) fn letter_rows(connection: &Connection) -> rusqlite::Result<Vec<LetterRow>> {
    let mut query =
        connection.prepare("SELECT seq, destination, due_ms, length(body) FROM letters")?;
    let rows = query.query_map([], |row| {
        Ok(LetterRow {
            seq: row.get(0)?,
            destination: Destination(row.get(1)?),
            due_ms: row.get(2)?,
            weight: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// Writes a new event; false when there is one with its id.
pub(super) fn insert_event(
    connection: &Connection,
    seq: u64,
    event: &Event,
) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let id = event.id.to_ascii();
    let inserted = insert.execute(params![
        seq,
        str::from_utf8(&id).expect("an id is ASCII"),
        event.function.as_str(),
        code(event.source),
        event.enqueued_ms,
        event.attempts,
        event.throttles,
        event.due_ms,
        event.weight(),
        event.qualifier,
        event.trace,
        event.client_context,
        event.payload.as_ref(),
    ])?;
    Ok(inserted > 0)
}

/// An event; `None` when it was removed.
pub(super) fn event(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Event>> {
    let mut query = connection.prepare_cached("SELECT * FROM events WHERE seq = ?1")?;
    query.query_row([seq], read_event).optional()
}

fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: parsed(row, 1)?,
        function: parsed(row, 2)?,
        source: source(row.get(3)?),
        enqueued_ms: row.get(4)?,
        attempts: row.get(5)?,
        throttles: row.get(6)?,
        due_ms: row.get(7)?,
        qualifier: row.get(9)?,
        trace: row.get(10)?,
        client_context: row.get(11)?,
        payload: Bytes::from(row.get::<_, Vec<u8>>(12)?),
    })
}

/// Removes an event that is done; false when it was removed already.
pub(super) fn delete_event(connection: &Connection, seq: u64) -> rusqlite::Result<bool> {
    let mut delete = connection.prepare_cached("DELETE FROM events WHERE seq = ?1")?;
    Ok(delete.execute([seq])? > 0)
}

/// Removes all events of a function.
pub(super) fn delete_events(
    connection: &Connection,
    function: &FunctionName,
) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM events WHERE function = ?1")?;
    delete.execute([function.as_str()])
}

/// Puts an event off; false when it was removed.
pub(super) fn put_off_event(
    connection: &Connection,
    seq: u64,
    state: &State,
    due_ms: u64,
) -> rusqlite::Result<bool> {
    let mut update = connection.prepare_cached(
        "UPDATE events SET attempts = ?2, throttles = ?3, due_ms = ?4 WHERE seq = ?1",
    )?;
    let updated = update.execute(params![seq, state.attempts, state.throttles, due_ms])?;
    Ok(updated > 0)
}

/// When the oldest event was taken.
pub(super) fn oldest_ms(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let mut query =
        connection.prepare_cached("SELECT enqueued_ms FROM events ORDER BY seq LIMIT 1")?;
    query.query_row([], |row| row.get(0)).optional()
}

/// Writes a new letter.
pub(super) fn insert_letter(
    connection: &Connection,
    seq: u64,
    destination: &Destination,
    letter: &Letter,
    due_ms: u64,
) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO letters VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)")?;
    insert.execute(params![
        seq,
        letter.event.to_string(),
        letter.function.as_str(),
        destination.0,
        due_ms,
        serde_json::to_string(&letter.attributes).expect("pairs of texts are JSON"),
        letter.body.as_ref(),
    ])?;
    Ok(())
}

/// A letter, and how often it was tried.
pub(super) fn letter(connection: &Connection, seq: u64) -> rusqlite::Result<Option<(Letter, u32)>> {
    let mut query = connection.prepare_cached(
        "SELECT event, function, attributes, body, tries FROM letters WHERE seq = ?1",
    )?;
    let read = |row: &Row<'_>| {
        let attributes: String = row.get(2)?;
        let letter = Letter {
            event: parsed(row, 0)?,
            function: parsed(row, 1)?,
            attributes: serde_json::from_str(&attributes).map_err(|error| damaged(2, error))?,
            body: Bytes::from(row.get::<_, Vec<u8>>(3)?),
        };
        Ok((letter, row.get(4)?))
    };
    query.query_row([seq], read).optional()
}

/// Removes a letter.
pub(super) fn delete_letter(connection: &Connection, seq: u64) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM letters WHERE seq = ?1")?;
    delete.execute([seq]).map(drop)
}

/// Puts a letter off.
pub(super) fn put_off_letter(
    connection: &Connection,
    seq: u64,
    tries: u32,
    due_ms: u64,
) -> rusqlite::Result<()> {
    let mut update =
        connection.prepare_cached("UPDATE letters SET tries = ?2, due_ms = ?3 WHERE seq = ?1")?;
    update.execute(params![seq, tries, due_ms]).map(drop)
}

/// Reads a text that says something more exact; a row that no node wrote is an error.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| damaged(column, error))
}

/// Reads a text that is JSON.
pub(super) fn raw(row: &Row<'_>, column: usize) -> rusqlite::Result<Box<RawValue>> {
    RawValue::from_string(row.get(column)?).map_err(|error| damaged(column, error))
}

fn damaged(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn code(source: Source) -> u8 {
    match source {
        Source::Invoke => 0,
        Source::Schedule => 1,
        Source::Object => 2,
        Source::Queue => 3,
    }
}

fn source(code: u8) -> Source {
    match code {
        1 => Source::Schedule,
        2 => Source::Object,
        3 => Source::Queue,
        _ => Source::Invoke,
    }
}
