//! The engine with a node that is made up and a clock that is turned by hand.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::{BoxFuture, FunctionName, RequestId};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::{
    Clock, DeliverError, Destination, Event, Events, EventsConfig, Invoker, Letter, Policy, Source,
    Stats, Verdict,
};

mod crash;
mod deliver;
mod run;

/// When the tests' clock begins: a full minute.
pub(super) const BEGIN_MS: u64 = 1_800_000_000_000;

/// A node: it answers what it is told to, and remembers what it was asked.
#[derive(Debug, Default)]
struct Fake {
    /// What attempts of a function answer, in turn; the last one stays. Without any: success.
    verdicts: Mutex<BTreeMap<String, VecDeque<Verdict>>>,
    /// Attempts of these functions wait for a permit.
    gates: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    policies: Mutex<BTreeMap<String, Option<Policy>>>,
    /// What destinations answer, in turn; the last one stays. Without any: thanks.
    answers: Mutex<VecDeque<Result<(), DeliverError>>>,
    calls: Mutex<Vec<(Event, u32)>>,
    letters: Mutex<Vec<(Destination, Letter)>>,
    running: Mutex<BTreeMap<RequestId, String>>,
    most_running: Mutex<BTreeMap<String, usize>>,
    ran_twice_at_once: AtomicBool,
}

fn next<T: Clone>(queue: &mut VecDeque<T>) -> Option<T> {
    if queue.len() > 1 {
        return queue.pop_front();
    }
    queue.front().cloned()
}

/// An event runs.
struct Running(Arc<Fake>, RequestId);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().remove(&self.1);
    }
}

/// The engine calls it by way of an [`Arc`] that its attempts can keep.
#[derive(Debug)]
struct Node(Arc<Fake>);

impl Invoker for Node {
    fn invoke(&self, event: Event, attempt: u32) -> BoxFuture<'static, Verdict> {
        let fake = Arc::clone(&self.0);
        let function = event.function.to_string();
        let mut all = fake.running.lock().unwrap();
        if all.insert(event.id, function.clone()).is_some() {
            fake.ran_twice_at_once.store(true, Ordering::Relaxed);
        }
        let now = all.values().filter(|of| **of == function).count();
        drop(all);
        let mut most = fake.most_running.lock().unwrap();
        let most_of = most.entry(function.clone()).or_default();
        *most_of = now.max(*most_of);
        drop(most);
        let running = Running(Arc::clone(&fake), event.id);
        fake.calls.lock().unwrap().push((event, attempt));
        let gate = fake.gates.lock().unwrap().get(&function).cloned();
        let verdict = match fake.verdicts.lock().unwrap().get_mut(&function) {
            Some(verdicts) => next(verdicts),
            None => None,
        };
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            drop(running);
            verdict.unwrap_or_else(done)
        })
    }

    fn policy(&self, function: &FunctionName, _: Option<&str>) -> Option<Policy> {
        let policies = self.0.policies.lock().unwrap();
        let policy = policies.get(function.as_str());
        policy.cloned().unwrap_or_else(|| Some(Policy::default()))
    }

    fn deliver(
        &self,
        destination: &Destination,
        letter: Letter,
    ) -> BoxFuture<'static, Result<(), DeliverError>> {
        let answer = next(&mut self.0.answers.lock().unwrap()).unwrap_or(Ok(()));
        let mut letters = self.0.letters.lock().unwrap();
        letters.push((destination.clone(), letter));
        Box::pin(async { answer })
    }
}

pub(super) fn done() -> Verdict {
    Verdict::Done {
        status: 200,
        payload: Bytes::from_static(b"\"fine\""),
        executed_version: "1".to_owned(),
    }
}

pub(super) fn failed() -> Verdict {
    Verdict::Failed {
        payload: Bytes::from_static(b"{\"errorMessage\":\"boom\"}"),
        executed_version: "1".to_owned(),
    }
}

pub(super) fn name(name: &str) -> FunctionName {
    name.parse().unwrap()
}

fn id(number: u64) -> RequestId {
    RequestId::from_random(u128::from(number))
}

/// A node with an engine, and a clock.
pub(super) struct Rig {
    pub(super) dir: TempDir,
    pub(super) now: Arc<AtomicU64>,
    fake: Arc<Fake>,
    pub(super) config: EventsConfig,
    pub(super) events: Events,
}

pub(super) fn open(path: &Path, config: &EventsConfig, now: &Arc<AtomicU64>) -> Events {
    let now = Arc::clone(now);
    let clock = Clock::new(move || now.load(Ordering::Relaxed));
    Events::open(path, config.clone(), clock).unwrap()
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(EventsConfig::default())
    }

    pub(super) fn with(config: EventsConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(BEGIN_MS));
        let events = open(&dir.path().join("events.db"), &config, &now);
        Self {
            dir,
            now,
            fake: Arc::default(),
            config,
            events,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    pub(super) fn start(&self) {
        self.events.start(Arc::new(Node(Arc::clone(&self.fake))));
    }

    /// Ends the engine as a crash would, as far as its database can tell, and opens another one
    /// with a fresh node, which is not started.
    pub(super) async fn restart(&mut self) {
        self.events.stop(Duration::ZERO).await;
        self.fake = Arc::default();
        self.events = open(&self.path(), &self.config, &self.now);
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Sets the clock.
    pub(super) fn set(&self, now_ms: u64) {
        self.now.store(now_ms, Ordering::Relaxed);
        self.events.core.wake();
        self.events.schedules.wake();
        self.events.queues.changed.notify_one();
    }

    pub(super) fn advance(&self, ms: u64) {
        self.set(self.now() + ms);
    }

    pub(super) fn event(&self, number: u64, function: &str) -> Event {
        let payload = Bytes::from(number.to_string());
        let function = name(function);
        Event::new(id(number), function, payload, Source::Invoke, self.now())
    }

    pub(super) async fn add(&self, number: u64, function: &str) {
        self.events.add(self.event(number, function)).await.unwrap();
    }

    pub(super) fn verdicts(&self, function: &str, verdicts: impl IntoIterator<Item = Verdict>) {
        let verdicts = verdicts.into_iter().collect();
        let mut all = self.fake.verdicts.lock().unwrap();
        all.insert(function.to_owned(), verdicts);
    }

    pub(super) fn gate(&self, function: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        let mut gates = self.fake.gates.lock().unwrap();
        gates.insert(function.to_owned(), Arc::clone(&gate));
        gate
    }

    pub(super) fn policy(&self, function: &str, policy: Option<Policy>) {
        let mut policies = self.fake.policies.lock().unwrap();
        policies.insert(function.to_owned(), policy);
    }

    pub(super) fn calls(&self) -> Vec<(Event, u32)> {
        assert!(!self.fake.ran_twice_at_once.load(Ordering::Relaxed));
        self.fake.calls.lock().unwrap().clone()
    }

    /// Which events were called, in order, and whether as their first, second or third attempt.
    fn attempts(&self) -> Vec<(u64, u32)> {
        let number = |event: &Event| str::from_utf8(&event.payload).unwrap().parse().unwrap();
        let calls = self.calls();
        let attempts = calls.iter().map(|(event, at)| (number(event), *at));
        attempts.collect()
    }

    pub(super) fn letters(&self) -> Vec<(Destination, Letter)> {
        self.fake.letters.lock().unwrap().clone()
    }

    /// Waits until the numbers are right.
    pub(super) async fn until(&self, right: impl Fn(&Stats) -> bool) -> Stats {
        for _ in 0..20_000 {
            let stats = self.events.stats().await;
            if right(&stats) {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it never came: {:?}", self.events.stats().await);
    }

    /// Waits until something holds.
    pub(super) async fn come(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it never came");
    }

    pub(super) async fn until_empty(&self) -> Stats {
        self.until(|stats| stats.queued == 0).await
    }

    /// Waits until so many attempts were made, and a moment more in which no other is.
    pub(super) async fn until_calls(&self, calls: usize) {
        for _ in 0..10_000 {
            if self.calls().len() >= calls {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(self.calls().len(), calls);
    }
}
