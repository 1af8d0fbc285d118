use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_blob::Store;
use fractus_func::limits::QUEUE_MAX;
use fractus_func::trace::Price;
use fractus_func::{
    Body, BoxFuture, CallError, Manifest, Outcome, RequestId, RouteSpec, RuntimeKind,
};
use fractus_lambda::sigv4::SigningKeys;
use http_body_util::{BodyExt, Empty};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{Asked, Budget, Desk, Entry, Function, Functions, Services, Version};
use crate::artifacts::{Artifacts, Digest};
use crate::clock::now_ms;
use crate::config::Upstream;
use crate::fake::FakeRuntime;
use crate::limits::{LOAD_RETRY_MS, PROGRAM_IDLE_MS, PROGRAM_RETIRED_MS};
use crate::logs::Logs;
use crate::openlambda::OpenLambda;
use crate::outbound::{Outbound, OutboundConfig};
use crate::registry::Revision;
use crate::routes::Fixed;
use crate::traces::Traces;
use crate::usage::{Usage, UsageQuery};

mod traced;

type Answer = Result<http::Response<Body>, CallError>;

/// Functions on a fake runtime; one function `f` with two places, of five instances on the node.
struct Bench {
    functions: Arc<Functions>,
    function: Arc<Function>,
    runtime: FakeRuntime,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with_concurrency(2)
    }

    fn with_concurrency(concurrency: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::default();
        let folder = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let artifacts = Artifacts::open(folder("artifacts"), runtime.runtimes()).unwrap();
        let artifact = Digest([1; 32]);
        std::fs::write(artifacts.compiled(artifact), "compiled").unwrap();
        let store = Store::open(&folder("store"), fractus_blob::Config::default()).unwrap();
        let functions = Arc::new(Functions::new(Services {
            artifacts: Arc::new(artifacts),
            outbound: Outbound::new(store, &OutboundConfig::default()),
            logs: Logs::open(folder("logs")).unwrap(),
            usage: Usage::default(),
            traces: Traces::default(),
            price: Price::default(),
            budget: Arc::new(Budget::new(5, 1 << 20)),
            region: "eu-test-1".into(),
            keys: Arc::new(SigningKeys::new([])),
        }));
        let function = version(&functions, 1, concurrency, artifact, None);
        functions.replace(BTreeMap::from([(
            function.name().clone(),
            entry(&functions, &function),
        )]));
        Self {
            functions,
            function,
            runtime,
            _dir: dir,
        }
    }

    /// A call, not yet begun.
    fn call(&self) -> BoxFuture<'static, Answer> {
        self.call_of(&self.function, request())
    }

    fn call_of(
        &self,
        function: &Arc<Function>,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Answer> {
        let (functions, function) = (Arc::clone(&self.functions), Arc::clone(function));
        let id = RequestId::from_random(7);
        Box::pin(async move {
            functions
                .call(&function, request, id, Asked::default())
                .await
        })
    }

    /// A call whose guest runs and waits at the gate.
    async fn running(&self) -> BoxFuture<'static, Answer> {
        let before = self.guests();
        let mut call = self.call();
        until(&mut call, || self.guests() > before).await;
        call
    }

    fn guests(&self) -> usize {
        self.runtime.shared.running.load(Ordering::SeqCst)
    }

    fn open_gate(&self, guests: usize) {
        self.runtime.shared.gate.add_permits(guests);
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let records = self.functions.services().usage.find(UsageQuery {
            function: Some("f"),
            request_id: None,
            since_ms: 0,
            limit: usize::MAX,
        });
        records.iter().rev().map(|record| record.outcome).collect()
    }

    /// Nothing runs, waits or is taken.
    fn assert_idle(&self) {
        let desk = self.function.desk();
        assert_eq!((desk.running(), desk.waiting()), (0, 0));
        assert_eq!(self.functions.services().budget.running(), 0);
        assert_eq!(self.guests(), 0);
    }
}

fn version(
    functions: &Functions,
    number: u64,
    concurrency: u32,
    artifact: Digest,
    desk: Option<&Arc<Desk>>,
) -> Arc<Function> {
    let mut manifest = Manifest::named("f".parse().unwrap());
    manifest.limits.concurrency = concurrency;
    let deployed = Revision {
        manifest,
        artifact,
        size: 1,
        kind: Some(RuntimeKind::Wasm),
        settings: None,
        created_ms: 1,
    };
    let own = || Arc::new(Desk::new(concurrency, crate::registry::Ledger::default()));
    let desk = desk.map_or_else(own, Arc::clone);
    functions.version(Version::latest(number), deployed, desk)
}

/// A function whose newest revision this is.
fn entry(functions: &Functions, latest: &Arc<Function>) -> Arc<Entry> {
    Arc::new(Entry {
        latest: Arc::clone(latest),
        published: BTreeMap::new(),
        last_published: 0,
        attachments: Arc::default(),
        generation: functions.generation(),
    })
}

fn request() -> http::Request<Body> {
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    http::Request::new(body)
}

/// Drives a call that does not end until `done` holds.
async fn until(call: &mut BoxFuture<'static, Answer>, done: impl Fn() -> bool) {
    poll_fn(|context| {
        assert!(
            Pin::new(&mut *call).poll(context).is_pending(),
            "the call has ended"
        );
        if done() {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[tokio::test]
async fn a_call_that_ends_gives_all_back_and_leaves_one_record() {
    let bench = Bench::new();
    bench.open_gate(1);
    bench.call().await.unwrap();
    bench.assert_idle();
    assert_eq!(bench.outcomes(), [Outcome::Ok]);
    assert_eq!(bench.function.desk().totals().sums.counters.calls, 1);
    assert_eq!(bench.function.desk().totals().sums.counters.cold, 1);
    bench.open_gate(1);
    bench.call().await.unwrap();
    assert_eq!(bench.function.desk().totals().sums.counters.cold, 1);
    assert_eq!(bench.functions.changed_ledgers().len(), 1);
    assert_eq!(bench.functions.changed_ledgers().len(), 0);
}

#[tokio::test]
async fn a_call_that_is_never_polled_holds_nothing() {
    let bench = Bench::new();
    drop(bench.call());
    bench.assert_idle();
    assert_eq!(bench.outcomes(), []);
}

#[tokio::test]
async fn a_running_call_that_is_dropped_gives_its_place_to_the_next() {
    let bench = Bench::new();
    let first = bench.running().await;
    let _second = bench.running().await;
    let mut third = bench.call();
    until(&mut third, || bench.function.desk().waiting() == 1).await;
    drop(first);
    until(&mut third, || bench.guests() == 2).await;
    assert_eq!(bench.outcomes(), [Outcome::Cancelled]);
    assert_eq!(bench.function.desk().running(), 2);
}

#[tokio::test]
async fn a_waiting_call_that_is_dropped_leaves_the_queue() {
    let bench = Bench::new();
    let running = [bench.running().await, bench.running().await];
    let mut waiting = bench.call();
    until(&mut waiting, || bench.function.desk().waiting() == 1).await;
    drop(waiting);
    assert_eq!(bench.function.desk().waiting(), 0);
    drop(running);
    bench.assert_idle();
    assert_eq!(bench.outcomes(), [Outcome::Cancelled; 3]);
}

#[tokio::test]
async fn a_call_dropped_between_admission_and_notice_passes_its_place_on() {
    let bench = Bench::new();
    let running = [bench.running().await, bench.running().await];
    let mut told = bench.call();
    until(&mut told, || bench.function.desk().waiting() == 1).await;
    let mut last = bench.call();
    until(&mut last, || bench.function.desk().waiting() == 2).await;
    // Both places become free: `told` and `last` have them, but neither was polled since.
    drop(running);
    assert_eq!(bench.function.desk().running(), 2);
    drop(told);
    assert_eq!(bench.function.desk().running(), 1);
    until(&mut last, || bench.guests() == 1).await;
    drop(last);
    bench.assert_idle();
}

#[tokio::test]
async fn calls_dropped_while_the_program_loads_hold_nothing_and_it_is_loaded_once() {
    let bench = Bench::with_concurrency(5);
    let turn = Arc::clone(&bench.function.loading).lock_owned().await;
    let mut calls: Vec<_> = (0..4).map(|_| bench.call()).collect();
    for call in &mut calls {
        let desk = Arc::clone(bench.function.desk());
        let before = desk.running();
        until(call, || desk.running() > before).await;
    }
    drop(calls.pop());
    assert_eq!(bench.outcomes(), [Outcome::Cancelled]);
    drop(turn);
    bench.open_gate(3);
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(bench.runtime.shared.loads.load(Ordering::SeqCst), 1);
    bench.assert_idle();
    let totals = bench.function.desk().totals();
    assert_eq!(
        (totals.sums.counters.calls, totals.sums.counters.cold),
        (4, 3)
    );
}

#[tokio::test]
async fn whoever_waits_too_long_leaves_the_queue() {
    let bench = Bench::new();
    let running = [bench.running().await, bench.running().await];
    bench
        .function
        .desk()
        .enter_within(Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(bench.function.desk().waiting(), 0);
    drop(running);
    bench.assert_idle();
}

#[tokio::test]
async fn a_full_queue_throttles() {
    let bench = Bench::new();
    let running = [bench.running().await, bench.running().await];
    let mut waiting = Vec::new();
    for place in 1..=QUEUE_MAX {
        let mut call = bench.call();
        until(&mut call, || bench.function.desk().waiting() == place).await;
        waiting.push(call);
    }
    let error = bench.call().await.unwrap_err();
    assert_eq!(error.outcome, Outcome::Throttled);
    assert_eq!(bench.outcomes(), [Outcome::Throttled]);
    let last = bench.function.desk().totals().last_error.unwrap();
    assert_eq!(last.outcome, Outcome::Throttled);
    drop(waiting);
    drop(running);
    bench.assert_idle();
}

#[tokio::test]
async fn a_node_without_instances_is_busy_and_keeps_no_place() {
    let bench = Bench::with_concurrency(9);
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(bench.running().await);
    }
    let error = bench.call().await.unwrap_err();
    assert_eq!(error.outcome, Outcome::NodeBusy);
    assert_eq!(bench.function.desk().running(), 5);
    drop(running);
    bench.assert_idle();
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_before_it_gets_a_place() {
    let bench = Bench::new();
    let mut request = request();
    let limit = bench.function.manifest().limits.request_bytes();
    request
        .headers_mut()
        .insert("content-length", (limit + 1).into());
    let error = bench.call_of(&bench.function, request).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::RequestTooLarge);
    assert_eq!(bench.outcomes(), [Outcome::RequestTooLarge]);
    assert!(bench.function.desk().totals().last_error.is_none());
    bench.assert_idle();
}

#[tokio::test]
async fn a_program_that_cannot_be_loaded_fails_its_calls_alone() {
    let bench = Bench::new();
    let broken = version(
        &bench.functions,
        2,
        2,
        Digest([2; 32]),
        Some(bench.function.desk()),
    );
    for _ in 0..3 {
        let error = bench.call_of(&broken, request()).await.unwrap_err();
        assert_eq!(error.outcome, Outcome::StartFailed);
    }
    let attempts = &bench.runtime.shared.load_attempts;
    assert_eq!(attempts.load(Ordering::SeqCst), 1, "tried for each call");
    bench.assert_idle();
    let long_ago = Instant::now().checked_sub(Duration::from_millis(LOAD_RETRY_MS));
    *broken.failed() = long_ago;
    bench.call_of(&broken, request()).await.unwrap_err();
    assert_eq!(attempts.load(Ordering::SeqCst), 2, "never tried again");
    bench.open_gate(1);
    bench.call().await.unwrap();
}

#[tokio::test]
async fn a_damaged_program_is_compiled_once_more() {
    let bench = Bench::new();
    let artifacts = &bench.functions.services().artifacts;
    let artifact = Digest(Sha256::digest(b"whole").into());
    let mut upload = artifacts.upload(artifact).await.unwrap();
    upload.write(b"whole").await.unwrap();
    upload.finish().await.unwrap();
    std::fs::write(artifacts.compiled(artifact), FakeRuntime::TORN).unwrap();
    let damaged = version(&bench.functions, 2, 2, artifact, None);
    bench.open_gate(2);
    for _ in 0..2 {
        bench.call_of(&damaged, request()).await.unwrap();
    }
    assert_eq!(
        bench.runtime.shared.compilations.1.load(Ordering::SeqCst),
        1
    );
    assert_eq!(bench.runtime.shared.loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_origin_has_a_generation_of_its_own() {
    let bench = Bench::new();
    let upstream = |path: &str| Upstream {
        route: RouteSpec {
            host: None,
            path: path.to_owned(),
        },
        url: "http://h/".parse().unwrap(),
    };
    let services = bench.functions.services();
    let (_folder, store) = crate::origin::test_support::store().await;
    let upstreams = vec![upstream("/x/"), upstream("/y/")];
    let worker = OpenLambda::new("", bench.functions.generation());
    let fixed = Fixed::new(
        &bench.functions,
        &store,
        &services.outbound,
        upstreams,
        worker,
    );
    let origins = fixed.upstreams.iter().map(|(_, origin)| origin);
    let mut generations: BTreeSet<_> = origins.map(|origin| origin.generation()).collect();
    let fixed = [&fixed.buckets, &fixed.worker].map(|origin| origin.generation());
    generations.extend(fixed);
    generations.insert(bench.functions.get("f").unwrap().generation);
    assert_eq!(generations.len(), 5);
}

#[tokio::test]
async fn a_new_version_shares_the_places_and_moves_their_limit() {
    let bench = Bench::new();
    let old = [bench.running().await, bench.running().await];
    let artifact = bench.function.deployed().artifact;
    let new = version(
        &bench.functions,
        2,
        3,
        artifact,
        Some(bench.function.desk()),
    );
    let mut waiting = bench.call_of(&new, request());
    until(&mut waiting, || new.desk().waiting() == 1).await;
    bench.functions.replace(BTreeMap::from([(
        new.name().clone(),
        entry(&bench.functions, &new),
    )]));
    until(&mut waiting, || bench.guests() == 3).await;
    bench.open_gate(3);
    for call in old {
        call.await.unwrap();
    }
    waiting.await.unwrap();
    bench.assert_idle();
}

#[tokio::test]
async fn idle_programs_leave_memory_and_come_back() {
    let bench = Bench::new();
    let running = bench.running().await;
    let now = now_ms();
    bench.functions.evict_idle(now);
    assert!(bench.function.loaded().is_some());
    bench.functions.evict_idle(now + PROGRAM_IDLE_MS + 60_000);
    assert!(bench.function.loaded().is_none());
    bench.open_gate(2);
    running.await.unwrap();
    bench.call().await.unwrap();
    assert_eq!(bench.runtime.shared.loads.load(Ordering::SeqCst), 2);
    assert_eq!(bench.function.desk().totals().sums.counters.cold, 2);
}

/// An idle connection knew the old routes, and kept the old version's program and its instances
/// until it was closed.
#[tokio::test]
async fn the_program_of_an_old_version_leaves_memory_though_somebody_knows_it() {
    let bench = Bench::new();
    let running = bench.running().await;
    let artifact = Digest([1; 32]);
    let next = version(
        &bench.functions,
        2,
        2,
        artifact,
        Some(bench.function.desk()),
    );
    let current = BTreeMap::from([(next.name().clone(), entry(&bench.functions, &next))]);
    drop(next);
    bench.functions.replace(current);
    let now = now_ms();
    bench.functions.evict_idle(now);
    assert!(
        bench.function.loaded().is_some(),
        "calls may be on their way"
    );
    bench.functions.evict_idle(now + PROGRAM_RETIRED_MS + 1_000);
    assert!(bench.function.loaded().is_none());
    bench.open_gate(1);
    running.await.unwrap();
}

#[test]
fn the_budget_never_gives_more_than_it_has() {
    let budget = Arc::new(Budget::new(1, 100));
    let one = budget.instance().unwrap();
    assert!(budget.instance().is_none());
    drop(one);
    assert!(budget.instance().is_some());
    assert!(budget.reserve(60));
    assert!(!budget.reserve(41));
    assert!(!budget.reserve(usize::MAX));
    assert!(budget.reserve(40));
    budget.release(100);
    assert_eq!(budget.memory(), 0);
}
