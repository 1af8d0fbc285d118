//! Traces for OpenTelemetry: the JSON form of OTLP/HTTP (OTLP 1.x, "JSON Protobuf Encoding"), with
//! the names of its semantic conventions.

use serde_json::{Value, json};

use super::{Span, SpanKind, Trace, Trigger};

/// `SpanKind` of OTLP.
const INTERNAL: u32 = 1;
const SERVER: u32 = 2;
const CLIENT: u32 = 3;
const CONSUMER: u32 = 5;

/// `StatusCode` of OTLP.
const UNSET: u32 = 0;
const ERROR: u32 = 2;

/// Traces as one `ExportTraceServiceRequest`, to be sent to `/v1/traces` with the content type
/// `application/json`. `service` names whoever sends it.
pub fn to_otlp(traces: &[Trace], service: &str) -> Value {
    let resources = traces.iter().map(|trace| {
        let spans: Vec<Value> = trace.spans().iter().map(|each| span(trace, each)).collect();
        json!({
            "resource": {"attributes": [
                text("service.name", service),
                text("faas.name", trace.function.as_str()),
                text("faas.version", &trace.version.to_string()),
                number("faas.max_memory", u64::from(trace.memory_mb) << 20),
            ]},
            "scopeSpans": [{"scope": {"name": "fractus"}, "spans": spans}],
        })
    });
    json!({"resourceSpans": resources.collect::<Vec<_>>()})
}

fn span(trace: &Trace, span: &Span) -> Value {
    let nanos = |us: u64| {
        let nanos = u128::from(trace.started_ms) * 1_000_000 + u128::from(us) * 1000;
        // OTLP's 64 bits last until the year 2554.
        u64::try_from(nanos).unwrap_or(u64::MAX).to_string()
    };
    let status = match &span.error {
        Some(error) => json!({"code": ERROR, "message": error}),
        None => json!({"code": UNSET}),
    };
    let mut shown = json!({
        "traceId": trace.trace_id,
        "spanId": span.id,
        "name": name(trace, span),
        "kind": kind(trace.trigger, &span.kind),
        "startTimeUnixNano": nanos(span.start_us),
        "endTimeUnixNano": nanos(span.end_us()),
        "attributes": attributes(trace, span),
        "status": status,
    });
    if let Some(parent) = span.parent {
        shown["parentSpanId"] = json!(parent);
    }
    shown
}

/// The span of a function's call is named after the function.
fn name<'a>(trace: &'a Trace, span: &'a Span) -> &'a str {
    match span.kind {
        SpanKind::Request => trace.function.as_str(),
        _ => &span.name,
    }
}

fn kind(trigger: Trigger, kind: &SpanKind) -> u32 {
    match (kind, trigger) {
        (SpanKind::Request, Trigger::Queue) => CONSUMER,
        (SpanKind::Request, _) => SERVER,
        (SpanKind::Outgoing { .. } | SpanKind::Store { .. }, _) => CLIENT,
        _ => INTERNAL,
    }
}

fn attributes(trace: &Trace, span: &Span) -> Vec<Value> {
    let mut all = Vec::new();
    let is_outside = match &span.kind {
        SpanKind::Request => {
            let is_load = |span: &Span| span.kind == SpanKind::Load;
            all.extend([
                text("faas.trigger", faas_trigger(trace.trigger)),
                text("faas.invocation_id", &trace.id.to_string()),
                flag("faas.coldstart", trace.spans().iter().any(is_load)),
            ]);
            false
        }
        SpanKind::Outgoing { method, host } => {
            let split = host.rsplit_once(':');
            let split = split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
            let address = split.map_or(host.as_str(), |(address, _)| address);
            all.push(text("http.request.method", method));
            all.push(text("server.address", address));
            all.extend(split.map(|(_, port)| number("server.port", port.into())));
            true
        }
        SpanKind::Store { method, bucket } => {
            all.extend([
                text("http.request.method", method),
                text("aws.s3.bucket", bucket),
            ]);
            true
        }
        _ => false,
    };
    // What goes out of a function is the body of its request, and of the answer to one to it.
    let (request, response) = if is_outside {
        (span.bytes_out, span.bytes_in)
    } else {
        (span.bytes_in, span.bytes_out)
    };
    let known = [
        (
            "http.response.status_code",
            span.status.map_or(0, u64::from),
        ),
        ("http.request.body.size", request),
        ("http.response.body.size", response),
        ("fractus.cpu_us", span.cpu_us.unwrap_or(0)),
        ("fractus.peak_memory", span.peak_memory.unwrap_or(0)),
    ];
    let known = known.into_iter().filter(|(_, value)| *value > 0);
    all.extend(known.map(|(name, value)| number(name, value)));
    all.push(text("fractus.kind", span.kind.code()));
    all.extend(span.error.iter().map(|error| text("error.type", error)));
    all.extend(
        span.attributes
            .iter()
            .map(|(name, value)| text(name, value)),
    );
    all
}

/// The well-known value of `faas.trigger`.
fn faas_trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Http => "http",
        Trigger::Cron => "timer",
        Trigger::Object => "datasource",
        Trigger::Queue => "pubsub",
        Trigger::Invoke => "other",
    }
}

fn text(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

/// Numbers of 64 bits are texts in this form.
fn number(name: &str, value: u64) -> Value {
    json!({"key": name, "value": {"intValue": value.to_string()}})
}

fn flag(name: &str, value: bool) -> Value {
    json!({"key": name, "value": {"boolValue": value}})
}
