//! Many writers at once, and async ones.

use std::sync::Barrier;
use std::thread;

use fractus_blob::{Config, ObjectMeta, Precondition, Store, WriteError};

use crate::{bucket, fresh, get, key, list, open, pattern, put};

#[test]
fn many_threads_write_read_and_delete() {
    let (dir, store) = fresh();
    thread::scope(|scope| {
        for number in 0..64 {
            let store = &store;
            scope.spawn(move || {
                for turn in 0..20 {
                    let name = format!("{number:02} {}", turn % 5);
                    let content = pattern(number * 100 + turn);
                    put(store, &name, &content).expect("put");
                    let found = get(store, &name).expect("readable");
                    assert_eq!(found.as_ref(), Some(&content), "a writer reads its write");
                }
                let gone = key(&format!("{number:02} 0"));
                store
                    .delete(&bucket(), &gone, Precondition::None)
                    .wait()
                    .expect("deleted");
            });
        }
    });
    let names = list(&store, "", "", 10_000).0;
    assert_eq!(names.len(), 64 * 4);
    drop(store);
    assert_eq!(list(&open(&dir), "", "", 10_000).0, names);
}

#[test]
fn of_many_that_want_to_be_first_one_is() {
    let (_dir, store) = fresh();
    for round in 0..20 {
        let name = format!("round {round}");
        let barrier = Barrier::new(32);
        let try_first = |number: usize| {
            let writer = store.writer(&bucket(), &key(&name), ObjectMeta::default());
            let mut writer = writer.precondition(Precondition::IfAbsent);
            writer.write(&pattern(number)).expect("written");
            barrier.wait();
            writer.finish().wait()
        };
        let results: Vec<_> = thread::scope(|scope| {
            let try_first = &try_first;
            let tries = (0..32).map(|number| scope.spawn(move || try_first(number)));
            let tries: Vec<_> = tries.collect();
            tries
                .into_iter()
                .map(|t| t.join().expect("no panic"))
                .collect()
        });
        let lost = |r: &&Result<_, _>| matches!(r, Err(WriteError::PreconditionFailed));
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert_eq!(results.iter().filter(lost).count(), 31);
        let winner = results.iter().position(Result::is_ok).expect("one won");
        assert_eq!(get(&store, &name).expect("readable"), Some(pattern(winner)));
    }
}

#[test]
fn async_writers_need_no_blocking_thread() {
    let (_dir, store) = fresh();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let content = pattern(3 << 20);
    runtime.block_on(async {
        let mut writer = store.writer(&bucket(), &key("big"), ObjectMeta::default());
        for piece in content.chunks(300_000) {
            writer.write_async(piece).await.expect("written");
        }
        writer.finish_async().await.await.expect("acknowledged");
        store
            .delete(&bucket(), &key("absent"), Precondition::None)
            .await
            .expect("deleted");
    });
    assert_eq!(
        get(&store, "big").expect("readable").as_ref(),
        Some(&content)
    );
}

#[test]
fn a_write_given_up_halfway_completes_nothing() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let (_dir, store) = fresh();
    let content = pattern(10 << 20);
    let mut writer = store.writer(&bucket(), &key("big"), ObjectMeta::default());
    {
        // Two chunks cannot both be on their way, so the first poll has to wait somewhere.
        let write = pin!(writer.write_async(&content));
        let polled = write.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
    }
    assert!(matches!(
        writer.finish().wait(),
        Err(WriteError::Interrupted)
    ));
    assert_eq!(get(&store, "big").expect("readable"), None);
}

#[test]
fn a_store_that_is_gone_answers() {
    let (_dir, store) = fresh();
    let mut writer = store.writer(&bucket(), &key("late"), ObjectMeta::default());
    writer.write(b"late").expect("written");
    put(&store, "key", b"content").expect("put");
    let object = store
        .get(&bucket(), &key("key"))
        .expect("readable")
        .expect("there");
    drop(store);
    assert!(matches!(writer.finish().wait(), Err(WriteError::Stopped)));
    let content = object
        .read(0..u64::MAX)
        .next_block()
        .expect("readable")
        .expect("content");
    assert_eq!(
        &content[..],
        b"content",
        "what was opened can still be read"
    );
}

#[test]
fn the_size_limit_holds_for_streamed_objects_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        max_bytes: Some(3 << 20),
        ..crate::config()
    };
    let store = Store::open(dir.path(), config).expect("opens");
    let settings = fractus_blob::BucketSettings::default();
    store
        .create_bucket(&bucket(), settings)
        .wait()
        .expect("a bucket");
    assert!(matches!(
        put(&store, "big", &pattern(5 << 20)),
        Err(WriteError::NoSpace)
    ));
    assert_eq!(get(&store, "big").expect("readable"), None);
    assert!(store.health().bytes <= 3 << 20);
    assert!(store.health().stopped.is_none());
}
