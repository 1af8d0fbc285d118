//! Hands the messages of queues to functions, in batches (AWS Lambda: event source mappings).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::FunctionName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::events::dispatch::{Core, Phase};
use crate::events::policy;
use crate::events::queue::{Message, Queues, Received, random_id};
use crate::events::{Event, EventsConfig, Invoker, Source, Verdict};
use crate::limits::{EVENT_CLOCK_MS, QUEUE_BATCH_BYTES_MAX, QUEUE_BATCHES_MAX, QUEUE_SWEEP_MS};

/// A queue whose messages a function works off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mapping {
    /// Its name.
    pub(crate) uuid: String,
    /// The queue's name; it may come and go.
    pub(crate) queue: String,
    /// The function.
    pub(crate) function: FunctionName,
    /// Which alias or version is called.
    pub(crate) qualifier: Option<String>,
    /// Messages in one call, 1 to 10,000.
    pub(crate) batch_size: u32,
    /// How long messages are gathered for one call, in milliseconds.
    pub(crate) window_ms: u64,
    /// Whether messages are handed out.
    pub(crate) enabled: bool,
    /// The function names the messages that failed (`ReportBatchItemFailures`).
    pub(crate) report_batch_item_failures: bool,
    /// Calls at once.
    pub(crate) max_concurrency: u32,
}

/// The mappings.
#[derive(Debug, Default)]
pub(super) struct Pollers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<String, Poller>,
    /// Batches of all, those of mappings that are gone included.
    running: u32,
}

#[derive(Debug)]
struct Poller {
    mapping: Arc<Mapping>,
    running: u32,
    /// Batches in a row that did not reach the function.
    refused: u32,
    /// No batch begins before.
    rests_until_ms: u64,
}

impl Pollers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the mappings; batches under way end on theirs.
    pub(super) fn set(&self, mappings: Vec<Mapping>) {
        let mut table = self.table();
        let mut old = std::mem::take(&mut table.all);
        for mapping in mappings {
            let before = old.remove(&mapping.uuid);
            let poller = Poller {
                running: before.map_or(0, |before| before.running),
                mapping: Arc::new(mapping),
                refused: 0,
                rests_until_ms: 0,
            };
            table.all.insert(poller.mapping.uuid.clone(), poller);
        }
    }

    /// The mapping that may begin a batch now and runs the fewest, and when else to look again.
    fn next(&self, queues: &Queues, now_ms: u64) -> (Option<Arc<Mapping>>, u64) {
        let mut table = self.table();
        let mut look_ms = now_ms.saturating_add(EVENT_CLOCK_MS);
        let mut best: Option<&mut Poller> = None;
        // As with events, none takes more places than it leaves free.
        let free = QUEUE_BATCHES_MAX.saturating_sub(table.running);
        for poller in table.all.values_mut() {
            let mapping = &poller.mapping;
            let most = free.min(mapping.max_concurrency.max(1));
            let better = best
                .as_ref()
                .is_none_or(|best| poller.running < best.running);
            if !mapping.enabled || poller.running >= most || !better {
                continue;
            }
            let size = mapping.batch_size.max(1) as usize;
            let due = queues.batch_due(&mapping.queue, size, mapping.window_ms, now_ms);
            let due = due.map(|due_ms| due_ms.max(poller.rests_until_ms));
            match due {
                Some(due_ms) if due_ms <= now_ms => best = Some(poller),
                Some(due_ms) => look_ms = look_ms.min(due_ms),
                None => {}
            }
        }
        let found = best.map(|poller| {
            poller.running += 1;
            Arc::clone(&poller.mapping)
        });
        table.running += u32::from(found.is_some());
        (found, look_ms)
    }

    /// A batch has ended; answers until when its messages rest if it did not reach the function.
    fn ended(&self, uuid: &str, refused: bool, config: &EventsConfig, now_ms: u64) -> u64 {
        let mut table = self.table();
        table.running -= 1;
        let Some(poller) = table.all.get_mut(uuid) else {
            return now_ms;
        };
        poller.running = poller.running.saturating_sub(1);
        let rests_ms = policy::backoff_ms(poller.refused, config);
        poller.refused = if refused {
            poller.refused.saturating_add(1)
        } else {
            0
        };
        let until_ms = now_ms.saturating_add(if refused { rests_ms } else { 0 });
        poller.rests_until_ms = until_ms;
        until_ms
    }
}

/// What a poller needs.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) core: Arc<Core>,
    pub(super) queues: Arc<Queues>,
    pub(super) pollers: Arc<Pollers>,
    pub(super) invoker: Arc<dyn Invoker>,
}

/// Hands out messages until the engine stops.
pub(super) async fn run(parts: Parts) {
    let mut phase = parts.core.phase.subscribe();
    let mut sweep_ms = 0;
    loop {
        let now_ms = parts.core.clock.now();
        if now_ms >= sweep_ms {
            parts.queues.expire(&parts.core).await;
            sweep_ms = now_ms.saturating_add(QUEUE_SWEEP_MS);
        }
        let look_ms = begin_batches(&parts, now_ms);
        let time = Duration::from_millis(look_ms.saturating_sub(now_ms).max(1));
        tokio::select! {
            () = parts.queues.changed.notified() => {}
            () = tokio::time::sleep(time) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        }
    }
}

/// Begins the batches that may; answers when else to look again.
fn begin_batches(parts: &Parts, now_ms: u64) -> u64 {
    if parts.core.writer.is_behind() {
        return now_ms.saturating_add(EVENT_CLOCK_MS);
    }
    loop {
        let (found, look_ms) = parts.pollers.next(&parts.queues, now_ms);
        let Some(mapping) = found else {
            return look_ms;
        };
        let size = mapping.batch_size.max(1) as usize;
        let bytes = QUEUE_BATCH_BYTES_MAX;
        let taken = parts.queues.take(&mapping.queue, size, bytes, now_ms);
        tokio::spawn(batch(parts.clone(), mapping, taken));
    }
}

/// One batch, unless the engine ends before.
async fn batch(parts: Parts, mapping: Arc<Mapping>, taken: Vec<u64>) {
    let Parts {
        core,
        queues,
        pollers,
        invoker,
    } = parts;
    let _busy = Busy::new(Arc::clone(&core));
    let ended = |refused| pollers.ended(&mapping.uuid, refused, &core.config, core.clock.now());
    let qualifier = mapping.qualifier.as_deref();
    if invoker.policy(&mapping.function, qualifier).is_none() {
        let until_ms = ended(true);
        for seq in taken {
            queues.give_back(&mapping.queue, seq, until_ms);
        }
        return;
    }
    // When it fails, the messages are back already.
    let Ok(Received {
        messages,
        visible_ms,
    }) = queues.receive(&core, &mapping.queue, taken).await
    else {
        ended(false);
        return;
    };
    if messages.is_empty() {
        ended(false);
        return;
    }
    let mut phase = core.phase.subscribe();
    let event = event(&mapping, &messages, &core);
    let verdict = tokio::select! {
        biased;
        verdict = invoker.invoke(event, 1) => verdict,
        _ = phase.wait_for(|phase| *phase == Phase::Abandoned) => return,
    };
    let (mut deleted, mut back) = (Vec::new(), Vec::new());
    let worked = worked(&verdict, &mapping, &messages);
    for message in &messages {
        let failed = match &worked {
            Worked::All => false,
            Worked::Except(ids) => ids.contains(&message.id.to_string()),
            Worked::Nothing | Worked::Refused => true,
        };
        let list = if failed { &mut back } else { &mut deleted };
        list.push(message.seq);
    }
    let until_ms = ended(matches!(worked, Worked::Refused));
    if matches!(worked, Worked::Refused) {
        return queues.untake(&core, &mapping.queue, back, until_ms);
    }
    queues.delete(&core, &mapping.queue, deleted);
    for seq in back {
        queues.give_back(&mapping.queue, seq, visible_ms);
    }
}

/// A batch is under way.
struct Busy(Arc<Core>);

impl Busy {
    fn new(core: Arc<Core>) -> Self {
        core.batches.fetch_add(1, Ordering::Relaxed);
        Self(core)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.batches.fetch_sub(1, Ordering::Relaxed);
        self.0.wake();
    }
}

/// Which messages of a batch are done with.
#[derive(Debug, Eq, PartialEq)]
enum Worked {
    All,
    /// All but those with these ids.
    Except(BTreeSet<String>),
    Nothing,
    /// None, and the function knows of none.
    Refused,
}

/// What a verdict says of a batch's messages (AWS Lambda, "Reporting batch item failures").
fn worked(verdict: &Verdict, mapping: &Mapping, messages: &[Message]) -> Worked {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        batch_item_failures: Option<Vec<Failure>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Failure {
        item_identifier: String,
    }
    let payload = match verdict {
        Verdict::Done { payload, .. } => payload,
        Verdict::Failed { .. } => return Worked::Nothing,
        Verdict::Throttled | Verdict::Gone => return Worked::Refused,
    };
    if !mapping.report_batch_item_failures || payload.is_empty() {
        return Worked::All;
    }
    let Ok(answer) = serde_json::from_slice::<Option<Answer>>(payload) else {
        return Worked::Nothing;
    };
    let failures = answer.and_then(|answer| answer.batch_item_failures);
    let failures = failures.unwrap_or_default().into_iter();
    let failed: BTreeSet<_> = failures.map(|failure| failure.item_identifier).collect();
    let ours: BTreeSet<_> = messages
        .iter()
        .map(|message| message.id.to_string())
        .collect();
    if failed.is_empty() {
        Worked::All
    } else if failed.is_subset(&ours) {
        Worked::Except(failed)
    } else {
        // Nobody knows what was meant.
        Worked::Nothing
    }
}

#[derive(Serialize)]
struct Records<'a> {
    #[serde(rename = "Records")]
    records: Vec<SqsRecord<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SqsRecord<'a> {
    message_id: String,
    receipt_handle: String,
    body: &'a str,
    attributes: Attributes<'a>,
    message_attributes: &'a RawValue,
    #[serde(rename = "md5OfBody")]
    md5_of_body: &'a str,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes<'a> {
    approximate_receive_count: String,
    sent_timestamp: String,
    sender_id: &'a str,
    approximate_first_receive_timestamp: String,
}

/// The event of a batch, as SQS's look.
fn event(mapping: &Mapping, messages: &[Message], core: &Core) -> Event {
    let payload = payload(&mapping.queue, messages, &core.config);
    let now_ms = core.clock.now();
    let event = Event::new(
        random_id(),
        mapping.function.clone(),
        payload,
        Source::Queue,
        now_ms,
    );
    Event {
        qualifier: mapping.qualifier.clone(),
        ..event
    }
}

fn payload(queue: &str, messages: &[Message], config: &EventsConfig) -> Bytes {
    let EventsConfig {
        region, account, ..
    } = config;
    let arn = format!("arn:aws:sqs:{region}:{account}:{queue}");
    let records = messages.iter().map(|message| SqsRecord {
        message_id: message.id.to_string(),
        receipt_handle: format!("{}-{}", message.seq, message.receives),
        body: &message.body,
        attributes: Attributes {
            approximate_receive_count: message.receives.to_string(),
            sent_timestamp: message.sent_ms.to_string(),
            sender_id: account,
            approximate_first_receive_timestamp: message.first_receive_ms.to_string(),
        },
        message_attributes: &message.attributes,
        md5_of_body: &message.md5,
        event_source: "aws:sqs",
        event_source_arn: &arn,
        aws_region: region,
    });
    let records = records.collect();
    let text = serde_json::to_vec(&Records { records });
    text.expect("texts and JSON are JSON").into()
}

#[cfg(test)]
mod tests;
