use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{WriteError, Writer};
use crate::limits::{EVENT_LINGER_MS, EVENT_WRITE_BYTES_MAX};

fn writer() -> (tempfile::TempDir, Writer) {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("a.db")).unwrap();
    connection
        .pragma_update(None, "journal_mode", "wal")
        .unwrap();
    connection.execute_batch("CREATE TABLE t (a)").unwrap();
    (dir, Writer::start(connection).unwrap())
}

fn put(number: u32) -> impl FnMut(&Connection) -> rusqlite::Result<usize> + Send {
    move |connection| connection.execute("INSERT INTO t VALUES (?1)", [number])
}

fn count(dir: &tempfile::TempDir) -> u32 {
    let reader = Connection::open(dir.path().join("a.db")).unwrap();
    let count = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
    count.unwrap()
}

/// Keeps the writer busy until the answer is dropped.
fn block(writer: &Writer) -> mpsc::Sender<()> {
    let (sender, gate) = mpsc::channel::<()>();
    let (entered, is_in) = mpsc::channel();
    writer.ask(
        0,
        move |_| {
            entered.send(()).ok();
            gate.recv().ok();
            Ok(())
        },
        |result| result.unwrap(),
    );
    is_in.recv().unwrap();
    sender
}

#[tokio::test]
async fn an_answer_comes_after_the_commit() {
    let (dir, writer) = writer();
    for number in 1..=20 {
        assert_eq!(writer.run(0, put(number)).await.unwrap(), 1);
        assert_eq!(count(&dir), number);
    }
}

#[test]
fn what_waits_becomes_one_transaction_in_order() {
    let (dir, writer) = writer();
    let gate = block(&writer);
    let seen: Arc<Mutex<Vec<(u32, u32)>>> = Arc::default();
    let counted = Arc::new(dir);
    for number in 0..100 {
        let (seen, dir) = (Arc::clone(&seen), Arc::clone(&counted));
        writer.ask(0, put(number), move |result| {
            result.unwrap();
            seen.lock().unwrap().push((number, count(&dir)));
        });
    }
    drop(gate);
    writer.close();
    let expected: Vec<_> = (0..100).map(|number| (number, 100)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn what_is_kept_is_written_soon_or_with_the_next() {
    let (dir, writer) = writer();
    let (sender, settled) = mpsc::channel();
    let keep = |number| {
        let sender = sender.clone();
        writer.keep(put(number), move |result| {
            sender.send(result.is_ok()).unwrap();
        });
    };
    let begin = Instant::now();
    keep(1);
    keep(2);
    assert!(settled.recv().unwrap());
    assert!(begin.elapsed() >= Duration::from_millis(EVENT_LINGER_MS));
    assert_eq!(count(&dir), 2);
    keep(3);
    writer.close();
    assert!(settled.recv().unwrap() && settled.recv().unwrap());
    assert_eq!(count(&dir), 3);
}

#[test]
fn a_failed_transaction_fails_all_who_asked_and_nothing_kept() {
    let (dir, writer) = writer();
    let gate = block(&writer);
    let (sender, results) = mpsc::channel();
    let (kept, settled) = mpsc::channel();
    writer.keep(put(7), move |result| kept.send(result.is_ok()).unwrap());
    for at in 0..3 {
        let sender = sender.clone();
        let mut put = put(at);
        let act = move |connection: &Connection| {
            if at == 1 {
                // As if another process held the database.
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
            put(connection)
        };
        writer.ask(0, act, move |result| sender.send(result).unwrap());
    }
    drop(gate);
    for _ in 0..3 {
        let result = results.recv().unwrap();
        assert!(matches!(result, Err(WriteError::Failed(_))), "{result:?}");
    }
    assert!(settled.recv().unwrap());
    assert_eq!(count(&dir), 1);
    // It goes on.
    let (sender, result) = mpsc::channel();
    writer.ask(0, put(9), move |done| sender.send(done.is_ok()).unwrap());
    assert!(result.recv().unwrap());
    assert_eq!(count(&dir), 2);
}

#[test]
fn what_is_kept_waits_for_room_and_an_io_error_ends_all() {
    for (code, expected) in [
        (rusqlite::ffi::SQLITE_FULL, true),
        (rusqlite::ffi::SQLITE_IOERR_FSYNC, false),
    ] {
        let (dir, writer) = writer();
        let mut failures = 3;
        let mut put = put(1);
        let (sender, settled) = mpsc::channel();
        let act = move |connection: &Connection| {
            if failures > 0 {
                failures -= 1;
                let error = rusqlite::ffi::Error::new(code);
                return Err(rusqlite::Error::SqliteFailure(error, None));
            }
            put(connection)
        };
        writer.keep(act, move |result| sender.send(result.is_ok()).unwrap());
        assert_eq!(settled.recv().unwrap(), expected);
        assert_eq!(writer.is_closed(), !expected);
        assert_eq!(writer.is_behind(), !expected);
        assert_eq!(count(&dir), u32::from(expected));
    }
}

#[test]
fn so_many_bytes_wait_and_no_more() {
    let (_dir, writer) = writer();
    let gate = block(&writer);
    let (sender, results) = mpsc::channel();
    for weight in [EVENT_WRITE_BYTES_MAX, 1] {
        let sender = sender.clone();
        writer.ask(weight, put(1), move |result| sender.send(result).unwrap());
    }
    let first = results.recv().unwrap();
    assert!(matches!(first, Err(WriteError::Full)), "{first:?}");
    drop(gate);
    assert!(results.recv().unwrap().is_ok());
    let (sender, result) = mpsc::channel();
    writer.ask(EVENT_WRITE_BYTES_MAX, put(2), move |done| {
        sender.send(done.is_ok()).unwrap();
    });
    assert!(result.recv().unwrap());
}

#[test]
fn a_failed_sync_is_the_last_write_also_after_a_full_disk() {
    let (_dir, writer) = writer();
    let tries = Arc::new(Mutex::new(0));
    let (sender, settled) = mpsc::channel();
    let counted = Arc::clone(&tries);
    let act = move |_: &Connection| -> rusqlite::Result<()> {
        let mut tries = counted.lock().unwrap();
        *tries += 1;
        let codes = [
            rusqlite::ffi::SQLITE_FULL,
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
        ];
        let error = rusqlite::ffi::Error::new(codes[(*tries - 1_usize).min(1)]);
        Err(rusqlite::Error::SqliteFailure(error, None))
    };
    writer.keep(act, move |result| sender.send(result.is_ok()).unwrap());
    assert!(!settled.recv().unwrap());
    writer.close();
    assert_eq!(*tries.lock().unwrap(), 2);
}
