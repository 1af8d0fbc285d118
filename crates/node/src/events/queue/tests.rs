use std::time::Duration;

use serde_json::value::RawValue;

use super::{NewMessage, QueueError, QueueInfo, QueueSpec};
use crate::events::EventsConfig;
use crate::events::tests::{BEGIN_MS, Rig};
use crate::limits::{QUEUE_NAME_MAX, QUEUE_SWEEP_MS, QUEUES_MAX};

pub(in crate::events) fn message(body: &str) -> NewMessage {
    NewMessage {
        body: body.to_owned(),
        md5: "900150983cd24fb0d6963f7d28e17f72".to_owned(),
        attributes: None,
        delay_ms: 0,
    }
}

async fn one(rig: &Rig, name: &str) -> QueueInfo {
    rig.events.queues(Some(name)).await.pop().unwrap()
}

#[tokio::test]
async fn queues_and_messages_survive() {
    let mut rig = Rig::new();
    let spec = QueueSpec {
        visibility_ms: 5,
        max_receives: Some(3),
        dead_letter: Some("dead".to_owned()),
        ..QueueSpec::default()
    };
    rig.events
        .put_queue("q", QueueSpec::default())
        .await
        .unwrap();
    rig.events.put_queue("q", spec.clone()).await.unwrap();
    for number in 0..3 {
        let mut new = message(&number.to_string());
        new.delay_ms = number * 1_000;
        let json = RawValue::from_string("{\"a\": 1}".to_owned());
        new.attributes = Some(json.unwrap());
        rig.events.queue_send("q", new).await.unwrap();
        rig.advance(1);
    }
    let expected = QueueInfo {
        name: "q".to_owned(),
        spec,
        created_ms: BEGIN_MS,
        ready: 1,
        in_flight: 0,
        hidden: 2,
        oldest_ms: Some(BEGIN_MS),
    };
    assert_eq!(rig.events.queues(None).await[0], expected);
    let before = rig.events.stats().await;
    rig.restart().await;
    assert_eq!(rig.events.queues(None).await, [expected]);
    let after = rig.events.stats().await;
    assert_eq!((after.queued, after.bytes), (before.queued, before.bytes));
    assert_eq!((after.queued, after.bytes), (3, 3 * 9));
    // Numbers go on where they were.
    rig.events.queue_send("q", message("3")).await.unwrap();
    rig.advance(2_000);
    assert_eq!(one(&rig, "q").await.ready, 4);

    rig.events.purge_queue("q").await.unwrap();
    assert_eq!(rig.events.stats().await.bytes, 0);
    assert_eq!(
        (one(&rig, "q").await.ready, one(&rig, "q").await.oldest_ms),
        (0, None)
    );
    rig.events.queue_send("q", message("4")).await.unwrap();
    assert!(rig.events.delete_queue("q").await.unwrap());
    assert!(!rig.events.delete_queue("q").await.unwrap());
    rig.restart().await;
    assert!(rig.events.queues(None).await.is_empty());
    assert_eq!(rig.events.stats().await.queued, 0);
}

#[tokio::test]
async fn what_cannot_be_sent_says_why() {
    let rig = Rig::with(EventsConfig {
        events_max: 2,
        ..EventsConfig::default()
    });
    let send = |queue| rig.events.queue_send(queue, message("1"));
    let missing = send("q").await;
    assert!(matches!(missing, Err(QueueError::NotFound { .. })));
    let missing = rig.events.purge_queue("q").await;
    assert!(matches!(missing, Err(QueueError::NotFound { .. })));
    assert_eq!(rig.events.stats().await.queued, 0);
    let long = "q".repeat(QUEUE_NAME_MAX + 1);
    for name in ["", "a b", "ä", "a.fifo", &long] {
        let put = rig.events.put_queue(name, QueueSpec::default()).await;
        assert!(matches!(put, Err(QueueError::Name)), "{name}");
    }
    rig.events
        .put_queue("q", QueueSpec::default())
        .await
        .unwrap();
    send("q").await.unwrap();
    send("q").await.unwrap();
    assert!(matches!(send("q").await, Err(QueueError::Full)));
    rig.events.purge_queue("q").await.unwrap();
    send("q").await.unwrap();
}

#[tokio::test]
async fn there_are_so_many_queues_and_no_more() {
    let rig = Rig::new();
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..QUEUES_MAX {
        let events = rig.events.clone();
        puts.spawn(async move {
            let name = format!("q{number}");
            events.put_queue(&name, QueueSpec::default()).await.is_ok()
        });
    }
    assert!(puts.join_all().await.into_iter().all(|put| put));
    let put = rig.events.put_queue("one-more", QueueSpec::default()).await;
    assert!(matches!(put, Err(QueueError::TooMany)));
    rig.events
        .put_queue("q7", QueueSpec::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn old_messages_are_dropped() {
    let rig = Rig::new();
    let spec = QueueSpec {
        retention_ms: 600_000,
        ..QueueSpec::default()
    };
    rig.events.put_queue("q", spec).await.unwrap();
    rig.start();
    rig.events.queue_send("q", message("old")).await.unwrap();
    rig.advance(500_000);
    rig.events.queue_send("q", message("new")).await.unwrap();
    rig.advance(100_000);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(one(&rig, "q").await.ready, 2);
    rig.advance(QUEUE_SWEEP_MS);
    rig.until(|stats| stats.queued == 1).await;
    assert_eq!(one(&rig, "q").await.oldest_ms, Some(BEGIN_MS + 500_000));
}
