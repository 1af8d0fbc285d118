//! The life of a call: a fresh instance, its answer, its end and its report.
//!
//! The guest's future is first polled in place, by whoever asked. Most calls end there, and their
//! response is handed over whole. A call that computes for long, or whose body streams, moves to
//! the guest threads; its future is the same.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{Body, Call, CallError, Host, Lines, LogStream, Outcome, Report, RequestId};
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::body::{RequestBody, Streaming, Written, whole};
use crate::engine::Shared;
use crate::limits::{HOST_CALL_BYTES_MAX, INLINE_MEMORY_MAX_MB, INLINE_TICKS, WHOLE_BODY_MAX};
use crate::meter::Meter;

use crate::state::GuestState;

type Guest = Pin<Box<dyn Future<Output = ()> + Send>>;
type Head = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// What the parts of one call share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) id: RequestId,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) meter: Meter,
    lines: Lines,
    /// What went wrong, in one line, where the outcome alone does not say it.
    trouble: OnceLock<String>,
}

impl Context {
    /// Takes bytes that the guest wrote to a standard stream.
    pub(crate) fn log_bytes(&self, stream: LogStream, bytes: &[u8]) {
        self.lines.write(stream, bytes, &|stream, line| {
            self.host.log(self.id, stream, line);
        });
    }

    /// Writes what a trap leaves behind, the guest's backtrace above all, to the function's log.
    fn log_backtrace(&self, error: &wasmtime::Error) {
        for line in format!("{error:?}")
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            self.host.log(self.id, LogStream::System, line);
        }
    }

    fn error(&self, outcome: Outcome) -> CallError {
        let trouble = || {
            self.trouble
                .get()
                .map_or(outcome.code(), String::as_str)
                .to_owned()
        };
        let limits = self.host.limits();
        let message = match outcome {
            Outcome::Timeout => format!("no end within its {} s", limits.timeout_s),
            Outcome::CpuLimit => {
                format!(
                    "used up its {} s of CPU time",
                    limits.cpu_s.unwrap_or(limits.timeout_s)
                )
            }
            Outcome::MemoryLimit => format!("needed more than its {} MiB", limits.memory_mb),
            Outcome::RequestTooLarge => {
                format!("takes request bodies of up to {} MiB", limits.request_mb)
            }
            Outcome::ResponseTooLarge => {
                format!(
                    "may answer with up to {} MiB, but wanted more",
                    limits.response_mb
                )
            }
            Outcome::NoResponse => "ended without setting a response".to_owned(),
            Outcome::NodeBusy => "the node has no room for it now; try again".to_owned(),
            Outcome::Cancelled => "its client broke off, or the node ended".to_owned(),
            Outcome::Trap
            | Outcome::GuestError
            | Outcome::StartFailed
            | Outcome::InitFailed
            | Outcome::Exited
            | Outcome::BadRequest
            | Outcome::Throttled
            | Outcome::Ok => trouble(),
        };
        CallError::new(outcome, message)
    }
}

/// Sends the report when the guest is gone, however it went, and its answer with it: the guest's
/// future holds it, whoever assembles the answer, and a body that streams.
pub(crate) struct Ending {
    context: Arc<Context>,
    queue_us: u64,
    load_us: u64,
    began: Instant,
    started: OnceLock<Instant>,
    /// When the guest was gone.
    ended: OnceLock<Instant>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Context {
            id,
            host,
            meter,
            lines,
            trouble: _,
        } = &*self.context;
        let outcome = meter.end(Outcome::Cancelled);
        lines.finish(&|stream, line| host.log(*id, stream, line));
        let error = outcome
            .is_error()
            .then(|| self.context.error(outcome).message);
        if let Some(error) = &error {
            host.log(
                *id,
                LogStream::System,
                &format!("{}: {error}", outcome.code()),
            );
        }
        let ended = self.ended.get().copied().unwrap_or_else(Instant::now);
        let started = self.started.get().copied().unwrap_or(ended);
        let status = u16::try_from(meter.status.load(Ordering::Relaxed))
            .ok()
            .filter(|s| *s != 0);
        host.finished(Report {
            id: *id,
            queue_us: self.queue_us,
            load_us: self.load_us,
            start_us: micros(started.duration_since(self.began)),
            run_us: micros(ended.duration_since(started)),
            cpu_us: meter.cpu_us(),
            peak_memory: meter.peak_memory.load(Ordering::Relaxed),
            request_bytes: meter.request_bytes.load(Ordering::Relaxed),
            response_bytes: meter.response_bytes.load(Ordering::Relaxed),
            status,
            outcome,
            error,
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Answers a call: see the module's text.
pub(crate) async fn answer(
    handler: ProxyPre<GuestState>,
    shared: Arc<Shared>,
    call: Call,
) -> Result<Response<Body>, CallError> {
    let Call {
        id,
        request,
        event: _,
        host,
        queue_us,
        load_us,
    } = call;
    let context = Arc::new(Context {
        id,
        host,
        meter: Meter::default(),
        lines: Lines::default(),
        trouble: OnceLock::new(),
    });
    let ending = Arc::new(Ending {
        context: Arc::clone(&context),
        queue_us,
        load_us,
        began: Instant::now(),
        started: OnceLock::new(),
        ended: OnceLock::new(),
    });
    let (set_head, head) = oneshot::channel();
    let own = Arc::clone(&ending);
    let guest = Box::pin(run(handler, Arc::clone(&shared), request, set_head, own));
    let mut inline = Inline {
        context: &context,
        threads: &shared.guest_threads,
        guest,
        head,
        response: None,
        early: Vec::new(),
        size: 0,
    };
    let step = std::future::poll_fn(|cx| inline.poll(cx)).await;
    let Inline {
        guest,
        head,
        response,
        early,
        ..
    } = inline;
    let answer = match step {
        Step::Ended => ended(&context, head, response, early).await,
        Step::Move => moved(&ending, &shared, guest, head, response, early).await,
    };
    drop(ending);
    answer
}

/// A call while its guest is polled in place.
struct Inline<'a> {
    context: &'a Arc<Context>,
    threads: &'a Handle,
    guest: Guest,
    head: oneshot::Receiver<Head>,
    response: Option<Result<(http::response::Parts, Written), ErrorCode>>,
    /// Frames of the response's body so far.
    early: Vec<Frame<Bytes>>,
    size: usize,
}

enum Step {
    /// The guest is gone.
    Ended,
    /// The guest goes on, but not here.
    Move,
}

impl Inline<'_> {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Step> {
        // A single instruction may fill all of a guest's memory, and no tick interrupts that.
        if self.context.host.limits().memory_mb > INLINE_MEMORY_MAX_MB {
            return Poll::Ready(Step::Move);
        }
        // Timers and tasks of the guest's belong where it may go on, not to the thread of whoever
        // asked, which may end first.
        let _there = self.threads.enter();
        loop {
            let before = self.context.meter.ticks.load(Ordering::Relaxed);
            if self.context.meter.poll(self.guest.as_mut(), cx).is_ready() {
                return Poll::Ready(Step::Ended);
            }
            let ticks = self.context.meter.ticks.load(Ordering::Relaxed);
            if ticks >= INLINE_TICKS {
                return Poll::Ready(Step::Move);
            }
            if ticks > before {
                // It waits for nothing, it only let others run.
                return Poll::Pending;
            }
            if self.response.is_none() {
                match self.head.try_recv() {
                    Ok(head) => self.response = Some(split(head, self.context)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return Poll::Pending,
                }
            }
            // The head is set. If more of the body comes at once it is worth another look at the
            // guest; otherwise it waits for something, and the client gets what there is.
            if !self.take_frames(cx) || self.size > WHOLE_BODY_MAX {
                return Poll::Ready(Step::Move);
            }
        }
    }

    /// Takes what the guest has written; tells whether that was anything and may go on.
    fn take_frames(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(Ok((_, written))) = &mut self.response else {
            return false;
        };
        let before = self.early.len();
        while self.size <= WHOLE_BODY_MAX {
            match written.poll(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.size += frame.data_ref().map_or(0, Bytes::len);
                    self.early.push(frame);
                }
                Poll::Ready(None | Some(Err(_))) => return false,
                Poll::Pending => break,
            }
        }
        self.early.len() > before
    }
}

fn split(
    head: Head,
    context: &Arc<Context>,
) -> Result<(http::response::Parts, Written), ErrorCode> {
    let (parts, body) = head?.into_parts();
    context
        .meter
        .status
        .store(parts.status.as_u16().into(), Ordering::Relaxed);
    Ok((parts, Written::new(body, Arc::clone(context))))
}

/// The answer of a guest that is gone: whole, or an error.
async fn ended(
    context: &Arc<Context>,
    mut head: oneshot::Receiver<Head>,
    response: Option<Result<(http::response::Parts, Written), ErrorCode>>,
    mut frames: Vec<Frame<Bytes>>,
) -> Result<Response<Body>, CallError> {
    let outcome = context.meter.outcome().unwrap_or(Outcome::Ok);
    if outcome != Outcome::Ok {
        return Err(context.error(outcome));
    }
    let response = match response {
        Some(response) => response,
        None => match head.try_recv() {
            Ok(head) => split(head, context),
            Err(_never_set) => return Err(context.error(context.meter.amend(Outcome::NoResponse))),
        },
    };
    let (parts, mut written) = response.map_err(|code| guest_error(context, &code))?;
    while let Some(frame) = std::future::poll_fn(|cx| written.poll(cx)).await {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(_broken) => return Err(unfinished(context)),
        }
    }
    Ok(Response::from_parts(parts, whole(frames)))
}

/// The answer of a guest that goes on in a task of its own.
async fn moved(
    ending: &Arc<Ending>,
    shared: &Shared,
    mut guest: Guest,
    head: oneshot::Receiver<Head>,
    response: Option<Result<(http::response::Parts, Written), ErrorCode>>,
    mut early: Vec<Frame<Bytes>>,
) -> Result<Response<Body>, CallError> {
    let context = &ending.context;
    let account = Arc::clone(context);
    let task = shared.guest_threads.spawn(async move {
        std::future::poll_fn(|cx| account.meter.poll(guest.as_mut(), cx)).await;
    });
    let mut task = AbortOnDrop(Some(task));
    let response = match response {
        Some(response) => response,
        None => match head.await {
            Ok(head) => split(head, context),
            Err(_let_go) => {
                // Why, is known when the guest is gone.
                let ended = task.end().await;
                let outcome = if ended {
                    Outcome::NoResponse
                } else {
                    Outcome::Cancelled
                };
                return Err(context.error(context.meter.amend(outcome)));
            }
        },
    };
    let (parts, written) = response.map_err(|code| guest_error(context, &code))?;
    early.reverse();
    let length = parts.headers.get(CONTENT_LENGTH);
    let announced = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let body = Streaming {
        early,
        written,
        guest: task.0.take(),
        announced,
        _ending: Arc::clone(ending),
    };
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

struct AbortOnDrop(Option<tokio::task::JoinHandle<()>>);

impl AbortOnDrop {
    /// Waits for the task; tells whether it came to its own end.
    async fn end(&mut self) -> bool {
        match &mut self.0 {
            Some(task) => task.await.is_ok(),
            None => true,
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The guest set an error code in place of a response.
fn guest_error(context: &Context, code: &ErrorCode) -> CallError {
    context
        .trouble
        .get_or_init(|| format!("answered with the error {code:?}"));
    context.error(context.meter.amend(Outcome::GuestError))
}

/// The guest ended well, but its body was too long, too short or given up.
fn unfinished(context: &Context) -> CallError {
    context
        .trouble
        .get_or_init(|| "its body is not as long as it announced".to_owned());
    context.error(context.meter.amend(Outcome::GuestError))
}

/// Runs the guest from its first instruction to its last.
async fn run(
    handler: ProxyPre<GuestState>,
    shared: Arc<Shared>,
    request: Request<Body>,
    set_head: oneshot::Sender<Head>,
    ending: Arc<Ending>,
) {
    let _running = shared.enter();
    let context = Arc::clone(&ending.context);
    let patience = Duration::from_micros(context.host.limits().timeout_us());
    let mut store = Store::new(handler.engine(), GuestState::new(&context));
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    watch_epochs(&mut store, &context);
    let guest = serve(
        &handler,
        &mut store,
        &context,
        request,
        set_head,
        &ending.started,
    );
    let (outcome, error) = match tokio::time::timeout(patience, guest).await {
        Ok(Ok(())) => (Outcome::Ok, None),
        Ok(Err(error)) => (failure(&context.meter, &error), Some(error)),
        Err(_elapsed) => (Outcome::Timeout, None),
    };
    if let Some(error) = &error {
        context.trouble.get_or_init(|| one_line(error));
    }
    // Decided before the store goes, and with it the guest's end of the body.
    let outcome = context.meter.end(outcome);
    drop(store);
    ending.ended.get_or_init(Instant::now);
    if let Some(error) = error.filter(|_| outcome.is_error()) {
        context.log_backtrace(&error);
    }
}

/// Instantiates the component and has it handle the request.
async fn serve(
    handler: &ProxyPre<GuestState>,
    store: &mut Store<GuestState>,
    context: &Arc<Context>,
    request: Request<Body>,
    set_head: oneshot::Sender<Head>,
    started: &OnceLock<Instant>,
) -> wasmtime::Result<()> {
    let instance = handler.instantiate_async(&mut *store).await?;
    started.get_or_init(Instant::now);
    let limit = context.host.limits().request_bytes();
    let request = request.map(|inner| RequestBody {
        inner,
        context: Arc::clone(context),
        limit,
    });
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = store
        .data_mut()
        .http()
        .new_incoming_request(scheme, request)?;
    let out = store.data_mut().http().new_response_outparam(set_head)?;
    instance
        .wasi_http_incoming_handler()
        .call_handle(store, request, out)
        .await
}

/// Has the guest yield at each tick of the epoch clock, and end when its CPU time is used up.
fn watch_epochs(store: &mut Store<GuestState>, context: &Arc<Context>) {
    let context = Arc::clone(context);
    let cpu_us = context.host.limits().cpu_us();
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_store| {
        context.meter.ticks.fetch_add(1, Ordering::Relaxed);
        if context.meter.cpu_us() > cpu_us {
            context.meter.end(Outcome::CpuLimit);
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::Yield(1))
    });
}

fn failure(meter: &Meter, error: &wasmtime::Error) -> Outcome {
    let node_full = meter.node_full.load(Ordering::Relaxed);
    if node_full || error.is::<PoolConcurrencyLimitError>() {
        Outcome::NodeBusy
    } else if meter.memory_denied.load(Ordering::Relaxed) {
        Outcome::MemoryLimit
    } else {
        Outcome::Trap
    }
}

/// The innermost cause, which for a trap says what the guest did, without the backtrace.
fn one_line(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string().replace('\n', " "),
    }
}
