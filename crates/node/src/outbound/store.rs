//! `http://store.internal/BUCKET/KEY`: a function's way to objects, without a socket.

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use fractus_blob::{BucketName, ObjectKey, Store};
use fractus_func::{Body, BoxFuture, OutboundError};
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};

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

/// Changes objects on functions' behalf.
pub(crate) trait Objects: fmt::Debug + Send + Sync {
    /// Stores or deletes an object, as the request's method says. A failure is an answer.
    fn change(
        &self,
        bucket: BucketName,
        key: ObjectKey,
        request: Request<Body>,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// Answers from the buckets that `policy` names; `objects` changes them.
pub(super) fn answer(
    (store, objects): (&Store, Option<&Arc<dyn Objects>>),
    policy: &Policy,
    target: &Target,
    request: Request<Body>,
) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
    if target.scheme != Scheme::HTTP || target.port != 80 {
        return Box::pin(ready(Err(elsewhere(target))));
    }
    let store = store.clone();
    let (head, body) = request.into_parts();
    match object_request(policy, &head) {
        Ok(asked) if [Method::PUT, Method::DELETE].contains(&asked.method) => {
            let ObjectRequest { bucket, key, .. } = asked;
            let Some(objects) = objects.filter(|_| policy.writes(&bucket)) else {
                return Box::pin(ready(Ok(read_only(&bucket))));
            };
            let changed = objects.change(bucket, key, Request::from_parts(head, body));
            Box::pin(async move { Ok(changed.await) })
        }
        Ok(request) => Box::pin(async move { Ok(object_response(&store, request).await) }),
        Err(refusal) => Box::pin(ready(Ok(*refusal))),
    }
}

fn read_only(bucket: &BucketName) -> Response<Body> {
    let text = format!(
        "the manifest does not allow to write bucket `{bucket}`: to allow it write `writes = \
         [\"{bucket}\"]` under `[access]` in fractus.toml"
    );
    problem(StatusCode::FORBIDDEN, "bucket-not-writable", &text)
}

fn object_request(policy: &Policy, head: &Parts) -> Result<ObjectRequest, Box<Response<Body>>> {
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
        method: head.method.clone(),
        headers: head.headers.clone(),
    })
}
