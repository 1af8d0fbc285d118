//! Work that was promised and is done later: asynchronous invocations, fires of schedules, and
//! queues, all in `DIR/events.db`.
//!
//! An event is acknowledged when the transaction that holds it is on disk, and its row goes when it
//! is done; in between it runs at least once, and more than once only after a crash. One thread
//! writes, and whatever waits for it becomes one transaction. Dispatch goes by an index in memory
//! of what is due when; payloads come from memory while there is room for them there, otherwise
//! from the database.
//!
//! Parts: [`policy`] decides what becomes of an attempt, and [`index`] which event is next: both
//! without IO or a clock. [`store`] is the database, [`writer`] the thread that writes,
//! [`dispatch`] runs what is due, [`schedule`] fires, [`queue`] holds messages and [`poller`] hands
//! them to functions. What a node does with an event, the engine knows only as [`Invoker`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fractus_func::{BoxFuture, FunctionName, RequestId};
use thiserror::Error;

use crate::clock;
use crate::events::dispatch::Core;
use crate::events::poller::{Parts, Pollers};
use crate::events::queue::Queues;
use crate::events::schedule::Schedules;
use crate::limits::{
    EVENT_AGE_MAX_MS, EVENT_BYTES_MAX, EVENT_CACHE_BYTES_MAX, EVENT_RETRIES_MAX,
    EVENTS_IN_FLIGHT_MAX, EVENTS_MAX, EVENTS_PER_FUNCTION_MAX,
};

mod dispatch;
mod index;
mod policy;
mod poller;
mod queue;
mod record;
mod schedule;
mod store;
mod writer;

pub(crate) use crate::events::poller::Mapping;
pub(crate) use crate::events::queue::{NewMessage, QueueError, QueueInfo, QueueSpec};
pub use crate::events::schedule::ScheduleError;
pub(crate) use crate::events::schedule::{ScheduleInfo, ScheduleSpec};
pub use crate::events::store::OpenError;
pub use crate::events::writer::WriteError;

/// An asynchronous invocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Event {
    /// Its name; no two events that are not done have the same.
    pub(crate) id: RequestId,
    /// Whom it is for.
    pub(crate) function: FunctionName,
    /// The alias or version, as the caller gave it.
    pub(crate) qualifier: Option<String>,
    /// What the function is called with; the caller has checked its length.
    pub(crate) payload: Bytes,
    /// The `X-Amzn-Trace-Id` to pass on.
    pub(crate) trace: Option<String>,
    /// The `X-Amz-Client-Context` to pass on, as it came.
    pub(crate) client_context: Option<String>,
    /// What made it.
    pub(crate) source: Source,
    /// When it was taken, in milliseconds since the UNIX epoch.
    pub(crate) enqueued_ms: u64,
    /// Attempts that the function itself let fail.
    pub(crate) attempts: u32,
    /// Attempts in a row that did not reach the function.
    pub(crate) throttles: u32,
    /// When its next attempt is due, in milliseconds since the UNIX epoch.
    pub(crate) due_ms: u64,
}

impl Event {
    /// An event that is due at once.
    pub(crate) fn new(
        id: RequestId,
        function: FunctionName,
        payload: Bytes,
        source: Source,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            function,
            qualifier: None,
            payload,
            trace: None,
            client_context: None,
            source,
            enqueued_ms: now_ms,
            attempts: 0,
            throttles: 0,
            due_ms: now_ms,
        }
    }

    /// What it counts against [`EVENT_BYTES_MAX`].
    fn weight(&self) -> u64 {
        let texts = [&self.qualifier, &self.trace, &self.client_context];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        (self.payload.len() + texts) as u64
    }
}

/// What made an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// A client.
    Invoke,
    /// A schedule.
    Schedule,
    /// A change of an object.
    Object,
    /// A queue.
    Queue,
}

/// What the engine asks of the node.
pub(crate) trait Invoker: fmt::Debug + Send + Sync + 'static {
    /// Runs one event; `attempt` counts from 1. Dropping the future ends the attempt.
    fn invoke(&self, event: Event, attempt: u32) -> BoxFuture<'static, Verdict>;

    /// How events of this function and qualifier are treated at this moment; `None` when the
    /// function does not exist.
    fn policy(&self, function: &FunctionName, qualifier: Option<&str>) -> Option<Policy>;

    /// Hands a letter to a destination. It may come more than once.
    fn deliver(
        &self,
        destination: &Destination,
        letter: Letter,
    ) -> BoxFuture<'static, Result<(), DeliverError>>;
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The function answered.
    Done {
        /// The status for the record.
        status: u16,
        /// What it answered.
        payload: Bytes,
        /// The version that ran.
        executed_version: String,
    },
    /// The function failed.
    Failed {
        /// Its error, JSON in Lambda's form.
        payload: Bytes,
        /// The version that ran.
        executed_version: String,
    },
    /// It was not reached: too many calls, or the node's own fault.
    Throttled,
    /// The function or the qualifier does not exist.
    Gone,
}

/// How a function's events are treated (AWS Lambda: `EventInvokeConfig`, `DeadLetterConfig`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Policy {
    /// Further attempts after the function failed, 0 to [`EVENT_RETRIES_MAX`].
    pub(crate) max_retries: u32,
    /// Older events are given up, in milliseconds.
    pub(crate) max_age_ms: u64,
    /// Whether the function may not run at all: its events are given up at once.
    pub(crate) is_stopped: bool,
    /// Where records of successes go.
    pub(crate) on_success: Option<Destination>,
    /// Where records of events that are given up go.
    pub(crate) on_failure: Option<Destination>,
    /// Where events themselves go that are given up.
    pub(crate) dead_letter: Option<Destination>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_retries: EVENT_RETRIES_MAX,
            max_age_ms: EVENT_AGE_MAX_MS,
            is_stopped: false,
            on_success: None,
            on_failure: None,
            dead_letter: None,
        }
    }
}

/// The ARN of what takes letters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Destination(pub(crate) String);

/// What goes to a destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Letter {
    /// The event that it tells of.
    pub(crate) event: RequestId,
    /// The function whose event that was.
    pub(crate) function: FunctionName,
    /// The record of an invocation, JSON in AWS Lambda's form; for a dead letter the event's own
    /// payload.
    pub(crate) body: Bytes,
    /// Of a dead letter `RequestID`, `ErrorCode` and `ErrorMessage`; of a record nothing.
    pub(crate) attributes: Vec<(String, String)>,
}

/// A letter was not taken.
#[derive(Clone, Debug, Error)]
pub(crate) enum DeliverError {
    /// Nothing has this ARN, or nothing that takes letters.
    #[error("the destination does not exist")]
    Gone,
    /// It may be taken later.
    #[error("the destination did not take it: {reason}")]
    Failed {
        /// Why not.
        reason: String,
    },
}

/// An event was not taken.
#[derive(Clone, Debug, Error)]
pub(crate) enum AddError {
    /// As many events or bytes wait as may.
    #[error("as many events wait as may; try again")]
    Full,
    /// An event with this id is not done yet.
    #[error("an event with this id waits already")]
    Duplicate,
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What the engine is started with.
#[derive(Clone, Debug)]
pub(crate) struct EventsConfig {
    /// Time before the second and the third attempt after a function's failure, in milliseconds.
    pub(crate) retry_delays_ms: [u64; 2],
    /// Time before the next attempt when the function was not reached, or a destination did not
    /// take a letter; it doubles with each further one.
    pub(crate) backoff_first_ms: u64,
    /// It grows up to this.
    pub(crate) backoff_max_ms: u64,
    /// A fire that was missed is made up for if it is no older than this.
    pub(crate) misfire_grace_ms: u64,
    /// The account in ARNs and scheduled events: 12 digits.
    pub(crate) account: String,
    /// The region in ARNs and scheduled events.
    pub(crate) region: String,
    /// Events that are not done, letters and messages included.
    pub(crate) events_max: u64,
    /// Bytes of all of them.
    pub(crate) bytes_max: u64,
    /// Bytes of payloads that are kept in memory.
    pub(crate) cache_bytes_max: u64,
    /// Events that run at once.
    pub(crate) in_flight_max: u32,
    /// Events of one function that run at once.
    pub(crate) per_function_max: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            retry_delays_ms: [60_000, 120_000],
            backoff_first_ms: 1_000,
            backoff_max_ms: 300_000,
            misfire_grace_ms: 300_000,
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            events_max: EVENTS_MAX,
            bytes_max: EVENT_BYTES_MAX,
            cache_bytes_max: EVENT_CACHE_BYTES_MAX,
            in_flight_max: EVENTS_IN_FLIGHT_MAX,
            per_function_max: EVENTS_PER_FUNCTION_MAX,
        }
    }
}

/// What time it is, in milliseconds since the UNIX epoch.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The wall clock.
    pub(crate) fn wall() -> Self {
        Self::new(clock::now_ms)
    }

    /// A clock that asks `now`.
    pub(crate) fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Numbers for metrics. Those without a remark count since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stats {
    /// Events that are not done now, those that run included, letters that are not delivered, and
    /// messages in queues.
    pub(crate) queued: u64,
    /// Bytes of all of them now.
    pub(crate) bytes: u64,
    /// Events that run now.
    pub(crate) in_flight: u32,
    /// Letters that wait or are on their way now.
    pub(crate) delivering: u64,
    /// Events taken.
    pub(crate) added: u64,
    /// Events that ended well.
    pub(crate) done: u64,
    /// Events that were given up.
    pub(crate) failed: u64,
    /// Attempts that were put off to be made again.
    pub(crate) retried: u64,
    /// Letters that were taken.
    pub(crate) delivered: u64,
    /// Letters that nobody took, and events of functions that are gone.
    pub(crate) dropped: u64,
    /// Fires of schedules that were missed.
    pub(crate) missed: u64,
    /// When the oldest event that is not done was taken, in milliseconds since the UNIX epoch.
    pub(crate) oldest_ms: Option<u64>,
    /// Whether the disk failed, so that nothing is taken or run any more.
    pub(crate) stopped: bool,
}

/// The engine. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    core: Arc<Core>,
    schedules: Arc<Schedules>,
    queues: Arc<Queues>,
    pollers: Arc<Pollers>,
}

impl Events {
    /// Opens the database, or makes one, and reads what waits. Blocks. Events are taken from now
    /// on; they run after [`Events::start`].
    pub(crate) fn open(path: &Path, config: EventsConfig, clock: Clock) -> Result<Self, OpenError> {
        let opened = store::open(path)?;
        let reader = opened.reader.clone();
        let schedules = Schedules::load(&reader, &clock)?;
        let core = Core::new(opened, config, clock)?;
        let queues = Queues::load(&reader, &core)?;
        Ok(Self {
            core: Arc::new(core),
            schedules: Arc::new(schedules),
            queues: Arc::new(queues),
            pollers: Arc::default(),
        })
    }

    /// Begins to run events and to fire schedules, on this runtime. Called once, inside of it.
    pub(crate) fn start(&self, invoker: Arc<dyn Invoker>) {
        tokio::spawn(dispatch::run(Arc::clone(&self.core), Arc::clone(&invoker)));
        tokio::spawn(poller::run(Parts {
            core: Arc::clone(&self.core),
            queues: Arc::clone(&self.queues),
            pollers: Arc::clone(&self.pollers),
            invoker,
        }));
        tokio::spawn(schedule::run(
            Arc::clone(&self.core),
            Arc::clone(&self.schedules),
        ));
    }

    /// Takes an event; it is durable when this answers. It is also taken when the future is dropped
    /// before that.
    pub(crate) async fn add(&self, event: Event) -> Result<(), AddError> {
        self.core.add(event).await
    }

    /// Forgets a function's events and schedules, durably. Those that run end, and are not tried
    /// again.
    pub(crate) async fn remove_function(&self, name: &FunctionName) -> Result<(), WriteError> {
        self.schedules.remove(&self.core, name).await?;
        self.core.remove_function(name).await
    }

    /// Replaces a function's schedules, durably. Those that stay as they were keep their last fire.
    pub(crate) async fn set_schedules(
        &self,
        function: &FunctionName,
        specs: Vec<ScheduleSpec>,
    ) -> Result<(), ScheduleError> {
        self.schedules.set(&self.core, function, specs).await
    }

    /// The schedules of one function, or of all.
    pub(crate) fn schedules(&self, of: Option<&FunctionName>) -> Vec<ScheduleInfo> {
        self.schedules.list(of)
    }

    /// Makes a queue, or changes how one treats its messages, durably.
    pub(crate) async fn put_queue(&self, name: &str, spec: QueueSpec) -> Result<(), QueueError> {
        self.queues.put(&self.core, name, spec).await
    }

    /// Removes a queue and its messages, durably; false when there is none.
    pub(crate) async fn delete_queue(&self, name: &str) -> Result<bool, WriteError> {
        self.queues.remove(&self.core, name).await
    }

    /// Removes the messages of a queue, durably.
    pub(crate) async fn purge_queue(&self, name: &str) -> Result<(), QueueError> {
        self.queues.purge(&self.core, name).await
    }

    /// One queue, or all.
    pub(crate) async fn queues(&self, of: Option<&str>) -> Vec<QueueInfo> {
        self.queues.list(&self.core, of).await
    }

    /// Sends a message; it is durable when this answers its id. It is also sent when the future is
    /// dropped before that.
    pub(crate) async fn queue_send(
        &self,
        queue: &str,
        message: NewMessage,
    ) -> Result<RequestId, QueueError> {
        self.queues.send(&self.core, queue, message).await
    }

    /// Replaces the mappings of queues to functions. Nothing of them is written: whoever knows them
    /// sets them after each start.
    pub(crate) fn set_mappings(&self, mappings: Vec<Mapping>) {
        self.pollers.set(mappings);
        self.queues.changed.notify_one();
    }

    /// Numbers for metrics. Asks the database for one row.
    pub(crate) async fn stats(&self) -> Stats {
        let mut stats = self.core.stats().await;
        stats.missed = self.schedules.missed.load(Ordering::Relaxed);
        stats
    }

    /// Takes no more events, starts none, and waits up to `grace` for those that run. Whatever is
    /// not done then is ended, and runs again after the next start.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.core.stop(grace).await;
    }
}

#[cfg(test)]
mod tests;
