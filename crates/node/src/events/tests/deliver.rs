use serde_json::Value;

use super::{Rig, done, failed, id};
use crate::events::{DeliverError, Destination, Policy};
use crate::limits::DELIVER_TRIES_MAX;

fn to(name: &str) -> Destination {
    Destination(name.to_owned())
}

fn refused() -> Result<(), DeliverError> {
    Err(DeliverError::Failed {
        reason: "busy".to_owned(),
    })
}

fn everywhere(rig: &Rig) {
    let policy = Policy {
        max_retries: 0,
        on_success: Some(to("good")),
        on_failure: Some(to("bad")),
        dead_letter: Some(to("dead")),
        ..Policy::default()
    };
    rig.policy("f", Some(policy));
}

fn answers(rig: &Rig, answers: impl IntoIterator<Item = Result<(), DeliverError>>) {
    *rig.fake.answers.lock().unwrap() = answers.into_iter().collect();
}

#[tokio::test]
async fn outcomes_reach_their_destinations() {
    let rig = Rig::new();
    everywhere(&rig);
    rig.verdicts("f", [done(), failed()]);
    rig.start();
    rig.add(1, "f").await;
    rig.until_empty().await;
    rig.add(2, "f").await;
    let stats = rig.until_empty().await;
    assert_eq!((stats.delivered, stats.dropped, stats.bytes), (3, 0, 0));
    let mut letters = rig.letters();
    letters.sort_by_key(|(to, _)| to.clone());
    let names: Vec<_> = letters.iter().map(|(to, _)| to.0.as_str()).collect();
    assert_eq!(names, ["bad", "dead", "good"]);
    let condition = |body: &[u8]| {
        let record: Value = serde_json::from_slice(body).unwrap();
        record["requestContext"]["condition"].clone()
    };
    assert_eq!(condition(&letters[0].1.body), "RetriesExhausted");
    assert_eq!(condition(&letters[2].1.body), "Success");
    assert_eq!(letters[1].1.body, "2");
    assert_eq!(letters[1].1.event, id(2));
    assert_eq!(letters[1].1.attributes[2].1, "boom");
    assert_eq!(letters[2].1.event, id(1));
}

#[tokio::test]
async fn a_letter_survives_and_is_tried_until_it_is_taken() {
    let mut rig = Rig::new();
    everywhere(&rig);
    answers(&rig, [refused()]);
    rig.start();
    rig.add(1, "f").await;
    rig.until(|stats| stats.done == 1 && stats.delivering == 1)
        .await;
    rig.come(|rig| !rig.letters().is_empty()).await;
    rig.restart().await;
    // The event is done: only its letter is left.
    answers(&rig, [refused(), Ok(())]);
    rig.start();
    rig.advance(1_000);
    rig.come(|rig| !rig.letters().is_empty()).await;
    assert_eq!(rig.events.stats().await.queued, 1);
    rig.until(|stats| stats.delivering == 1).await;
    rig.advance(2_000);
    let stats = rig.until_empty().await;
    assert_eq!((stats.delivered, stats.dropped), (1, 0));
    assert_eq!(rig.letters().len(), 2);
    assert_eq!(rig.calls().len(), 0);
    assert_eq!(rig.letters()[0], rig.letters()[1]);
}

#[tokio::test]
async fn a_letter_that_nobody_takes_is_dropped() {
    let rig = Rig::new();
    everywhere(&rig);
    answers(&rig, [refused()]);
    rig.start();
    rig.add(1, "f").await;
    for _ in 0..DELIVER_TRIES_MAX * 100 {
        if rig.letters().len() >= DELIVER_TRIES_MAX as usize {
            break;
        }
        rig.advance(300_000);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let stats = rig.until_empty().await;
    assert_eq!((stats.delivered, stats.dropped), (0, 1));
    assert_eq!(rig.letters().len(), DELIVER_TRIES_MAX as usize);
}

#[tokio::test]
async fn a_destination_that_is_gone_is_tried_once() {
    let rig = Rig::new();
    everywhere(&rig);
    answers(&rig, [Err(DeliverError::Gone)]);
    rig.verdicts("f", [failed()]);
    rig.start();
    rig.add(1, "f").await;
    let stats = rig.until_empty().await;
    assert_eq!((stats.failed, stats.dropped, stats.delivered), (1, 2, 0));
    assert_eq!(rig.letters().len(), 2);
}
