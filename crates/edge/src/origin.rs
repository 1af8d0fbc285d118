//! What stands behind the edge.

use std::fmt;
use std::time::Instant;

use fractus_func::{Body, BoxFuture, RequestId};
use http::{Request, Response};

/// A source of answers: a function, a bucket, an upstream.
pub trait Origin: fmt::Debug + Send + Sync {
    /// Part of what a cached answer is filed under: answers of one generation are never served for
    /// another, such as those of a function's previous version. Called for every request; must be
    /// cheap and must not block.
    ///
    /// It is all that tells origins apart when routes change, so generations are unique among all
    /// origins that an edge ever gets; a counter that they share makes them so. Two may have the
    /// same only if they answer alike, as two handles of one function's version do.
    fn generation(&self) -> u64;

    /// Answers a request; failures are answers too, with a status, `X-Fractus-Error: CODE` and a
    /// plain text that says what happened.
    ///
    /// The request's URI is absolute, path and query in the normal form of cache keys
    /// ([`normal_target`](fractus_cache::normal_target): only percent-encodings differ from what
    /// the client sent), its hop-by-hop fields are gone and `X-Forwarded-For`, `-Proto` and `-Host`
    /// are the edge's. Its body ends with [`BodyError::Stalled`](fractus_func::BodyError::Stalled)
    /// when the client sends nothing for the edge's stall time, and with
    /// [`BodyError::Disconnected`](fractus_func::BodyError::Disconnected) when it breaks off or
    /// breaks its framing; its size is for the origin to limit. The client's going away or breaking
    /// its body's framing drops the future or the answer's body, unless others wait for the same
    /// answer.
    ///
    /// A request that says which trace it is part of has an [`Arrived`] among its extensions.
    fn fetch(&self, request: Request<Body>, id: RequestId) -> BoxFuture<'static, Response<Body>>;
}

/// When the edge had read the head of a request. Only requests with `traceparent` or
/// `X-Amzn-Trace-Id` have one, since it costs the others time.
#[derive(Clone, Copy, Debug)]
pub struct Arrived(pub Instant);
