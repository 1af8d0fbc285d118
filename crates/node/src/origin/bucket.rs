//! Objects of public buckets, to anyone.

use std::fmt::Write as _;
use std::future::ready;

use fractus_blob::{BucketName, ObjectKey, Store};
use fractus_edge::Origin;
use fractus_func::{Body, BoxFuture, RequestId};
use http::{HeaderName, HeaderValue, Method, Request, Response};

use super::object::{
    ObjectRequest, decode_key, method_not_allowed, no_such_object, object_response,
    split_object_path,
};

/// What the route of public objects begins with.
const BUCKET_PREFIX: &str = "/b/";
/// What caches like the edge's are told (RFC 9213), browsers not.
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The path of an object on the edge, as browsers and curl spell it: percent-encoded where a path
/// must be.
pub(crate) fn object_path(bucket: &BucketName, key: &ObjectKey) -> String {
    let mut path = format!("{BUCKET_PREFIX}{bucket}/");
    for byte in key.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("strings take all");
        }
    }
    path
}

/// Answers `/b/BUCKET/KEY` from buckets marked public. A private bucket, an absent one and an
/// absent key answer alike.
#[derive(Clone, Debug)]
pub(crate) struct BucketOrigin {
    store: Store,
    generation: u64,
}

impl BucketOrigin {
    /// An origin of all public buckets of `store`.
    pub(crate) fn new(store: Store, generation: u64) -> Self {
        Self { store, generation }
    }

    /// The request for an object, if it may be made.
    fn object_request(
        &self,
        head: http::request::Parts,
    ) -> Result<ObjectRequest, Box<Response<Body>>> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Box::new(method_not_allowed()));
        }
        let path = head
            .uri
            .path()
            .strip_prefix(BUCKET_PREFIX.trim_end_matches('/'));
        let Some((bucket, key)) = path.and_then(split_object_path) else {
            return Err(Box::new(no_such_object()));
        };
        let key = decode_key(key).map_err(|error| Box::new(error.response()))?;
        let bucket = BucketName::new(bucket)
            .ok()
            .and_then(|name| self.store.bucket(&name));
        match bucket.filter(|bucket| bucket.settings.public) {
            Some(bucket) => Ok(ObjectRequest {
                bucket: bucket.name,
                key,
                method: head.method,
                headers: head.headers,
            }),
            None => Err(Box::new(no_such_object())),
        }
    }
}

impl Origin for BucketOrigin {
    /// Objects that change are invalidated one by one.
    fn generation(&self) -> u64 {
        self.generation
    }

    fn fetch(&self, request: Request<Body>, _id: RequestId) -> BoxFuture<'static, Response<Body>> {
        let (head, _) = request.into_parts();
        let path = head.uri.clone();
        let request = match self.object_request(head) {
            Ok(request) => request,
            Err(refusal) => return Box::pin(ready(*refusal)),
        };
        // A change invalidates one spelling of the path; the edge must not keep any other.
        let is_canonical = object_path(&request.bucket, &request.key) == path.path();
        let store = self.store.clone();
        Box::pin(async move {
            let mut response = object_response(&store, request).await;
            if !is_canonical {
                let no_store = HeaderValue::from_static("no-store");
                response.headers_mut().insert(CDN_CACHE_CONTROL, no_store);
            }
            response
        })
    }
}

#[cfg(test)]
mod tests;
