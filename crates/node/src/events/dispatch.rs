//! What waits and what runs. One task takes what is due and starts a task for each; what comes of
//! it goes to the writer, and with that back into the index or away.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fractus_func::FunctionName;
use fractus_stdx::ErrorChain;
use tokio::sync::{Notify, oneshot, watch};

use crate::events::index::{Index, Left, Taken};
use crate::events::policy::{self, Condition, Ended, State, Step};
use crate::events::store::{self, OpenError, Opened, Reader};
use crate::events::writer::{WriteError, Writer};
use crate::events::{
    AddError, Clock, DeliverError, Destination, Event, EventsConfig, Invoker, Letter, Stats,
    Verdict, record,
};
use crate::limits::{
    DELIVERIES_MAX, DELIVERIES_PER_DESTINATION_MAX, EVENT_CLOCK_MS, EVENT_LINGER_MS, SETTLE_MS,
};

/// What all parts share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: EventsConfig,
    pub(super) clock: Clock,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    waiting: Mutex<Waiting>,
    /// Something may be due, or has ended.
    wake: Notify,
    /// Batches of queues' messages that run.
    pub(super) batches: AtomicU32,
    pub(super) phase: watch::Sender<Phase>,
    next_seq: AtomicU64,
    counts: Counts,
}

/// How far the engine has stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// It has not.
    Running,
    /// It starts nothing more.
    Draining,
    /// What runs is ended.
    Abandoned,
}

#[derive(Debug)]
struct Waiting {
    events: Index<FunctionName, Parked>,
    /// Letters and their bytes.
    letters: Index<Destination, u64>,
    /// Events and letters that are in the database or on their way into it.
    queued: u64,
    /// Bytes of them.
    bytes: u64,
    /// Bytes of the events in memory.
    cached: u64,
}

/// An event that waits.
#[derive(Debug)]
struct Parked {
    weight: u64,
    /// As long as there is room for it.
    event: Option<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Counts {
    added: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Core {
    /// What a database holds, and a thread that writes to it.
    pub(super) fn new(
        opened: Opened,
        config: EventsConfig,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let rows = opened.reader.read(store::event_rows);
        let rows = rows.map_err(store::sqlite("read"))?;
        let letters = opened.reader.read(store::letter_rows);
        let letters = letters.map_err(store::sqlite("read"))?;
        let mut waiting = Waiting {
            events: Index::new(config.in_flight_max, config.per_function_max),
            letters: Index::new(DELIVERIES_MAX, DELIVERIES_PER_DESTINATION_MAX),
            queued: (rows.len() + letters.len()) as u64,
            bytes: 0,
            cached: 0,
        };
        let mut last_seq = 0;
        for row in rows {
            last_seq = last_seq.max(row.seq);
            waiting.bytes += row.weight;
            let parked = Parked {
                weight: row.weight,
                event: None,
            };
            let key = (row.due_ms, row.seq);
            waiting.events.insert(&row.function, key, parked);
        }
        for row in letters {
            last_seq = last_seq.max(row.seq);
            waiting.bytes += row.weight;
            let key = (row.due_ms, row.seq);
            waiting.letters.insert(&row.destination, key, row.weight);
        }
        Ok(Self {
            config,
            clock,
            writer: Writer::start(opened.connection).map_err(OpenError::Thread)?,
            reader: opened.reader,
            waiting: Mutex::new(waiting),
            wake: Notify::new(),
            batches: AtomicU32::new(0),
            phase: watch::Sender::new(Phase::Running),
            next_seq: AtomicU64::new(last_seq + 1),
            counts: Counts::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no row has.
    pub(super) fn seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts an event of `weight` bytes among those that wait; false when there are too many.
    pub(super) fn reserve(&self, weight: u64) -> bool {
        let mut waiting = self.waiting();
        let bytes = waiting.bytes.saturating_add(weight);
        if waiting.queued >= self.config.events_max || bytes > self.config.bytes_max {
            return false;
        }
        waiting.queued += 1;
        waiting.bytes = bytes;
        true
    }

    /// Counts what is in the database under this number already.
    pub(super) fn recount(&self, seq: u64, weight: u64) {
        self.next_seq.fetch_max(seq + 1, Ordering::Relaxed);
        let mut waiting = self.waiting();
        waiting.queued += 1;
        waiting.bytes += weight;
    }

    /// The opposite of [`Core::reserve`].
    pub(super) fn release(&self, weight: u64) {
        let mut waiting = self.waiting();
        waiting.queued -= 1;
        waiting.bytes -= weight;
    }

    /// Puts an event into the index whose row is on disk now, and which was reserved.
    pub(super) fn enter(&self, seq: u64, event: Arc<Event>) {
        count(&self.counts.added);
        let (weight, key) = (event.weight(), (event.due_ms, seq));
        let function = event.function.clone();
        let mut waiting = self.waiting();
        let cached = waiting.cached.saturating_add(weight);
        let fits = cached <= self.config.cache_bytes_max;
        if fits {
            waiting.cached = cached;
        }
        let event = fits.then_some(event);
        waiting
            .events
            .insert(&function, key, Parked { weight, event });
        drop(waiting);
        self.wake.notify_one();
    }

    /// Takes an event.
    pub(super) async fn add(self: &Arc<Self>, event: Event) -> Result<(), AddError> {
        let weight = event.weight();
        if !self.reserve(weight) {
            return Err(AddError::Full);
        }
        let (sender, receiver) = oneshot::channel();
        let (seq, event) = (self.seq(), Arc::new(event));
        let row = Arc::clone(&event);
        let core = Arc::clone(self);
        let done = move |result| {
            let result = match result {
                Ok(true) => {
                    core.enter(seq, event);
                    Ok(())
                }
                Ok(false) => Err(AddError::Duplicate),
                Err(error) => Err(AddError::Write(error)),
            };
            if result.is_err() {
                core.release(weight);
            }
            // Whoever asked may be gone.
            sender.send(result).ok();
        };
        let act = move |connection: &_| store::insert_event(connection, seq, &row);
        self.writer.ask(held(weight), act, done);
        let stopped = Err(AddError::Write(WriteError::Stopped));
        receiver.await.unwrap_or(stopped)
    }

    /// Forgets the events of a function.
    pub(super) async fn remove_function(
        self: &Arc<Self>,
        name: &FunctionName,
    ) -> Result<(), WriteError> {
        let (sender, receiver) = oneshot::channel();
        let (core, of, removed) = (Arc::clone(self), name.clone(), name.clone());
        // In the writer's order: events that were added before are in the index when this is done.
        let done = move |result: Result<usize, _>| {
            if result.is_ok() {
                let mut waiting = core.waiting();
                for parked in waiting.events.remove(&removed) {
                    waiting.forget(&parked);
                }
            }
            sender.send(result.map(drop)).ok();
        };
        let act = move |connection: &_| store::delete_events(connection, &of);
        self.writer.ask(0, act, done);
        receiver.await.unwrap_or(Err(WriteError::Stopped))
    }

    /// Numbers for metrics, as far as they are known here.
    pub(super) async fn stats(&self) -> Stats {
        let reader = self.reader.clone();
        let oldest = tokio::task::spawn_blocking(move || reader.read(store::oldest_ms)).await;
        let waiting = self.waiting();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let letters = waiting.letters.waiting() as u64 + u64::from(waiting.letters.running());
        Stats {
            queued: waiting.queued,
            bytes: waiting.bytes,
            in_flight: waiting.events.running(),
            delivering: letters,
            added: get(&self.counts.added),
            done: get(&self.counts.done),
            failed: get(&self.counts.failed),
            retried: get(&self.counts.retried),
            delivered: get(&self.counts.delivered),
            dropped: get(&self.counts.dropped),
            missed: 0,
            oldest_ms: oldest.ok().and_then(Result::ok).flatten(),
            stopped: self.writer.is_closed(),
        }
    }

    /// Starts nothing more, and waits for what runs.
    pub(super) async fn stop(self: &Arc<Self>, grace: Duration) {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout(grace, self.idle()).await.is_err() {
            self.phase.send_replace(Phase::Abandoned);
            let settle = Duration::from_millis(SETTLE_MS);
            if tokio::time::timeout(settle, self.idle()).await.is_err() {
                tracing::warn!("events did not end in time; they run again after the next start");
            }
        }
        let core = Arc::clone(self);
        let closed = tokio::task::spawn_blocking(move || core.writer.close()).await;
        closed.expect("closing the writer does not panic");
    }

    /// Nothing runs.
    async fn idle(&self) {
        loop {
            let ended = self.wake.notified();
            if self.is_idle() {
                return;
            }
            ended.await;
        }
    }

    fn is_idle(&self) -> bool {
        let waiting = self.waiting();
        let batches = self.batches.load(Ordering::Relaxed);
        waiting.events.running() == 0 && waiting.letters.running() == 0 && batches == 0
    }

    /// Looks for what is due, as after a change.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Waiting {
    /// An event leaves the index for good.
    fn forget(&mut self, parked: &Parked) {
        self.queued -= 1;
        self.bytes -= parked.weight;
        self.uncache(parked);
    }

    /// An event leaves memory.
    fn uncache(&mut self, parked: &Parked) {
        if parked.event.is_some() {
            self.cached -= parked.weight;
        }
    }
}

/// As a size in memory.
pub(super) fn held(weight: u64) -> usize {
    usize::try_from(weight).unwrap_or(usize::MAX)
}

/// The right to run an event or to deliver a letter; given back when dropped.
#[derive(Debug)]
struct Turn {
    core: Arc<Core>,
    line: Line,
    seq: u64,
    weight: u64,
    left: Left,
}

#[derive(Clone, Debug)]
enum Line {
    Events(FunctionName),
    Letters(Destination),
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.core.waiting();
        match &self.line {
            Line::Events(function) => waiting.events.leave(function, self.left),
            Line::Letters(destination) => waiting.letters.leave(destination, self.left),
        }
        drop(waiting);
        self.core.wake.notify_one();
    }
}

/// Starts what is due until the engine stops.
pub(super) async fn run(core: Arc<Core>, invoker: Arc<dyn Invoker>) {
    let mut phase = core.phase.subscribe();
    loop {
        let time = start_due(&core, &invoker);
        tokio::select! {
            () = core.wake.notified() => {}
            () = tokio::time::sleep(time) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        }
    }
}

/// Starts what is due; answers how long nothing else will be, unless something changes.
fn start_due(core: &Arc<Core>, invoker: &Arc<dyn Invoker>) -> Duration {
    // The wall clock may be set, and the writer may catch up.
    let mut time_ms = EVENT_CLOCK_MS;
    if core.writer.is_behind() {
        return Duration::from_millis(time_ms.min(EVENT_LINGER_MS));
    }
    let now_ms = core.clock.now();
    let turn = |line, seq, weight| Turn {
        core: Arc::clone(core),
        line,
        seq,
        weight,
        left: Left::Served,
    };
    let (mut events, mut unread, mut letters) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting = core.waiting();
    while let Some(Taken { line, key, item }) = waiting.events.take(now_ms) {
        waiting.uncache(&item);
        let turn = turn(Line::Events(line), key.1, item.weight);
        match item.event {
            Some(event) => events.push((turn, event)),
            None => unread.push(turn),
        }
    }
    while let Some(Taken { line, key, item }) = waiting.letters.take(now_ms) {
        letters.push(turn(Line::Letters(line), key.1, item));
    }
    let next = [waiting.events.next_due(), waiting.letters.next_due()];
    drop(waiting);
    for due_ms in next.into_iter().flatten() {
        time_ms = time_ms.min(due_ms.saturating_sub(now_ms));
    }
    for (turn, event) in events {
        let invoker = Arc::clone(invoker);
        tokio::spawn(attempt(turn, Arc::unwrap_or_clone(event), invoker));
    }
    read_and(unread, store::event, invoker, attempt);
    read_and(letters, store::letter, invoker, deliver);
    // What is due now and could not start is started when something ends.
    Duration::from_millis(time_ms.max(1))
}

/// Reads what these turns are for, and starts a task for each.
fn read_and<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(
    turns: Vec<Turn>,
    read: fn(&rusqlite::Connection, u64) -> rusqlite::Result<Option<T>>,
    invoker: &Arc<dyn Invoker>,
    run: fn(Turn, T, Arc<dyn Invoker>) -> F,
) {
    if turns.is_empty() {
        return;
    }
    let invoker = Arc::clone(invoker);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        for turn in turns {
            match turn
                .core
                .reader
                .read(|connection| read(connection, turn.seq))
            {
                Ok(Some(item)) => {
                    runtime.spawn(run(turn, item, Arc::clone(&invoker)));
                }
                // Its function was removed meanwhile.
                Ok(None) => turn.core.release(turn.weight),
                Err(error) => {
                    let error = ErrorChain(&error);
                    let seq = turn.seq;
                    tracing::error!(seq, %error, "an event cannot be read; it stays where it is");
                    count(&turn.core.counts.dropped);
                }
            }
        }
    });
}

/// Runs an event, unless the engine ends before.
async fn attempt(turn: Turn, event: Event, invoker: Arc<dyn Invoker>) {
    let mut phase = turn.core.phase.subscribe();
    let abandoned = phase.wait_for(|phase| *phase == Phase::Abandoned);
    tokio::select! {
        biased;
        () = run_event(turn, event, invoker) => {}
        _ = abandoned => {}
    }
}

async fn run_event(mut turn: Turn, event: Event, invoker: Arc<dyn Invoker>) {
    let core = Arc::clone(&turn.core);
    let (function, id) = (&event.function, event.id);
    let Some(policy) = invoker.policy(function, event.qualifier.as_deref()) else {
        tracing::warn!(%function, request_id = %id, "dropped an event: its function is gone");
        return end(&turn, Vec::new(), |counts| &counts.dropped);
    };
    let state = State {
        enqueued_ms: event.enqueued_ms,
        attempts: event.attempts,
        throttles: event.throttles,
    };
    let (verdict, step) = if policy.is_stopped {
        (None, Step::End(Condition::ZeroReservedConcurrency))
    } else if policy::expired(&state, &policy, core.clock.now()) {
        (None, Step::End(Condition::EventAgeExceeded))
    } else {
        let attempt = event.attempts.saturating_add(1);
        let verdict = invoker.invoke(event.clone(), attempt).await;
        let ended = match verdict {
            Verdict::Done { .. } => Ended::Done,
            Verdict::Failed { .. } => Ended::Failed,
            Verdict::Throttled => Ended::Throttled,
            Verdict::Gone => Ended::Gone,
        };
        if ended == Ended::Throttled {
            turn.left = Left::Refused;
        }
        let now_ms = core.clock.now();
        let step = policy::next(state, ended, &policy, &core.config, now_ms);
        (Some(verdict), step)
    };
    match step {
        Step::Again { state, due_ms } => put_off(&turn, state, due_ms),
        Step::End(condition) => {
            let now_ms = core.clock.now();
            let verdict = verdict.as_ref();
            let letters =
                record::letters(&event, condition, verdict, &policy, &core.config, now_ms);
            if condition == Condition::Success {
                return end(&turn, letters, |counts| &counts.done);
            }
            let condition = condition.as_str();
            tracing::warn!(%function, request_id = %id, condition, "an event was given up");
            end(&turn, letters, |counts| &counts.failed);
        }
    }
}

/// An event is over, and leaves letters.
fn end(turn: &Turn, letters: Vec<(Destination, Letter)>, which: fn(&Counts) -> &AtomicU64) {
    let (core, seq, weight) = (Arc::clone(&turn.core), turn.seq, turn.weight);
    let due_ms = core.clock.now();
    let letters: Vec<_> = letters
        .into_iter()
        .map(|(destination, letter)| (core.seq(), destination, letter))
        .collect();
    let notes: Vec<_> = letters
        .iter()
        .map(|(seq, to, letter)| (*seq, to.clone(), letter.body.len() as u64))
        .collect();
    let act = move |connection: &_| {
        // A function that was removed meanwhile leaves no letters.
        let there = store::delete_event(connection, seq)?;
        for (seq, destination, letter) in letters.iter().filter(|_| there) {
            store::insert_letter(connection, *seq, destination, letter, due_ms)?;
        }
        Ok(there)
    };
    let done = move |result| {
        let Ok(there) = result else {
            return;
        };
        count(which(&core.counts));
        let mut waiting = core.waiting();
        waiting.queued -= 1;
        waiting.bytes -= weight;
        for (seq, destination, bytes) in notes.into_iter().filter(|_| there) {
            waiting.queued += 1;
            waiting.bytes += bytes;
            waiting.letters.insert(&destination, (due_ms, seq), bytes);
        }
        drop(waiting);
        core.wake.notify_one();
    };
    turn.core.writer.keep(act, done);
}

/// An event is tried again. It is in no index until that is on disk.
fn put_off(turn: &Turn, state: State, due_ms: u64) {
    let (core, line, seq, weight) = (
        Arc::clone(&turn.core),
        turn.line.clone(),
        turn.seq,
        turn.weight,
    );
    let act = move |connection: &_| store::put_off_event(connection, seq, &state, due_ms);
    let done = move |result| match (result, line) {
        (Ok(true), Line::Events(function)) => {
            count(&core.counts.retried);
            let parked = Parked {
                weight,
                event: None,
            };
            let mut waiting = core.waiting();
            waiting.events.insert(&function, (due_ms, seq), parked);
            drop(waiting);
            core.wake.notify_one();
        }
        (Ok(_), _) => core.release(weight),
        (Err(_), _) => {}
    };
    turn.core.writer.keep(act, done);
}

/// Delivers a letter, unless the engine ends before.
async fn deliver(turn: Turn, (letter, tries): (Letter, u32), invoker: Arc<dyn Invoker>) {
    let Line::Letters(destination) = turn.line.clone() else {
        return;
    };
    let mut phase = turn.core.phase.subscribe();
    let event = letter.event;
    let result = tokio::select! {
        biased;
        result = invoker.deliver(&destination, letter) => result,
        _ = phase.wait_for(|phase| *phase == Phase::Abandoned) => return,
    };
    let (tries, now_ms) = (tries.saturating_add(1), turn.core.clock.now());
    let Err(error) = result else {
        return settle_letter(&turn, |counts| &counts.delivered);
    };
    let again = match error {
        DeliverError::Gone => None,
        DeliverError::Failed { .. } => policy::redeliver(tries, &turn.core.config, now_ms),
    };
    if let Some(due_ms) = again {
        return put_off_letter(&turn, destination, tries, due_ms);
    }
    let error = ErrorChain(&error);
    let to = &destination.0;
    tracing::error!(request_id = %event, to, tries, %error, "dropped the record of an event");
    settle_letter(&turn, |counts| &counts.dropped);
}

/// A letter is delivered or dropped.
fn settle_letter(turn: &Turn, which: fn(&Counts) -> &AtomicU64) {
    let (core, seq, weight) = (Arc::clone(&turn.core), turn.seq, turn.weight);
    let done = move |result: Result<(), _>| {
        if result.is_ok() {
            count(which(&core.counts));
            core.release(weight);
        }
    };
    let act = move |connection: &_| store::delete_letter(connection, seq);
    turn.core.writer.keep(act, done);
}

/// A letter is tried again.
fn put_off_letter(turn: &Turn, destination: Destination, tries: u32, due_ms: u64) {
    let (core, seq, weight) = (Arc::clone(&turn.core), turn.seq, turn.weight);
    let done = move |result: Result<(), _>| {
        if result.is_ok() {
            let mut waiting = core.waiting();
            waiting.letters.insert(&destination, (due_ms, seq), weight);
            drop(waiting);
            core.wake.notify_one();
        }
    };
    let act = move |connection: &_| store::put_off_letter(connection, seq, tries, due_ms);
    turn.core.writer.keep(act, done);
}
