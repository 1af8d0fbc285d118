//! The faults that a node must survive, each chosen by the path of the request, and a few
//! questions about what a guest can see. `README.md` lists the paths.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};
use wasip2::random::random;

const MIB: usize = 1 << 20;
const NANOS_PER_MS: u64 = 1_000_000;
const HOUR_NS: u64 = 3_600_000 * NANOS_PER_MS;
/// Most bytes asked of a stream at once.
const CHUNK: u64 = 64 * 1024;

struct Faults;

wasip2::http::proxy::export!(Faults);

impl Guest for Faults {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match fault(path) {
            "/loop" => spin(),
            "/memory" => hoard(),
            "/stack" => answer(out, 200, &format!("{}\n", recurse(1))),
            "/trap" => panic!("asked to panic"),
            "/never" => wait(HOUR_NS),
            "/sleep" => {
                let ms = number(query, "ms");
                wait(ms.saturating_mul(NANOS_PER_MS));
                answer(out, 200, &format!("slept {ms} ms\n"));
            }
            "/late-trap" => late_trap(out),
            "/early-trap" => early_trap(out),
            "/leak" => leak(),
            "/short" => short(out),
            "/no-response" => {}
            "/big" => big(out, number(query, "mb")),
            "/echo" => echo(&request, out),
            "/print" => print(out, number(query, "lines").max(1)),
            "/env" => answer(out, 200, &environment()),
            "/headers" => answer(out, 200, &head(&request)),
            "/random" => answer(out, 200, &format!("{:016x}\n", random::get_random_u64())),
            "/fs" => answer(out, 200, &files()),
            "/fetch" => match fetch(&parameter(query, "url").unwrap_or_default()) {
                Ok(text) => answer(out, 200, &text),
                Err(code) => answer(out, 502, &format!("{code:?}\n")),
            },
            _ => answer(out, 404, "no such fault; README.md lists them\n"),
        }
    }
}

/// The part of the path that names the fault: what follows `/run/NAME`, or all of it.
fn fault(path: &str) -> &str {
    path.strip_prefix("/run/")
        .and_then(|rest| rest.find('/').map(|slash| &rest[slash..]))
        .unwrap_or(path)
}

/// Burns processor time for ever.
fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Takes and touches memory until the host refuses; the allocator then aborts.
fn hoard() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; MIB]));
    }
}

/// Recurses until the stack ends.
#[expect(unconditional_recursion, reason = "that is the fault")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[0]
}

fn wait(nanoseconds: u64) {
    monotonic_clock::subscribe_duration(nanoseconds).block();
}

/// Panics when the head and a part of the body have gone out for sure.
fn late_trap(out: ResponseOutparam) {
    let (_body, stream) = open(out, 200, &[]);
    stream
        .blocking_write_and_flush(b"this much was sent\n")
        .expect("the client is there");
    wait(50 * NANOS_PER_MS);
    panic!("asked to panic after the head");
}

/// Panics right after it has written its head and a part of its body.
fn early_trap(out: ResponseOutparam) {
    let (_body, stream) = open(out, 200, &[]);
    stream
        .blocking_write_and_flush(b"this much was written\n")
        .expect("the client is there");
    panic!("asked to panic after the head");
}

/// Has the host keep one set of header fields after the other.
fn leak() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(Fields::new());
    }
}

/// Announces ten bytes and sends five.
fn short(out: ResponseOutparam) {
    let (body, stream) = open(out, 200, &[("content-length", b"10")]);
    stream
        .blocking_write_and_flush(b"five\n")
        .expect("the client is there");
    drop(stream);
    if let Err(code) = OutgoingBody::finish(body, None) {
        eprintln!("the host refused the short body: {code:?}");
    }
}

/// Streams `mb` MiB, or less if the host closes the stream.
fn big(out: ResponseOutparam, mb: u64) {
    let (body, mut stream) = open(out, 200, &[("content-type", b"application/octet-stream")]);
    let block = vec![b'.'; MIB];
    for sent in 0..mb {
        if let Err(error) = stream.write_all(&block) {
            eprintln!("stopped after {sent} MiB: {error}");
            return;
        }
    }
    close(body, stream);
}

/// Sends the request's body back as it arrives.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let input = incoming.stream().expect("the stream is taken once");
    let (body, mut stream) = open(out, 200, &[("content-type", b"application/octet-stream")]);
    loop {
        match input.blocking_read(CHUNK) {
            Ok(bytes) => {
                if let Err(error) = stream.write_all(&bytes) {
                    eprintln!("the client went away: {error}");
                    return;
                }
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                eprintln!("the body broke off: {}", error.to_debug_string());
                return;
            }
        }
    }
    close(body, stream);
}

fn print(out: ResponseOutparam, lines: u64) {
    for line in 1..=lines {
        println!("line {line} on stdout");
        eprintln!("line {line} on stderr");
    }
    answer(out, 200, &format!("printed {lines} lines on each\n"));
}

fn environment() -> String {
    let mut lines: Vec<String> = std::env::vars()
        .map(|(k, v)| format!("{k}={v}\n"))
        .collect();
    lines.sort();
    lines.concat()
}

/// The request line and the headers as the guest sees them.
fn head(request: &IncomingRequest) -> String {
    let mut text = format!(
        "{:?} {:?} {:?} {:?}\n",
        request.method(),
        request.scheme(),
        request.authority(),
        request.path_with_query()
    );
    for (name, value) in request.headers().entries() {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(&value)).expect("strings take all");
    }
    text
}

/// What came of opening files for reading, writing and listing.
fn files() -> String {
    let read = std::fs::read("/etc/passwd").map(|bytes| bytes.len());
    let write = std::fs::write("/tmp/faults", "written");
    let list = std::fs::read_dir("/").map(Iterator::count);
    format!("read: {read:?}\nwrite: {write:?}\nlist: {list:?}\n")
}

/// Fetches `url`; the answer is its status and its body, or the host's error code.
fn fetch(url: &str) -> Result<String, ErrorCode> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;

    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).map_err(invalid)?;
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some(path)).map_err(invalid)?;

    let future = outgoing_handler::handle(request, None)?;
    future.subscribe().block();
    let response = future
        .get()
        .expect("the future is ready")
        .expect("the future is read once")?;
    let status = response.status();
    Ok(format!("{status}\n{}", text_of(&response)))
}

/// The first chunk of a body is enough to tell one from another.
fn text_of(response: &IncomingResponse) -> String {
    let body = response.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    let text = match stream.blocking_read(CHUNK) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(StreamError::Closed) => String::new(),
        Err(StreamError::LastOperationFailed(error)) => error.to_debug_string(),
    };
    drop(stream);
    drop(IncomingBody::finish(body));
    text
}

/// The value of one query parameter, percent-decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

fn number(query: &str, name: &str) -> u64 {
    parameter(query, name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let length = text.len().to_string();
    let headers = [
        ("content-type", b"text/plain; charset=utf-8".as_slice()),
        ("content-length", length.as_bytes()),
    ];
    let (body, mut stream) = open(out, status, &headers);
    if stream.write_all(text.as_bytes()).is_ok() {
        close(body, stream);
    }
}

/// Sends the head and gives back the open body.
fn open(
    out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &[u8])],
) -> (OutgoingBody, OutputStream) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields
            .append(name, value)
            .expect("the header is well-formed");
    }
    let response = OutgoingResponse::new(fields);
    response
        .set_status_code(status)
        .expect("the status is real");
    let body = response.body().expect("the body is taken once");
    let stream = body.write().expect("the stream is taken once");
    ResponseOutparam::set(out, Ok(response));
    (body, stream)
}

fn close(body: OutgoingBody, stream: OutputStream) {
    drop(stream);
    if let Err(code) = OutgoingBody::finish(body, None) {
        eprintln!("the host refused the end of the body: {code:?}");
    }
}
