use serde_json::{Value, json};

use super::{
    Cost, Price, Span, SpanCost, SpanId, SpanKind, Trace, TraceContext, TraceId, Trigger,
    to_chrome_trace, to_otlp, waterfall,
};
use crate::RequestId;
use crate::limits::{
    SPAN_ATTRIBUTES_MAX, SPAN_TEXT_MAX, SPANS_MAX, SPANS_RESERVED, TRACE_STATE_MAX,
};

fn id(number: u64) -> SpanId {
    SpanId::new(number)
}

fn empty() -> Trace {
    Trace::new(
        RequestId::from_random(1),
        TraceId::new(1_790_000_000_000, 7),
        ("hello".parse().unwrap(), 3),
        Trigger::Http,
        128,
        1_790_000_000_000,
    )
}

fn span(number: u64, parent: u64, kind: SpanKind, times: (u64, u64)) -> Span {
    Span::new(id(number), (parent > 0).then(|| id(parent)), kind, times)
}

fn outgoing(host: &str) -> SpanKind {
    SpanKind::Outgoing {
        method: "GET".to_owned(),
        host: host.to_owned(),
    }
}

fn store(bucket: &str) -> SpanKind {
    SpanKind::Store {
        method: "PUT".to_owned(),
        bucket: bucket.to_owned(),
    }
}

/// A cold call that asks two others at once and stores what it got; parts are told first.
fn example() -> Trace {
    let mut trace = empty();
    trace.add(span(2, 1, SpanKind::Route, (0, 40)));
    trace.add(span(3, 1, SpanKind::Queue, (40, 1040)));
    trace.add(Span {
        cpu_us: Some(2100),
        ..span(4, 1, SpanKind::Load, (1040, 3540))
    });
    trace.add(span(5, 1, SpanKind::Start, (3540, 4140)));
    trace.add(Span {
        bytes_in: 1536,
        status: Some(200),
        ..span(7, 6, outgoing("api.example"), (5000, 11_000))
    });
    trace.add(Span {
        error: Some("refused".to_owned()),
        ..span(8, 6, outgoing("b.example:81"), (6000, 12_000))
    });
    trace.add(Span {
        bytes_out: 3 << 20,
        status: Some(201),
        attributes: [("key".to_owned(), "a/b.png".to_owned())].into(),
        ..span(9, 6, store("pictures"), (12_500, 15_500))
    });
    trace.add(Span {
        cpu_us: Some(1900),
        peak_memory: Some(9 << 20),
        bytes_in: 20,
        bytes_out: 512,
        ..span(6, 1, SpanKind::Run, (4140, 16_240))
    });
    trace.add(Span {
        bytes_in: 20,
        bytes_out: 512,
        status: Some(200),
        ..span(1, 0xabc, SpanKind::Request, (0, 16_480))
    });
    trace
}

fn costs(trace: &Trace, price: &Price) -> Vec<(u64, u64)> {
    let costs = trace.costs(price).into_iter();
    costs
        .map(|SpanCost { own, total }| (own.0, total.0))
        .collect()
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }

    /// A trace with spans in any order, whose parents may be anything.
    fn trace(&mut self) -> Trace {
        let mut trace = empty();
        for _ in 0..self.below(30) {
            let kind = match self.below(8) {
                0 => SpanKind::Request,
                1 => SpanKind::Route,
                2 => SpanKind::Queue,
                3 => SpanKind::Load,
                4 => SpanKind::Start,
                5 => store("b"),
                6 => outgoing("h"),
                _ => SpanKind::Run,
            };
            let start = self.below(1000);
            let times = (start, start + self.below(500));
            trace.add(span(1 + self.below(30), self.below(30), kind, times));
        }
        trace
    }
}

#[test]
fn a_waterfall_shows_it_all() {
    let shown = waterfall(&example(), &Price::default(), 96);
    let golden = "\
hello:3  00000000-0000-4000-8000-000000000001  16.48ms  0.2333 µ$
span                    start     time     cpu    in   out  own µ$  cost µ$
request                   0µs  16.48ms           20B  512B  0.2017   0.2333  ░░░░░░░░░░░░░░░░░░░
  route                   0µs     40µs                      0.0000   0.0000  ░
  queue                  40µs   1.00ms                      0.0000   0.0000  ░
  load                 1.04ms   2.50ms  2.10ms              0.0052   0.0052   ███
  start                3.54ms    600µs                      0.0013   0.0013      █
  run                  4.14ms  12.10ms  1.90ms   20B  512B  0.0044   0.0252      ██████████████
    GET api.example    5.00ms   6.00ms          1.5K        0.0125   0.0125       ███████
    GET b.example:81   6.00ms   6.00ms                      0.0125   0.0125        ▒▒▒▒▒▒▒ refused
    PUT pictures      12.50ms   3.00ms                3.0M  0.0063   0.0063                ███
";
    assert_eq!(shown, golden);
    // However narrow, a bar is there.
    let narrow = waterfall(&example(), &Price::default(), 0);
    assert!(narrow.lines().nth(2).unwrap().ends_with(&"░".repeat(10)));
    let mut full = empty();
    full.dropped = 7;
    let full = waterfall(&full, &Price::default(), 80);
    assert!(full.contains("  0µs  0.0000 µ$\n"), "{full}");
    assert!(full.ends_with("\n7 more spans were not kept\n"), "{full}");
}

#[test]
fn chrome_takes_it() {
    let shown = to_chrome_trace(&example(), &Price::default());
    assert_eq!(shown["displayTimeUnit"], "ms");
    assert_eq!(
        shown["otherData"],
        json!({
            "request_id": "00000000-0000-4000-8000-000000000001",
            "trace_id": "6ab13b80000000000000000000000007",
            "started_ms": 1_790_000_000_000_u64,
            "dropped_spans": 0,
        })
    );
    let events = shown["traceEvents"].as_array().unwrap();
    let names = events.iter().map(|event| {
        let args = &event["args"]["name"];
        let name = args.as_str().unwrap_or(event["name"].as_str().unwrap());
        format!("{} {} {name}", event["ph"].as_str().unwrap(), event["tid"])
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "M 0 hello:3",
            "M 0 request 00000000-0000-4000-8000-000000000001",
            "M 1 at the same time 1",
            "X 0 request",
            "X 0 route",
            "X 0 queue",
            "X 0 load",
            "X 0 start",
            "X 0 run",
            "X 0 GET api.example",
            "X 1 GET b.example:81",
            "X 0 PUT pictures",
        ]
    );
    assert_eq!(
        events[11],
        json!({
            "ph": "X",
            "name": "PUT pictures",
            "cat": "store",
            "ts": 12_500,
            "dur": 3000,
            "pid": 1,
            "tid": 0,
            "args": {
                "span_id": "0000000000000009",
                "bytes_in": 0,
                "bytes_out": 3 << 20,
                "cost_own": 6250,
                "cost_total": 6250,
                "status": 201,
                "key": "a/b.png",
            },
        })
    );
    assert_eq!(events[10]["args"]["error"], "refused");
    assert_eq!(events[6]["args"]["cpu_us"], 2100);
}

#[test]
fn chrome_events_of_one_thread_nest() {
    let mut numbers = Numbers(5);
    for _ in 0..300 {
        let trace = numbers.trace();
        let shown = to_chrome_trace(&trace, &Price::default());
        let events = shown["traceEvents"].as_array().unwrap();
        let number = |event: &Value, name: &str| event[name].as_u64().unwrap();
        let spans = events.iter().filter(|event| event["ph"] == "X");
        let spans = spans.map(|event| {
            let begin = number(event, "ts");
            (number(event, "tid"), begin, begin + number(event, "dur"))
        });
        let spans: Vec<_> = spans.collect();
        assert_eq!(spans.len(), trace.spans().len());
        for (lane, begin, end) in &spans {
            for (other, from, until) in &spans {
                let is_across = begin < from && from < end && end < until;
                assert!(
                    lane != other || !is_across,
                    "{begin}..{end} {from}..{until}"
                );
            }
        }
    }
}

#[test]
fn opentelemetry_takes_it() {
    let mut trace = empty();
    trace.add(Span {
        bytes_in: 20,
        bytes_out: 512,
        status: Some(504),
        error: Some("timeout".to_owned()),
        ..span(1, 0xabc, SpanKind::Request, (0, 16_480))
    });
    trace.add(Span {
        bytes_in: 5,
        bytes_out: 6,
        attributes: [("attempt".to_owned(), "2".to_owned())].into(),
        ..span(2, 1, outgoing("b.example:81"), (1, 3))
    });
    let text = |name: &str, value: &str| json!({"key": name, "value": {"stringValue": value}});
    let number = |name: &str, value: &str| json!({"key": name, "value": {"intValue": value}});
    assert_eq!(
        to_otlp(&[trace], "node-1"),
        json!({"resourceSpans": [{
            "resource": {"attributes": [
                text("service.name", "node-1"),
                text("faas.name", "hello"),
                text("faas.version", "3"),
                number("faas.max_memory", "134217728"),
            ]},
            "scopeSpans": [{"scope": {"name": "fractus"}, "spans": [
                {
                    "traceId": "6ab13b80000000000000000000000007",
                    "spanId": "0000000000000001",
                    "parentSpanId": "0000000000000abc",
                    "name": "hello",
                    "kind": 2,
                    "startTimeUnixNano": "1790000000000000000",
                    "endTimeUnixNano": "1790000000016480000",
                    "attributes": [
                        text("faas.trigger", "http"),
                        text("faas.invocation_id", "00000000-0000-4000-8000-000000000001"),
                        json!({"key": "faas.coldstart", "value": {"boolValue": false}}),
                        number("http.response.status_code", "504"),
                        number("http.request.body.size", "20"),
                        number("http.response.body.size", "512"),
                        text("fractus.kind", "request"),
                        text("error.type", "timeout"),
                    ],
                    "status": {"code": 2, "message": "timeout"},
                },
                {
                    "traceId": "6ab13b80000000000000000000000007",
                    "spanId": "0000000000000002",
                    "parentSpanId": "0000000000000001",
                    "name": "GET b.example:81",
                    "kind": 3,
                    "startTimeUnixNano": "1790000000000001000",
                    "endTimeUnixNano": "1790000000000003000",
                    "attributes": [
                        text("http.request.method", "GET"),
                        text("server.address", "b.example"),
                        number("server.port", "81"),
                        number("http.request.body.size", "6"),
                        number("http.response.body.size", "5"),
                        text("fractus.kind", "outgoing"),
                        text("attempt", "2"),
                    ],
                    "status": {"code": 0},
                },
            ]}],
        }]})
    );
}

#[test]
fn opentelemetry_is_told_what_called() {
    for (trigger, name, kind) in [
        (Trigger::Http, "http", 2),
        (Trigger::Cron, "timer", 2),
        (Trigger::Object, "datasource", 2),
        (Trigger::Queue, "pubsub", 5),
        (Trigger::Invoke, "other", 2),
    ] {
        let traces = [Trace {
            trigger,
            ..example()
        }];
        let shown = to_otlp(&traces, "n");
        let request = &shown["resourceSpans"][0]["scopeSpans"][0]["spans"][8];
        assert_eq!(request["kind"], kind);
        assert_eq!(request["attributes"][0]["value"]["stringValue"], name);
        // Its program was loaded.
        assert_eq!(request["attributes"][2]["value"]["boolValue"], true);
    }
}

#[test]
fn costs_are_those_of_the_bill() {
    let price = Price::default();
    // 15.2 ms, so 16 are billed: 16 ms × 128 MiB × 16.6667 $ a GB and second, and the request.
    assert_eq!(price.call(16, 128), Cost(200_000 + 33_333));
    assert_eq!(
        costs(&example(), &price),
        [
            (0, 0),
            (0, 0),
            (5208, 5208),
            (1250, 1250),
            (12_500, 12_500),
            (12_500, 12_500),
            (6250, 6250),
            // 12.1 ms, of which 10 belong to its parts, two of which ran at once.
            (4375, 25_208),
            (201_667, 233_333),
        ]
    );
    assert_eq!(price.time(1_000_000, 1024), Cost(16_666_700));
    assert_eq!(price.time(u64::MAX, u32::MAX), Cost(u64::MAX));
    assert_eq!(price.call(u64::MAX, u32::MAX), Cost(u64::MAX));
    let free = Price {
        gb_second: Cost(0),
        request: Cost(0),
    };
    assert!(costs(&example(), &free).iter().all(|cost| *cost == (0, 0)));
    for (cost, shown) in [
        (0, "0.0000"),
        (49, "0.0000"),
        (50, "0.0001"),
        (12_345_678, "12.3457"),
    ] {
        assert_eq!(Cost(cost).to_string(), shown);
    }
}

#[test]
fn own_costs_add_up_where_parts_run_one_after_another() {
    let mut trace = empty();
    trace.add(span(1, 0, SpanKind::Request, (0, 10_000)));
    trace.add(span(2, 1, SpanKind::Run, (0, 10_000)));
    trace.add(span(3, 2, store("a"), (1000, 2000)));
    trace.add(span(4, 2, outgoing("a"), (2000, 7000)));
    trace.add(span(5, 4, store("b"), (2500, 3500)));
    let costs = trace.costs(&Price::default());
    let own: Cost = costs.iter().map(|cost| cost.own).sum();
    assert_eq!(own.0.abs_diff(costs[0].total.0), 0);
    assert_eq!(costs[0].total, Price::default().call(10, 128));
    // A part that goes on after the whole has ended takes nothing more from it.
    trace.add(span(6, 2, outgoing("late"), (9000, 30_000)));
    let late = trace.costs(&Price::default());
    assert_eq!(costs[1].own - late[1].own, Price::default().time(1000, 128));
}

#[test]
fn any_tree_is_shown_whole() {
    let mut numbers = Numbers(11);
    let price = Price::default();
    for _ in 0..300 {
        let trace = numbers.trace();
        let mut rows: Vec<usize> = trace.rows().iter().map(|row| row.span).collect();
        for (at, row) in trace.rows().iter().enumerate() {
            assert!(row.parent.is_none_or(|parent| parent < at));
        }
        rows.sort_unstable();
        assert_eq!(rows, (0..trace.spans().len()).collect::<Vec<_>>());
        for (own, total) in costs(&trace, &price) {
            assert!(own <= total);
        }
        let lines = waterfall(&trace, &price, 100).lines().count();
        assert_eq!(lines, trace.spans().len() + 2);
        let text = serde_json::to_string(&trace).unwrap();
        assert_eq!(serde_json::from_str::<Trace>(&text).unwrap(), trace);
    }
}

#[test]
fn a_trace_is_bounded() {
    let mut trace = empty();
    for number in 0..SPANS_MAX as u64 + 100 {
        trace.add(span(number, 1, outgoing("h"), (0, 1)));
    }
    assert_eq!(trace.spans().len(), SPANS_MAX - SPANS_RESERVED);
    assert_eq!(trace.dropped, 100 + SPANS_RESERVED as u64);
    for number in 0..=SPANS_RESERVED as u64 {
        trace.add(span(number, 1, SpanKind::Run, (0, 1)));
    }
    assert_eq!(trace.spans().len(), SPANS_MAX);
    assert_eq!(trace.dropped, 101 + SPANS_RESERVED as u64);

    let mut trace = empty();
    let many = (0..100).map(|number| (number.to_string(), "\u{1b}[2J".to_owned()));
    trace.add(Span {
        name: format!("a\nb{}", "ü".repeat(SPAN_TEXT_MAX)),
        error: Some("\u{7}".to_owned()),
        attributes: many.collect(),
        ..span(1, 0, outgoing(&"\t".repeat(1000)), (0, 1))
    });
    let [span] = trace.spans() else { panic!() };
    assert!(span.name.starts_with("a?bü"));
    assert_eq!(span.name.len(), SPAN_TEXT_MAX - 1);
    assert_eq!(span.error.as_deref(), Some("?"));
    assert_eq!(span.attributes.len(), SPAN_ATTRIBUTES_MAX);
    assert_eq!(span.attributes["0"], "?[2J");
    let SpanKind::Outgoing { host, .. } = &span.kind else {
        panic!()
    };
    assert_eq!(*host, "?".repeat(SPAN_TEXT_MAX));
    let backwards = self::span(1, 0, SpanKind::Run, (5, 3));
    assert_eq!((backwards.duration_us, backwards.end_us()), (0, 5));
}

#[test]
fn ids_are_never_nothing() {
    assert_eq!(TraceId::new(0, 0).to_string(), format!("{:032x}", 1));
    assert_eq!(SpanId::new(0).to_string(), format!("{:016x}", 1));
    let id = TraceId::new(0x5759_e988 * 1000 + 999, u128::MAX);
    assert_eq!(id.to_string(), "5759e988ffffffffffffffffffffffff");
    assert_eq!(id.to_string().parse(), Ok(id));
    for wrong in [
        "",
        "1",
        &"0".repeat(32),
        &format!("+{}", "1".repeat(31)),
        &"g".repeat(32),
    ] {
        let error = wrong.parse::<TraceId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "not the id of a trace: expected hexadecimal digits that are not all 0"
        );
    }
    for wrong in ["", "1", &"0".repeat(16), &format!("+{}", "1".repeat(15))] {
        assert!(wrong.parse::<SpanId>().is_err());
    }
    assert_eq!(
        serde_json::to_value(SpanId::new(10)).unwrap(),
        "000000000000000a"
    );
    assert!(serde_json::from_str::<SpanId>("\"0000000000000000\"").is_err());
}

#[test]
fn the_form_of_the_w3c() {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = TraceContext::from_traceparent(text).unwrap();
    assert_eq!(
        context.trace_id.to_string(),
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    assert_eq!(context.parent, Some(id(0x00f0_67aa_0ba9_02b7)));
    assert!(context.sampled);
    assert_eq!(context.to_traceparent().as_deref(), Some(text));
    let within = context.within(id(9)).to_traceparent().unwrap();
    assert_eq!(
        within,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01"
    );
    assert_eq!(TraceContext::new(context.trace_id).to_traceparent(), None);
    // Other flags are not ours to hand on; later versions may say more.
    for (more, sampled) in [
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            false,
        ),
        (
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe\t",
            false,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            true,
        ),
        (
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            true,
        ),
        (
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            true,
        ),
        (
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future",
            true,
        ),
    ] {
        let context = TraceContext::from_traceparent(more).unwrap();
        assert_eq!(context.sampled, sampled, "{more}");
        let flags = if sampled { "01" } else { "00" };
        assert!(context.to_traceparent().unwrap().ends_with(flags));
    }
}

#[test]
fn what_is_not_the_form_of_the_w3c() {
    for wrong in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-00",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
    ] {
        let error = TraceContext::from_traceparent(wrong)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "not the context of a trace: expected the form of `traceparent`"
        );
    }
}

#[test]
fn the_form_of_x_ray() {
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let full = format!("{root};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:ab12:0");
    let context = TraceContext::from_xray(&full).unwrap();
    assert_eq!(
        context.trace_id.to_string(),
        "5759e988bd862e3fe1be46a994272793"
    );
    assert_eq!(context.parent, Some(id(0x5399_5c3f_42cd_8ad8)));
    assert_eq!(
        context.to_xray(),
        format!("{root};Parent=53995c3f42cd8ad8;Sampled=1")
    );
    for (text, sampled, parent) in [
        (root.to_owned(), true, false),
        (format!("{root};Sampled=?"), true, false),
        (format!("{root};Sampled=0"), false, false),
        (
            format!("Self=1-1-1; sampled=0 ;parent=53995C3F42CD8AD8; {root}"),
            false,
            true,
        ),
        (format!("{root};Parent=what"), true, false),
    ] {
        let context = TraceContext::from_xray(&text).unwrap();
        assert_eq!(
            (context.sampled, context.parent.is_some()),
            (sampled, parent),
            "{text}"
        );
        assert_eq!(TraceContext::from_xray(&context.to_xray()), Ok(context));
    }
    for wrong in [
        "",
        "Root",
        "Root=1",
        "Root=2-5759e988-bd862e3fe1be46a994272793",
        "Root=1-5759e98-8bd862e3fe1be46a994272793",
        "Root=1-00000000-000000000000000000000000",
        "Root=1-5759e988-bd862e3fe1be46a99427279",
        "Root=1-5759e988-bd862e3fe1be46a99427279é",
        "Parent=53995c3f42cd8ad8;Sampled=1",
    ] {
        let error = TraceContext::from_xray(wrong).unwrap_err().to_string();
        assert_eq!(
            error,
            "not the context of a trace: expected the form of `X-Amzn-Trace-Id`"
        );
    }
}

#[test]
fn the_two_forms_say_the_same() {
    let mut numbers = Numbers(17);
    for _ in 0..1000 {
        let mut bits = || numbers.below(u64::from(u32::MAX));
        let random = u128::from(bits()) << 64 | u128::from(bits());
        let context = TraceContext::new(TraceId::new(bits(), random));
        let mut context = context.within(SpanId::new(bits()));
        context.sampled = bits() % 2 == 0;
        let traceparent = context.to_traceparent().unwrap();
        assert_eq!(
            TraceContext::from_traceparent(&traceparent),
            Ok(context.clone())
        );
        assert_eq!(TraceContext::from_xray(&context.to_xray()), Ok(context));
    }
}

#[test]
fn what_a_request_tells() {
    let w3c = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let xray = Some("Root=1-5759e988-bd862e3fe1be46a994272793");
    let first = |traceparent, tracestate, xray| {
        let context = TraceContext::from_fields(traceparent, tracestate, xray)?;
        let id = context.trace_id.to_string();
        Some((id[..4].to_owned(), context.state().map(str::to_owned)))
    };
    assert_eq!(first(None, None, None), None);
    assert_eq!(
        first(w3c, Some("a=b"), xray),
        Some(("4bf9".to_owned(), Some("a=b".to_owned())))
    );
    assert_eq!(first(w3c, None, None), Some(("4bf9".to_owned(), None)));
    assert_eq!(
        first(Some("wrong"), Some("a=b"), xray),
        Some(("5759".to_owned(), None))
    );
    assert_eq!(first(Some("wrong"), Some("a=b"), Some("wrong")), None);
}

#[test]
fn a_state_is_bounded() {
    let state = |text: &str| {
        let context = TraceContext::new(TraceId::new(1, 1)).with_state(text);
        context.state().map(str::to_owned)
    };
    assert_eq!(state("a=1, b=2\t,,c=3 ").as_deref(), Some("a=1,b=2,c=3"));
    for nothing in ["", " , ", "a=ü", "a=1\r\nX: y", "a=\0"] {
        assert_eq!(state(nothing), None);
    }
    // One long member is fine alone; beyond the bound it is the first to go.
    let long = format!("long={}", "x".repeat(300));
    assert_eq!(state(&format!("a=1,{long}")), Some(format!("a=1,{long}")));
    assert_eq!(
        state(&format!("a=1,{long},{long},b=2")).as_deref(),
        Some("a=1,b=2")
    );
    let many: Vec<String> = (0..40).map(|number| format!("k{number}=v")).collect();
    assert_eq!(state(&many.join(",")), Some(many[..32].join(",")));
    let wide: Vec<String> = (0..9)
        .map(|at| format!("k{at}={}", "v".repeat(97)))
        .collect();
    assert_eq!(state(&wide.join(",")), Some(wide[..5].join(",")));
    assert!(state(&"x".repeat(TRACE_STATE_MAX)).is_some());
    assert_eq!(state(&"x".repeat(TRACE_STATE_MAX + 1)), None);
}
