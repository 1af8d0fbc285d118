//! What becomes of an event after an attempt, and of a letter after a try. No IO, no clock.

use crate::events::{EventsConfig, Policy};
use crate::limits::DELIVER_TRIES_MAX;

/// How an event stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State {
    /// When it was taken.
    pub(super) enqueued_ms: u64,
    /// Attempts that the function let fail.
    pub(super) attempts: u32,
    /// Attempts in a row that did not reach it.
    pub(super) throttles: u32,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// The function answered.
    Done,
    /// The function failed.
    Failed,
    /// The function was not reached.
    Throttled,
    /// There is nothing to reach.
    Gone,
}

/// Why an event is over (AWS Lambda: `requestContext.condition`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    /// It was done.
    Success,
    /// It failed as often as it may.
    RetriesExhausted,
    /// It is too old.
    EventAgeExceeded,
    /// The function may not run.
    ZeroReservedConcurrency,
}

impl Condition {
    /// Its name on AWS.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::ZeroReservedConcurrency => "ZeroReservedConcurrency",
        }
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The event is over.
    End(Condition),
    /// It is tried again.
    Again {
        /// How it stands now.
        state: State,
        /// When.
        due_ms: u64,
    },
}

/// Whether an event is too old to be tried. An event of exactly the greatest age is not.
pub(super) fn expired(state: &State, policy: &Policy, now_ms: u64) -> bool {
    now_ms.saturating_sub(state.enqueued_ms) > policy.max_age_ms
}

/// What follows an attempt that ended at `now_ms`.
pub(super) fn next(
    state: State,
    ended: Ended,
    policy: &Policy,
    config: &EventsConfig,
    now_ms: u64,
) -> Step {
    let (state, delay_ms) = match ended {
        Ended::Done => return Step::End(Condition::Success),
        Ended::Gone => return Step::End(Condition::RetriesExhausted),
        Ended::Failed => {
            let failed = State {
                attempts: state.attempts.saturating_add(1),
                throttles: 0,
                ..state
            };
            if state.attempts >= policy.max_retries {
                return Step::End(Condition::RetriesExhausted);
            }
            let [first, later] = config.retry_delays_ms;
            (failed, if state.attempts == 0 { first } else { later })
        }
        Ended::Throttled => {
            let throttled = State {
                throttles: state.throttles.saturating_add(1),
                ..state
            };
            (throttled, backoff_ms(state.throttles, config))
        }
    };
    if expired(&state, policy, now_ms) {
        return Step::End(Condition::EventAgeExceeded);
    }
    // There is no use in waiting for longer than it takes to become too old.
    let too_old_ms = state
        .enqueued_ms
        .saturating_add(policy.max_age_ms)
        .saturating_add(1);
    let due_ms = now_ms.saturating_add(delay_ms).min(too_old_ms);
    Step::Again { state, due_ms }
}

/// What follows a letter's try number `tries`, from 1, that failed at `now_ms`: when to try again,
/// or nothing more.
pub(super) fn redeliver(tries: u32, config: &EventsConfig, now_ms: u64) -> Option<u64> {
    let again = tries < DELIVER_TRIES_MAX;
    again.then(|| now_ms.saturating_add(backoff_ms(tries.saturating_sub(1), config)))
}

/// Time to wait after `before` failures in a row and one more.
pub(super) fn backoff_ms(before: u32, config: &EventsConfig) -> u64 {
    let doubled = 1_u64.checked_shl(before).unwrap_or(u64::MAX);
    let delay = config.backoff_first_ms.saturating_mul(doubled);
    delay.min(config.backoff_max_ms)
}

#[cfg(test)]
mod tests {
    use super::{Condition, Ended, State, Step, expired, next, redeliver};
    use crate::events::{EventsConfig, Policy};
    use crate::limits::{DELIVER_TRIES_MAX, EVENT_AGE_MAX_MS};

    const FRESH: State = State {
        enqueued_ms: 1_000,
        attempts: 0,
        throttles: 0,
    };

    fn step(state: State, ended: Ended, policy: &Policy, now_ms: u64) -> Step {
        next(state, ended, policy, &EventsConfig::default(), now_ms)
    }

    fn again(step: Step) -> (State, u64) {
        match step {
            Step::Again { state, due_ms } => (state, due_ms),
            Step::End(condition) => panic!("it ended: {condition:?}"),
        }
    }

    #[test]
    fn a_function_that_fails_is_tried_three_times_as_on_aws() {
        let policy = Policy::default();
        let (state, due) = again(step(FRESH, Ended::Failed, &policy, 2_000));
        assert_eq!((state.attempts, due), (1, 62_000));
        let (state, due) = again(step(state, Ended::Failed, &policy, due));
        assert_eq!((state.attempts, due), (2, 182_000));
        let last = step(state, Ended::Failed, &policy, due);
        assert_eq!(last, Step::End(Condition::RetriesExhausted));
    }

    #[test]
    fn fewer_retries_are_obeyed() {
        let mut policy = Policy {
            max_retries: 0,
            ..Policy::default()
        };
        let exhausted = Step::End(Condition::RetriesExhausted);
        assert_eq!(step(FRESH, Ended::Failed, &policy, 2_000), exhausted);
        policy.max_retries = 1;
        let (state, due) = again(step(FRESH, Ended::Failed, &policy, 2_000));
        assert_eq!(step(state, Ended::Failed, &policy, due), exhausted);
        // A policy that shrank meanwhile holds at once.
        let twice = State {
            attempts: 2,
            ..FRESH
        };
        assert_eq!(step(twice, Ended::Failed, &policy, 2_000), exhausted);
    }

    #[test]
    fn success_and_absence_end_at_once_however_old() {
        let policy = Policy::default();
        let done = step(FRESH, Ended::Done, &policy, u64::MAX);
        assert_eq!(done, Step::End(Condition::Success));
        let gone = step(FRESH, Ended::Gone, &policy, 0);
        assert_eq!(gone, Step::End(Condition::RetriesExhausted));
    }

    #[test]
    fn throttles_double_up_to_five_minutes_and_are_no_retries() {
        let policy = Policy::default();
        let (mut state, mut now, mut delays) = (FRESH, 1_000, Vec::new());
        for _ in 0..12 {
            let (next, due) = again(step(state, Ended::Throttled, &policy, now));
            delays.push((due - now) / 1_000);
            (state, now) = (next, due);
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!((state.attempts, state.throttles), (0, 12));
        // Reaching the function begins the backoff anew.
        let (state, _) = again(step(state, Ended::Failed, &policy, now));
        assert_eq!((state.attempts, state.throttles), (1, 0));
        let many = State {
            throttles: u32::MAX,
            ..FRESH
        };
        let (many, due) = again(step(many, Ended::Throttled, &policy, 1_000));
        assert_eq!((many.throttles, due), (u32::MAX, 301_000));
    }

    #[test]
    fn throttles_end_with_the_events_age() {
        let policy = Policy::default();
        let (mut state, mut now, mut steps) = (FRESH, 1_000, 0);
        let condition = loop {
            if expired(&state, &policy, now) {
                break Condition::EventAgeExceeded;
            }
            match step(state, Ended::Throttled, &policy, now) {
                Step::Again {
                    state: next,
                    due_ms,
                } => (state, now) = (next, due_ms),
                Step::End(condition) => break condition,
            }
            steps += 1;
            assert!(steps < 100);
        };
        assert_eq!(condition, Condition::EventAgeExceeded);
        assert_eq!(now, FRESH.enqueued_ms + EVENT_AGE_MAX_MS + 1);
    }

    #[test]
    fn age_counts_from_the_first_moment_over() {
        let policy = Policy {
            max_age_ms: 60_000,
            ..Policy::default()
        };
        assert!(!expired(&FRESH, &policy, 61_000));
        assert!(expired(&FRESH, &policy, 61_001));
        // A clock that was set back makes nothing old.
        assert!(!expired(&FRESH, &policy, 0));
        let exceeded = Step::End(Condition::EventAgeExceeded);
        assert_eq!(step(FRESH, Ended::Failed, &policy, 61_001), exceeded);
        assert_eq!(step(FRESH, Ended::Throttled, &policy, 61_001), exceeded);
        // The retry would come after the end: it is brought forward to it.
        let (_, due) = again(step(FRESH, Ended::Failed, &policy, 50_000));
        assert_eq!(due, 61_001);
    }

    #[test]
    fn nothing_overflows() {
        let policy = Policy {
            max_age_ms: u64::MAX,
            ..Policy::default()
        };
        let late = State {
            enqueued_ms: u64::MAX,
            attempts: 0,
            throttles: 0,
        };
        for ended in [Ended::Failed, Ended::Throttled] {
            let (_, due) = again(step(late, ended, &policy, u64::MAX));
            assert_eq!(due, u64::MAX);
        }
        let attempts = State {
            attempts: u32::MAX,
            ..FRESH
        };
        let step = step(attempts, Ended::Failed, &policy, 0);
        assert_eq!(step, Step::End(Condition::RetriesExhausted));
    }

    #[test]
    fn a_letter_is_tried_so_often_and_no_more() {
        let config = EventsConfig::default();
        let delays: Vec<_> = (1..)
            .map_while(|tries| redeliver(tries, &config, 0))
            .collect();
        assert_eq!(delays.len(), DELIVER_TRIES_MAX as usize - 1);
        assert_eq!(delays[..4], [1_000, 2_000, 4_000, 8_000]);
        assert!(delays.iter().all(|delay| *delay <= config.backoff_max_ms));
    }
}
