//! The Lambda Runtime API, version 2018-06-01, for one sandbox.
//!
//! The guest asks for its next invocation and posts the answer; it is served by [`RuntimeApi`] over
//! whatever connections it makes. The node's side is the [`Driver`]: it waits until the guest is
//! [ready](Driver::ready), [invokes](Driver::invoke) it, and may wait until its answer has
//! [ended](Driver::ended) and it is [idle](Driver::idle) again.
//!
//! What the guest does wrong is answered to the guest and disturbs no invocation. A lost connection
//! ends none either, since a guest may make another one: the end of its process does, which whoever
//! runs it must tell apart.

use std::sync::Arc;

use bytes::Bytes;
use fractus_func::{Body, RequestId};
use tokio::sync::{Semaphore, watch};

use crate::ErrorShape;
use crate::limits::{CONNECTIONS_MAX, RESPONSE_MAX, STREAM_MAX};

mod answer;
mod reply;
mod routes;
mod serve;
mod state;
mod tcp;

#[cfg(test)]
mod tests;

use state::Shared;

/// How large answers may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    /// An answer that is sent whole; it is held in memory.
    pub response_max: usize,
    /// An answer that is streamed.
    pub stream_max: u64,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            response_max: RESPONSE_MAX,
            stream_max: STREAM_MAX,
        }
    }
}

/// One call of the guest's handler.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Identifies it; each invocation of a sandbox has another one.
    pub id: RequestId,
    /// When it will be ended, in UNIX milliseconds.
    pub deadline_ms: u64,
    /// Name of the function that was invoked, as AWS writes names.
    pub arn: Arc<str>,
    /// X-Ray header of the caller.
    pub trace_id: Option<String>,
    /// What a caller's SDK told of itself, as JSON.
    pub client_context: Option<String>,
    /// The event, as JSON.
    pub event: Bytes,
}

/// What the guest answered.
#[derive(Debug)]
pub enum Answer {
    /// All of it; JSON as a rule.
    Whole(Bytes),
    /// A stream that has begun; see [`crate::stream_response`]. When it is dropped early, the rest
    /// of what the guest sends is thrown away.
    Stream {
        /// What the guest says it is.
        content_type: Option<String>,
        /// The bytes. Its end is a good one unless it gives an error; which one,
        /// [`Driver::ended`] tells.
        body: Body,
    },
}

/// The guest's side: clones serve its connections. Without its [`Driver`] it serves none.
#[derive(Clone, Debug)]
pub struct RuntimeApi {
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    /// Ends with the driver.
    alive: watch::Receiver<()>,
}

/// The node's side of one sandbox.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    /// Dropped with the driver, which ends all connections.
    _alive: watch::Sender<()>,
}

/// Makes the two sides of one sandbox's Runtime API.
pub fn runtime_api(limits: ApiLimits) -> (RuntimeApi, Driver) {
    let shared = Arc::new(Shared::new(limits));
    let (sender, alive) = watch::channel(());
    let api = RuntimeApi {
        shared: Arc::clone(&shared),
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        alive,
    };
    let driver = Driver {
        shared,
        _alive: sender,
    };
    (api, driver)
}

impl Driver {
    /// Waits until the guest asks for its first invocation, or reports that it cannot start.
    pub async fn ready(&mut self) -> Result<(), ErrorShape> {
        self.shared.ready().await
    }

    /// Gives the guest an invocation and waits for the first bytes of its answer. Dropping the
    /// future withdraws the invocation: the guest's answer, if it still comes, is refused. If the
    /// guest has not asked yet, the invocation lies ready for it.
    pub async fn invoke(&mut self, invocation: Invocation) -> Result<Answer, ErrorShape> {
        let (offer, answer) = self.shared.offer(invocation)?;
        let answer = answer.await.unwrap_or_else(|_closed| {
            // Only withdrawing drops the other end, and this is who would withdraw.
            Err(ErrorShape::new(
                "Runtime.Unknown",
                "The invocation was lost",
            ))
        });
        drop(offer);
        answer
    }

    /// Waits until the guest has sent all of its last answer, and tells how that ended.
    pub async fn ended(&mut self) -> Result<(), ErrorShape> {
        self.shared.ended().await
    }

    /// Waits until the guest asks for its next invocation: it has nothing left to do for the last
    /// one, and may be frozen. Before, it may wait for a reply, and clients give up on those after
    /// as little as 100 ms.
    pub async fn idle(&mut self) {
        self.shared.idle().await;
    }
}
