//! The node's memory: who gets it, who waits, and who goes.

use std::time::{Duration, Instant};

use fractus_func::Outcome;

use crate::life::join_all;
use crate::support::{Bench, are_there_groups, named};

const MIB: usize = 1 << 20;

/// As `limits.rs` guesses before anything was measured.
const GUESS: usize = 32 * MIB;

#[tokio::test]
async fn those_used_least_recently_make_room_and_never_one_that_works() {
    // What an instance is expected to need once one was measured.
    let bench = Bench::new();
    if !are_there_groups(&bench.name) {
        return;
    }
    let measured = bench.probe(|_| {});
    measured.python("answer = 1").await.unwrap();
    let needs = bench.account.taken();
    assert!((4 * MIB..24 * MIB).contains(&needs), "{needs}");
    drop((measured, bench));
    // Room for one that works and three that wait, but not for another besides.
    let bench = Bench::with_memory(GUESS + 3 * needs + GUESS - needs / 2);
    let probes: Vec<_> = (0..4).map(|_| bench.probe(|_| {})).collect();
    let calls = async |at: usize| probes[at].python("answer = CALLS").await.unwrap();
    let busy = bench.probe_for(20.0);
    let work = async {
        let told = busy.python("time.sleep(2); answer = CALLS").await.unwrap();
        assert_eq!(told, 1);
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for (at, times) in [(0, 1), (1, 1), (2, 1), (1, 2), (0, 2)] {
            assert_eq!(calls(at).await, times);
        }
        assert_eq!(bench.runtime.standing().idle.0, 3);
        // The third function was used least recently, and makes room for the fourth.
        assert_eq!(calls(3).await, 1);
        assert_eq!(bench.runtime.standing().idle.0, 3);
        for (at, times) in [(0, 3), (1, 3), (2, 1)] {
            assert_eq!(calls(at).await, times);
        }
    };
    tokio::join!(work, others);
    assert_eq!(busy.python("answer = CALLS").await.unwrap(), 2);
}

#[tokio::test]
async fn calls_wait_for_memory_in_the_order_in_which_they_came() {
    // Each needs more than half of it.
    let bench = Bench::with_memory(60 * MIB);
    let probes: Vec<_> = (0..8).map(|_| bench.probe_for(5.0)).collect();
    let first = "
kept = sys.modules['f'].kept = bytearray(26 << 20)
kept[::4096] = b'x' * len(kept[::4096])
answer = 1";
    for probe in &probes {
        assert_eq!(probe.python(first).await.unwrap(), 1);
        assert_eq!(bench.runtime.standing().idle.0, 1);
    }
    let code = |number: usize| format!("time.sleep(0.1); answer = {number}");
    let began = Instant::now();
    let calls = probes.iter().enumerate().map(|(number, probe)| {
        let bench = &bench;
        async move {
            tokio::time::sleep(Duration::from_millis(20 * number as u64)).await;
            assert_eq!(probe.python(&code(number)).await.unwrap(), number);
            assert!(bench.account.taken() <= 60 * MIB);
            (began.elapsed(), number)
        }
    });
    let mut ended = join_all(calls.collect()).await;
    ended.sort_unstable();
    let order: Vec<usize> = ended.iter().map(|(_, number)| *number).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7], "{ended:?}");
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_to_come_again() {
    let bench = Bench::with_memory(GUESS + MIB);
    let busy = bench.probe_for(20.0);
    let other = bench.probe(|_| {});
    let began = Instant::now();
    let (worked, waited) = tokio::join!(busy.python("time.sleep(6); answer = 1"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let waited = other.python("answer = 1").await;
        (waited, began.elapsed())
    });
    assert_eq!(worked.unwrap(), 1);
    let (error, at) = (waited.0.unwrap_err(), waited.1);
    assert_eq!(error.outcome, Outcome::Throttled, "{error:?}");
    assert!(named(&error).1.contains("no memory"), "{error:?}");
    assert!((5.0..6.0).contains(&at.as_secs_f64()), "{at:?}");
    assert_eq!(other.report().await.outcome, Outcome::Throttled);
    // Now there is room again.
    assert_eq!(other.python("answer = CALLS").await.unwrap(), 1);
}

#[tokio::test]
async fn all_memory_is_given_back_whatever_happens() {
    let bench = Bench::with_memory(1024 * MIB);
    let probe = bench.probe(|manifest| {
        manifest.limits.timeout_s = 0.3;
        manifest.instances.idle_s = 0;
    });
    let calls = [
        "answer = 1",
        "os._exit(1)",
        "raise ValueError",
        "time.sleep(2)",
        "os.close(3)",
    ];
    let all = calls.iter().cycle().take(30).map(|code| probe.python(code));
    for told in join_all(all.collect()).await {
        drop(told);
    }
    assert_eq!(probe.reports().await.len(), 30);
    drop(probe);
    bench
        .until("all memory is free", |bench| bench.account.taken() == 0)
        .await;
}
