use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{BEGIN_MS, Rig, done, failed, id, name, open};
use crate::events::store::{self, OpenError};
use crate::events::{AddError, Event, EventsConfig, Policy, Source, Verdict, WriteError};

#[tokio::test]
async fn an_event_runs_once_and_is_gone() {
    let mut rig = Rig::new();
    rig.start();
    rig.add(1, "f").await;
    let stats = rig.until_empty().await;
    assert_eq!((stats.added, stats.done, stats.bytes), (1, 1, 0));
    assert_eq!(rig.attempts(), [(1, 1)]);
    rig.restart().await;
    rig.start();
    rig.until_calls(0).await;
    assert_eq!(rig.events.stats().await.oldest_ms, None);
}

#[tokio::test]
async fn all_of_an_event_survives_with_and_without_memory() {
    for cache_bytes_max in [0, 1 << 20] {
        let mut rig = Rig::with(EventsConfig {
            cache_bytes_max,
            ..EventsConfig::default()
        });
        let mut events = Vec::new();
        for (number, source) in [
            (0_u8, Source::Invoke),
            (1, Source::Schedule),
            (2, Source::Object),
            (3, Source::Queue),
        ] {
            let mut event = rig.event(number.into(), "f");
            event.source = source;
            event.due_ms += u64::from(number);
            event.qualifier = (number > 0).then(|| "live".to_owned());
            event.trace = (number > 1).then(|| "Root=1".to_owned());
            event.client_context = (number > 2).then(|| "e30=".to_owned());
            event.payload = Bytes::from(vec![number; 1 << 20]);
            rig.events.add(event.clone()).await.unwrap();
            events.push(event);
        }
        rig.advance(10);
        let sorted = |rig: &Rig| {
            let mut calls: Vec<_> = rig.calls().into_iter().map(|(event, _)| event).collect();
            calls.sort_by_key(|event| event.id);
            calls
        };
        let gate = rig.gate("f");
        rig.start();
        rig.until_calls(4).await;
        assert_eq!(sorted(&rig), events);
        drop(gate);
        rig.restart().await;
        rig.start();
        rig.until_empty().await;
        assert_eq!(sorted(&rig), events);
    }
}

#[tokio::test]
async fn what_is_due_first_runs_first_and_nothing_before_its_time() {
    let rig = Rig::with(EventsConfig {
        per_function_max: 1,
        ..EventsConfig::default()
    });
    for (number, later_ms) in [(1, 30), (2, 10), (3, 20), (4, 10_000)] {
        let mut event = rig.event(number, "f");
        event.due_ms += later_ms;
        rig.events.add(event).await.unwrap();
    }
    rig.start();
    rig.until_calls(0).await;
    rig.advance(30);
    rig.until_calls(3).await;
    assert_eq!(rig.attempts(), [(2, 1), (3, 1), (1, 1)]);
    rig.advance(9_970);
    rig.until_empty().await;
    assert_eq!(rig.attempts().last(), Some(&(4, 1)));
}

#[tokio::test]
async fn an_id_is_taken_once_until_it_is_done() {
    let mut rig = Rig::new();
    rig.add(1, "f").await;
    for _ in 0..2 {
        let again = rig.events.add(rig.event(1, "g")).await;
        assert!(matches!(again, Err(AddError::Duplicate)));
        assert_eq!(rig.events.stats().await.queued, 1);
        rig.restart().await;
    }
    rig.start();
    rig.until_empty().await;
    rig.add(1, "g").await;
    rig.until_empty().await;
    assert_eq!(rig.attempts(), [(1, 1), (1, 1)]);
}

#[tokio::test]
async fn a_function_that_fails_is_tried_after_one_and_after_two_minutes() {
    let mut rig = Rig::new();
    rig.verdicts("f", [failed()]);
    rig.start();
    rig.add(1, "f").await;
    rig.until(|stats| stats.retried == 1).await;
    rig.advance(59_999);
    rig.until_calls(1).await;
    // What was tried is known after a crash, too.
    rig.restart().await;
    rig.verdicts("f", [failed()]);
    rig.start();
    rig.until_calls(0).await;
    rig.advance(1);
    rig.until(|stats| stats.retried == 1).await;
    assert_eq!(rig.attempts(), [(1, 2)]);
    rig.advance(119_999);
    rig.until_calls(1).await;
    rig.advance(1);
    let stats = rig.until_empty().await;
    assert_eq!((stats.failed, stats.done, stats.dropped), (1, 0, 0));
    assert_eq!(rig.attempts(), [(1, 2), (1, 3)]);
}

#[tokio::test]
async fn a_poison_event_does_not_hold_up_others() {
    let rig = Rig::with(EventsConfig {
        retry_delays_ms: [1, 1],
        ..EventsConfig::default()
    });
    rig.verdicts("poison", [failed()]);
    rig.start();
    for number in 0..50 {
        rig.add(number, "poison").await;
        rig.add(100 + number, "f").await;
    }
    while rig.until(|_| true).await.queued > 0 {
        rig.advance(2);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = rig.until_empty().await;
    assert_eq!((stats.done, stats.failed, stats.retried), (50, 50, 100));
    assert_eq!(rig.calls().len(), 200);
}

#[tokio::test]
async fn throttles_are_no_retries_and_end_with_the_age() {
    let rig = Rig::new();
    rig.verdicts(
        "f",
        [Verdict::Throttled, Verdict::Throttled, failed(), done()],
    );
    rig.start();
    rig.add(1, "f").await;
    for (calls, wait_ms) in [(1, 1_000), (2, 2_000), (3, 60_000)] {
        rig.until(|stats| stats.retried == calls as u64).await;
        rig.advance(wait_ms - 1);
        rig.until_calls(calls).await;
        rig.advance(1);
    }
    let stats = rig.until_empty().await;
    assert_eq!((stats.done, stats.failed), (1, 0));
    assert_eq!(rig.attempts(), [(1, 1), (1, 1), (1, 1), (1, 2)]);

    rig.verdicts("g", [Verdict::Throttled]);
    let policy = Policy {
        max_age_ms: 60_000,
        ..Policy::default()
    };
    rig.policy("g", Some(policy));
    rig.add(2, "g").await;
    for _ in 0..60 {
        rig.advance(1_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rig.events.stats().await.queued, 1);
    rig.advance(1);
    assert_eq!(rig.until_empty().await.failed, 1);
    let of_g = rig
        .attempts()
        .into_iter()
        .filter(|(number, _)| *number == 2);
    assert_eq!(of_g.count(), 6, "after 0, 1, 3, 7, 15 and 31 s");
}

#[tokio::test]
async fn a_slow_function_leaves_room_for_others() {
    let rig = Rig::with(EventsConfig {
        in_flight_max: 8,
        per_function_max: 4,
        ..EventsConfig::default()
    });
    let gate = rig.gate("slow");
    rig.start();
    for number in 0..200 {
        rig.add(number, "slow").await;
    }
    let gates = ["slow-b", "slow-c", "slow-d"].map(|function| rig.gate(function));
    for number in 200..260 {
        rig.add(number, "slow-b").await;
        rig.add(100 + number, "slow-c").await;
        rig.add(200 + number, "slow-d").await;
    }
    rig.until(|stats| stats.in_flight >= 7).await;
    // Those that are never slow are never kept waiting.
    for number in 1_000..1_100 {
        rig.add(number, "quick").await;
    }
    rig.until(|stats| stats.done == 100).await;
    assert_eq!(rig.events.stats().await.in_flight, 7);
    gate.add_permits(1_000);
    for gate in gates {
        gate.add_permits(1_000);
    }
    let stats = rig.until_empty().await;
    assert_eq!((stats.done, rig.calls().len()), (480, 480));
    let most = rig.fake.most_running.lock().unwrap();
    assert!(most.values().all(|most| *most <= 4), "{most:?}");
}

#[tokio::test]
async fn one_functions_share_is_bounded() {
    let rig = Rig::with(EventsConfig {
        in_flight_max: 32,
        per_function_max: 4,
        ..EventsConfig::default()
    });
    let gate = rig.gate("f");
    rig.start();
    for number in 0..20 {
        rig.add(number, "f").await;
    }
    rig.until_calls(4).await;
    gate.add_permits(1);
    rig.until_calls(5).await;
    gate.add_permits(100);
    rig.until_empty().await;
    assert_eq!(rig.fake.most_running.lock().unwrap()["f"], 4);
}

#[tokio::test]
async fn what_is_full_says_so_and_takes_again() {
    let rig = Rig::with(EventsConfig {
        events_max: 3,
        bytes_max: 100,
        ..EventsConfig::default()
    });
    for number in 0..3 {
        rig.add(number, "f").await;
    }
    let add = rig.events.add(rig.event(3, "f")).await;
    assert!(matches!(add, Err(AddError::Full)));
    rig.start();
    rig.until_empty().await;
    let large = |number, length| Event {
        payload: vec![b'1'; length].into(),
        ..rig.event(number, "f")
    };
    let add = rig.events.add(large(4, 101)).await;
    assert!(matches!(add, Err(AddError::Full)));
    let gate = rig.gate("f");
    rig.events.add(large(5, 60)).await.unwrap();
    let add = rig.events.add(large(6, 60)).await;
    assert!(matches!(add, Err(AddError::Full)));
    gate.add_permits(10);
    rig.until_empty().await;
    rig.events.add(large(6, 60)).await.unwrap();
    let stats = rig.until_empty().await;
    assert_eq!((stats.added, stats.done, stats.bytes), (5, 5, 0));
}

#[tokio::test]
async fn a_removed_function_leaves_nothing() {
    let mut rig = Rig::with(EventsConfig {
        per_function_max: 2,
        ..EventsConfig::default()
    });
    let gate = rig.gate("f");
    rig.verdicts("f", [failed()]);
    rig.start();
    for number in 0..10 {
        rig.add(number, "f").await;
    }
    rig.until_calls(2).await;
    rig.add(20, "g").await;
    rig.events.remove_function(&name("f")).await.unwrap();
    let stats = rig.until(|stats| stats.done == 1).await;
    assert_eq!((stats.queued, stats.in_flight), (2, 2));
    // Those that ran are not tried again, also when there is a function of that name anew.
    rig.add(21, "f").await;
    gate.add_permits(100);
    rig.until(|stats| stats.queued == 1).await;
    rig.restart().await;
    rig.verdicts("f", [done()]);
    rig.start();
    rig.advance(60_000);
    rig.until_empty().await;
    assert_eq!(rig.attempts(), [(21, 2)]);
}

#[tokio::test]
async fn events_of_functions_that_are_gone_are_dropped() {
    let rig = Rig::new();
    rig.policy("f", None);
    rig.verdicts("g", [Verdict::Gone]);
    rig.start();
    rig.add(1, "f").await;
    rig.add(2, "g").await;
    let stats = rig.until_empty().await;
    assert_eq!((stats.dropped, stats.failed, stats.retried), (1, 1, 0));
    assert_eq!(rig.attempts(), [(2, 1)]);
}

#[tokio::test]
async fn stopping_waits_for_what_runs_and_keeps_the_rest() {
    let mut rig = Rig::with(EventsConfig {
        per_function_max: 1,
        ..EventsConfig::default()
    });
    let gate = rig.gate("f");
    rig.start();
    rig.add(1, "f").await;
    rig.add(2, "f").await;
    rig.until_calls(1).await;
    let events = rig.events.clone();
    let stop = tokio::spawn(async move { events.stop(Duration::from_secs(30)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!stop.is_finished());
    gate.add_permits(1);
    stop.await.unwrap();
    assert_eq!(rig.attempts(), [(1, 1)]);
    let add = rig.events.add(rig.event(3, "f")).await;
    assert!(matches!(add, Err(AddError::Write(WriteError::Stopped))));
    assert!(rig.events.stats().await.stopped);

    // The second is cut off, and runs again.
    rig.restart().await;
    let _gate = rig.gate("f");
    rig.start();
    rig.until_calls(1).await;
    rig.restart().await;
    rig.start();
    rig.until_empty().await;
    assert_eq!(rig.attempts(), [(2, 1)]);
}

#[tokio::test]
async fn clients_share_transactions() {
    let rig = Rig::new();
    rig.start();
    let mut clients = JoinSet::new();
    for client in 0..64 {
        let (events, event) = (rig.events.clone(), rig.event(0, "f"));
        clients.spawn(async move {
            for number in 0..20 {
                let id = id(client * 100 + number);
                let event = Event {
                    id,
                    ..event.clone()
                };
                events.add(event).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    let stats = rig.until_empty().await;
    assert_eq!((stats.added, stats.done), (1_280, 1_280));
    assert_eq!(rig.calls().len(), 1_280);
}

#[tokio::test]
async fn a_hundred_thousand_events_wait_for_the_next_start() {
    let rig = Rig::new();
    let path = rig.dir.path().join("many.db");
    let opened = store::open(&path).unwrap();
    let transaction = opened.connection.unchecked_transaction().unwrap();
    for seq in 1..=100_000 {
        let function = format!("f{}", seq % 7);
        let event = rig.event(seq, &function);
        assert!(store::insert_event(&transaction, seq, &event).unwrap());
    }
    transaction.commit().unwrap();
    drop(opened);

    let rig = Rig {
        events: open(&path, &rig.config, &rig.now),
        ..rig
    };
    let stats = rig.events.stats().await;
    assert_eq!((stats.queued, stats.oldest_ms), (100_000, Some(BEGIN_MS)));
    rig.start();
    let stats = rig.until_empty().await;
    assert_eq!((stats.done, stats.bytes), (100_000, 0));
    let mut attempts = rig.attempts();
    attempts.sort_unstable();
    assert!(attempts.into_iter().eq((1..=100_000).map(|seq| (seq, 1))));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let rig = Rig::new();
    let path = rig.dir.path().join("newer.db");
    let opened = store::open(&path).unwrap();
    let newer = opened.connection.pragma_update(None, "user_version", 2);
    newer.unwrap();
    drop(opened);
    let error = store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2 }), "{error}");
}
