//! The instances that wait for a call, of all functions, and the memory that instances take.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fractus_func::Memory;
use fractus_func::limits::{QUEUE_MAX, QUEUE_WAIT_MAX_MS};
use tokio::sync::Notify;

use crate::function::Function;
use crate::instance::{Instance, Reserved};
use crate::limits::{
    ADMIT_AGAIN, FREEZE_AFTER, FREEZES_AT_ONCE, IDLE_INSTANCES_MAX, LOOK_EACH, SWEEP,
};
use crate::machine::Machine;

/// All waiting instances.
#[derive(Debug)]
pub(crate) struct Fleet {
    machine: Arc<Machine>,
    account: Arc<dyn Memory>,
    /// Told when memory is given back.
    freed: Arc<Notify>,
    /// Calls that wait for memory, and whose turn it is: a lock that is fair.
    waiting: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    idle: Mutex<Idle>,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Idle {
    /// By the function's number; those that have waited for longest are at the front.
    functions: BTreeMap<u64, Waiting>,
    count: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    instances: VecDeque<Instance>,
    function: Weak<Function>,
    /// So many stay, however scarce memory is.
    kept: usize,
}

impl Fleet {
    pub(crate) fn new(machine: Arc<Machine>, account: Arc<dyn Memory>) -> Arc<Self> {
        let fleet = Arc::new(Self {
            machine,
            account,
            freed: Arc::default(),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
            numbers: AtomicU64::new(0),
        });
        let handle = fleet.machine.handle.clone();
        handle.spawn(sweep(Arc::downgrade(&fleet)));
        fleet
    }

    pub(crate) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// A number that no function has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance of a function that waits, the one that was used last, thawed; and whether it was
    /// the last one.
    pub(crate) fn take(&self, number: u64) -> Option<(Instance, bool)> {
        loop {
            let mut idle = self.idle();
            let instances = &mut idle.functions.get_mut(&number)?.instances;
            let mut instance = instances.pop_back()?;
            let is_last = instances.is_empty();
            idle.count -= 1;
            drop(idle);
            if instance.is_fit() {
                instance.freeze(false);
                return Some((instance, is_last));
            }
        }
    }

    /// Memory for a spare, if there is some that nobody has or waits for.
    pub(crate) fn admit_spare(&self, bytes: usize) -> Option<Reserved> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Reserved::take(&self.account, &self.freed, bytes)
    }

    /// Keeps an instance for its function's next call.
    pub(crate) fn keep(&self, function: &Arc<Function>, instance: Instance) {
        let mut idle = self.idle();
        idle.of(function).instances.push_back(instance);
        idle.count += 1;
        let surplus = if idle.count > IDLE_INSTANCES_MAX {
            idle.pop_oldest()
        } else {
            None
        };
        drop(idle);
        drop(surplus);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // It may have to make room.
            self.freed.notify_one();
        }
    }

    /// Looks after a function's provisioned instances from now on.
    pub(crate) fn register(&self, function: &Arc<Function>) {
        self.idle().of(function);
    }

    /// Ends the instance that was used least recently of those that wait; false when none does.
    pub(crate) fn evict(&self) -> bool {
        let oldest = self.idle().pop_oldest();
        oldest.is_some()
    }

    /// A function is gone, and its instances with it.
    pub(crate) fn forget(&self, number: u64) {
        let mut idle = self.idle();
        let gone = idle.functions.remove(&number);
        idle.count -= gone.as_ref().map_or(0, |gone| gone.instances.len());
        drop(idle);
        drop(gone);
    }

    /// Memory for an instance. Where there is none, waiting instances go, those used least recently
    /// first; then calls wait for others to end, in the order in which they came. None when too
    /// many wait or this one has waited for too long.
    pub(crate) async fn admit(&self, bytes: usize) -> Option<Reserved> {
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Some(reserved) = self.reserve(bytes)
        {
            return Some(reserved);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let _leaves = Leaves(&self.waiting);
        let wait = Duration::from_millis(QUEUE_WAIT_MAX_MS);
        tokio::time::timeout(wait, async {
            // Who came first waits for memory, and all others for their turn. Without turns, who is
            // woken for too little would be the last in line again.
            let _turn = self.turn.lock().await;
            loop {
                let freed = self.freed.notified();
                if let Some(reserved) = self.reserve(bytes) {
                    return reserved;
                }
                // Memory of components is given back without a word.
                tokio::time::timeout(ADMIT_AGAIN, freed).await.ok();
            }
        })
        .await
        .ok()
    }

    fn reserve(&self, bytes: usize) -> Option<Reserved> {
        loop {
            if let Some(reserved) = Reserved::take(&self.account, &self.freed, bytes) {
                return Some(reserved);
            }
            let oldest = self.idle().pop_oldest();
            // Dropping it gives its memory back.
            drop(oldest?);
        }
    }

    /// Instances that wait, and how many of them are frozen.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let idle = self.idle();
        let all = idle.functions.values().flat_map(|w| &w.instances);
        (idle.count, all.filter(|instance| instance.frozen).count())
    }

    /// Ends all instances that wait.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.idle());
        drop(all);
    }

    /// Freezes those that wait for a while, ends those that have waited for too long or are gone,
    /// and has the provisioned ones made that are missing.
    /// Whether they are gone takes a system call or two for each, so that one `looks` now and then;
    /// whoever takes one looks anyway.
    fn tidy(&self, looks: bool) {
        let mut gone = Vec::new();
        // Dropped where the lock is not held: the last one takes it.
        let mut functions = Vec::new();
        let mut freezes = FREEZES_AT_ONCE;
        let mut idle = self.idle();
        for waiting in idle.functions.values_mut() {
            let Some(function) = waiting.function.upgrade() else {
                continue;
            };
            let provisioned = function.manifest.instances.provisioned as usize;
            let mut at = 0;
            while at < waiting.instances.len() {
                let spare = waiting.instances.len() > provisioned;
                let instance = &mut waiting.instances[at];
                let waited = instance.idle_since.elapsed();
                let has_ended = (looks || provisioned > 0) && instance.has_ended();
                if (spare && waited > function.patience()) || has_ended {
                    gone.extend(waiting.instances.remove(at));
                    continue;
                }
                if waited > FREEZE_AFTER && !instance.frozen && freezes > 0 {
                    freezes -= 1;
                    instance.freeze(true);
                }
                at += 1;
            }
            functions.push(function);
        }
        idle.count -= gone.len();
        drop(idle);
        drop(gone);
        functions.iter().for_each(Function::provision);
    }
}

/// Counts a call out of those that wait.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Idle {
    fn of(&mut self, function: &Arc<Function>) -> &mut Waiting {
        let waiting = self.functions.entry(function.number).or_default();
        waiting.function = Arc::downgrade(function);
        waiting.kept = function.manifest.instances.provisioned as usize;
        waiting
    }

    fn pop_oldest(&mut self) -> Option<Instance> {
        let fronts = self
            .functions
            .values_mut()
            .filter(|w| w.instances.len() > w.kept);
        let oldest = fronts.min_by_key(|w| w.instances[0].idle_since)?;
        self.count -= 1;
        oldest.instances.pop_front()
    }
}

async fn sweep(fleet: Weak<Fleet>) {
    let mut ticks = tokio::time::interval(SWEEP);
    for count in 0_u64.. {
        ticks.tick().await;
        let Some(fleet) = fleet.upgrade() else { return };
        let handle = fleet.machine.handle.clone();
        let swept = handle.spawn_blocking(move || {
            fleet.tidy(count % LOOK_EACH == 0);
            fleet.machine.drop_idle_spares();
        });
        if swept.await.is_err() {
            return;
        }
    }
}
