//! Traces of the latest calls that were traced, in memory, and on their way to a collector.
//!
//! A call is traced if its caller asked for it, by a sampled `traceparent` or `X-Amzn-Trace-Id`, or
//! if its function is traced always (AWS Lambda's `TracingConfig`). [`Recorder`] is one such call
//! while it runs, [`Part`] something that its guest asks for meanwhile. Calls that are not traced
//! have no recorder and pay for none; what is known of them is in their usage records, of which
//! [`untraced`] makes as much of a trace as they hold.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fractus_func::RequestId;
use fractus_func::trace::{Span, Trace, TraceContext};
use http::{HeaderMap, HeaderName};

use crate::limits::{TRACE_BYTES_MAX, TRACES_MAX};

mod exporter;
mod part;
mod recorder;

pub(crate) use self::exporter::Exporter;
pub(crate) use self::part::Part;
pub(crate) use self::recorder::{Recorder, untraced};

/// AWS X-Ray's field.
pub(crate) const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// The W3C's fields (Trace Context §3.2, §3.3).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The latest traces, at most [`TRACES_MAX`] and [`TRACE_BYTES_MAX`] bytes of them.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    kept: Mutex<Kept>,
    exporter: Option<Exporter>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    traces: VecDeque<Arc<Trace>>,
    bytes: usize,
}

impl Traces {
    /// None yet; they also go to `exporter`.
    pub(crate) fn new(exporter: Option<Exporter>) -> Self {
        Self {
            kept: Mutex::default(),
            exporter,
        }
    }

    /// Takes a trace; the oldest make room.
    pub(crate) fn push(&self, trace: Trace) {
        let trace = Arc::new(trace);
        if let Some(exporter) = &self.exporter {
            exporter.send(Arc::clone(&trace));
        }
        let mut kept = self.kept();
        kept.bytes += weight(&trace);
        kept.traces.push_back(trace);
        while kept.traces.len() > TRACES_MAX || kept.bytes > TRACE_BYTES_MAX {
            let Some(oldest) = kept.traces.pop_front() else {
                return;
            };
            kept.bytes -= weight(&oldest);
        }
    }

    /// The trace of a request; of one that was tried several times, that of the last attempt.
    pub(crate) fn get(&self, id: RequestId) -> Option<Arc<Trace>> {
        let kept = self.kept();
        kept.traces.iter().rev().find(|one| one.id == id).cloned()
    }

    /// The newest traces, of one function or of all, newest first.
    pub(crate) fn find(&self, function: Option<&str>, limit: usize) -> Vec<Arc<Trace>> {
        let kept = self.kept();
        let wanted = |trace: &&Arc<Trace>| function.is_none_or(|f| trace.function.as_str() == f);
        let found = kept.traces.iter().rev().filter(wanted).take(limit);
        found.cloned().collect()
    }

    /// Waits until what was exported so far is sent or given up.
    pub(crate) async fn flush(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.flush().await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of memory, about.
fn weight(trace: &Trace) -> usize {
    let texts = |span: &Span| {
        let attributes = span.attributes.iter();
        let attributes: usize = attributes
            .map(|(name, value)| name.len() + value.len())
            .sum();
        span.name.len() + span.error.as_ref().map_or(0, String::len) + attributes
    };
    let spans = trace.spans();
    size_of::<Trace>() + size_of_val(spans) + spans.iter().map(texts).sum::<usize>()
}

/// What a request's head tells of the trace that it is a part of.
pub(crate) fn context_of(headers: &HeaderMap) -> Option<TraceContext> {
    let field = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (w3c, xray) = (field(&TRACEPARENT), field(&X_AMZN_TRACE_ID));
    if w3c.is_none() && xray.is_none() {
        return None;
    }
    TraceContext::from_fields(w3c, field(&TRACESTATE), xray)
}

#[cfg(test)]
mod tests;
