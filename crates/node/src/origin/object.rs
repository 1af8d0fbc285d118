//! An object as an HTTP answer: one way for buckets on the edge, `store.internal` and the admin
//! API.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fractus_blob::{
    BucketName, Object, ObjectInfo, ObjectKey, ObjectKeyError, ObjectMeta, ObjectReader, ReadError,
    Store,
};
use fractus_cache::{
    Conditional, RangeAnswer, Timestamp, Validators, conditional_origin, not_modified_headers,
    range_answer,
};
use fractus_func::{Body, BodyError};
use fractus_stdx::ErrorChain;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{full, problem};

/// Name of the user metadata that an object's Cache-Control is stored under.
pub(crate) const CACHE_CONTROL_META: &str = "cache-control";
/// Cache-Control of an object in a public bucket that has none of its own. The node's edge forgets
/// the object when it changes, so the minute is for browsers and for caches in between.
const CACHE_CONTROL_PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=60");
/// Cache-Control of an object in a private bucket that has none of its own.
const CACHE_CONTROL_PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// The last second that an HTTP-date can say, in milliseconds since 1970.
const LAST_HTTP_DATE_MS: u64 = 253_402_300_799_000;

/// A request for an object, once somebody decided that it may be made.
#[derive(Debug)]
pub(crate) struct ObjectRequest {
    /// The bucket.
    pub(crate) bucket: BucketName,
    /// The object's key.
    pub(crate) key: ObjectKey,
    /// GET or HEAD; others are answered 405.
    pub(crate) method: Method,
    /// Its fields, of which conditions and ranges matter.
    pub(crate) headers: HeaderMap,
}

/// A path that holds no key.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("`%` must be followed by two hexadecimal digits")]
    Encoding,
    /// Decoded, it is no key.
    #[error(transparent)]
    Key(ObjectKeyError),
}

impl KeyError {
    /// 400 `bad-key`.
    pub(crate) fn response(&self) -> Response<Body> {
        problem(
            StatusCode::BAD_REQUEST,
            "bad-key",
            &format!("the path holds no key: {self}"),
        )
    }
}

/// Splits `/BUCKET/KEY`; None without a key. The key is not decoded.
pub(crate) fn split_object_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?
        .split_once('/')
        .filter(|(_, key)| !key.is_empty())
}

/// Reads the key in a URL's path: percent-decoded once, and then bytes as they are. `..` and `//`
/// mean nothing.
pub(crate) fn decode_key(raw: &str) -> Result<ObjectKey, KeyError> {
    let mut key = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            key.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return Err(KeyError::Encoding);
        };
        let digits = (hexadecimal(*high), hexadecimal(*low));
        let (Some(high), Some(low)) = digits else {
            return Err(KeyError::Encoding);
        };
        key.push(high << 4 | low);
        rest = tail;
    }
    ObjectKey::from_bytes(&key).map_err(KeyError::Key)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Answers GET and HEAD with conditions (RFC 9110 §13) and ranges (§14); 404 if there is no such
/// object or bucket. Bytes that fail their checksum are never sent: the answer is a 500, or breaks
/// off if it had begun.
pub(crate) async fn object_response(store: &Store, request: ObjectRequest) -> Response<Body> {
    if request.method != Method::GET && request.method != Method::HEAD {
        return method_not_allowed();
    }
    let store = store.clone();
    let name = Name::of(&request);
    match spawn_blocking(move || answer(&store, &request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            name.log(&error);
            storage_failed()
        }
        Err(error) => {
            name.log(&error);
            storage_failed()
        }
    }
}

/// 404, of an object that is not there or not to be seen.
pub(super) fn no_such_object() -> Response<Body> {
    problem(
        StatusCode::NOT_FOUND,
        "no-such-object",
        "there is no such object",
    )
}

/// 405.
pub(super) fn method_not_allowed() -> Response<Body> {
    let text = "objects are read here: GET or HEAD";
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", text);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn storage_failed() -> Response<Body> {
    let text = "the object's stored bytes cannot be read; the node's log says why";
    problem(StatusCode::INTERNAL_SERVER_ERROR, "storage", text)
}

/// Blocks for the index and for the first bytes.
fn answer(store: &Store, request: &ObjectRequest) -> Result<Response<Body>, ReadError> {
    let Some(bucket) = store.bucket(&request.bucket) else {
        return Ok(no_such_object());
    };
    let object = match store.get(&request.bucket, &request.key) {
        Ok(Some(object)) => object,
        Ok(None) | Err(ReadError::NoSuchBucket { .. }) => return Ok(no_such_object()),
        Err(error) => return Err(error),
    };
    let (info, headers) = (object.info(), &request.headers);
    let fields = fields(info, object.meta(), bucket.settings.public);
    let validators = Validators {
        etag: fields.get(ETAG),
        last_modified: Some(Timestamp::from_millis(info.modified_ms)),
    };
    match conditional_origin(&request.method, headers, validators) {
        Conditional::Full => {}
        Conditional::NotModified => return Ok(not_modified(&fields)),
        Conditional::PreconditionFailed => return Ok(precondition_failed()),
    }
    if request.method == Method::HEAD {
        return Ok(empty(whole(info.size, fields)));
    }
    match range_answer(headers, validators, info.size) {
        RangeAnswer::Full => read(&object, 0..info.size, whole(info.size, fields), request),
        RangeAnswer::Partial { first, last } => {
            let head = part(first, last, info.size, fields);
            read(&object, first..last + 1, head, request)
        }
        RangeAnswer::NotSatisfiable => Ok(not_satisfiable(info.size)),
    }
}

/// The fields of a 200 but for its length.
fn fields(info: &ObjectInfo, meta: &ObjectMeta, public: bool) -> HeaderMap {
    let own = meta
        .user
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(CACHE_CONTROL_META));
    let cache_control = own.and_then(|(_, value)| HeaderValue::from_str(value).ok());
    let default = if public {
        CACHE_CONTROL_PUBLIC
    } else {
        CACHE_CONTROL_PRIVATE
    };
    let content_type = meta.content_type.as_deref().map(HeaderValue::from_str);
    let octets = HeaderValue::from_static("application/octet-stream");
    let modified = Duration::from_millis(info.modified_ms.min(LAST_HTTP_DATE_MS));
    let mut fields = HeaderMap::with_capacity(8);
    fields.insert(
        CONTENT_TYPE,
        content_type.and_then(Result::ok).unwrap_or(octets),
    );
    fields.insert(ETAG, ascii(&format!("\"{}\"", info.etag)));
    fields.insert(
        LAST_MODIFIED,
        ascii(&httpdate::fmt_http_date(UNIX_EPOCH + modified)),
    );
    fields.insert(CACHE_CONTROL, cache_control.unwrap_or(default));
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, letters and punctuation of ASCII")
}

type Head = (StatusCode, HeaderMap);

fn whole(size: u64, mut fields: HeaderMap) -> Head {
    fields.insert(CONTENT_LENGTH, HeaderValue::from(size));
    (StatusCode::OK, fields)
}

fn part(first: u64, last: u64, size: u64, mut fields: HeaderMap) -> Head {
    fields.insert(CONTENT_LENGTH, HeaderValue::from(last - first + 1));
    fields.insert(
        CONTENT_RANGE,
        ascii(&format!("bytes {first}-{last}/{size}")),
    );
    (StatusCode::PARTIAL_CONTENT, fields)
}

fn not_modified(fields: &HeaderMap) -> Response<Body> {
    empty((StatusCode::NOT_MODIFIED, not_modified_headers(fields)))
}

fn precondition_failed() -> Response<Body> {
    let text = "the object is not the one that If-Match or If-Unmodified-Since asks for";
    problem(StatusCode::PRECONDITION_FAILED, "precondition-failed", text)
}

fn not_satisfiable(size: u64) -> Response<Body> {
    let text = format!("the object has {size} bytes, none of them in the range asked for");
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut response = problem(status, "range-not-satisfiable", &text);
    response
        .headers_mut()
        .insert(CONTENT_RANGE, ascii(&format!("bytes */{size}")));
    response
}

fn empty(head: Head) -> Response<Body> {
    with_body(head, full(Bytes::new()))
}

fn with_body((status, fields): Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// Reads the first block at once, so that an object that cannot be read becomes an error, and one
/// that is small a body that needs no thread any more.
fn read(
    object: &Object,
    range: Range<u64>,
    head: Head,
    request: &ObjectRequest,
) -> Result<Response<Body>, ReadError> {
    let length = range.end - range.start;
    if length == 0 {
        return Ok(empty(head));
    }
    let mut reader = Box::new(object.read(range));
    let first = reader.next_block()?.unwrap_or_default();
    if first.len() as u64 == length {
        return Ok(with_body(head, full(first)));
    }
    let body = ObjectBody {
        name: Name::of(request),
        left: length,
        state: State::Read(first, reader),
    };
    Ok(with_body(head, body.boxed_unsync()))
}

/// Which object, for the log.
#[derive(Clone, Debug)]
struct Name {
    bucket: BucketName,
    key: ObjectKey,
}

impl Name {
    fn of(request: &ObjectRequest) -> Self {
        Self {
            bucket: request.bucket.clone(),
            key: request.key.clone(),
        }
    }

    fn log(&self, error: &dyn std::error::Error) {
        let Self { bucket, key } = self;
        tracing::error!(%bucket, key = key.as_str(), error = %ErrorChain(error), "read an object");
    }
}

/// The body of an object of several blocks. One block is read ahead on a thread that may block,
/// while the one before it is sent; a slow client holds two blocks and no thread.
struct ObjectBody {
    name: Name,
    /// Bytes that are still to come.
    left: u64,
    state: State,
}

/// What a read gave, and the reader back.
type Read = (Result<Option<Bytes>, ReadError>, Box<ObjectReader>);

enum State {
    /// A block that no one has asked for yet.
    Read(Bytes, Box<ObjectReader>),
    /// The next block is on its way.
    Reading(JoinHandle<Read>),
    /// All was given, or reading failed.
    Ended,
}

impl ObjectBody {
    fn give(
        &mut self,
        block: Bytes,
        mut reader: Box<ObjectReader>,
    ) -> Result<Frame<Bytes>, BodyError> {
        let left = self.left.checked_sub(block.len() as u64);
        let Some(left) = left.filter(|_| !block.is_empty()) else {
            return Err(self.fail(&LengthError));
        };
        self.left = left;
        if left > 0 {
            self.state = State::Reading(spawn_blocking(move || (reader.next_block(), reader)));
        }
        Ok(Frame::data(block))
    }

    fn fail(&self, error: &dyn std::error::Error) -> BodyError {
        self.name.log(error);
        BodyError::Storage
    }
}

/// A reader gave more or fewer bytes than its object has.
#[derive(Debug, Error)]
#[error("the object's length is not what the index says")]
struct LengthError;

impl HttpBody for ObjectBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let (read, reader) = match std::mem::replace(&mut this.state, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::Read(block, reader) => (Ok(Some(block)), reader),
            State::Reading(mut reading) => match Pin::new(&mut reading).poll(context) {
                Poll::Pending => {
                    this.state = State::Reading(reading);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(this.fail(&error)))),
            },
        };
        Poll::Ready(Some(match read {
            Ok(block) => this.give(block.unwrap_or_default(), reader),
            Err(error) => Err(this.fail(&error)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests;
