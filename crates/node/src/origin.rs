//! What stands behind the edge: buckets, functions and upstreams, each as an
//! [`Origin`](fractus_edge::Origin). Failures are answers too, of the one form that [`problem`]
//! gives them.

mod bucket;
mod function;
mod object;
mod upstream;

use bytes::Bytes;
use fractus_func::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};

pub(crate) use self::bucket::{BucketOrigin, object_path};
pub(crate) use self::function::{FunctionOrigin, chance};
pub(crate) use self::object::{
    CACHE_CONTROL_META, ObjectRequest, decode_key, object_response, split_object_path,
};
pub(crate) use self::upstream::UpstreamOrigin;

/// Names what went wrong, for programs.
const X_FRACTUS_ERROR: HeaderName = HeaderName::from_static("x-fractus-error");

/// The answer to what cannot be answered: a code for programs, a text for people, nothing for
/// caches.
pub(crate) fn problem(status: StatusCode, code: &'static str, text: &str) -> Response<Body> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = unstored(status, kind, format!("{text}\n").into());
    let code = HeaderValue::from_static(code);
    response.headers_mut().insert(X_FRACTUS_ERROR, code);
    response
}

/// An answer of the node's own that no cache keeps. `kind` is its media type.
pub(crate) fn unstored(status: StatusCode, kind: HeaderValue, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

#[cfg(test)]
pub(crate) mod test_support;
