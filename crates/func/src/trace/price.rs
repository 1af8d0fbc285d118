//! What spans cost.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

use super::{Span, Trace};

/// Money, in 10⁻¹² of a currency's unit: a millisecond of 128 MiB costs about 2000 of those. Holds
/// up to 18 millions of the unit; saturates. Displays millionths of the unit with four decimals.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cost(pub u64);

/// What calls cost. The default is what AWS Lambda publishes for x86: 0.0000166667 $ for a second
/// of 1 GiB, and 0.20 $ for a million requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// A second of 1 GiB of memory.
    pub gb_second: Cost,
    /// A request.
    pub request: Cost,
}

/// What a span cost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SpanCost {
    /// By itself, without its parts.
    pub own: Cost,
    /// With its parts.
    pub total: Cost,
}

impl Default for Price {
    fn default() -> Self {
        Self {
            gb_second: Cost(16_666_700),
            request: Cost(200_000),
        }
    }
}

impl Price {
    /// Of so many microseconds with so many MiB of memory, rounded to the nearest.
    pub fn time(&self, us: u64, memory_mb: u32) -> Cost {
        const SCALE: u128 = 1_000_000 * 1024;
        let exact = u128::from(us) * u128::from(memory_mb) * u128::from(self.gb_second.0);
        Cost(u64::try_from((exact + SCALE / 2) / SCALE).unwrap_or(u64::MAX))
    }

    /// Of a call that was billed so many milliseconds.
    pub fn call(&self, billed_ms: u64, memory_mb: u32) -> Cost {
        self.request + self.time(billed_ms.saturating_mul(1000), memory_mb)
    }
}

impl Trace {
    /// What each span cost, in the order of [`Trace::spans`].
    ///
    /// A span that is billed ([`super::SpanKind::is_billed`]) costs in total its time × the
    /// function's memory × the price, and so does every part of it. By itself it costs the time in
    /// which none of its parts ran. Parts that run at once each cost their whole time, so their
    /// sum may be more than what they are a part of. Other spans cost what their parts do.
    ///
    /// The first outermost span also pays for the request, and for what rounding up to a whole
    /// millisecond adds: its total is [`Price::call`] of the time that is billed.
    pub fn costs(&self, price: &Price) -> Vec<SpanCost> {
        let rows = self.rows();
        let time = |us| price.time(us, self.memory_mb);
        let mut sums = vec![Sums::default(); rows.len()];
        for (at, row) in rows.iter().enumerate() {
            let span = &self.spans[row.span];
            let whole = row
                .parent
                .map(|parent| (parent, &self.spans[rows[parent].span]));
            let is_within = whole.is_some_and(|(parent, _)| sums[parent].is_billed);
            sums[at].is_billed = is_within || span.kind.is_billed();
            sums[at].is_bill = sums[at].is_billed && !is_within;
            if let Some((parent, whole)) = whole {
                sums[parent].cover(span, whole);
            }
        }
        let mut costs = vec![SpanCost::default(); self.spans.len()];
        let (mut billed_us, mut billed) = (0_u64, Cost(0));
        // Parts come after what they are a part of.
        for (at, row) in rows.iter().enumerate().rev() {
            let duration_us = self.spans[row.span].duration_us;
            let sum = sums[at];
            let (own, total) = if sum.is_billed {
                let total = time(duration_us);
                (total - time(sum.covered_us), total)
            } else {
                (Cost(0), sum.parts)
            };
            if sum.is_bill {
                billed_us = billed_us.saturating_add(duration_us);
                billed = billed + total;
            }
            if let Some(parent) = row.parent {
                sums[parent].parts = sums[parent].parts + total;
            }
            costs[row.span] = SpanCost { own, total };
        }
        if let Some(first) = rows.first() {
            let rest = price.call(billed_us.div_ceil(1000), self.memory_mb) - billed;
            let cost = &mut costs[first.span];
            cost.own = cost.own + rest;
            cost.total = cost.total + rest;
        }
        costs
    }
}

/// What is counted for a span on the way.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Whether its time is paid for.
    is_billed: bool,
    /// And not as a part of another that is.
    is_bill: bool,
    /// Time of its parts, which come in the order in which they began; what runs at once is
    /// counted once.
    covered_us: u64,
    covered_until: u64,
    /// What its parts cost.
    parts: Cost,
}

impl Sums {
    fn cover(&mut self, part: &Span, whole: &Span) {
        let from = part.start_us.max(whole.start_us).max(self.covered_until);
        let until = part.end_us().min(whole.end_us());
        self.covered_us += until.saturating_sub(from);
        self.covered_until = self.covered_until.max(until);
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self(0), Add::add)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.saturating_add(50) / 100;
        f.pad(&format!("{}.{:04}", tenths / 10_000, tenths % 10_000))
    }
}
