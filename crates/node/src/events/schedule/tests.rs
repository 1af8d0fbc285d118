use bytes::Bytes;
use fractus_func::Cron;
use serde_json::Value;

use super::{Decision, Mark, ScheduleError, ScheduleSpec, decide};
use crate::events::tests::{BEGIN_MS, Rig, name, open};
use crate::events::{EventsConfig, Source};
use crate::limits::{MISSED_COUNTED_MAX, SCHEDULES_MAX};

const MINUTE: u64 = 60_000;
const GRACE: u64 = 5 * MINUTE;

fn every_minute(name: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: name.to_owned(),
        expression: "* * * * *".to_owned(),
        timezone: "UTC".to_owned(),
        qualifier: None,
        payload: None,
    }
}

fn decided(decided_ms: u64) -> Mark {
    Mark {
        decided_ms,
        last_fire_ms: None,
        missed: 7,
        last_missed_ms: None,
    }
}

fn minutely(mark: Mark, now_ms: u64) -> Option<Decision> {
    let cron = Cron::parse("* * * * *", "UTC").unwrap();
    decide(&cron, mark, now_ms, GRACE)
}

#[test]
fn one_fire_is_one_fire() {
    let mark = decided(BEGIN_MS);
    assert_eq!(minutely(mark, BEGIN_MS), None);
    assert_eq!(minutely(mark, BEGIN_MS + MINUTE - 1), None);
    assert_eq!(minutely(mark, 0), None);
    let decision = minutely(mark, BEGIN_MS + MINUTE + 3).unwrap();
    assert_eq!(decision.fire_ms, Some(BEGIN_MS + MINUTE));
    assert_eq!((decision.missed, decision.first_missed_ms), (0, None));
    let expected = Mark {
        last_fire_ms: Some(BEGIN_MS + MINUTE),
        ..decided(BEGIN_MS + MINUTE)
    };
    assert_eq!(decision.mark, expected);
}

#[test]
fn of_several_the_last_fires_within_the_grace() {
    let decision = minutely(decided(BEGIN_MS), BEGIN_MS + 10 * MINUTE + 1).unwrap();
    assert_eq!(decision.fire_ms, Some(BEGIN_MS + 10 * MINUTE));
    assert_eq!((decision.missed, decision.mark.missed), (9, 16));
    assert_eq!(decision.first_missed_ms, Some(BEGIN_MS + MINUTE));
    let last_missed = decision.mark.last_missed_ms;
    assert_eq!(last_missed, Some(BEGIN_MS + 9 * MINUTE));

    let hourly = Cron::parse("0 * * * *", "UTC").unwrap();
    let hour = BEGIN_MS.next_multiple_of(60 * MINUTE);
    let mark = decided(hour - 1);
    let last = decide(&hourly, mark, hour + GRACE, GRACE).unwrap();
    assert_eq!((last.fire_ms, last.missed), (Some(hour), 0));
    let late = decide(&hourly, mark, hour + GRACE + 1, GRACE).unwrap();
    assert_eq!((late.fire_ms, late.missed), (None, 1));
    assert_eq!(late.mark.last_missed_ms, Some(hour));
    assert_eq!((late.mark.last_fire_ms, late.mark.decided_ms), (None, hour));
}

#[test]
fn a_long_absence_is_counted_up_to_a_bound_and_passed() {
    let now = BEGIN_MS + 10 * MISSED_COUNTED_MAX * MINUTE;
    let decision = minutely(decided(BEGIN_MS), now).unwrap();
    assert_eq!(decision.fire_ms, Some(now));
    assert!(decision.missed >= MISSED_COUNTED_MAX);
    assert!(decision.missed < MISSED_COUNTED_MAX + 10);
    assert_eq!(minutely(decision.mark, now + 1), None);
}

async fn set(rig: &Rig, function: &str, specs: Vec<ScheduleSpec>) {
    let set = rig.events.set_schedules(&name(function), specs).await;
    set.unwrap();
}

async fn fires(rig: &Rig, count: usize) {
    rig.until_calls(count).await;
    rig.until_empty().await;
}

#[tokio::test]
async fn a_schedule_fires_each_time_once() {
    let mut rig = Rig::new();
    rig.start();
    set(&rig, "f", vec![every_minute("a")]).await;
    fires(&rig, 0).await;
    for (count, minute) in (1..=3).enumerate() {
        rig.set(BEGIN_MS + minute * MINUTE + 5);
        fires(&rig, count + 1).await;
    }
    // A clock that is set back fires nothing again, and nothing new.
    for back in [MINUTE, 2 * MINUTE, 100 * MINUTE] {
        rig.set(BEGIN_MS + 3 * MINUTE + 5 - back);
        fires(&rig, 3).await;
        rig.set(BEGIN_MS + 3 * MINUTE + 6);
        fires(&rig, 3).await;
    }
    rig.restart().await;
    rig.start();
    fires(&rig, 0).await;
    rig.set(BEGIN_MS + 4 * MINUTE);
    fires(&rig, 1).await;
    let info = rig.events.schedules(None);
    assert_eq!(info.len(), 1);
    assert_eq!(info[0].last_fire_ms, Some(BEGIN_MS + 4 * MINUTE));
    assert_eq!(info[0].next_ms, Some(BEGIN_MS + 5 * MINUTE));
    assert_eq!((info[0].missed, info[0].last_missed_ms), (0, None));
    let (event, _) = &rig.calls()[0];
    assert_eq!(event.source, Source::Schedule);
    let payload: Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!(payload["detail-type"], "Scheduled Event");
    assert_eq!(payload["time"], "2027-01-15T08:04:00Z");
    assert_eq!(payload["id"], event.id.to_string());
}

#[tokio::test]
async fn fires_that_were_missed_are_counted_and_the_last_is_made_up_for() {
    let mut rig = Rig::new();
    let mut hourly = every_minute("b");
    hourly.expression = "30 * * * *".to_owned();
    set(&rig, "f", vec![every_minute("a"), hourly]).await;
    rig.restart().await;
    rig.set(BEGIN_MS + 40 * MINUTE);
    rig.start();
    fires(&rig, 1).await;
    assert_eq!(rig.events.stats().await.missed, 40);
    let info = rig.events.schedules(Some(&name("f")));
    assert_eq!((info[0].missed, info[1].missed), (39, 1));
    assert_eq!(info[0].last_missed_ms, Some(BEGIN_MS + 39 * MINUTE));
    assert_eq!(info[1].last_missed_ms, Some(BEGIN_MS + 30 * MINUTE));
    assert_eq!(info[1].last_fire_ms, None);
    // They are counted once.
    rig.restart().await;
    rig.start();
    fires(&rig, 0).await;
    assert_eq!(rig.events.schedules(None), info);
}

#[tokio::test]
async fn what_stays_the_same_keeps_its_last_fire() {
    let rig = Rig::new();
    rig.start();
    let (f, g) = (name("f"), name("g"));
    let set = |specs| rig.events.set_schedules(&f, specs);
    set(vec![every_minute("a"), every_minute("b")])
        .await
        .unwrap();
    rig.events
        .set_schedules(&g, vec![every_minute("a")])
        .await
        .unwrap();
    rig.advance(MINUTE);
    fires(&rig, 3).await;
    let mut a = every_minute("a");
    a.payload = Some(Bytes::from_static(b"{\"own\":1}"));
    a.qualifier = Some("live".to_owned());
    let mut b = every_minute("b");
    b.expression = "*/2 * * * *".to_owned();
    set(vec![a.clone(), b.clone()]).await.unwrap();
    fires(&rig, 3).await;
    let info = rig.events.schedules(Some(&f));
    assert_eq!(info[0].last_fire_ms, Some(rig.now()));
    assert_eq!(info[1].last_fire_ms, None);
    rig.events.set_schedules(&g, Vec::new()).await.unwrap();
    rig.advance(MINUTE);
    fires(&rig, 5).await;
    let calls = rig.calls();
    let own = calls
        .iter()
        .find(|(event, _)| event.payload == "{\"own\":1}");
    assert_eq!(own.unwrap().0.qualifier.as_deref(), Some("live"));

    // What was written is what is in memory.
    let again = open(&rig.path(), &rig.config, &rig.now);
    assert_eq!(again.schedules(None), rig.events.schedules(None));
    assert_eq!(again.schedules(None).len(), 2);
    rig.events.remove_function(&f).await.unwrap();
    rig.advance(10 * MINUTE);
    fires(&rig, 5).await;
    assert!(rig.events.schedules(None).is_empty());
}

#[tokio::test]
async fn a_fire_that_finds_no_room_comes_later() {
    let rig = Rig::with(EventsConfig {
        events_max: 1,
        ..EventsConfig::default()
    });
    let gate = rig.gate("f");
    rig.start();
    rig.add(1, "f").await;
    set(&rig, "g", vec![every_minute("a")]).await;
    rig.advance(MINUTE);
    rig.until_calls(1).await;
    gate.add_permits(1);
    rig.until(|stats| stats.done == 1).await;
    rig.set(rig.now() + 1);
    rig.until(|stats| stats.done == 2).await;
    assert_eq!(rig.events.schedules(None)[0].missed, 0);
}

#[tokio::test]
async fn what_cannot_be_set_changes_nothing() {
    let rig = Rig::new();
    let f = name("f");
    let set = |specs| rig.events.set_schedules(&f, specs);
    set(vec![every_minute("a")]).await.unwrap();
    let mut wrong = every_minute("b");
    wrong.expression = "61 * * * *".to_owned();
    let error = set(vec![wrong]).await.unwrap_err();
    assert!(matches!(error, ScheduleError::Cron { .. }), "{error}");
    let error = set(vec![every_minute("b"), every_minute("b")]).await;
    assert!(matches!(error, Err(ScheduleError::Twice { .. })));
    let many = (0..=SCHEDULES_MAX).map(|at| every_minute(&at.to_string()));
    let error = set(many.collect()).await;
    assert!(matches!(error, Err(ScheduleError::TooMany)));
    let info = rig.events.schedules(None);
    assert_eq!((info.len(), info[0].spec.name.as_str()), (1, "a"));
}

/// A crash between any two transactions has the event with the mark, or neither.
#[tokio::test]
async fn a_fire_and_its_event_are_one() {
    let mut rig = Rig::new();
    set(&rig, "f", vec![every_minute("a")]).await;
    let mut ran = 0;
    for minute in 1..=5 {
        rig.set(BEGIN_MS + minute * MINUTE);
        // The schedules alone: what fires is not run before the crash.
        tokio::spawn(super::run(
            std::sync::Arc::clone(&rig.events.core),
            std::sync::Arc::clone(&rig.events.schedules),
        ));
        rig.until(|stats| stats.queued == 1).await;
        rig.restart().await;
        assert_eq!(rig.events.stats().await.queued, 1);
        let info = rig.events.schedules(None);
        assert_eq!(info[0].last_fire_ms, Some(rig.now()));
        rig.start();
        fires(&rig, 1).await;
        ran += rig.calls().len();
        rig.restart().await;
    }
    assert_eq!(ran, 5);
    assert_eq!(rig.events.schedules(None)[0].missed, 0);
}
