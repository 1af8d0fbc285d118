//! The seam between a function and what runs it.
//!
//! A [`Runtime`] compiles artifacts and loads [`Program`]s; a [`Program`] answers [`Call`]s; a
//! [`Host`] is all that a running function can reach of the node.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;

use crate::{FunctionName, Limits, Outcome, RequestId};

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A streamed HTTP body of a request or a response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a streamed body ended early.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BodyError {
    /// The peer closed the connection or broke the framing of its message.
    #[error("the connection was lost or its framing broken")]
    Disconnected,
    /// More bytes than the limit, in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// Nothing arrived within the time allowed.
    #[error("the body stalled")]
    Stalled,
    /// The function ended before it had written its whole body.
    #[error("the function ended before its body was complete ({0:?})")]
    Guest(Outcome),
    /// Stored bytes failed their checksum or could not be read.
    #[error("stored data could not be read")]
    Storage,
}

/// Which of its two streams a guest wrote a line to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Written by the node about the call: a trap's backtrace, a limit that was hit.
    System,
}

/// A way of running functions, such as WebAssembly components or sandboxed processes.
pub trait Runtime: fmt::Debug + Send + Sync {
    /// Names the form of compiled artifacts: what was compiled under another fingerprint must be
    /// compiled again.
    fn fingerprint(&self) -> &str;

    /// Checks an artifact and compiles it for [`Runtime::load`]. Takes long; call it at deploy.
    fn compile(&self, artifact: &[u8]) -> Result<Vec<u8>, CompileError>;

    /// Loads what [`Runtime::compile`] returned under the same fingerprint from a file that nobody
    /// else can write.
    fn load(&self, compiled: &Path) -> Result<Arc<dyn Program>, LoadError>;
}

/// A loaded function, ready to be called many times at once.
pub trait Program: fmt::Debug + Send + Sync {
    /// Answers one call. The future yields the response's head as soon as the guest set it; the
    /// body may stream after it. Dropping the future or the body ends the guest.
    ///
    /// Exactly one [`Report`] goes to [`Host::finished`] for each call, when the guest is gone.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<http::Response<Body>, CallError>>;
}

/// What a running function can reach of the node, and where its traces go. One for each deployed
/// version of a function.
pub trait Host: fmt::Debug + Send + Sync {
    /// The function's name, for messages.
    fn name(&self) -> &FunctionName;

    /// The limits that hold for each call.
    fn limits(&self) -> &Limits;

    /// The environment variables that the guest sees.
    fn env(&self) -> &[(String, String)];

    /// Sends a request of the guest's to where its manifest lets it.
    fn send(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>>;

    /// Takes a line that the guest wrote, without its line end.
    fn log(&self, id: RequestId, stream: LogStream, line: &str);

    /// Asks for `bytes` more guest memory out of the node's budget; what was granted is given back
    /// with [`Host::release_memory`].
    fn reserve_memory(&self, bytes: usize) -> bool;

    /// Gives back memory that was granted.
    fn release_memory(&self, bytes: usize);

    /// Takes the report of a call that has ended.
    fn finished(&self, report: Report);
}

/// One call of a function.
#[derive(Debug)]
pub struct Call {
    /// Identifies the call in logs, usage records and answers.
    pub id: RequestId,
    /// The request as the guest shall see it; its URI is absolute.
    pub request: http::Request<Body>,
    /// The function's side of the node.
    pub host: Arc<dyn Host>,
    /// How long the call waited for an instance, in microseconds.
    pub queue_us: u64,
    /// How long the program took to load for this call, in microseconds; 0 when it was loaded.
    pub load_us: u64,
}

/// What became of a call, measured by the runtime.
#[derive(Clone, Debug)]
pub struct Report {
    /// The call.
    pub id: RequestId,
    /// As in [`Call::queue_us`].
    pub queue_us: u64,
    /// As in [`Call::load_us`].
    pub load_us: u64,
    /// From the decision to start an instance until it could run, in microseconds.
    pub start_us: u64,
    /// From then until the guest was gone, in microseconds.
    pub run_us: u64,
    /// CPU time of the guest and of the host on its behalf, in microseconds.
    pub cpu_us: u64,
    /// The most linear memory the instance had, in bytes.
    pub peak_memory: u64,
    /// Bytes of the request body that the guest read.
    pub request_bytes: u64,
    /// Bytes of the response body that the guest wrote.
    pub response_bytes: u64,
    /// Status of the response that the guest set, if it set one.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong in words, for logs and `last error`.
    pub error: Option<String>,
}

/// An artifact that cannot become a function.
#[derive(Debug, Error)]
pub enum CompileError {
    /// Neither a WebAssembly module nor a component.
    #[error("not WebAssembly: the file does not start with \\0asm")]
    NotWasm,
    /// A core module where a component is needed.
    #[error(
        "a core WebAssembly module, not a component: build for wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// Cut off or damaged, or it uses features that are not enabled.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// Imports what the node does not offer; the message names it.
    #[error("imports what the node does not offer: {0}")]
    UnknownImport(String),
    /// Has no handler to call.
    #[error(
        "exports no handler: a function must export `wasi:http/incoming-handler@0.2`; its exports \
         are: {exports}"
    )]
    NoHandler {
        /// The exports it does have.
        exports: String,
    },
}

/// A compiled artifact that cannot be loaded.
#[derive(Debug, Error)]
#[error("load {path}: {reason}")]
pub struct LoadError {
    /// The compiled file.
    pub path: String,
    /// What the runtime said.
    pub reason: String,
}

/// A call that ended without an answer of the guest's.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct CallError {
    /// How it ended.
    pub outcome: Outcome,
    /// What happened, for the caller; holds nothing of the guest's memory or environment.
    pub message: String,
}

/// An outgoing request that was not made or not answered.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The manifest does not allow it.
    #[error("the manifest does not allow requests to {authority}: {why}")]
    Denied {
        /// Host and port asked for.
        authority: String,
        /// Which rule refused it and what to write to allow it.
        why: String,
    },
    /// The name has no address.
    #[error("no address for {0}")]
    NoSuchHost(String),
    /// No connection, or it broke.
    #[error("request to {authority} failed")]
    Failed {
        /// Host and port asked for.
        authority: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("no answer from {0} in time")]
    Timeout(String),
}
