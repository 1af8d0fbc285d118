//! The seam between a function and what runs it.
//!
//! A [`Runtime`] compiles artifacts and loads [`Program`]s; a [`Program`] answers [`Call`]s; a
//! [`Host`] is all that a running function can reach of the node.

use std::any::Any;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;

use crate::{FunctionName, Limits, Manifest, ManifestError, Outcome, RequestId, RuntimeKind};

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
    /// Besides what it returns, it may leave files in a place of the runtime's own.
    fn compile(&self, artifact: &[u8]) -> Result<Vec<u8>, CompileError>;

    /// Tells what [`Runtime::compile`] made, and checks that it and a manifest go together. Quick;
    /// called at deploy, before the version is written down.
    fn describe(&self, compiled: &Path, manifest: &Manifest) -> Result<Description, CompileError>;

    /// Loads what [`Runtime::compile`] returned under the same fingerprint from a file that nobody
    /// else can write, for a function with this manifest.
    fn load(
        &self,
        compiled: &Path,
        manifest: &Manifest,
        identity: &Identity,
    ) -> Result<Arc<dyn Program>, LoadError>;

    /// Gives up what [`Runtime::compile`] left besides this file, which is removed next. Programs
    /// that were loaded from it keep what they need.
    fn forget(&self, _compiled: &Path) {}

    /// Gives back memory that it holds for calls which may never come, as little as it can; false
    /// when there is none.
    fn reclaim(&self) -> bool {
        false
    }

    /// Gives up what [`Runtime::compile`] left for all files but these; called once at start, so
    /// that nothing stays behind of compilations that were cut off.
    fn retain(&self, _compiled: &[PathBuf]) {}
}

/// Who a version of a function is to itself, as AWS Lambda tells its guests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// `$LATEST`, or the number of a published version.
    pub version: Arc<str>,
    /// The function's ARN, without a qualifier.
    pub arn: Arc<str>,
    /// The region that it runs in.
    pub region: Arc<str>,
}

impl Default for Identity {
    /// That of a function which nobody published, in AWS's first region.
    fn default() -> Self {
        Self {
            version: "$LATEST".into(),
            arn: "arn:aws:lambda:us-east-1:000000000000:function:function".into(),
            region: "us-east-1".into(),
        }
    }
}

/// What an artifact was compiled to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Description {
    /// What runs it.
    pub runtime: RuntimeKind,
    /// Packages that it shares with other functions.
    pub packages: usize,
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

    /// Connects to where the guest's manifest lets it, for bytes that the node does not look into.
    /// `authority` is a host with a port, or the port is 443.
    fn connect(&self, authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>>;

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

/// A connection of a guest's to somewhere outside.
#[derive(Debug)]
pub struct Tunnel {
    /// A connected TCP socket, whose reads and writes return at once.
    pub socket: OwnedFd,
    /// The place that the connection takes up, given back when this is dropped: whoever uses the
    /// socket keeps it for as long.
    pub place: Box<dyn Any + Send + Sync>,
}

/// The node's memory for guests that outlive a call.
pub trait Memory: fmt::Debug + Send + Sync {
    /// Takes `bytes`, if so many are left.
    fn reserve(&self, bytes: usize) -> bool;

    /// Gives back what was taken.
    fn release(&self, bytes: usize);

    /// How much there is in all, if there is an end to it.
    fn total(&self) -> Option<usize> {
        None
    }
}

/// One call of a function.
#[derive(Debug)]
pub struct Call {
    /// Identifies the call in logs, usage records and answers.
    pub id: RequestId,
    /// The request as the guest shall see it; its URI is absolute.
    pub request: http::Request<Body>,
    /// If there is one, the request's body is an event in JSON, and the answer's body what the
    /// handler returned; a handler that knows only HTTP answers with [`SpeaksHttp`] among the
    /// answer's extensions. Without one, the manifest says how the request reaches the handler.
    pub event: Option<EventCall>,
    /// The function's side of the node.
    pub host: Arc<dyn Host>,
    /// How long the call waited for an instance, in microseconds.
    pub queue_us: u64,
    /// How long the program took to load for this call, in microseconds; 0 when it was loaded.
    pub load_us: u64,
}

/// What a call with an event has besides the event.
#[derive(Clone, Debug)]
pub struct EventCall {
    /// The ARN by which the function was called, with the qualifier if there was one.
    pub arn: Arc<str>,
    /// The caller's client context: JSON.
    pub client_context: Option<String>,
}

/// Who signed a request, among its extensions: it was found right (AWS Signature Version 4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedBy {
    /// The access key.
    pub access_key_id: String,
    /// The account that it belongs to: twelve digits.
    pub account: String,
}

/// Marks the answer to an event of a handler that knows only HTTP.
#[derive(Clone, Copy, Debug)]
pub struct SpeaksHttp;

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
    #[error("not WebAssembly, nor a zip archive: the file starts with neither \\0asm nor PK")]
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
    /// An archive that cannot be unpacked or holds no function; the message says what to change.
    #[error("the archive cannot be used: {0}")]
    Archive(String),
    /// Packages that could not be installed; the message is the installer's.
    #[error("the packages of requirements.txt cannot be installed: {0}")]
    Packages(String),
    /// The manifest names a runtime that the artifact is not made for.
    #[error("the manifest says `runtime = \"{wanted}\"`, but the artifact is {found}")]
    OtherRuntime {
        /// What the manifest says.
        wanted: RuntimeKind,
        /// What the artifact can be run by, in words.
        found: String,
    },
    /// The manifest asks for what the artifact's runtime does not have.
    #[error("the manifest does not suit the artifact")]
    Unfit(#[source] ManifestError),
    /// Functions of this kind cannot be run on this machine; the message says why.
    #[error("{0}")]
    Unsupported(String),
    /// The disk failed or is full; nothing is wrong with the artifact.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
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
    /// The guest's own name for it, such as `ValueError`, where it has one.
    pub kind: Option<String>,
    /// Where it happened, in the lines of the guest's language.
    pub stack: Vec<String>,
}

impl CallError {
    /// One that the guest has no name for.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: message.into(),
            kind: None,
            stack: Vec::new(),
        }
    }
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
