use std::time::Duration;

use bytes::Bytes;
use fractus_func::RequestId;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Mapping, Worked, payload, worked};
use crate::events::queue::tests::message;
use crate::events::queue::{Message, QueueSpec};
use crate::events::tests::{Rig, done, failed, name};
use crate::events::{EventsConfig, Source, Verdict};

fn mapping() -> Mapping {
    Mapping {
        uuid: "m".to_owned(),
        queue: "q".to_owned(),
        function: name("f"),
        qualifier: None,
        batch_size: 10,
        window_ms: 0,
        enabled: true,
        report_batch_item_failures: false,
        max_concurrency: 5,
    }
}

fn answer(payload: &str) -> Verdict {
    Verdict::Done {
        status: 200,
        payload: Bytes::from(payload.to_owned()),
        executed_version: "1".to_owned(),
    }
}

fn received(number: u64) -> Message {
    Message {
        seq: number,
        id: RequestId::from_random(number.into()),
        sent_ms: 1_000,
        first_receive_ms: 2_000,
        receives: 3,
        md5: "m".to_owned(),
        attributes: RawValue::from_string("{\"k\":{\"dataType\":\"String\"}}".to_owned()).unwrap(),
        body: "a \"b\"".to_owned(),
    }
}

#[test]
fn a_batch_looks_like_sqs() {
    let payload = payload("q", &[received(7)], &EventsConfig::default());
    let expected = json!({"Records": [{
        "messageId": "00000000-0000-4000-8000-000000000007",
        "receiptHandle": "7-3",
        "body": "a \"b\"",
        "attributes": {
            "ApproximateReceiveCount": "3",
            "SentTimestamp": "1000",
            "SenderId": "000000000000",
            "ApproximateFirstReceiveTimestamp": "2000"
        },
        "messageAttributes": {"k": {"dataType": "String"}},
        "md5OfBody": "m",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
        "awsRegion": "us-east-1"
    }]});
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), expected);
}

#[test]
fn what_failed_is_what_the_function_names() {
    let messages = [received(1), received(2)];
    let second = "00000000-0000-4000-8000-000000000002";
    let named = format!("{{\"batchItemFailures\":[{{\"itemIdentifier\":\"{second}\"}}]}}");
    let of = |verdict: &Verdict, report| {
        let mapping = Mapping {
            report_batch_item_failures: report,
            ..mapping()
        };
        worked(verdict, &mapping, &messages)
    };
    let except = Worked::Except([second.to_owned()].into());
    assert_eq!(of(&answer(&named), true), except);
    assert_eq!(of(&answer(&named), false), Worked::All);
    for all in [
        "",
        "null",
        "{}",
        "{\"batchItemFailures\":null}",
        "{\"batchItemFailures\":[]}",
    ] {
        assert_eq!(of(&answer(all), true), Worked::All, "{all}");
    }
    for nothing in [
        "no JSON",
        "\"text\"",
        "{\"batchItemFailures\":[{}]}",
        "{\"batchItemFailures\":[{\"itemIdentifier\":null}]}",
        "{\"batchItemFailures\":[{\"itemIdentifier\":\"\"}]}",
        "{\"batchItemFailures\":[{\"itemIdentifier\":\"other\"}]}",
        "{\"batchItemFailures\":[{\"id\":\"1\"}]}",
    ] {
        assert_eq!(of(&answer(nothing), true), Worked::Nothing, "{nothing}");
        assert_eq!(of(&answer(nothing), false), Worked::All, "{nothing}");
    }
    assert_eq!(of(&failed(), true), Worked::Nothing);
    assert_eq!(of(&Verdict::Throttled, true), Worked::Refused);
    assert_eq!(of(&Verdict::Gone, true), Worked::Refused);
}

async fn queue(rig: &Rig, spec: QueueSpec) {
    rig.events.put_queue("q", spec).await.unwrap();
}

async fn send(rig: &Rig, bodies: std::ops::Range<u64>) -> Vec<RequestId> {
    let mut ids = Vec::new();
    for body in bodies {
        let sent = rig.events.queue_send("q", message(&body.to_string())).await;
        ids.push(sent.unwrap());
    }
    ids
}

/// The bodies of each batch, and how often its first message came.
fn batches(rig: &Rig) -> Vec<(Vec<u64>, u64)> {
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let batch = |payload: &[u8]| {
        let event: Value = serde_json::from_slice(payload).unwrap();
        let records = event["Records"].as_array().unwrap();
        let bodies = records
            .iter()
            .map(|record| number(&record["body"]))
            .collect();
        let count = number(&records[0]["attributes"]["ApproximateReceiveCount"]);
        (bodies, count)
    };
    let calls = rig.calls();
    assert!(
        calls
            .iter()
            .all(|(event, attempt)| event.source == Source::Queue && *attempt == 1)
    );
    calls
        .iter()
        .map(|(event, _)| batch(&event.payload))
        .collect()
}

#[tokio::test]
async fn messages_are_handed_out_in_batches_once() {
    let rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    rig.start();
    rig.events.set_mappings(vec![Mapping {
        enabled: false,
        ..mapping()
    }]);
    send(&rig, 0..25).await;
    rig.until_calls(0).await;
    rig.events.set_mappings(vec![Mapping {
        qualifier: Some("live".to_owned()),
        ..mapping()
    }]);
    let stats = rig.until_empty().await;
    assert_eq!(stats.bytes, 0);
    let mut sizes: Vec<_> = batches(&rig)
        .iter()
        .map(|(bodies, _)| bodies.len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 10]);
    let mut bodies: Vec<_> = batches(&rig)
        .into_iter()
        .flat_map(|(bodies, _)| bodies)
        .collect();
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..25));
    assert_eq!(rig.calls()[0].0.qualifier.as_deref(), Some("live"));
    rig.advance(3_600_000);
    rig.until_calls(3).await;
}

#[tokio::test]
async fn a_window_gathers_until_the_batch_is_full_or_time_is_up() {
    let rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    rig.start();
    rig.events.set_mappings(vec![Mapping {
        batch_size: 4,
        window_ms: 5_000,
        ..mapping()
    }]);
    send(&rig, 0..3).await;
    rig.advance(4_999);
    rig.until_calls(0).await;
    rig.advance(1);
    rig.until_calls(1).await;
    send(&rig, 3..7).await;
    rig.until_calls(2).await;
    assert_eq!(batches(&rig), [(vec![0, 1, 2], 1), (vec![3, 4, 5, 6], 1)]);
}

#[tokio::test]
async fn what_fails_comes_again_and_goes_away_at_last() {
    let mut rig = Rig::new();
    rig.events
        .put_queue("dead", QueueSpec::default())
        .await
        .unwrap();
    let spec = QueueSpec {
        max_receives: Some(2),
        dead_letter: Some("dead".to_owned()),
        ..QueueSpec::default()
    };
    queue(&rig, spec).await;
    rig.verdicts("f", [failed()]);
    rig.start();
    rig.events.set_mappings(vec![mapping()]);
    send(&rig, 0..2).await;
    // They may have come apart.
    let all = |rig: &Rig| -> usize { batches(rig).iter().map(|(bodies, _)| bodies.len()).sum() };
    rig.come(|rig| all(rig) == 2).await;
    rig.advance(29_999);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(all(&rig), 2);
    rig.restart().await;
    rig.verdicts("f", [failed()]);
    rig.start();
    rig.events.set_mappings(vec![mapping()]);
    rig.advance(30_000);
    rig.come(|rig| all(rig) == 2).await;
    assert!(batches(&rig).iter().all(|(_, count)| *count == 2));
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.advance(30_000);
    for _ in 0..1_000 {
        let info = rig.events.queues(Some("dead")).await;
        if info[0].ready == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(all(&rig), 2);
    assert_eq!(rig.events.queues(Some("dead")).await[0].ready, 2);
    let left = rig.events.queues(Some("q")).await;
    assert_eq!(
        (left[0].ready, left[0].in_flight, left[0].hidden),
        (0, 0, 0)
    );
    // There they count anew.
    rig.verdicts("f", [done()]);
    rig.events.set_mappings(vec![Mapping {
        queue: "dead".to_owned(),
        ..mapping()
    }]);
    rig.until_empty().await;
    assert_eq!(batches(&rig).last().unwrap().1, 1);
}

#[tokio::test]
async fn only_what_the_function_names_comes_again() {
    let rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    let ids = send(&rig, 0..3).await;
    let bad = format!(
        "{{\"batchItemFailures\":[{{\"itemIdentifier\":\"{}\"}}]}}",
        ids[1]
    );
    rig.verdicts("f", [answer(&bad), answer("{}")]);
    rig.start();
    rig.events.set_mappings(vec![Mapping {
        report_batch_item_failures: true,
        ..mapping()
    }]);
    rig.until(|stats| stats.queued == 1).await;
    rig.advance(30_000);
    rig.until_empty().await;
    assert_eq!(batches(&rig), [(vec![0, 1, 2], 1), (vec![1], 2)]);
}

#[tokio::test]
async fn a_function_that_is_not_reached_has_received_nothing() {
    let rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    rig.verdicts("f", [Verdict::Throttled, Verdict::Gone, done()]);
    rig.start();
    send(&rig, 0..1).await;
    rig.events.set_mappings(vec![mapping()]);
    rig.until_calls(1).await;
    rig.advance(999);
    rig.until_calls(1).await;
    rig.advance(1);
    rig.until_calls(2).await;
    rig.advance(1_999);
    rig.until_calls(2).await;
    rig.policy("f", None);
    rig.advance(1);
    rig.until_calls(2).await;
    rig.policy("f", Some(crate::events::Policy::default()));
    rig.advance(4_000);
    rig.until_empty().await;
    assert_eq!(batches(&rig), [(vec![0], 1), (vec![0], 1), (vec![0], 1)]);
}

#[tokio::test]
async fn a_mapping_runs_so_many_batches_at_once() {
    let rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    let gate = rig.gate("f");
    rig.start();
    send(&rig, 0..10).await;
    let two = Mapping {
        batch_size: 1,
        max_concurrency: 2,
        ..mapping()
    };
    rig.events.set_mappings(vec![two.clone()]);
    rig.until_calls(2).await;
    assert_eq!(rig.events.queues(None).await[0].in_flight, 2);
    gate.add_permits(1);
    rig.until_calls(3).await;
    // Those under way count after a change as well, and a message that is worked at for long
    // does not come a second time.
    rig.events.set_mappings(vec![two]);
    rig.advance(600_000);
    rig.until_calls(3).await;
    gate.add_permits(100);
    rig.until_empty().await;
    assert_eq!(batches(&rig).len(), 10);
}

#[tokio::test]
async fn what_is_purged_under_way_stays_away() {
    for delete in [false, true] {
        let rig = Rig::new();
        queue(&rig, QueueSpec::default()).await;
        let gate = rig.gate("f");
        rig.verdicts("f", [failed()]);
        rig.start();
        rig.events.set_mappings(vec![mapping()]);
        send(&rig, 0..1).await;
        rig.until_calls(1).await;
        if delete {
            assert!(rig.events.delete_queue("q").await.unwrap());
            queue(&rig, QueueSpec::default()).await;
        } else {
            rig.events.purge_queue("q").await.unwrap();
        }
        assert_eq!(rig.events.stats().await.queued, 0);
        gate.add_permits(10);
        rig.advance(60_000);
        rig.until_calls(1).await;
        assert_eq!(rig.events.stats().await.queued, 0);
        send(&rig, 5..6).await;
        rig.until_calls(2).await;
    }
}

#[tokio::test]
async fn a_crash_leaves_messages_hidden_for_their_time() {
    let mut rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    let gate = rig.gate("f");
    rig.start();
    rig.events.set_mappings(vec![mapping()]);
    send(&rig, 0..1).await;
    rig.until_calls(1).await;
    rig.restart().await;
    drop(gate);
    rig.start();
    rig.events.set_mappings(vec![mapping()]);
    rig.advance(29_999);
    rig.until_calls(0).await;
    rig.advance(1);
    rig.until_empty().await;
    assert_eq!(batches(&rig), [(vec![0], 2)]);
}

#[tokio::test]
async fn stopping_waits_for_batches() {
    let mut rig = Rig::new();
    queue(&rig, QueueSpec::default()).await;
    let gate = rig.gate("f");
    rig.start();
    rig.events.set_mappings(vec![mapping()]);
    send(&rig, 0..1).await;
    rig.until_calls(1).await;
    let events = rig.events.clone();
    let stop = tokio::spawn(async move { events.stop(Duration::from_secs(30)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!stop.is_finished());
    gate.add_permits(1);
    stop.await.unwrap();
    rig.restart().await;
    assert_eq!(rig.events.stats().await.queued, 0);
}
