//! What the most recent calls cost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use fractus_func::{Counters, FunctionName, RequestId, UsageRecord};

use crate::limits::USAGE_RECORDS_MAX;

/// The last [`USAGE_RECORDS_MAX`] usage records of all functions, in memory.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    records: Mutex<VecDeque<UsageRecord>>,
}

/// Which records to find. What is `None` does not restrict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsageQuery<'a> {
    /// Of this function.
    pub(crate) function: Option<&'a str>,
    /// Of this call.
    pub(crate) request_id: Option<RequestId>,
    /// That ended no earlier, in milliseconds since the UNIX epoch.
    pub(crate) since_ms: u64,
    /// So many at most.
    pub(crate) limit: usize,
}

impl UsageQuery<'_> {
    fn wants(&self, record: &UsageRecord) -> bool {
        self.function
            .is_none_or(|name| record.function.as_str() == name)
            && self.request_id.is_none_or(|id| record.request_id == id)
            && record.ended_ms >= self.since_ms
    }
}

impl Usage {
    /// Takes a record; the oldest makes room.
    pub(crate) fn push(&self, record: UsageRecord) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == USAGE_RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The sums over the records that match, by function and number of the revision, whatever the
    /// query's limit; and since when records are complete, in milliseconds since the UNIX epoch: 0
    /// if none was dropped.
    pub(crate) fn sums(
        &self,
        query: UsageQuery<'_>,
    ) -> (BTreeMap<(FunctionName, u64), Counters>, u64) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let complete_ms = match records.front() {
            Some(first) if records.len() == USAGE_RECORDS_MAX => first.ended_ms,
            _ => 0,
        };
        let records: Vec<_> = records
            .iter()
            .filter(|record| query.wants(record))
            .cloned()
            .collect();
        let mut sums: BTreeMap<_, Counters> = BTreeMap::new();
        for record in records {
            let key = (record.function.clone(), record.version);
            sums.entry(key).or_default().add(&record);
        }
        (sums, complete_ms)
    }

    /// The newest records that match, newest first.
    pub(crate) fn find(&self, query: UsageQuery<'_>) -> Vec<UsageRecord> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let found = records.iter().rev().filter(|record| query.wants(record));
        let found = found.take(query.limit);
        found.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use fractus_func::{Outcome, RequestId, UsageRecord};

    use super::{Usage, UsageQuery};
    use crate::functions::refusal;
    use crate::limits::USAGE_RECORDS_MAX;

    fn record(function: &str, number: u64) -> UsageRecord {
        let id = RequestId::from_random(u128::from(number));
        let report = refusal(id, 0, Outcome::Throttled, String::new());
        UsageRecord::new(function.parse().unwrap(), 1, 128, number, &report)
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let usage = Usage::default();
        let last = USAGE_RECORDS_MAX as u64 + 9;
        for number in 0..=last {
            usage.push(record(if number % 2 == 0 { "even" } else { "odd" }, number));
        }
        let query = |function, request_id, limit| {
            let found = usage.find(UsageQuery {
                function,
                request_id,
                since_ms: 0,
                limit,
            });
            found
                .iter()
                .map(|record| record.ended_ms)
                .collect::<Vec<_>>()
        };
        assert_eq!(query(None, None, 2), [last, last - 1]);
        assert_eq!(query(Some("even"), None, 2), [last - 1, last - 3]);
        assert_eq!(query(None, None, usize::MAX).len(), USAGE_RECORDS_MAX);
        let id = |number| Some(RequestId::from_random(number));
        assert_eq!(query(Some("even"), id(20), 5), [20]);
        assert!(query(Some("odd"), id(20), 5).is_empty());
        assert!(query(None, id(9), 5).is_empty());
    }
}
