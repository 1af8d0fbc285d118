use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fractus_func::RequestId;
use rusqlite::Connection;
use tokio::task::JoinSet;

use super::{Rig, failed, id, open};
use crate::events::store;
use crate::events::{AddError, Event, Source, WriteError};

/// What a crash at this moment would leave. A reader holds the log meanwhile, so that the two files
/// belong together.
fn image(from: &Path, folder: &Path) -> PathBuf {
    let reader = Connection::open(from).unwrap();
    let hold = reader.unchecked_transaction().unwrap();
    hold.query_row("SELECT count(*) FROM events", [], |_| Ok(()))
        .unwrap();
    let to = folder.join("events.db");
    fs::copy(from, &to).unwrap();
    fs::copy(log_of(from), log_of(&to)).unwrap();
    to
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn ids(path: &Path) -> BTreeSet<RequestId> {
    let connection = Connection::open(path).unwrap();
    let rows = store::event_rows(&connection).unwrap();
    let event = |seq| store::event(&connection, seq).unwrap().unwrap();
    rows.iter().map(|row| event(row.seq).id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_every_crash_or_done() {
    let rig = Rig::new();
    rig.start();
    let acknowledged: Arc<Mutex<BTreeSet<RequestId>>> = Arc::default();
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (events, event) = (rig.events.clone(), rig.event(0, "f"));
        let acknowledged = Arc::clone(&acknowledged);
        clients.spawn(async move {
            for number in 0..250 {
                let id = id(client * 1_000 + number);
                let event = Event {
                    id,
                    ..event.clone()
                };
                events.add(event).await.unwrap();
                acknowledged.lock().unwrap().insert(id);
            }
        });
    }
    let mut images = 0;
    let mut seen = 0;
    while !clients.is_empty() {
        let before = acknowledged.lock().unwrap().clone();
        let folder = tempfile::tempdir().unwrap();
        let path = image(&rig.path(), folder.path());
        let done: BTreeSet<_> = rig.calls().iter().map(|(event, _)| event.id).collect();
        let there = ids(&path);
        for id in &before {
            assert!(there.contains(id) || done.contains(id), "{id} is lost");
        }
        images += 1;
        seen = seen.max(before.len());
        while clients.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(images > 2 && seen > 100, "{images} images of {seen} events");
    assert_eq!(rig.until_empty().await.done, 2_000);
}

#[tokio::test]
async fn a_log_that_is_cut_anywhere_leaves_a_beginning() {
    let rig = Rig::new();
    for number in 0..40 {
        rig.add(number, "f").await;
    }
    let whole = tempfile::tempdir().unwrap();
    let path = image(&rig.path(), whole.path());
    let log = fs::read(log_of(&path)).unwrap();
    let all = ids(&path);
    assert_eq!(all.len(), 40);
    let mut lengths = BTreeSet::new();
    for at in (0..100).map(|step| step * 3_557) {
        let folder = tempfile::tempdir().unwrap();
        let cut = folder.path().join("events.db");
        fs::copy(rig.path(), &cut).unwrap();
        fs::write(log_of(&cut), &log[..at.min(log.len())]).unwrap();
        let there = ids(&cut);
        // One client: each add was its own transaction, in order.
        let expected: BTreeSet<_> = (0..there.len() as u64).map(id).collect();
        assert_eq!(there, expected, "cut at {at}");
        lengths.insert(there.len());
    }
    assert!(lengths.len() > 10, "{lengths:?}");
}

#[tokio::test]
async fn a_full_disk_is_an_answer_and_passes() {
    let rig = Rig::new();
    rig.verdicts("g", [failed()]);
    rig.start();
    let limit = |pages: u64| {
        rig.events.core.writer.run(0, move |connection| {
            connection.pragma_update(None, "max_page_count", pages)
        })
    };
    // SQLite does not go below what there is.
    limit(1).await.unwrap();
    let mut number = 0;
    let large = |number| Event {
        payload: vec![7; 1 << 20].into(),
        due_ms: u64::MAX >> 1,
        ..rig.event(number, "f")
    };
    let error = loop {
        match rig.events.add(large(number)).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 100);
    };
    assert!(
        matches!(error, AddError::Write(WriteError::NoSpace)),
        "{error}"
    );
    let stats = rig.events.stats().await;
    assert_eq!((stats.queued, stats.stopped), (number, false));
    // What runs meanwhile is settled, at the latest when there is room.
    let small = rig.events.add(rig.event(1_000, "g")).await;
    limit(1 << 30).await.unwrap();
    rig.events.add(large(number)).await.unwrap();
    rig.add(1_001, "g").await;
    let tried = u64::from(small.is_ok()) + 1;
    rig.until(|stats| stats.retried == tried).await;
}

#[tokio::test]
async fn a_writer_that_failed_stays_stopped() {
    let mut rig = Rig::new();
    rig.add(1, "f").await;
    let gate = rig.gate("f");
    rig.start();
    rig.until_calls(1).await;
    // The next write fails in a way that no waiting mends.
    let read_only = rig.events.core.writer.run(0, |connection| {
        connection.pragma_update(None, "query_only", true)
    });
    read_only.await.unwrap();
    let (first, second) = (rig.event(2, "f"), rig.event(3, "f"));
    let (first, second) = tokio::join!(rig.events.add(first), rig.events.add(second));
    for result in [first, second, rig.events.add(rig.event(4, "f")).await] {
        assert!(matches!(result, Err(AddError::Write(WriteError::Stopped))));
    }
    let stats = rig.events.stats().await;
    assert_eq!((stats.queued, stats.stopped), (1, true));
    // Nothing can be recorded any more, so nothing is run.
    gate.add_permits(10);
    rig.until_calls(1).await;
    rig.restart().await;
    rig.start();
    rig.until_empty().await;
    assert_eq!(rig.attempts(), [(1, 1)]);
    assert_eq!(rig.calls()[0].0.source, Source::Invoke);
}

#[tokio::test]
async fn an_engine_that_is_dropped_keeps_what_it_took() {
    let rig = Rig::new();
    rig.add(1, "f").await;
    let path = rig.path();
    let Rig {
        events,
        dir,
        now,
        config,
        ..
    } = rig;
    drop(events);
    let events = open(&path, &config, &now);
    assert_eq!(events.stats().await.queued, 1);
    drop((events, dir));
}
