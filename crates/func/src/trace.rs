//! The trace of one request: what happened for it, when, and what it cost.
//!
//! A [`Trace`] is a set of [`Span`]s, each of which names its parent. [`TraceContext`] is what
//! requests carry from one system to the next. [`to_chrome_trace`], [`to_otlp`] and [`waterfall`]
//! show a trace; [`Trace::costs`] says what each span of it cost, and how that is counted.

mod chrome;
mod context;
mod id;
mod otlp;
mod price;
mod waterfall;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::{SPAN_ATTRIBUTES_MAX, SPAN_TEXT_MAX, SPANS_MAX, SPANS_RESERVED};
use crate::{FunctionName, RequestId};

pub use chrome::to_chrome_trace;
pub use context::{TraceContext, TraceContextError};
pub use id::{SpanId, TraceId, TraceIdError};
pub use otlp::to_otlp;
pub use price::{Cost, Price, SpanCost};
pub use waterfall::waterfall;

/// The trace of one request to one function.
#[expect(
    clippy::struct_field_names,
    reason = "its own id is that of the request"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The request.
    pub id: RequestId,
    /// The trace that it is a part of; others may have parts of it too.
    pub trace_id: TraceId,
    /// The function.
    pub function: FunctionName,
    /// Its version, from 1.
    pub version: u64,
    /// What called it.
    pub trigger: Trigger,
    /// Memory that the function was given and pays for, in MiB.
    pub memory_mb: u32,
    /// When it began, in milliseconds since the UNIX epoch.
    pub started_ms: u64,
    /// Spans that were not kept, since there were too many.
    pub dropped: u64,
    /// In the order in which they were added.
    spans: Vec<Span>,
}

/// What called a function. OpenTelemetry's `faas.trigger` says the same in other words.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// An HTTP request.
    Http,
    /// A schedule.
    Cron,
    /// A change of an object.
    Object,
    /// Messages of a queue.
    Queue,
    /// A call by name, through an API or by another function.
    Invoke,
}

/// One thing that happened, and how long it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// What it is a part of. That of the outermost span is what the request named, if anything.
    pub parent: Option<SpanId>,
    /// What it is.
    #[serde(flatten)]
    pub kind: SpanKind,
    /// What a person reads, at most [`SPAN_TEXT_MAX`] bytes of it.
    pub name: String,
    /// When it began, in microseconds since the trace did.
    pub start_us: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// CPU time in microseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Most memory at once in bytes, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Bytes that came in, of bodies.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes that went out, of bodies.
    #[serde(default)]
    pub bytes_out: u64,
    /// HTTP status that it ended with, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How it failed, such as `timeout`; None if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What else is worth knowing: at most [`SPAN_ATTRIBUTES_MAX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What a span is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SpanKind {
    /// All of the request, from its head to the last byte of its answer.
    Request,
    /// Finding what answers, the cache included.
    Route,
    /// Wait for an instance.
    Queue,
    /// Load of the program.
    Load,
    /// Start of an instance.
    Start,
    /// The function's own work.
    Run,
    /// A request that the function made.
    Outgoing {
        /// Its HTTP method.
        method: String,
        /// The host, with its port if that is not the usual one.
        host: String,
    },
    /// A request of the function to the node's store.
    Store {
        /// Its HTTP method.
        method: String,
        /// The bucket.
        bucket: String,
    },
}

/// A span's place among the others.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Index among the spans.
    span: usize,
    /// Row of what it is a part of; it comes before this one.
    parent: Option<usize>,
    depth: usize,
}

impl SpanKind {
    /// Its name, the same as when it is serialized.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Route => "route",
            Self::Queue => "queue",
            Self::Load => "load",
            Self::Start => "start",
            Self::Run => "run",
            Self::Outgoing { .. } => "outgoing",
            Self::Store { .. } => "store",
        }
    }

    /// Whether its time is the function's to pay: [`crate::UsageRecord::billed_ms`] counts the
    /// same. What happens within is paid with it.
    pub fn is_billed(&self) -> bool {
        matches!(self, Self::Load | Self::Start | Self::Run)
    }

    /// Whether a function makes as many as it likes.
    fn is_of_guest(&self) -> bool {
        matches!(self, Self::Outgoing { .. } | Self::Store { .. })
    }
}

impl Span {
    /// A span of which no more than its time is known.
    pub fn new(id: SpanId, parent: Option<SpanId>, kind: SpanKind, times: (u64, u64)) -> Self {
        let name = match &kind {
            SpanKind::Outgoing { method, host } => format!("{method} {host}"),
            SpanKind::Store { method, bucket } => format!("{method} {bucket}"),
            plain => plain.code().to_owned(),
        };
        let (start_us, end_us) = times;
        Self {
            id,
            parent,
            kind,
            name,
            start_us,
            duration_us: end_us.saturating_sub(start_us),
            cpu_us: None,
            peak_memory: None,
            bytes_in: 0,
            bytes_out: 0,
            status: None,
            error: None,
            attributes: BTreeMap::new(),
        }
    }

    /// When it ended, in microseconds since the trace began.
    pub fn end_us(&self) -> u64 {
        self.start_us.saturating_add(self.duration_us)
    }

    /// Within its bounds and fit to be shown.
    fn bounded(mut self) -> Self {
        bound(&mut self.name);
        if let SpanKind::Outgoing { method, host: name }
        | SpanKind::Store {
            method,
            bucket: name,
        } = &mut self.kind
        {
            bound(method);
            bound(name);
        }
        if let Some(error) = &mut self.error {
            bound(error);
        }
        let attributes = self.attributes.into_iter().take(SPAN_ATTRIBUTES_MAX);
        let bounded = attributes.map(|(mut name, mut value)| {
            bound(&mut name);
            bound(&mut value);
            (name, value)
        });
        self.attributes = bounded.collect();
        self
    }
}

impl Trace {
    /// A trace without spans.
    pub fn new(
        id: RequestId,
        trace_id: TraceId,
        (function, version): (FunctionName, u64),
        trigger: Trigger,
        memory_mb: u32,
        started_ms: u64,
    ) -> Self {
        Self {
            id,
            trace_id,
            function,
            version,
            trigger,
            memory_mb,
            started_ms,
            dropped: 0,
            spans: Vec::new(),
        }
    }

    /// Adds a span, in any order: a part may end before the whole begins to be told. Texts are cut
    /// and control characters replaced. Beyond [`SPANS_MAX`] spans are only counted; the last
    /// [`SPANS_RESERVED`] places are not for what the function makes as it likes, so that those
    /// around it are there.
    pub fn add(&mut self, span: Span) {
        let reserved = if span.kind.is_of_guest() {
            SPANS_RESERVED
        } else {
            0
        };
        if self.spans.len() < SPANS_MAX - reserved {
            self.spans.push(span.bounded());
        } else {
            self.dropped += 1;
        }
    }

    /// Its spans, in the order in which they were added.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// When the last span ended, in microseconds since the trace began.
    pub fn duration_us(&self) -> u64 {
        self.spans.iter().map(Span::end_us).max().unwrap_or(0)
    }

    /// The spans as a tree, each before its parts, parts in the order in which they began. A span
    /// whose parent is not there stands at the top.
    fn rows(&self) -> Vec<Row> {
        let ids: BTreeMap<SpanId, usize> = self.spans.iter().map(|span| span.id).zip(0..).collect();
        let parent = |at: usize| {
            let parent = self.spans[at].parent?;
            ids.get(&parent).copied().filter(|parent| *parent != at)
        };
        let mut parts: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for at in 0..self.spans.len() {
            parts.entry(parent(at)).or_default().push(at);
        }
        let first = |at: &usize| {
            (
                self.spans[*at].start_us,
                Reverse(self.spans[*at].end_us()),
                *at,
            )
        };
        for parts in parts.values_mut() {
            // The last is taken first.
            parts.sort_by_key(|at| Reverse(first(at)));
        }
        let mut rows = Vec::new();
        let mut waiting: Vec<Row> = Vec::new();
        let top = |span| Row {
            span,
            parent: None,
            depth: 0,
        };
        waiting.extend(parts.remove(&None).unwrap_or_default().into_iter().map(top));
        loop {
            while let Some(row) = waiting.pop() {
                let parts = parts.remove(&Some(row.span)).unwrap_or_default();
                let part = |span| Row {
                    span,
                    parent: Some(rows.len()),
                    depth: row.depth + 1,
                };
                waiting.extend(parts.into_iter().map(part));
                rows.push(row);
            }
            // What is left is its own parent, by a detour: such a trace was not made here.
            let Some((_, circle)) = parts.pop_first() else {
                return rows;
            };
            waiting.extend(circle.into_iter().map(top));
        }
    }
}

/// Cuts a text to [`SPAN_TEXT_MAX`] bytes and replaces its control characters.
fn bound(text: &mut String) {
    text.truncate(text.floor_char_boundary(SPAN_TEXT_MAX));
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, "?");
    }
}

#[cfg(test)]
mod tests;
