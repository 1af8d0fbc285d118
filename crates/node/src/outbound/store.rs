//! `http://store.internal/BUCKET/KEY`: a function's way to objects, without a socket.

use std::future::ready;

use fractus_blob::Store;
use fractus_func::{Body, BoxFuture, OutboundError};
use http::uri::Scheme;
use http::{Request, Response, StatusCode};

use super::host::Host;
use super::policy::{Policy, Target};
use crate::origin::{ObjectRequest, decode_key, object_response, problem, split_object_path};

/// Names under `.internal` are nobody's in DNS, by ICANN's reservation.
const STORE: &str = "store.internal";

/// Whether a request is for the store. It then never leaves the node.
pub(super) fn is_store(target: &Target) -> bool {
    matches!(&target.host, Host::Name(name) if **name == *STORE)
}

/// Refuses every way to the store but the one that there is.
pub(super) fn elsewhere(target: &Target) -> OutboundError {
    target.denied(format!(
        "the store is at `http://{STORE}/BUCKET/KEY`, without TLS or port"
    ))
}

/// Answers from the buckets that `policy` names.
pub(super) fn answer(
    store: &Store,
    policy: &Policy,
    target: &Target,
    request: Request<Body>,
) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
    if target.scheme != Scheme::HTTP || target.port != 80 {
        return Box::pin(ready(Err(elsewhere(target))));
    }
    let store = store.clone();
    match object_request(policy, request) {
        Ok(request) => Box::pin(async move { Ok(object_response(&store, request).await) }),
        Err(refusal) => Box::pin(ready(Ok(*refusal))),
    }
}

fn object_request(
    policy: &Policy,
    request: Request<Body>,
) -> Result<ObjectRequest, Box<Response<Body>>> {
    let (head, _) = request.into_parts();
    let Some((bucket, key)) = split_object_path(head.uri.path()) else {
        let text = format!("an object is at http://{STORE}/BUCKET/KEY");
        return Err(Box::new(problem(
            StatusCode::NOT_FOUND,
            "no-such-object",
            &text,
        )));
    };
    let Some(bucket) = policy.bucket(bucket) else {
        let text = format!(
            "the manifest does not allow bucket `{bucket}`: to allow it write `buckets = \
             [\"{bucket}\"]` under `[access]` in fractus.toml"
        );
        return Err(Box::new(problem(
            StatusCode::FORBIDDEN,
            "bucket-not-allowed",
            &text,
        )));
    };
    Ok(ObjectRequest {
        bucket: bucket.clone(),
        key: decode_key(key).map_err(|error| Box::new(error.response()))?,
        method: head.method,
        headers: head.headers,
    })
}
