//! The way of traces to a collector, by OTLP/HTTP in JSON. It is slower than calls may be, or not
//! there: nobody waits for it, and what it does not take in time is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::OutboundError;
use fractus_func::trace::{Trace, to_otlp};
use fractus_stdx::ErrorChain;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{
    EXPORT_ANSWER_MS, EXPORT_BATCH_MAX, EXPORT_COMPLAIN_MS, EXPORT_LINGER_MS, EXPORT_QUEUE_MAX,
};
use crate::outbound::Outbound;

/// `service.name` of what is exported.
const SERVICE: &str = "fractus";

/// Hands traces on to a collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    queue: mpsc::Sender<Message>,
    /// Traces that did not find a place in the queue.
    pub(super) dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Trace(Arc<Trace>),
    /// Wants to know when what came before is sent or given up.
    Flush(oneshot::Sender<()>),
}

/// Why a collector did not take traces.
#[derive(Debug, Error)]
enum SendError {
    #[error("the collector did not answer in time")]
    Timeout,
    #[error("the collector cannot be asked")]
    Unreachable(#[source] OutboundError),
    #[error("the collector answered with status {0}")]
    Refused(StatusCode),
}

impl Exporter {
    /// Posts traces to `collector`, in a task of its own on the runtime that is entered.
    pub(crate) fn start(outbound: Outbound, collector: Uri) -> Self {
        let (queue, messages) = mpsc::channel(EXPORT_QUEUE_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let work = Work {
            outbound,
            collector,
            messages,
            dropped: Arc::clone(&dropped),
            complained: None,
        };
        tokio::spawn(work.run());
        Self { queue, dropped }
    }

    /// Takes a trace, or drops it where too many wait.
    pub(super) fn send(&self, trace: Arc<Trace>) {
        if self.queue.try_send(Message::Trace(trace)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was taken so far is sent or given up.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // An error says that the task is gone, and with it what it had.
            wait.await.ok();
        }
    }
}

/// The task that sends.
struct Work {
    outbound: Outbound,
    collector: Uri,
    messages: mpsc::Receiver<Message>,
    dropped: Arc<AtomicU64>,
    /// When the log was last told of dropped traces.
    complained: Option<Instant>,
}

impl Work {
    async fn run(mut self) {
        while let Some(first) = self.messages.recv().await {
            let (batch, waiting) = self.gather(first).await;
            if !batch.is_empty() {
                let traces = batch.len() as u64;
                let sent = self.post(batch).await;
                self.settle(traces, sent);
            }
            // Whoever does not listen any more does not mind.
            if let Some(done) = waiting {
                done.send(()).ok();
            }
        }
    }

    /// What is sent at once, and who waits for that.
    async fn gather(&mut self, first: Message) -> (Vec<Trace>, Option<oneshot::Sender<()>>) {
        let until = Instant::now() + Duration::from_millis(EXPORT_LINGER_MS);
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Trace(trace) => batch.push(Arc::unwrap_or_clone(trace)),
                Message::Flush(done) => return (batch, Some(done)),
            }
            if batch.len() == EXPORT_BATCH_MAX {
                break;
            }
            next = timeout_at(until, self.messages.recv()).await.ok().flatten();
        }
        (batch, None)
    }

    async fn post(&self, batch: Vec<Trace>) -> Result<(), SendError> {
        let body = Bytes::from(to_otlp(&batch, SERVICE).to_string());
        let body = Full::new(body).map_err(|never| match never {});
        let mut request = Request::new(body.boxed_unsync());
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.collector);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let exchange = async {
            let answer = self.outbound.forward(request).await;
            let answer = answer.map_err(SendError::Unreachable)?;
            let status = answer.status();
            // Read to its end, so that the connection can be used again.
            let mut body = answer.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            if status.is_success() {
                Ok(())
            } else {
                Err(SendError::Refused(status))
            }
        };
        let sent = timeout(Duration::from_millis(EXPORT_ANSWER_MS), exchange).await;
        sent.unwrap_or(Err(SendError::Timeout))
    }

    /// Counts what was dropped, and tells of it now and then.
    fn settle(&mut self, traces: u64, sent: Result<(), SendError>) {
        let reason = match sent {
            Ok(()) => None,
            Err(error) => {
                self.dropped.fetch_add(traces, Ordering::Relaxed);
                Some(ErrorChain(&error).to_string())
            }
        };
        let patience = Duration::from_millis(EXPORT_COMPLAIN_MS);
        if self.complained.is_some_and(|at| at.elapsed() < patience) {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.complained = Some(Instant::now());
            let why = reason.as_deref().unwrap_or("more came than it takes");
            tracing::warn!(collector = %self.collector, dropped, why, "traces were not exported");
        }
    }
}
