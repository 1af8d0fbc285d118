//! Schedules, and the task that fires them.
//!
//! A schedule's row says up to which time its fires are decided: fired or missed. One transaction
//! moves that mark and adds the event, so that no crash fires twice or not at all; and the mark
//! only grows, so that a clock that is set back fires nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::{Cron, CronError, FunctionName, RequestId};
use fractus_stdx::ErrorChain;
use rusqlite::{Connection, Row, params};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

use crate::events::dispatch::{Core, Phase, held};
use crate::events::store::{self, OpenError, Reader, parsed};
use crate::events::writer::WriteError;
use crate::events::{Clock, Event, EventsConfig, Source, record};
use crate::limits::{EVENT_CLOCK_MS, MISSED_COUNTED_MAX, SCHEDULES_MAX};

/// A schedule of a function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ScheduleSpec {
    /// Its name; a function has no two of the same.
    pub(crate) name: String,
    /// When, as [`Cron`] reads it.
    pub(crate) expression: String,
    /// In which time zone, by its IANA name.
    pub(crate) timezone: String,
    /// Which alias or version is called.
    pub(crate) qualifier: Option<String>,
    /// What it is called with. `None`: AWS's scheduled event.
    pub(crate) payload: Option<Bytes>,
}

/// A schedule and how it stands. Times are milliseconds since the UNIX epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ScheduleInfo {
    /// Whose it is.
    pub(crate) function: FunctionName,
    /// What was set.
    pub(crate) spec: ScheduleSpec,
    /// When it fires next; `None`: never again.
    pub(crate) next_ms: Option<u64>,
    /// The time of the last fire that became an event.
    pub(crate) last_fire_ms: Option<u64>,
    /// Fires that were missed, ever since it was set.
    pub(crate) missed: u64,
    /// The time of the last one.
    pub(crate) last_missed_ms: Option<u64>,
}

/// Schedules were not replaced.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// A schedule cannot be read.
    #[error("schedule {name} cannot be read")]
    Cron {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: CronError,
    },
    /// Two have one name.
    #[error("there are two schedules with the name {name}")]
    Twice {
        /// The name.
        name: String,
    },
    /// There are as many as may be.
    #[error("a node has at most {SCHEDULES_MAX} schedules")]
    TooMany,
    /// They could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The schedules in memory. The writer's thread changes them, in the order in which it changes
/// their rows.
#[derive(Debug)]
pub(super) struct Schedules {
    table: Mutex<Table>,
    changed: Notify,
    pub(super) missed: AtomicU64,
}

/// Whose schedule, and its name.
type Name = (FunctionName, String);

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<Name, Scheduled>,
    /// When each fires next.
    next: BTreeSet<(u64, Name)>,
}

#[derive(Clone, Debug)]
struct Scheduled {
    spec: ScheduleSpec,
    cron: Cron,
    mark: Mark,
}

/// How a schedule stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Mark {
    /// Fires up to this time are decided.
    decided_ms: u64,
    last_fire_ms: Option<u64>,
    missed: u64,
    last_missed_ms: Option<u64>,
}

/// What became of the fires between two times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Decision {
    /// The mark from now on.
    mark: Mark,
    /// The time of the one that is made an event, if any.
    fire_ms: Option<u64>,
    /// How many are missed: at least so many if they are [`MISSED_COUNTED_MAX`].
    missed: u64,
    /// The first of them.
    first_missed_ms: Option<u64>,
}

/// Decides all fires of `cron` after `mark` up to `now_ms`: the last one fires unless it is older
/// than `grace_ms`, all others are missed. `None`: there are none.
fn decide(cron: &Cron, mark: Mark, now_ms: u64, grace_ms: u64) -> Option<Decision> {
    let (mut at, mut count) = (mark.decided_ms, 0);
    let (mut first, mut before, mut last) = (None, None, None);
    while let Some(next) = cron.next_after(at).filter(|next| *next <= now_ms) {
        first = first.or(Some(next));
        (before, last) = (last, Some(next));
        at = next;
        count += 1;
        if count == MISSED_COUNTED_MAX {
            at = at.max(now_ms.saturating_sub(grace_ms).saturating_sub(1));
        }
    }
    let last_ms = last?;
    let fires = now_ms - last_ms <= grace_ms;
    let missed = count - u64::from(fires);
    let missed_last = if fires { before } else { last };
    Some(Decision {
        mark: Mark {
            decided_ms: last_ms,
            last_fire_ms: last.filter(|_| fires).or(mark.last_fire_ms),
            missed: mark.missed.saturating_add(missed),
            last_missed_ms: missed_last.or(mark.last_missed_ms),
        },
        fire_ms: last.filter(|_| fires),
        missed,
        first_missed_ms: first.filter(|_| missed > 0),
    })
}

impl Schedules {
    /// Reads the schedules. One that cannot be read any more is left out, and the log says so.
    pub(super) fn load(reader: &Reader, clock: &Clock) -> Result<Self, OpenError> {
        let rows = reader.read(|connection| {
            let mut query = connection.prepare("SELECT * FROM schedules")?;
            let rows = query.query_map([], read)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let mut table = Table::default();
        for (function, spec, mark) in rows.map_err(store::sqlite("read"))? {
            let name = (function, spec.name.clone());
            if mark.decided_ms > clock.now().saturating_add(3_600_000) {
                let (function, schedule) = (&name.0, &name.1);
                let until = record::iso_s(mark.decided_ms);
                tracing::warn!(%function, schedule, until, "does not fire before then: it did when \
                    the clock was ahead");
            }
            match Cron::parse(&spec.expression, &spec.timezone) {
                Ok(cron) => table.put(name, Scheduled { spec, cron, mark }),
                Err(error) => {
                    let error = ErrorChain(&error);
                    let (function, schedule) = (&name.0, &name.1);
                    tracing::error!(%function, schedule, %error, "a schedule does not fire");
                }
            }
        }
        Ok(Self {
            table: Mutex::new(table),
            changed: Notify::new(),
            missed: AtomicU64::new(0),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schedules of one function, or of all.
    pub(super) fn list(&self, of: Option<&FunctionName>) -> Vec<ScheduleInfo> {
        let table = self.table();
        let wanted = table
            .all
            .iter()
            .filter(|((function, _), _)| of.is_none_or(|of| of == function));
        let info = wanted.map(|((function, _), scheduled)| ScheduleInfo {
            function: function.clone(),
            spec: scheduled.spec.clone(),
            next_ms: scheduled.next_ms(),
            last_fire_ms: scheduled.mark.last_fire_ms,
            missed: scheduled.mark.missed,
            last_missed_ms: scheduled.mark.last_missed_ms,
        });
        info.collect()
    }

    /// Replaces the schedules of a function.
    pub(super) async fn set(
        self: &Arc<Self>,
        core: &Core,
        function: &FunctionName,
        specs: Vec<ScheduleSpec>,
    ) -> Result<(), ScheduleError> {
        let mark = Mark {
            decided_ms: core.clock.now(),
            ..Mark::default()
        };
        let mut new = BTreeMap::new();
        for spec in specs {
            let cron = Cron::parse(&spec.expression, &spec.timezone);
            let cron = cron.map_err(|source| ScheduleError::Cron {
                name: spec.name.clone(),
                source,
            })?;
            let name = spec.name.clone();
            if new
                .insert(name.clone(), Scheduled { spec, cron, mark })
                .is_some()
            {
                return Err(ScheduleError::Twice { name });
            }
        }
        {
            let table = self.table();
            let others = table.all.keys().filter(|(of, _)| of != function).count();
            if others + new.len() > SCHEDULES_MAX {
                return Err(ScheduleError::TooMany);
            }
        }
        self.write(core, function, Arc::new(new)).await?;
        Ok(())
    }

    /// Removes the schedules of a function.
    pub(super) async fn remove(
        self: &Arc<Self>,
        core: &Core,
        function: &FunctionName,
    ) -> Result<(), WriteError> {
        let none = self.list(Some(function)).is_empty();
        if none {
            return Ok(());
        }
        self.write(core, function, Arc::default()).await
    }

    async fn write(
        self: &Arc<Self>,
        core: &Core,
        function: &FunctionName,
        new: Arc<BTreeMap<String, Scheduled>>,
    ) -> Result<(), WriteError> {
        let (sender, receiver) = oneshot::channel();
        let (schedules, of, rows) = (Arc::clone(self), function.clone(), Arc::clone(&new));
        let done = {
            let function = function.clone();
            move |result: Result<(), WriteError>| {
                if result.is_ok() {
                    schedules.table().replace(&function, &new);
                    schedules.changed.notify_one();
                }
                sender.send(result).ok();
            }
        };
        let act = move |connection: &_| replace_rows(connection, &of, &rows);
        core.writer.ask(0, act, done);
        receiver.await.unwrap_or(Err(WriteError::Stopped))
    }

    /// The schedules that fire now.
    fn due(&self, now_ms: u64) -> Vec<(Name, Scheduled)> {
        let table = self.table();
        let due = table.next.iter().take_while(|(at, _)| *at <= now_ms);
        due.map(|(_, name)| (name.clone(), table.all[name].clone()))
            .collect()
    }

    /// How long nothing fires.
    fn quiet(&self, now_ms: u64) -> Duration {
        let next = self.table().next.first().map(|(at, _)| *at);
        let time_ms = next.map_or(EVENT_CLOCK_MS, |at| at.saturating_sub(now_ms));
        Duration::from_millis(time_ms.clamp(1, EVENT_CLOCK_MS))
    }

    /// Makes the fires of one schedule that are due durable. Answers when they are, and false when
    /// they could not be.
    fn fire(
        self: &Arc<Self>,
        core: &Arc<Core>,
        name: Name,
        scheduled: &Scheduled,
    ) -> Option<oneshot::Receiver<bool>> {
        let now_ms = core.clock.now();
        let before = scheduled.mark;
        let decision = decide(
            &scheduled.cron,
            before,
            now_ms,
            core.config.misfire_grace_ms,
        )?;
        let event = decision
            .fire_ms
            .map(|fire_ms| Arc::new(event(&name, &scheduled.spec, fire_ms, now_ms, &core.config)));
        let weight = event.as_ref().map_or(0, |event| event.weight());
        let (sender, receiver) = oneshot::channel();
        if event.is_some() && !core.reserve(weight) {
            sender.send(false).ok();
            return Some(receiver);
        }
        let seq = core.seq();
        let (row, key) = (event.clone(), name.clone());
        let act = move |connection: &Connection| {
            let moved = move_mark(connection, &key, before, decision.mark)?;
            let fires = row.as_ref().filter(|_| moved);
            let fired = match fires {
                Some(event) => store::insert_event(connection, seq, event)?,
                None => false,
            };
            Ok((moved, fired))
        };
        let (schedules, core_done) = (Arc::clone(self), Arc::clone(core));
        let done = move |result: Result<(bool, bool), WriteError>| {
            let (moved, fired) = *result.as_ref().unwrap_or(&(false, false));
            match event {
                Some(event) if fired => core_done.enter(seq, event),
                Some(_) => core_done.release(weight),
                None => {}
            }
            if moved {
                schedules.moved(&name, &decision);
            }
            sender.send(result.is_ok()).ok();
        };
        core.writer.ask(held(weight), act, done);
        Some(receiver)
    }

    /// A decision is on disk.
    fn moved(&self, name: &Name, decision: &Decision) {
        if decision.missed > 0 {
            self.missed.fetch_add(decision.missed, Ordering::Relaxed);
            let (function, schedule, missed) = (&name.0, &name.1, decision.missed);
            let first = decision.first_missed_ms.map(record::iso_s);
            let last = decision.mark.last_missed_ms.map(record::iso_s);
            tracing::warn!(%function, schedule, missed, first, last, "fires were missed");
        }
        let mut table = self.table();
        if let Some(mut scheduled) = table.take(name) {
            scheduled.mark = decision.mark;
            table.put(name.clone(), scheduled);
        }
    }

    /// Looks at the clock, as after a change.
    #[cfg(test)]
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }
}

impl Scheduled {
    fn next_ms(&self) -> Option<u64> {
        self.cron.next_after(self.mark.decided_ms)
    }

    /// Whether it fires when the other one does.
    fn same_times(&self, other: &Self) -> bool {
        self.spec.expression == other.spec.expression && self.spec.timezone == other.spec.timezone
    }
}

impl Table {
    fn put(&mut self, name: Name, scheduled: Scheduled) {
        if let Some(next) = scheduled.next_ms() {
            self.next.insert((next, name.clone()));
        }
        self.all.insert(name, scheduled);
    }

    fn take(&mut self, name: &Name) -> Option<Scheduled> {
        let scheduled = self.all.remove(name)?;
        if let Some(next) = scheduled.next_ms() {
            self.next.remove(&(next, name.clone()));
        }
        Some(scheduled)
    }

    fn replace(&mut self, function: &FunctionName, new: &BTreeMap<String, Scheduled>) {
        let names = self.all.keys().filter(|(of, _)| of == function);
        let mut old = BTreeMap::new();
        for name in names.cloned().collect::<Vec<_>>() {
            let scheduled = self.take(&name).expect("it was listed");
            old.insert(name.1, scheduled);
        }
        for (name, scheduled) in new {
            let mut scheduled = scheduled.clone();
            if let Some(old) = old.get(name).filter(|old| old.same_times(&scheduled)) {
                scheduled.mark = old.mark;
            }
            self.put((function.clone(), name.clone()), scheduled);
        }
    }
}

/// Fires schedules until the engine stops.
pub(super) async fn run(core: Arc<Core>, schedules: Arc<Schedules>) {
    let mut phase = core.phase.subscribe();
    loop {
        let due = schedules.due(core.clock.now());
        let fires: Vec<_> = due
            .into_iter()
            .filter_map(|(name, scheduled)| schedules.fire(&core, name, &scheduled))
            .collect();
        let mut written = true;
        for fire in fires {
            written &= fire.await.unwrap_or(false);
        }
        let time = if written {
            schedules.quiet(core.clock.now())
        } else {
            Duration::from_millis(EVENT_CLOCK_MS)
        };
        tokio::select! {
            () = schedules.changed.notified() => {}
            () = tokio::time::sleep(time) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        }
    }
}

/// The event of a fire. Its id follows from what fired when.
fn event(
    (function, name): &Name,
    spec: &ScheduleSpec,
    fire_ms: u64,
    now_ms: u64,
    config: &EventsConfig,
) -> Event {
    let text = format!("{function}\0{name}\0{fire_ms}");
    let [digest, _] = *Sha256::digest(text).as_chunks::<16>().0 else {
        unreachable!("32 bytes are two of 16");
    };
    let id = RequestId::from_random(u128::from_be_bytes(digest));
    let payload = spec.payload.clone().unwrap_or_else(|| {
        let rule = format!("{function}-{name}");
        record::scheduled(&id.to_string(), &rule, fire_ms, config)
    });
    Event {
        qualifier: spec.qualifier.clone(),
        ..Event::new(id, function.clone(), payload, Source::Schedule, now_ms)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(FunctionName, ScheduleSpec, Mark)> {
    let spec = ScheduleSpec {
        name: row.get(1)?,
        expression: row.get(2)?,
        timezone: row.get(3)?,
        qualifier: row.get(4)?,
        payload: row.get::<_, Option<Vec<u8>>>(5)?.map(Bytes::from),
    };
    let mark = Mark {
        decided_ms: row.get(6)?,
        last_fire_ms: row.get(7)?,
        missed: row.get(8)?,
        last_missed_ms: row.get(9)?,
    };
    Ok((parsed(row, 0)?, spec, mark))
}

/// Replaces the rows of a function; those whose times stay the same keep their marks.
fn replace_rows(
    connection: &Connection,
    function: &FunctionName,
    new: &BTreeMap<String, Scheduled>,
) -> rusqlite::Result<()> {
    let function = function.as_str();
    let mut old = connection.prepare_cached("SELECT name FROM schedules WHERE function = ?1")?;
    let old = old.query_map([function], |row| row.get::<_, String>(0))?;
    let mut delete =
        connection.prepare_cached("DELETE FROM schedules WHERE function = ?1 AND name = ?2")?;
    for name in old.collect::<rusqlite::Result<Vec<_>>>()? {
        if !new.contains_key(&name) {
            delete.execute([function, &name])?;
        }
    }
    let mut put = connection.prepare_cached(
        "INSERT INTO schedules VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, 0, NULL)
         ON CONFLICT (function, name) DO UPDATE
         SET qualifier = excluded.qualifier, payload = excluded.payload",
    )?;
    let mut changed = connection.prepare_cached(
        "DELETE FROM schedules
         WHERE function = ?1 AND name = ?2 AND (expression <> ?3 OR timezone <> ?4)",
    )?;
    for Scheduled { spec, mark, .. } in new.values() {
        changed.execute(params![function, spec.name, spec.expression, spec.timezone])?;
        put.execute(params![
            function,
            spec.name,
            spec.expression,
            spec.timezone,
            spec.qualifier,
            spec.payload.as_deref(),
            mark.decided_ms,
        ])?;
    }
    Ok(())
}

/// Moves a schedule's mark; false when it is not where it was thought to be, or gone.
fn move_mark(
    connection: &Connection,
    (function, name): &Name,
    before: Mark,
    after: Mark,
) -> rusqlite::Result<bool> {
    let mut update = connection.prepare_cached(
        "UPDATE schedules SET decided_ms = ?4, last_fire_ms = ?5, missed = ?6, last_missed_ms = ?7
         WHERE function = ?1 AND name = ?2 AND decided_ms = ?3",
    )?;
    let moved = update.execute(params![
        function.as_str(),
        name,
        before.decided_ms,
        after.decided_ms,
        after.last_fire_ms,
        after.missed,
        after.last_missed_ms,
    ])?;
    Ok(moved > 0)
}

#[cfg(test)]
mod tests;
