//! One call while it is traced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fractus_func::limits::SPANS_MAX;
use fractus_func::trace::{Span, SpanId, SpanKind, Trace, TraceContext, TraceId, Trigger};
use fractus_func::{Outcome, Report, RequestId, UsageRecord};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Part, TRACEPARENT, TRACESTATE, X_AMZN_TRACE_ID};
use crate::clock::now_ms;
use crate::functions::{Function, micros};

/// A call that is traced: it collects spans, and becomes a trace when the guest is gone.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// What the caller told, or a trace of its own.
    context: TraceContext,
    ids: Ids,
    began: Instant,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    trace: Trace,
    /// What the guest asked for and is not over.
    open: BTreeMap<SpanId, Span>,
    /// How many ids were given to those.
    count: u64,
    arrived_us: u64,
    called: Option<Called>,
    is_finished: bool,
}

/// When the runtime took a call, in microseconds since the trace began.
#[derive(Clone, Copy, Debug)]
struct Called {
    at_us: u64,
    /// How long the program took to load before.
    load_us: u64,
}

/// Ids of spans: unique in a trace that others have parts of.
#[derive(Clone, Copy, Debug)]
struct Ids(u64);

impl Ids {
    const REQUEST: u64 = 0;
    const ROUTE: u64 = 1;
    const QUEUE: u64 = 2;
    const LOAD: u64 = 3;
    const START: u64 = 4;
    const INIT: u64 = 5;
    const RUN: u64 = 6;
    /// The first of what the guest asks for.
    const FREE: u64 = 7;

    fn id(self, number: u64) -> SpanId {
        SpanId::new(self.0.wrapping_add(number))
    }
}

/// 128 bits for a trace's id, and 64 for those of its spans.
fn random() -> (u128, u64) {
    let mut bytes = [0; 24];
    // Without randomness ids are not unique, and nothing hangs on that but what traces look like.
    getrandom::fill(&mut bytes).ok();
    let (trace, span) = bytes.split_at(16);
    let trace = trace.try_into().expect("24 bytes are 16 and 8");
    let span = span.try_into().expect("24 bytes are 16 and 8");
    (u128::from_be_bytes(trace), u64::from_be_bytes(span))
}

impl Recorder {
    /// Records a call that began at `began`, by default now, if it is to be traced: if `context`,
    /// which its caller told, says so, or the function's settings.
    pub(crate) fn of_call(
        function: &Function,
        id: RequestId,
        trigger: Trigger,
        context: Option<TraceContext>,
        began: Option<Instant>,
    ) -> Option<Arc<Self>> {
        if !context.as_ref().is_some_and(|context| context.sampled) && !function.is_traced() {
            return None;
        }
        let began = began.unwrap_or_else(Instant::now);
        let started_ms = now_ms().saturating_sub(micros(began) / 1000);
        let (trace_bits, span_bits) = random();
        let mut context =
            context.unwrap_or_else(|| TraceContext::new(TraceId::new(started_ms, trace_bits)));
        context.sampled = true;
        let (name, memory_mb) = (
            function.name().clone(),
            function.manifest().limits.memory_mb,
        );
        let version = (name, function.number());
        let trace = Trace::new(
            id,
            context.trace_id,
            version,
            trigger,
            memory_mb,
            started_ms,
        );
        Some(Arc::new(Self {
            context,
            ids: Ids(span_bits),
            began,
            kept: Mutex::new(Kept {
                trace,
                open: BTreeMap::new(),
                count: 0,
                arrived_us: 0,
                called: None,
                is_finished: false,
            }),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a caller, in the fields of its answer, which trace its call is in.
    pub(crate) fn tell_caller(&self, headers: &mut HeaderMap) {
        let told = TraceContext::new(self.context.trace_id).to_xray();
        insert(headers, X_AMZN_TRACE_ID, &told);
    }

    /// Tells the guest, in the fields of its request: what it does is part of its own run.
    pub(crate) fn tell_guest(&self, headers: &mut HeaderMap) {
        let context = self.context.within(self.ids.id(Ids::RUN));
        headers.remove(TRACESTATE);
        tell_w3c(&context, headers);
        insert(headers, X_AMZN_TRACE_ID, &context.to_xray());
    }

    /// Tells whoever the guest asks, unless the guest told something itself.
    pub(super) fn tell_asked(&self, span: SpanId, headers: &mut HeaderMap) {
        if !headers.contains_key(TRACEPARENT) {
            tell_w3c(&self.context.within(span), headers);
        }
    }

    /// Notes that the call arrived where functions are called.
    pub(crate) fn arrived(&self) {
        self.kept().arrived_us = micros(self.began);
    }

    /// Notes that the runtime takes over, `load_us` after the program began to load.
    pub(crate) fn called(&self, load_us: u64) {
        let at_us = micros(self.began);
        self.kept().called = Some(Called { at_us, load_us });
    }

    /// Begins something that the guest asks for.
    pub(crate) fn begin(self: &Arc<Self>, kind: SpanKind, attribute: (&str, &str)) -> Part {
        let now_us = micros(self.began);
        let mut kept = self.kept();
        let id = self.ids.id(Ids::FREE + kept.count);
        kept.count += 1;
        if kept.open.len() < SPANS_MAX && !kept.is_finished {
            let mut span = Span::new(id, None, kind, (now_us, now_us));
            let (name, value) = attribute;
            span.attributes.insert(name.to_owned(), value.to_owned());
            kept.open.insert(id, span);
        } else {
            kept.trace.dropped += 1;
        }
        drop(kept);
        Part::new(self, id)
    }

    /// Changes something that is not over.
    pub(super) fn with(&self, id: SpanId, change: impl FnOnce(&mut Span)) {
        if let Some(span) = self.kept().open.get_mut(&id) {
            change(span);
        }
    }

    /// Ends something that the guest asked for.
    pub(super) fn end(&self, id: SpanId) {
        let now_us = micros(self.began);
        let mut kept = self.kept();
        if let Some(mut span) = kept.open.remove(&id) {
            span.duration_us = now_us.saturating_sub(span.start_us);
            kept.trace.add(span);
        }
    }

    /// The trace of a call that is over. What the guest asked for and is not over ends with it.
    /// None if there was one already.
    pub(crate) fn finish(&self, report: &Report) -> Option<Trace> {
        let now_us = micros(self.began);
        let mut kept = self.kept();
        if std::mem::replace(&mut kept.is_finished, true) {
            return None;
        }
        for (_, mut span) in std::mem::take(&mut kept.open) {
            span.duration_us = now_us.saturating_sub(span.start_us);
            span.attributes
                .insert("still_open".to_owned(), "true".to_owned());
            kept.trace.add(span);
        }
        let times = Times {
            arrived_us: kept.arrived_us,
            called: kept.called,
            ended_us: now_us,
        };
        Some(whole(
            &kept.trace,
            (self.ids, self.context.parent),
            &times,
            report,
        ))
    }
}

fn tell_w3c(context: &TraceContext, headers: &mut HeaderMap) {
    if let Some(parent) = context.to_traceparent() {
        insert(headers, TRACEPARENT, &parent);
    }
    if let Some(state) = context.state() {
        insert(headers, TRACESTATE, state);
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let value = HeaderValue::from_str(text);
    headers.insert(
        name,
        value.expect("contexts hold nothing but printable ASCII"),
    );
}

/// When what happened, in microseconds since the trace began.
struct Times {
    arrived_us: u64,
    called: Option<Called>,
    ended_us: u64,
}

/// What the guest did, with what was done around it.
fn whole(
    guests: &Trace,
    (ids, caller): (Ids, Option<SpanId>),
    times: &Times,
    report: &Report,
) -> Trace {
    let phases = phases(ids, times, report);
    let ended_us = phases
        .iter()
        .map(Span::end_us)
        .fold(times.ended_us, u64::max);
    let kind = SpanKind::Request;
    let mut request = Span::new(ids.id(Ids::REQUEST), caller, kind, (0, ended_us));
    request.status = Some(match report.outcome {
        Outcome::Ok => report.status.unwrap_or(Outcome::Ok.http_status()),
        failure => failure.http_status(),
    });
    request.bytes_in = report.request_bytes;
    request.bytes_out = report.response_bytes;
    request.error = match (report.outcome, request.status) {
        (Outcome::Ok, Some(status @ 500..)) => Some(status.to_string()),
        (Outcome::Ok, _) => None,
        (failure, _) => Some(failure.code().to_owned()),
    };
    let mut trace = Trace::new(
        guests.id,
        guests.trace_id,
        (guests.function.clone(), guests.version),
        guests.trigger,
        guests.memory_mb,
        guests.started_ms,
    );
    trace.dropped = guests.dropped;
    trace.add(request);
    for span in guests.spans() {
        trace.add(within(&phases, span.clone(), ids));
    }
    for span in phases {
        trace.add(span);
    }
    trace
}

/// What the guest asked for, as a part of what it did at that time: it runs, or becomes ready to.
fn within(phases: &[Span], mut part: Span, ids: Ids) -> Span {
    let of_guest = |phase: &&Span| phase.kind.is_billed() && phase.start_us <= part.start_us;
    let Some(phase) = phases.iter().rev().find(of_guest) else {
        part.parent = Some(ids.id(Ids::REQUEST));
        return part;
    };
    part.parent = Some(phase.id);
    let end_us = part.end_us().min(phase.end_us());
    part.start_us = part.start_us.min(end_us);
    part.duration_us = end_us - part.start_us;
    part
}

/// What was done for a request besides what its guest asked for, in the order of time. What is paid
/// for takes as long as the report says.
fn phases(ids: Ids, times: &Times, report: &Report) -> Vec<Span> {
    let called_us = times.called.map(|called| called.at_us);
    let load_us = times
        .called
        .map_or(report.load_us, |called| called.load_us.min(report.load_us));
    // What a process loads in an instance of its own, where others load it once for all.
    let init_us = report.load_us - load_us;
    let is_run = times.called.is_some() || report.run_us > 0;
    let steps = [
        (
            Ids::ROUTE,
            SpanKind::Route,
            times.arrived_us,
            times.arrived_us > 0,
        ),
        (Ids::QUEUE, SpanKind::Queue, report.queue_us, true),
        (Ids::LOAD, SpanKind::Load, load_us, load_us > 0),
        (
            Ids::START,
            SpanKind::Start,
            report.start_us,
            report.start_us > 0,
        ),
        (Ids::INIT, SpanKind::Load, init_us, init_us > 0),
        (Ids::RUN, SpanKind::Run, report.run_us, is_run),
    ];
    let mut at_us = 0;
    let phases = steps.into_iter().filter(|(_, _, _, is_there)| *is_there);
    let phases = phases.map(|(number, kind, duration_us, _)| {
        if number >= Ids::START {
            // There may be a moment between what is measured by different hands.
            at_us = at_us.max(called_us.unwrap_or(0));
        }
        let times = (at_us, at_us + duration_us);
        at_us = times.1;
        let mut span = Span::new(ids.id(number), Some(ids.id(Ids::REQUEST)), kind, times);
        if number == Ids::INIT {
            "init".clone_into(&mut span.name);
        }
        if number == Ids::RUN {
            span.cpu_us = Some(report.cpu_us);
            span.peak_memory = Some(report.peak_memory);
            span.status = report.status;
            span.bytes_in = report.request_bytes;
            span.bytes_out = report.response_bytes;
        }
        span
    });
    phases.collect()
}

/// As much of a trace as the record of a call that was not traced holds: not what its guest asked
/// for. Its ids are made of the request's, and what triggered it is not known: it says `invoke`.
pub(crate) fn untraced(record: &UsageRecord) -> Trace {
    let report = Report {
        id: record.request_id,
        queue_us: record.queue_us,
        load_us: record.load_us,
        start_us: record.start_us,
        run_us: record.run_us,
        cpu_us: record.cpu_us,
        peak_memory: record.peak_memory,
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        status: record.status,
        outcome: record.outcome,
        error: None,
    };
    let total_us = report.queue_us + report.load_us + report.start_us + report.run_us;
    let started_ms = record.ended_ms.saturating_sub(total_us / 1000);
    let digits = record.request_id.to_string().replace('-', "");
    let trace_id = digits
        .parse()
        .unwrap_or_else(|_| TraceId::new(started_ms, 0));
    let version = (record.function.clone(), record.version);
    let (id, memory_mb) = (record.request_id, record.memory_mb);
    let guests = Trace::new(
        id,
        trace_id,
        version,
        Trigger::Invoke,
        memory_mb,
        started_ms,
    );
    let times = Times {
        arrived_us: 0,
        called: None,
        ended_us: total_us,
    };
    whole(&guests, (Ids(1), None), &times, &report)
}
