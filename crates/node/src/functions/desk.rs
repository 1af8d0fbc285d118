//! Where calls of one function arrive and are counted, whichever of its versions they call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fractus_func::limits::{QUEUE_MAX, QUEUE_WAIT_MAX_MS};
use fractus_func::{Admission, Outcome, Pool, RequestId, Ticket, UsageRecord};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::registry::Ledger;

/// Admission to one function, and the sums over its calls.
#[derive(Debug)]
pub(crate) struct Desk {
    queue: Mutex<Queue>,
    ledger: Mutex<Changing>,
}

#[derive(Debug)]
struct Queue {
    pool: Pool,
    /// Whether calls beyond the limit wait.
    waits: bool,
    /// Who is told that it may start; the other ends are held by [`Waiting`].
    tickets: BTreeMap<Ticket, oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Changing {
    ledger: Ledger,
    /// Since it was last written down.
    changed: bool,
}

/// A function's last failed call.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LastError {
    /// When it ended, in milliseconds since the UNIX epoch.
    pub(crate) at_ms: u64,
    /// The call.
    pub(crate) request_id: RequestId,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What went wrong.
    pub(crate) message: String,
}

/// As many calls wait as may, or this one has waited for too long.
#[derive(Debug)]
pub(super) struct Throttled;

/// The right to run one call; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Desk>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.queue().leave();
    }
}

/// A call in the queue. Dropped there, it leaves no trace.
#[derive(Debug)]
struct Waiting {
    desk: Arc<Desk>,
    ticket: Ticket,
    told: oneshot::Receiver<()>,
    /// Its place has an owner of its own, so there is nothing to give up.
    seated: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.seated {
            return;
        }
        let mut queue = self.desk.queue();
        if queue.pool.abandon(self.ticket) {
            queue.tickets.remove(&self.ticket);
        } else {
            // It was admitted, and nobody is there to take the place.
            queue.leave();
        }
    }
}

impl Queue {
    /// A place becomes free: the one who has waited longest gets it.
    fn leave(&mut self) {
        let next = self.pool.leave();
        self.tell(next);
    }

    fn tell(&mut self, admitted: impl IntoIterator<Item = Ticket>) {
        for ticket in admitted {
            let sender = self.tickets.remove(&ticket);
            let sender = sender.expect("a ticket in the pool has its sender here");
            // Whoever does not listen any more is about to be dropped, which passes the place on.
            sender.send(()).ok();
        }
    }
}

impl Desk {
    /// A desk where `limit` calls may run at once.
    pub(crate) fn new(limit: u32, ledger: Ledger) -> Self {
        Self {
            queue: Mutex::new(Queue {
                pool: Pool::new(limit, QUEUE_MAX),
                waits: true,
                tickets: BTreeMap::new(),
            }),
            ledger: Mutex::new(Changing {
                ledger,
                changed: false,
            }),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Changing> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, no longer than [`QUEUE_WAIT_MAX_MS`].
    pub(super) async fn enter(self: &Arc<Self>) -> Result<Place, Throttled> {
        self.enter_within(Duration::from_millis(QUEUE_WAIT_MAX_MS))
            .await
    }

    pub(super) async fn enter_within(self: &Arc<Self>, wait: Duration) -> Result<Place, Throttled> {
        let mut waiting = match self.arrive() {
            Ok(place) => return Ok(place),
            Err(waiting) => waiting.ok_or(Throttled)?,
        };
        let told = tokio::time::timeout(wait, &mut waiting.told).await;
        if !matches!(told, Ok(Ok(()))) {
            return Err(Throttled);
        }
        waiting.seated = true;
        Ok(Place(Arc::clone(self)))
    }

    fn arrive(self: &Arc<Self>) -> Result<Place, Option<Waiting>> {
        let mut queue = self.queue();
        if !queue.waits && queue.pool.running() >= queue.pool.limit() {
            return Err(None);
        }
        match queue.pool.arrive() {
            Admission::Start => Ok(Place(Arc::clone(self))),
            Admission::Refuse => Err(None),
            Admission::Wait(ticket) => {
                let (sender, told) = oneshot::channel();
                queue.tickets.insert(ticket, sender);
                Err(Some(Waiting {
                    desk: Arc::clone(self),
                    ticket,
                    told,
                    seated: false,
                }))
            }
        }
    }

    /// Changes how many calls may run at once, and whether those beyond wait or are refused. Those
    /// that wait already go on.
    pub(super) fn set_limit(&self, limit: u32, waits: bool) {
        let mut queue = self.queue();
        queue.waits = waits;
        let admitted = queue.pool.set_limit(limit);
        queue.tell(admitted);
    }

    /// Counts a call that has ended; `error` says what went wrong, if it is the function's, the
    /// node's or a limit's fault.
    pub(super) fn count(&self, record: &UsageRecord, error: Option<LastError>) {
        let mut changing = self.ledger();
        changing.changed = true;
        changing.ledger.sums.counters.add(record);
        let revisions = &mut changing.ledger.sums.revisions;
        revisions.entry(record.version).or_default().add(record);
        if error.is_some() {
            changing.ledger.last_error = error;
        }
    }

    /// Forgets the sums of all revisions but these; they stay in those over all calls.
    pub(crate) fn retain(&self, revisions: &BTreeSet<u64>) {
        let mut changing = self.ledger();
        let sums = &mut changing.ledger.sums.revisions;
        sums.retain(|number, _| revisions.contains(number));
        changing.changed = true;
    }

    /// Calls that may run at once.
    pub(crate) fn limit(&self) -> u32 {
        self.queue().pool.limit()
    }

    /// The sums over its calls.
    pub(crate) fn totals(&self) -> Ledger {
        self.ledger().ledger.clone()
    }

    /// The same, if they changed since this was last asked.
    pub(super) fn changed_ledger(&self) -> Option<Ledger> {
        let mut changing = self.ledger();
        std::mem::take(&mut changing.changed).then(|| changing.ledger.clone())
    }

    /// Says that the ledger which was given out could not be written down.
    pub(crate) fn mark_changed(&self) {
        self.ledger().changed = true;
    }

    /// How many calls run.
    pub(crate) fn running(&self) -> u32 {
        self.queue().pool.running()
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue().pool.waiting()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use fractus_func::limits::QUEUE_WAIT_MAX_MS;

    use super::Desk;
    use crate::registry::Ledger;

    #[tokio::test]
    async fn where_nobody_waits_calls_beyond_the_limit_are_refused_at_once() {
        let desk = Arc::new(Desk::new(1, Ledger::default()));
        desk.set_limit(2, false);
        let (first, second) = (desk.enter().await.unwrap(), desk.enter().await.unwrap());
        let begin = Instant::now();
        assert!(desk.enter().await.is_err());
        assert!(begin.elapsed() < Duration::from_millis(QUEUE_WAIT_MAX_MS / 2));
        assert_eq!((desk.running(), desk.waiting()), (2, 0));
        drop(first);
        let third = desk.enter().await.unwrap();
        assert!(desk.enter().await.is_err());

        // They wait again when that is allowed again.
        desk.set_limit(2, true);
        let (wait, begin) = (Duration::from_millis(20), Instant::now());
        assert!(desk.enter_within(wait).await.is_err());
        assert!(begin.elapsed() >= wait);
        drop((second, third));
        assert_eq!(desk.running(), 0);
    }

    #[tokio::test]
    async fn who_waits_already_goes_on_when_nobody_else_may() {
        let desk = Arc::new(Desk::new(1, Ledger::default()));
        let first = desk.enter().await.unwrap();
        let waiter = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move { desk.enter().await.is_ok() }
        });
        while desk.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        desk.set_limit(1, false);
        drop(first);
        assert!(waiter.await.unwrap());
    }
}
