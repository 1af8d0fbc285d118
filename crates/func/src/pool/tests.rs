use std::collections::BTreeSet;

use super::{Admission, Pool, Ticket};

fn ticket(admission: Admission) -> Ticket {
    match admission {
        Admission::Wait(ticket) => ticket,
        other => panic!("expected to wait, got {other:?}"),
    }
}

#[test]
fn a_burst_starts_all_that_the_limit_allows_at_once() {
    let mut pool = Pool::new(100, 0);
    assert!((0..100).all(|_| pool.arrive() == Admission::Start));
    assert_eq!(pool.arrive(), Admission::Refuse);
}

#[test]
fn the_longest_waiting_call_starts_first() {
    let mut pool = Pool::new(1, 2);
    assert_eq!(pool.arrive(), Admission::Start);
    let first = ticket(pool.arrive());
    let second = ticket(pool.arrive());
    assert_eq!(pool.arrive(), Admission::Refuse);
    assert_eq!(pool.leave(), Some(first));
    assert_eq!(pool.leave(), Some(second));
    assert_eq!(pool.leave(), None);
    assert_eq!((pool.running(), pool.waiting()), (0, 0));
}

#[test]
fn a_call_that_gives_up_leaves_the_queue_but_not_once_it_was_admitted() {
    let mut pool = Pool::new(1, 8);
    assert_eq!(pool.arrive(), Admission::Start);
    let gone = ticket(pool.arrive());
    let kept = ticket(pool.arrive());
    assert!(pool.abandon(gone));
    assert_eq!(pool.leave(), Some(kept));
    assert!(!pool.abandon(kept), "it runs now and must leave");
    assert_eq!(pool.leave(), None);
}

#[test]
fn raising_the_limit_starts_waiting_calls_and_lowering_it_drains() {
    let mut pool = Pool::new(1, 8);
    assert_eq!(pool.arrive(), Admission::Start);
    let waiting: Vec<_> = (0..4).map(|_| ticket(pool.arrive())).collect();
    assert_eq!(pool.set_limit(3), waiting[..2]);
    assert_eq!(pool.running(), 3);
    assert!(pool.set_limit(2).is_empty());
    assert_eq!(pool.leave(), None, "one too many runs");
    assert_eq!(pool.leave(), Some(waiting[2]));
}

/// Random arrivals, departures and give-ups: never more than the limit run, nobody is forgotten,
/// nobody starts twice, and whoever waits is served in order.
#[test]
fn random_histories_keep_the_promises() {
    for seed in 1..=200_u64 {
        let mut random = seed;
        let mut roll = move |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        let (limit, queue) = (1 + roll(5), roll(6));
        let mut pool = Pool::new(
            u32::try_from(limit).unwrap(),
            usize::try_from(queue).unwrap(),
        );
        let mut running = 0;
        let mut waiting = BTreeSet::new();
        for _ in 0..500 {
            match roll(3) {
                0 => match pool.arrive() {
                    Admission::Start => {
                        assert!(waiting.is_empty(), "seed {seed}: overtook a waiting call");
                        running += 1;
                    }
                    Admission::Wait(ticket) => assert!(waiting.insert(ticket)),
                    Admission::Refuse => assert_eq!(waiting.len() as u64, queue, "seed {seed}"),
                },
                1 if running > 0 => match pool.leave() {
                    Some(ticket) => {
                        assert_eq!(
                            Some(ticket),
                            waiting.pop_first(),
                            "seed {seed}: out of order"
                        );
                    }
                    None => running -= 1,
                },
                _ => {
                    if let Some(ticket) = waiting.pop_last() {
                        assert!(
                            pool.abandon(ticket),
                            "seed {seed}: a waiting call was forgotten"
                        );
                    }
                }
            }
            assert!(running <= limit, "seed {seed}: over the limit");
            assert_eq!(u64::from(pool.running()), running, "seed {seed}");
            assert_eq!(pool.waiting(), waiting.len(), "seed {seed}");
        }
    }
}
