//! The life of a call: an instance, the request in the form that its handler takes, the answer,
//! and the report.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use fractus_func::{
    Body, BodyError, Call, CallError, Host, Lines, LogStream, Outcome, Payload, Report, RequestId,
};
use fractus_lambda::limits::{ANSWER_FIELDS_MAX, ANSWER_HEAD_MAX};
use fractus_lambda::{
    Answer, ErrorShape, Invocation, UrlContext, answer_from_json, prelude_head, raw_answer,
    raw_event, stream_response, url_event,
};
use fractus_stdx::ErrorChain;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::io::Interest;

use crate::frame::{
    self, AnswerHead, Frame, HandlerKind, HttpHead, Invoke, StreamHead, from, invoke, put, to,
};
use crate::function::{Function, NotReady};
use crate::instance::{Broken, Channel, Instance, Prints, Wire, watch};
use crate::limits::{ANSWER_AHEAD, FRAME_COST, REQUEST_AHEAD, STREAM_CHUNKS};
use crate::process::Process;
use crate::stream::{Chunks, chunks};
use crate::sys::Exit;

/// A call on its way; it reports once, however it ends.
struct Visit {
    id: RequestId,
    host: Arc<dyn Host>,
    lines: Lines,
    queue_us: u64,
    load_us: u64,
    began: Instant,
    /// When the sandbox was there, and when the guest could be called.
    started: Option<Instant>,
    running: Option<Instant>,
    is_cold: bool,
    cpu_before: u64,
    cpu_us: u64,
    peak_memory: u64,
    request_bytes: u64,
    response_bytes: u64,
    status: Option<u16>,
    outcome: Outcome,
    error: Option<String>,
}

impl Visit {
    fn log(&self, stream: LogStream, bytes: &[u8]) {
        self.lines.write(stream, bytes, &|stream, line| {
            self.host.log(self.id, stream, line);
        });
    }

    /// Notes how it ended.
    fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    fn fail(&mut self, error: CallError) -> CallError {
        self.outcome = error.outcome;
        self.error = Some(match &error.kind {
            Some(kind) => format!("{kind}: {}", error.message),
            None => error.message.clone(),
        });
        error
    }

    /// Begins to measure an instance's work.
    fn measure(&mut self, instance: &mut Instance) {
        if let Some(group) = &mut instance.process.group {
            // A cold start's work is its caller's.
            self.cpu_before = if self.is_cold {
                0
            } else {
                group.cpu_us().unwrap_or(0)
            };
            if !self.is_cold {
                group.forget_peak();
            }
        }
        self.running = Some(Instant::now());
    }

    /// Takes what the instance has used.
    fn measured(&mut self, instance: &Instance) {
        if let Some(group) = &instance.process.group {
            self.cpu_us = group.cpu_us().unwrap_or(0).saturating_sub(self.cpu_before);
            self.peak_memory = group.peak().unwrap_or(0);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.lines
            .finish(&|stream, line| self.host.log(self.id, stream, line));
        if let Some(error) = self.error.as_ref().filter(|_| self.outcome.is_error()) {
            let line = format!("{}: {error}", self.outcome.code());
            self.host.log(self.id, LogStream::System, &line);
        }
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let running = self.running.unwrap_or(now);
        let init_us = micros(running.saturating_duration_since(started));
        self.host.finished(Report {
            id: self.id,
            queue_us: self.queue_us,
            load_us: self.load_us + if self.is_cold { init_us.max(1) } else { 0 },
            start_us: micros(started.saturating_duration_since(self.began)),
            run_us: micros(now.saturating_duration_since(running)),
            cpu_us: self.cpu_us,
            peak_memory: self.peak_memory,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            status: self.status,
            outcome: self.outcome,
            error: self.error.take(),
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// An error in a guest's own words.
pub(crate) fn shaped(outcome: Outcome, shape: ErrorShape) -> CallError {
    CallError {
        outcome,
        message: shape.error_message,
        kind: Some(shape.error_type),
    }
}

/// What became of a guest that ended or broke its protocol.
pub(crate) async fn broken(
    broken: &Broken,
    instance: &Instance,
    id: RequestId,
    otherwise: Outcome,
) -> CallError {
    match broken {
        Broken::Gone => {
            let (exit, memory) = instance.ended().await;
            if memory {
                return shaped(Outcome::MemoryLimit, ErrorShape::out_of_memory(id));
            }
            let exit = match exit {
                Exit::Status(status) => fractus_lambda::Exit::Status(status),
                Exit::Signal(signal) => fractus_lambda::Exit::Signal(signal),
                Exit::Unknown => fractus_lambda::Exit::Status(0),
            };
            shaped(otherwise, ErrorShape::exited(id, exit))
        }
        Broken::TooLarge => {
            let limit = instance.answer_max();
            shaped(
                Outcome::ResponseTooLarge,
                ErrorShape::response_too_large(limit),
            )
        }
        Broken::Protocol => {
            let message = format!("RequestId: {id} Error: Runtime broke its protocol");
            shaped(otherwise, ErrorShape::new("Runtime.InvalidFrame", message))
        }
        Broken::Socket(_) | Broken::Build(_) => {
            tracing::error!(error = %ErrorChain(broken), "a sandbox failed");
            let message = "the sandbox failed; the node's log says why";
            CallError::new(Outcome::StartFailed, message)
        }
    }
}

/// Waits until a process has ended.
pub(crate) async fn gone(process: &Process) {
    match watch(&process.pidfd, Interest::READABLE) {
        Ok(watched) => drop(watched.readable().await),
        // The deadline ends it.
        Err(_refused) => std::future::pending().await,
    }
}

/// Answers a call: see the module's text.
pub(crate) async fn answer(
    function: Arc<Function>,
    call: Call,
) -> Result<Response<Body>, CallError> {
    let Call {
        id,
        request,
        host,
        queue_us,
        load_us,
    } = call;
    let mut visit = Visit {
        id,
        host,
        lines: Lines::default(),
        queue_us,
        load_us,
        began: Instant::now(),
        started: None,
        running: None,
        is_cold: false,
        cpu_before: 0,
        cpu_us: 0,
        peak_memory: 0,
        request_bytes: 0,
        response_bytes: 0,
        status: None,
        outcome: Outcome::Cancelled,
        error: None,
    };
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(body, function.manifest.limits.request_bytes());
    let first = match upload.collect(REQUEST_AHEAD).await {
        Ok(first) => first,
        Err(error) => return Err(visit.fail(unread(&error))),
    };
    let mut instance = match acquire(&function, &mut visit).await {
        Ok(instance) => instance,
        Err(error) => return Err(visit.fail(error)),
    };
    instance.enter(&visit.host);
    visit.measure(&mut instance);
    let timeout = Duration::from_micros(function.manifest.limits.timeout_us());
    let own = Arc::clone(&function);
    let mut work = Work {
        function: &own,
        head: &head,
        deadline: Instant::now() + timeout,
        deadline_ms: now_ms()
            .saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    let late = tokio::time::sleep_until(work.deadline.into());
    let reply = tokio::select! {
        reply = work.exchange(&mut instance, &mut visit, upload, first) => reply,
        () = late => {
            let limit_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            Err(shaped(Outcome::Timeout, ErrorShape::timed_out(id, limit_ms)))
        }
    };
    visit.measured(&instance);
    match reply {
        Ok(Reply::Whole(response)) => {
            visit.status = Some(response.status().as_u16());
            visit.response_bytes = response.body().len() as u64;
            settle(&function, instance, &visit);
            visit.end(Outcome::Ok);
            Ok(response.map(full))
        }
        Ok(Reply::Stream(response, rest)) => {
            visit.status = Some(response.status().as_u16());
            Ok(stream(
                function,
                instance,
                visit,
                (response, rest),
                work.deadline,
            ))
        }
        Err(error) => {
            if lives_on(&error) && !instance.is_exiting {
                settle(&function, instance, &visit);
            } else {
                finish_output(&mut visit, &mut instance);
            }
            Err(visit.fail(error))
        }
    }
}

/// Whether the guest is as good as before: it failed a call in its own words, or never saw it.
fn lives_on(error: &CallError) -> bool {
    match error.outcome {
        Outcome::BadRequest => true,
        Outcome::GuestError | Outcome::ResponseTooLarge => error.kind.is_some(),
        _ => false,
    }
}

/// The last that a guest printed, which is about to end.
fn finish_output(visit: &mut Visit, instance: &mut Instance) {
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    if let Ok(mut prints) = Prints::watch(&instance.output, &log) {
        prints.drain();
    }
}

/// Keeps an instance after its call, and what was learned of it.
fn settle(function: &Arc<Function>, mut instance: Instance, visit: &Visit) {
    if visit.peak_memory > 0 {
        let needs = function.learn(visit.peak_memory);
        instance.reserved.set(needs);
    }
    function.keep(instance);
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An instance that waits, or a new one.
async fn acquire(function: &Arc<Function>, visit: &mut Visit) -> Result<Instance, CallError> {
    if let Some((instance, is_last)) = function.fleet.take(function.number) {
        if is_last {
            function.have_spare(&visit.host);
        }
        for (stream, bytes) in function.take_printed() {
            visit.log(stream, &bytes);
        }
        visit.started = Some(Instant::now());
        return Ok(instance);
    }
    let reserved = function.fleet.admit(function.needs()).await;
    let Some(reserved) = reserved else {
        let message = "the node has no memory for another instance now; try again";
        return Err(CallError::new(Outcome::Throttled, message));
    };
    visit.is_cold = true;
    function.note_demand(&visit.host);
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    let made = function.start(reserved, &log, Some(&visit.host)).await;
    match made {
        Ok((instance, at)) => {
            visit.started = Some(at);
            Ok(instance)
        }
        Err(NotReady::Broken(why, mut instance)) => {
            finish_output(visit, &mut instance);
            Err(broken(&why, &instance, visit.id, Outcome::InitFailed).await)
        }
        Err(error) => Err(error.into_error(visit.id)),
    }
}

/// A request's body on its way in.
struct Upload {
    body: Option<Body>,
    left: u64,
    read: u64,
}

impl Upload {
    fn new(body: Body, limit: u64) -> Self {
        Self {
            body: Some(body),
            left: limit,
            read: 0,
        }
    }

    /// The next bytes; None at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(body) = &mut self.body {
            let Some(frame) = body.frame().await else {
                self.body = None;
                break;
            };
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let length = data.len() as u64;
            if length > self.left {
                return Err(BodyError::TooLarge(self.read + self.left));
            }
            self.left -= length;
            self.read += length;
            if body_is_at_end(body) {
                self.body = None;
            }
            return Ok(Some(data));
        }
        Ok(None)
    }

    /// Whether there may be more.
    fn has_more(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !body_is_at_end(body))
    }

    /// Reads until there are at least so many bytes, or all.
    async fn collect(&mut self, at_least: usize) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while first.len() + all.len() < at_least && self.has_more() {
            let Some(data) = self.next().await? else {
                break;
            };
            if first.is_empty() && all.is_empty() {
                // Most bodies come in one piece.
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

fn body_is_at_end(body: &Body) -> bool {
    http_body::Body::is_end_stream(body)
}

fn unread(error: &BodyError) -> CallError {
    let outcome = match error {
        BodyError::TooLarge(_) => Outcome::RequestTooLarge,
        _ => Outcome::Cancelled,
    };
    CallError::new(outcome, error.to_string())
}

/// What a guest answered.
enum Reply {
    Whole(Response<Bytes>),
    Stream(Response<()>, Rest),
}

/// The part of an answer that has not come yet, and that which has.
enum Rest {
    Frames(Vec<Bytes>),
    Body(Body),
}

/// One call of an instance.
struct Work<'a> {
    function: &'a Arc<Function>,
    head: &'a Parts,
    deadline: Instant,
    deadline_ms: u64,
}

impl Work<'_> {
    async fn exchange(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        match (&instance.channel, instance.handler) {
            (Channel::Frames(_), HandlerKind::Wsgi | HandlerKind::Asgi) => {
                self.web(instance, visit, upload, first).await
            }
            _ => self.event(instance, visit, upload, first).await,
        }
    }

    fn payload(&self, handler: HandlerKind) -> Payload {
        let default = match handler {
            HandlerKind::Event => Payload::Raw,
            _ => Payload::Http,
        };
        self.function.manifest.payload.unwrap_or(default)
    }

    /// Calls a handler that takes an event.
    async fn event(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        mut upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        let mut body = first;
        if upload.has_more() {
            let rest = upload.collect(usize::MAX).await.map_err(|e| unread(&e))?;
            body = [body, rest].concat().into();
        }
        visit.request_bytes = upload.read;
        let payload = self.payload(instance.handler);
        let event = match payload {
            Payload::Raw => raw_event(body).map_err(|e| shaped(Outcome::BadRequest, e))?,
            Payload::Http => self.url_event(&body, visit.id),
        };
        if let Channel::Api(_) = &instance.channel {
            return self.invoke(instance, visit, event, payload).await;
        }
        let mut frame = BytesMut::with_capacity(512 + event.len());
        let call = Invoke {
            id: visit.id.to_string(),
            deadline_ms: self.deadline_ms,
            arn: &self.function.arn,
            trace: self.trace(),
            client_context: None,
            more: false,
            http: None,
        };
        invoke(&mut frame, &call, event.len());
        frame.extend_from_slice(&event);
        let answered = frames(instance, visit, &frame, None).await;
        let (first, rest) = match answered {
            Ok(answered) => answered,
            Err(why) => return Err(broken(&why, instance, visit.id, Outcome::Exited).await),
        };
        self.read_answer(first, rest, payload)
    }

    fn read_answer(
        &self,
        first: Frame,
        rest: Collected,
        payload: Payload,
    ) -> Result<Reply, CallError> {
        match first.kind {
            from::ANSWER => {
                self.check_size(first.payload.len())?;
                whole(first.payload, payload).map(Reply::Whole)
            }
            from::ERROR => Err(shaped(
                Outcome::GuestError,
                ErrorShape::from_json(&first.payload),
            )),
            from::STREAM => {
                let head: Option<StreamHead> = serde_json::from_slice(&first.payload).ok();
                let head = head.and_then(|head| stream_head(&head));
                let head = head.ok_or_else(malformed_head)?;
                self.assemble(head, rest)
            }
            from::HTTP_HEAD => {
                let head: Option<AnswerHead> = serde_json::from_slice(&first.payload).ok();
                let head = head.and_then(|head| http_head(&head));
                let head = head.ok_or_else(malformed_head)?;
                self.assemble(head, rest)
            }
            _ => {
                let message = format!("the runtime sent a frame of kind {}", first.kind);
                let shape = ErrorShape::new("Runtime.InvalidFrame", message);
                Err(shaped(Outcome::Exited, shape))
            }
        }
    }

    fn check_size(&self, length: usize) -> Result<(), CallError> {
        let limit = self.function.manifest.limits.response_bytes();
        if length as u64 <= limit {
            return Ok(());
        }
        let shape = ErrorShape::response_too_large(limit);
        Err(shaped(Outcome::ResponseTooLarge, shape))
    }

    fn assemble(&self, head: Response<()>, rest: Collected) -> Result<Reply, CallError> {
        match rest {
            Collected::Whole(body) => {
                self.check_size(body.len())?;
                Ok(Reply::Whole(head.map(|()| body)))
            }
            Collected::Failed(error) => {
                Err(shaped(Outcome::GuestError, ErrorShape::from_json(&error)))
            }
            Collected::Partly(chunks) => Ok(Reply::Stream(head, Rest::Frames(chunks))),
        }
    }

    /// Calls the guest over the Runtime API.
    async fn invoke(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        event: Bytes,
        payload: Payload,
    ) -> Result<Reply, CallError> {
        let invocation = Invocation {
            id: visit.id,
            deadline_ms: self.deadline_ms,
            arn: Arc::clone(&self.function.arn),
            trace_id: self.trace().map(str::to_owned),
            client_context: None,
            event,
        };
        let called = over_api(instance, visit, invocation).await;
        match called {
            Ok(Ok(Answer::Whole(json))) => {
                self.check_size(json.len())?;
                whole(json, payload).map(Reply::Whole)
            }
            Ok(Ok(Answer::Stream { content_type, body })) => {
                let response = stream_response(content_type.as_deref(), body);
                let response = response.await.map_err(|e| shaped(Outcome::GuestError, e))?;
                let (parts, body) = response.into_parts();
                Ok(Reply::Stream(
                    Response::from_parts(parts, ()),
                    Rest::Body(body),
                ))
            }
            Ok(Err(shape)) => Err(shaped(Outcome::GuestError, shape)),
            Err(why) => Err(broken(&why, instance, visit.id, Outcome::Exited).await),
        }
    }

    /// Calls a web application.
    async fn web(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        let (root_path, _) = self.split_path();
        let host = self.host();
        let head = HttpHead {
            method: self.head.method.as_str(),
            path: self.head.uri.path(),
            query: self.head.uri.query().unwrap_or(""),
            headers: header_list(self.head),
            scheme: self.head.uri.scheme_str().unwrap_or("http"),
            host,
            client: self.client(),
            root_path,
        };
        let call = Invoke {
            id: visit.id.to_string(),
            deadline_ms: self.deadline_ms,
            arn: &self.function.arn,
            trace: self.trace(),
            client_context: None,
            more: upload.has_more(),
            http: Some(head),
        };
        let mut frame = BytesMut::with_capacity(1024 + first.len());
        invoke(&mut frame, &call, first.len());
        frame.extend_from_slice(&first);
        let answered = frames(instance, visit, &frame, Some(upload)).await;
        let (first, rest) = match answered {
            Ok(answered) => answered,
            Err(why) => return Err(broken(&why, instance, visit.id, Outcome::Exited).await),
        };
        self.read_answer(first, rest, Payload::Http)
    }

    fn url_event(&self, body: &[u8], id: RequestId) -> Bytes {
        let (_, path) = self.split_path();
        let name = self.function.manifest.name.as_str();
        let context = UrlContext {
            request_id: id,
            account_id: "anonymous",
            api_id: name,
            domain: self.host(),
            source_ip: self.client(),
            now_ms: now_ms(),
        };
        let mut head = self.head.clone();
        let query = head.uri.query().map(|query| format!("?{query}"));
        let target = format!("{path}{}", query.unwrap_or_default());
        if let Ok(uri) = target.parse() {
            head.uri = uri;
        }
        url_event(&head, body, &context)
    }

    /// The path up to the function, and the path that is the function's.
    fn split_path(&self) -> (&str, &str) {
        let path = self.head.uri.path();
        let name = self.function.manifest.name.as_str();
        let own = path
            .strip_prefix("/run/")
            .and_then(|rest| rest.strip_prefix(name))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match own {
            Some("") => (path, "/"),
            Some(rest) => (&path[..path.len() - rest.len()], rest),
            None => ("", path),
        }
    }

    fn host(&self) -> &str {
        let header = self.head.headers.get(http::header::HOST);
        let header = header.and_then(|host| host.to_str().ok());
        header
            .or_else(|| self.head.uri.authority().map(http::uri::Authority::as_str))
            .unwrap_or("localhost")
    }

    fn client(&self) -> &str {
        let forwarded = self.head.headers.get("x-forwarded-for");
        let first = forwarded.and_then(|list| list.to_str().ok()?.split(',').next());
        first.map_or("127.0.0.1", str::trim)
    }

    fn trace(&self) -> Option<&str> {
        self.head.headers.get("x-amzn-trace-id")?.to_str().ok()
    }
}

fn header_list(head: &Parts) -> Vec<(&str, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|b| char::from(*b)).collect();
    head.headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect()
}

fn malformed_head() -> CallError {
    shaped(
        Outcome::GuestError,
        ErrorShape::malformed("its status or a header cannot be sent, or there are too many"),
    )
}

/// A handler's whole answer as HTTP.
fn whole(json: Bytes, payload: Payload) -> Result<Response<Bytes>, CallError> {
    match payload {
        Payload::Raw => Ok(raw_answer(json)),
        Payload::Http => answer_from_json(json).map_err(|e| shaped(Outcome::GuestError, e)),
    }
}

fn stream_head(head: &StreamHead) -> Option<Response<()>> {
    match &head.prelude {
        Some(prelude) => {
            let parts = prelude_head(prelude.get().as_bytes()).ok()?;
            Some(Response::from_parts(parts, ()))
        }
        None => {
            let kind = head
                .content_type
                .as_deref()
                .unwrap_or("application/octet-stream");
            let builder = Response::builder().header(http::header::CONTENT_TYPE, kind);
            builder.body(()).ok()
        }
    }
}

fn http_head(head: &AnswerHead) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status)
        .ok()
        .filter(|s| s.as_u16() >= 200)?;
    let bytes: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if head.headers.len() > ANSWER_FIELDS_MAX || bytes > ANSWER_HEAD_MAX {
        return None;
    }
    for (name, value) in &head.headers {
        let name: HeaderName = name.parse().ok()?;
        if is_hop(&name) {
            continue;
        }
        // Each character is a byte, as WSGI has it.
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = match bytes {
            Some(bytes) => HeaderValue::from_bytes(&bytes).ok()?,
            None => HeaderValue::from_bytes(value.as_bytes()).ok()?,
        };
        response.headers_mut().append(name, value);
    }
    Some(response)
}

/// Fields that are between the node and its client alone (RFC 9110 §7.6.1).
fn is_hop(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || name.as_str() == "keep-alive"
}

/// What came behind the first frame of an answer without waiting.
enum Collected {
    Whole(Bytes),
    Partly(Vec<Bytes>),
    Failed(Bytes),
}

/// Sends a call and reads the first frame of the answer, and what comes with it.
async fn frames(
    instance: &mut Instance,
    visit: &mut Visit,
    call: &[u8],
    upload: Option<Upload>,
) -> Result<(Frame, Collected), Broken> {
    let Instance {
        channel, output, ..
    } = instance;
    let Channel::Frames(socket) = channel else {
        return Err(Broken::Protocol);
    };
    instance.is_exiting = true;
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    let mut wire = Wire::open(socket, output, &log).map_err(Broken::Socket)?;
    let mut read = 0;
    wire.send(call).await?;
    if let Some(mut upload) = upload {
        read = upload.read;
        if upload.has_more() {
            read = send_rest(&mut wire, &mut upload).await?;
        }
    }
    let first = wire.next().await?;
    let exiting = first.kind == from::ERROR && frame::is_exiting(&first.payload);
    let mut chunks = Vec::new();
    let mut length = 0;
    let collected = loop {
        if !matches!(first.kind, from::HTTP_HEAD | from::STREAM) {
            break Collected::Whole(Bytes::new());
        }
        if length > ANSWER_AHEAD {
            break Collected::Partly(std::mem::take(&mut chunks));
        }
        let Some(frame) = wire.try_next()? else {
            break Collected::Partly(std::mem::take(&mut chunks));
        };
        match frame.kind {
            from::DATA => {
                length += frame.payload.len() + FRAME_COST;
                chunks.push(frame.payload);
            }
            from::END if chunks.len() == 1 => break Collected::Whole(chunks.remove(0)),
            from::END => break Collected::Whole(chunks.concat().into()),
            from::ERROR => break Collected::Failed(frame.payload),
            _ => return Err(Broken::Protocol),
        }
    };
    wire.drain();
    drop(wire);
    visit.request_bytes = visit.request_bytes.max(read);
    instance.is_exiting = exiting || matches!(collected, Collected::Partly(_));
    Ok((first, collected))
}

/// Sends the rest of a request's body, unless the guest answers before it has it all.
async fn send_rest(wire: &mut Wire<'_>, upload: &mut Upload) -> Result<u64, Broken> {
    loop {
        let next = tokio::select! {
            next = upload.next() => next,
            () = wire.arrived() => break,
        };
        let mut frame = BytesMut::new();
        match next {
            Ok(Some(data)) => put(&mut frame, to::DATA, &data),
            Ok(None) => {
                put(&mut frame, to::END, b"");
                wire.send(&frame).await?;
                break;
            }
            Err(_broken_off) => {
                put(&mut frame, to::BROKEN_OFF, b"");
                wire.send(&frame).await?;
                break;
            }
        }
        wire.send(&frame).await?;
    }
    Ok(upload.read)
}

/// Calls the guest over the Runtime API, for as long as its process lives.
async fn over_api(
    instance: &mut Instance,
    visit: &Visit,
    invocation: Invocation,
) -> Result<Result<Answer, ErrorShape>, Broken> {
    let Instance {
        process,
        channel,
        output,
        ..
    } = instance;
    let Channel::Api(api) = channel else {
        return Err(Broken::Protocol);
    };
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    let mut prints = Prints::watch(output, &log).map_err(Broken::Socket)?;
    let answer = tokio::select! {
        biased;
        answer = api.driver.invoke(invocation) => Ok(answer),
        () = gone(process) => Err(Broken::Gone),
        () = prints.follow() => Err(Broken::Protocol),
    };
    prints.drain();
    answer
}

/// Hands an answer on that is not complete yet, in the background; its instance is kept when it is.
fn stream(
    function: Arc<Function>,
    instance: Instance,
    visit: Visit,
    (response, rest): (Response<()>, Rest),
    deadline: Instant,
) -> Response<Body> {
    let (sender, body) = chunks(STREAM_CHUNKS);
    let limit = function.manifest.limits.response_bytes();
    let handle = function.machine.handle.clone();
    let pump = Pump {
        function,
        instance,
        visit,
        sender,
        left: limit,
        limit,
    };
    handle.spawn(pump.run(rest, deadline));
    response.map(|()| body)
}

/// What a streamed answer needs until it is complete.
struct Pump {
    function: Arc<Function>,
    instance: Instance,
    visit: Visit,
    sender: Chunks,
    left: u64,
    limit: u64,
}

/// Why a streamed answer ended early.
enum Cut {
    Client,
    Guest(CallError),
}

impl Pump {
    async fn run(mut self, rest: Rest, deadline: Instant) {
        let late = tokio::time::sleep_until(deadline.into());
        let done = tokio::select! {
            done = self.forward(rest) => done,
            () = late => {
                let timeout_us = self.function.manifest.limits.timeout_us();
                let shape = ErrorShape::timed_out(self.visit.id, timeout_us / 1000);
                Err(Cut::Guest(shaped(Outcome::Timeout, shape)))
            }
        };
        let Self {
            function,
            mut instance,
            mut visit,
            sender,
            ..
        } = self;
        visit.measured(&instance);
        match done {
            Ok(()) => {
                settle(&function, instance, &visit);
                visit.end(Outcome::Ok);
            }
            Err(Cut::Client) => {}
            Err(Cut::Guest(error)) => {
                finish_output(&mut visit, &mut instance);
                sender.fail(BodyError::Guest(error.outcome)).await;
                visit.fail(error);
            }
        }
    }

    async fn forward(&mut self, rest: Rest) -> Result<(), Cut> {
        match rest {
            Rest::Frames(early) => {
                for chunk in early {
                    self.send(chunk).await?;
                }
                self.frames().await
            }
            Rest::Body(body) => self.body(body).await,
        }
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), Cut> {
        let length = chunk.len() as u64;
        if length > self.left {
            let shape = ErrorShape::response_too_large(self.limit);
            return Err(Cut::Guest(shaped(Outcome::ResponseTooLarge, shape)));
        }
        self.left -= length;
        self.visit.response_bytes += length;
        let sent = self.sender.send(chunk).await;
        sent.map_err(|_gone| Cut::Client)
    }

    async fn frames(&mut self) -> Result<(), Cut> {
        loop {
            let frame = match self.next_frame().await {
                Ok(frame) => frame,
                Err(why) => {
                    let id = self.visit.id;
                    let error = broken(&why, &self.instance, id, Outcome::Exited).await;
                    return Err(Cut::Guest(error));
                }
            };
            match frame.kind {
                from::DATA => self.send(frame.payload).await?,
                from::END => return Ok(()),
                from::ERROR => {
                    let shape = ErrorShape::from_json(&frame.payload);
                    return Err(Cut::Guest(shaped(Outcome::GuestError, shape)));
                }
                _ => {
                    let error = broken(
                        &Broken::Protocol,
                        &self.instance,
                        self.visit.id,
                        Outcome::Exited,
                    );
                    return Err(Cut::Guest(error.await));
                }
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Frame, Broken> {
        let Instance {
            channel, output, ..
        } = &mut self.instance;
        let Channel::Frames(socket) = channel else {
            return Err(Broken::Protocol);
        };
        let visit = &self.visit;
        let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
        let mut wire = Wire::open(socket, output, &log).map_err(Broken::Socket)?;
        // Whoever reads the answer may go away while nothing comes.
        let frame = tokio::select! {
            frame = wire.next() => frame?,
            () = self.sender.closed() => Frame { kind: from::DATA, payload: Bytes::new() },
        };
        wire.drain();
        Ok(frame)
    }

    async fn body(&mut self, mut body: Body) -> Result<(), Cut> {
        loop {
            let next = {
                let visit = &self.visit;
                let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
                let prints = Prints::watch(&self.instance.output, &log);
                let mut prints = prints.map_err(|_| Cut::Client)?;
                let next = tokio::select! {
                    next = body.frame() => next,
                    () = gone(&self.instance.process) => Some(Err(BodyError::Guest(Outcome::Exited))),
                    () = self.sender.closed() => return Err(Cut::Client),
                    () = prints.follow() => None,
                };
                prints.drain();
                next
            };
            match next {
                None => break,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.send(data).await?;
                    }
                }
                Some(Err(BodyError::Guest(Outcome::Exited))) => {
                    let error = broken(
                        &Broken::Gone,
                        &self.instance,
                        self.visit.id,
                        Outcome::Exited,
                    );
                    return Err(Cut::Guest(error.await));
                }
                Some(Err(_)) => return Err(Cut::Guest(self.api_error().await)),
            }
        }
        match &mut self.instance.channel {
            Channel::Api(api) => {
                let ended = api.driver.ended().await;
                ended.map_err(|shape| Cut::Guest(shaped(Outcome::GuestError, shape)))
            }
            Channel::Frames(_) => Ok(()),
        }
    }

    async fn api_error(&mut self) -> CallError {
        let shape = match &mut self.instance.channel {
            Channel::Api(api) => api.driver.ended().await.err(),
            Channel::Frames(_) => None,
        };
        shaped(
            Outcome::GuestError,
            shape.unwrap_or_else(ErrorShape::truncated),
        )
    }
}
