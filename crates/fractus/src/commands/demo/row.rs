//! A row of the demo's table: what an answer was, and what it must be.

use std::time::Duration;

use fractus_func::UsageRecord;
use fractus_stdx::ByteSize;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::client::header;
use crate::client::timed::Timed;
use crate::table::{Align, Table};
use crate::time::micros;

/// What the cache did with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Answered from the cache.
    Hit,
    /// Fetched for this request.
    Miss,
    /// Fetched for another request that came first, and shared.
    Shared,
    /// Fetched, and passed by the cache.
    Pass,
}

impl Verdict {
    /// Reads a Cache-Status (RFC 9211): the last of its members is of the cache next to us.
    pub(crate) fn parse(status: &str) -> Self {
        let own = status.rsplit(',').next().unwrap_or(status);
        let mut parameters = own.split(';').skip(1).map(str::trim);
        let has = |wanted: &str| parameters.clone().any(|parameter| parameter == wanted);
        match () {
            () if has("hit") => Self::Hit,
            () if has("collapsed") => Self::Shared,
            () if parameters.any(|parameter| parameter == "fwd=bypass") => Self::Pass,
            () => Self::Miss,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Shared => "SHARED",
            Self::Pass => "PASS",
        }
    }
}

/// How a call must have started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    /// The program was loaded for it.
    Cold,
    /// The program was loaded already.
    Warm,
}

/// One step and its answer.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) step: &'static str,
    path: String,
    status: u16,
    cache_status: Option<String>,
    /// [`Row::cache_status`] in a word.
    cache: Option<String>,
    content_type: Option<String>,
    pub(crate) request_id: Option<String>,
    bytes: usize,
    ttfb_us: u64,
    pub(crate) total_us: u64,
    cold: Option<bool>,
    start_us: Option<u64>,
    billed_ms: Option<u64>,
    /// What is not as it must be.
    pub(crate) wrong: Vec<String>,
}

impl Row {
    /// The row of an answer, checked for being a picture.
    pub(crate) fn new(step: &'static str, path: &str, answer: &Timed) -> Self {
        let text = |name: &str| header(&answer.headers, name).map(str::to_owned);
        let cache_status = text("cache-status");
        let mut row = Self {
            step,
            path: path.to_owned(),
            status: answer.status.as_u16(),
            cache: cache_status
                .as_deref()
                .map(|status| Verdict::parse(status).text().to_owned()),
            cache_status,
            content_type: text(CONTENT_TYPE.as_str()),
            request_id: text("x-request-id"),
            bytes: answer.body.len(),
            ttfb_us: whole_micros(answer.ttfb),
            total_us: whole_micros(answer.total),
            cold: None,
            start_us: None,
            billed_ms: None,
            wrong: Vec::new(),
        };
        row.must(answer.status == 200, || {
            let error = header(&answer.headers, "x-fractus-error").unwrap_or("no error named");
            format!("status {} ({error})", answer.status.as_u16())
        });
        let kind = row.content_type.clone().unwrap_or_default();
        row.must(kind.starts_with("image/"), || {
            format!("`{kind}` is no image")
        });
        row.must(!answer.body.is_empty(), || "the body is empty".to_owned());
        row
    }

    /// Demands something.
    pub(crate) fn must(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(wrong());
        }
    }

    /// Demands that the cache did so.
    #[must_use]
    pub(crate) fn cached(mut self, expected: Verdict) -> Self {
        let status = self.cache_status.clone().unwrap_or_default();
        self.must(Verdict::parse(&status) == expected, || {
            format!(
                "Cache-Status is `{status}`, which is no {}",
                expected.text()
            )
        });
        self
    }

    /// Adds the call that made the answer, and demands that it started so.
    #[must_use]
    pub(crate) fn called(mut self, record: Option<UsageRecord>, expected: Start) -> Self {
        let Some(record) = record else {
            self.wrong
                .push("the node has no record of the call".to_owned());
            return self;
        };
        self.cold = Some(record.cold);
        self.start_us = Some(record.load_us + record.start_us);
        self.billed_ms = Some(record.billed_ms);
        self.must(record.cold == (expected == Start::Cold), || {
            format!("the call was {}", if record.cold { "cold" } else { "warm" })
        });
        let outcome = record.outcome;
        self.must(!outcome.is_error(), || {
            format!("the call ended as {}", outcome.code())
        });
        self
    }

    /// Puts what is true of many requests in place of what is true of one.
    #[must_use]
    pub(crate) fn of_many(mut self, answers: &[Timed], total: Duration) -> Self {
        let mut ttfbs: Vec<Duration> = answers.iter().map(|answer| answer.ttfb).collect();
        ttfbs.sort();
        self.ttfb_us = whole_micros(ttfbs[ttfbs.len() / 2]);
        self.total_us = whole_micros(total);
        let is_miss = |answer: &&Timed| {
            let status = header(&answer.headers, "cache-status").unwrap_or_default();
            Verdict::parse(status) == Verdict::Miss
        };
        let misses = answers.iter().filter(is_miss).count();
        self.cache = Some(format!("{misses} MISS"));
        self.request_id = None;
        let same = |test: &dyn Fn(&Timed, &Timed) -> bool| {
            answers.iter().all(|answer| test(answer, &answers[0]))
        };
        self.must(misses == 1, || {
            format!("{misses} requests went to the function")
        });
        self.must(same(&|a, b| a.status == b.status), || {
            "not every answer has the same status".to_owned()
        });
        self.must(same(&|a, b| a.body == b.body), || {
            "not every answer has the same body".to_owned()
        });
        self
    }

    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    fn cells(&self) -> [String; 9] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let start = self.start_us.map(|us| {
            let cold = if self.cold == Some(true) { " cold" } else { "" };
            format!("{}{cold}", micros(us))
        });
        [
            self.step.to_owned(),
            self.status.to_string(),
            or_none(self.cache.clone()),
            ByteSize(self.bytes as u64).to_string(),
            micros(self.ttfb_us),
            micros(self.total_us),
            or_none(start),
            or_none(self.billed_ms.map(|ms| format!("{ms} ms"))),
            if self.is_good() { "✓" } else { "✗" }.to_owned(),
        ]
    }
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new([
        ("STEP", Align::Left),
        ("STATUS", Align::Right),
        ("CACHE", Align::Left),
        ("BYTES", Align::Right),
        ("TTFB", Align::Right),
        ("TOTAL", Align::Right),
        ("START", Align::Right),
        ("BILLED", Align::Right),
        ("", Align::Left),
    ]);
    for row in rows {
        table.push(row.cells());
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn cache_status_in_a_word() {
        for (status, verdict) in [
            ("Fractus; hit; ttl=5", Verdict::Hit),
            ("Fractus; fwd=uri-miss; stored", Verdict::Miss),
            ("Fractus; fwd=uri-miss; stored; collapsed", Verdict::Shared),
            ("Fractus; fwd=bypass", Verdict::Pass),
            (
                "Far; hit, Fractus; fwd=stale; fwd-status=304",
                Verdict::Miss,
            ),
        ] {
            assert_eq!(Verdict::parse(status), verdict, "{status}");
        }
    }
}
