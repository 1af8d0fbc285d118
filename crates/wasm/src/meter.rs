//! What a call has used so far, seen from the guest's future, its bodies and its callbacks.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use fractus_func::Outcome;
use rustix::time::{ClockId, clock_gettime};

/// Counters of one call. Written by whichever thread runs the call, read by its body's.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// CPU nanoseconds of all polls that are over.
    cpu_ns: AtomicU64,
    /// The thread's CPU clock when the current poll began; 0 between polls.
    poll_began_ns: AtomicU64,
    /// Epoch ticks that hit the guest while it computed.
    pub(crate) ticks: AtomicU32,
    /// Request body bytes that the guest read.
    pub(crate) request_bytes: AtomicU64,
    /// Response body bytes that the guest wrote.
    pub(crate) response_bytes: AtomicU64,
    /// Most linear memory so far, in bytes.
    pub(crate) peak_memory: AtomicU64,
    /// The guest asked for more memory than it may have.
    pub(crate) memory_denied: AtomicBool,
    /// The node itself had no more memory for guests.
    pub(crate) node_full: AtomicBool,
    /// The status that the guest set.
    pub(crate) status: AtomicU32,
    /// The outcome's number plus one; 0 while open.
    outcome: AtomicU8,
}

/// All outcomes that a runtime decides, so that one fits into an atomic.
const OUTCOMES: [Outcome; 11] = [
    Outcome::Ok,
    Outcome::Trap,
    Outcome::Timeout,
    Outcome::CpuLimit,
    Outcome::MemoryLimit,
    Outcome::RequestTooLarge,
    Outcome::ResponseTooLarge,
    Outcome::NoResponse,
    Outcome::GuestError,
    Outcome::NodeBusy,
    Outcome::Cancelled,
];

/// An outcome's place in [`OUTCOMES`], plus one.
fn number(outcome: Outcome) -> u8 {
    let place = OUTCOMES.iter().position(|o| *o == outcome);
    let place = place.expect("a runtime decides only outcomes of the table");
    u8::try_from(place + 1).expect("a handful of outcomes")
}

impl Meter {
    /// Decides how the call ended; the first decision stands. Returns the one that does.
    pub(crate) fn end(&self, outcome: Outcome) -> Outcome {
        let first =
            self.outcome
                .compare_exchange(0, number(outcome), Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            outcome
        } else {
            self.outcome().unwrap_or(outcome)
        }
    }

    /// Decides as [`Meter::end`] does, but also where the guest itself ended well: its answer did
    /// not.
    pub(crate) fn amend(&self, outcome: Outcome) -> Outcome {
        let order = Ordering::AcqRel;
        let well = number(Outcome::Ok);
        let amended =
            self.outcome
                .compare_exchange(well, number(outcome), order, Ordering::Acquire);
        if amended.is_ok() {
            outcome
        } else {
            self.end(outcome)
        }
    }

    /// How the call ended, once that is decided.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let number = usize::from(self.outcome.load(Ordering::Acquire));
        number.checked_sub(1).map(|place| OUTCOMES[place])
    }

    /// CPU time up to now, in microseconds, a poll that is under way on this thread included.
    pub(crate) fn cpu_us(&self) -> u64 {
        let poll = match self.poll_began_ns.load(Ordering::Relaxed) {
            0 => 0,
            began => thread_cpu_ns().saturating_sub(began),
        };
        (self.cpu_ns.load(Ordering::Relaxed) + poll) / 1000
    }

    /// Polls `future` on this call's account.
    pub(crate) fn poll<F: Future + ?Sized>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let began = thread_cpu_ns();
        self.poll_began_ns.store(began, Ordering::Relaxed);
        let polled = future.poll(cx);
        self.poll_began_ns.store(0, Ordering::Relaxed);
        self.cpu_ns
            .fetch_add(thread_cpu_ns().saturating_sub(began), Ordering::Relaxed);
        polled
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use fractus_func::Outcome;

    use super::Meter;

    #[test]
    fn the_first_outcome_stands() {
        let meter = Meter::default();
        assert_eq!(meter.outcome(), None);
        assert_eq!(meter.end(Outcome::Timeout), Outcome::Timeout);
        assert_eq!(meter.end(Outcome::Cancelled), Outcome::Timeout);
        assert_eq!(meter.outcome(), Some(Outcome::Timeout));
    }

    #[test]
    fn an_answer_can_fail_after_its_guest_ended_well() {
        let meter = Meter::default();
        meter.end(Outcome::Ok);
        assert_eq!(meter.amend(Outcome::NoResponse), Outcome::NoResponse);
        assert_eq!(meter.amend(Outcome::GuestError), Outcome::NoResponse);
    }
}
