//! Admission of calls to one function, as a state machine on plain data.
//!
//! A call arrives and starts, waits or is refused; a call leaves and its place goes to the one that
//! has waited longest. A burst starts at once as far as the limit reaches: nothing is ramped.

use std::collections::VecDeque;

/// Names a waiting call.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(u64);

/// What becomes of a call that arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Start now.
    Start,
    /// Wait until [`Pool::leave`] returns this ticket, or [`Pool::abandon`] it.
    Wait(Ticket),
    /// Refused: as many calls as may wait are waiting.
    Refuse,
}

/// The calls of one function: how many run, and which wait in what order.
#[derive(Debug)]
pub struct Pool {
    limit: u32,
    running: u32,
    waiting: VecDeque<Ticket>,
    waiting_max: usize,
    next_ticket: u64,
}

impl Pool {
    /// A pool where `limit` calls may run and `waiting_max` may wait. With a limit of 0 nobody
    /// waits either: there is nothing to wait for.
    pub fn new(limit: u32, waiting_max: usize) -> Self {
        Self {
            limit,
            running: 0,
            waiting: VecDeque::new(),
            waiting_max,
            next_ticket: 0,
        }
    }

    /// A call arrives.
    pub fn arrive(&mut self) -> Admission {
        if self.running < self.limit {
            self.running += 1;
            return Admission::Start;
        }
        if self.limit == 0 || self.waiting.len() >= self.waiting_max {
            return Admission::Refuse;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.push_back(ticket);
        Admission::Wait(ticket)
    }

    /// A running call has ended. The returned call, if any, starts in its place.
    pub fn leave(&mut self) -> Option<Ticket> {
        assert!(self.running > 0, "a call left that never started");
        // After the limit was lowered the surplus drains before anyone else starts.
        let next = if self.running > self.limit {
            None
        } else {
            self.waiting.pop_front()
        };
        if next.is_none() {
            self.running -= 1;
        }
        next
    }

    /// A waiting call gives up. Returns false when it was admitted in the meantime: then it runs
    /// and must [`Pool::leave`].
    pub fn abandon(&mut self, ticket: Ticket) -> bool {
        let place = self.waiting.binary_search(&ticket);
        if let Ok(place) = place {
            self.waiting.remove(place);
        }
        place.is_ok()
    }

    /// Changes how many may run. The returned calls, oldest first, start now; those that wait
    /// already when the limit becomes 0 wait on, until they give up.
    pub fn set_limit(&mut self, limit: u32) -> Vec<Ticket> {
        self.limit = limit;
        let free = self.limit.saturating_sub(self.running) as usize;
        let admitted: Vec<_> = self.waiting.drain(..free.min(self.waiting.len())).collect();
        self.running += u32::try_from(admitted.len()).expect("at most the limit, which is a u32");
        admitted
    }

    /// How many calls may run.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many calls run.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
