//! Objects: written with conditions, read as the edge reads them.

use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::Uri};
use fractus_blob::{BucketName, Committed, ETag, ObjectKey, ObjectMeta, Precondition, WriteError};
use fractus_func::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::admin::App;
use crate::admin::body;
use crate::admin::buckets::bucket_name;
use crate::admin::error::ApiError;
use crate::control::Control;
use crate::origin::{
    CACHE_CONTROL_META, ObjectRequest, decode_key, object_response, split_object_path,
};
use crate::outbound::Objects;

const PREFIX: &str = "/v1/objects";

/// The bucket and the key in the path, which is decoded once and here.
fn target(uri: &Uri) -> Result<(BucketName, ObjectKey), ApiError> {
    let path = uri.path().strip_prefix(PREFIX).and_then(split_object_path);
    let Some((bucket, key)) = path else {
        return Err(ApiError::bad_request(
            "the path names no object",
            "use /v1/objects/BUCKET/KEY",
        ));
    };
    let key = decode_key(key).map_err(|error| {
        let hint = "use 1 to 1024 bytes of UTF-8, percent-encoded";
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid-key",
            error.to_string(),
            hint,
        )
    })?;
    let bucket = bucket_name(bucket).or(Err(ApiError::no_such_bucket(bucket)))?;
    Ok((bucket, key))
}

pub(super) async fn get(State(admin): App, request: Request) -> Result<Response, ApiError> {
    let (bucket, key) = target(request.uri())?;
    let (head, _) = request.into_parts();
    let store = admin.control.store();
    let asked = ObjectRequest {
        bucket: bucket.clone(),
        key: key.clone(),
        method: head.method,
        headers: head.headers,
    };
    let response = object_response(store, asked).await;
    match response.status() {
        StatusCode::NOT_FOUND if store.bucket(&bucket).is_none() => {
            Err(ApiError::no_such_bucket(bucket.as_str()))
        }
        StatusCode::NOT_FOUND => Err(ApiError::no_such_object(bucket.as_str(), key.as_str())),
        StatusCode::INTERNAL_SERVER_ERROR => {
            Err(ApiError::unreadable(bucket.as_str(), key.as_str()))
        }
        _ => Ok(response.map(Body::new)),
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, ApiError> {
    let text = headers
        .get(name)
        .map(|value| value.to_str().map(ToOwned::to_owned));
    text.transpose().map_err(|_opaque| {
        ApiError::bad_request(format!("{name} is not plain ASCII"), "write it in ASCII")
    })
}

/// What `If-None-Match: *` and `If-Match` ask for.
fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let unsupported = || {
        ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "unsupported-condition",
            "writes know `If-None-Match: *`, `If-Match: *` and `If-Match` with one strong tag",
            "use one of these",
        )
    };
    let absent = text_of(headers, &IF_NONE_MATCH)?;
    let present = text_of(headers, &IF_MATCH)?;
    match (
        absent.as_deref().map(str::trim),
        present.as_deref().map(str::trim),
    ) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::IfAbsent),
        (None, Some("*")) => Ok(Precondition::IfPresent),
        // A tag of another form is none of ours, so no object has it.
        (None, Some(tag)) if !tag.contains(',') => match tag.parse::<ETag>() {
            Ok(tag) => Ok(Precondition::IfMatch(tag)),
            Err(_) => Err(WriteError::PreconditionFailed.into()),
        },
        _ => Err(unsupported()),
    }
}

pub(super) async fn put(State(admin): App, request: Request) -> Result<Response, ApiError> {
    let (bucket, key) = target(request.uri())?;
    let (head, body) = request.into_parts();
    let (done, size) = store(&admin.control, (&bucket, &key), &head.headers, body).await?;
    let etag = done.etag.map(|tag| tag.to_string());
    let answer = json!({"key": key.as_str(), "size": size, "etag": etag});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Stores an object, with the type, cache rules and condition that header fields say. Answers what
/// was committed, and the size.
async fn store(
    control: &Arc<Control>,
    (bucket, key): (&BucketName, &ObjectKey),
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Committed, u64), ApiError> {
    let precondition = precondition(headers)?;
    let cache_control = text_of(headers, &CACHE_CONTROL)?;
    let meta = ObjectMeta {
        content_type: text_of(headers, &CONTENT_TYPE)?,
        user: cache_control
            .map(|value| (CACHE_CONTROL_META.to_owned(), value))
            .into_iter()
            .collect(),
    };
    if control.store().bucket(bucket).is_none() {
        // Said at the end as well; but by then the bytes would take space for nothing.
        let bucket = bucket.clone();
        return Err(WriteError::NoSuchBucket { bucket }.into());
    }
    let mut writer = control
        .store()
        .writer(bucket, key, meta)
        .precondition(precondition);
    let mut size = 0_u64;
    while let Some(bytes) = body::next(&mut body).await? {
        size += bytes.len() as u64;
        writer.write_async(&bytes).await?;
    }
    let done = control.put_object(bucket, key, (writer, size)).await?;
    Ok((done, size))
}

/// Changes objects on functions' behalf, as this API does.
#[derive(Debug)]
pub(crate) struct GuestObjects(pub(crate) Weak<Control>);

impl Objects for GuestObjects {
    fn change(
        &self,
        bucket: BucketName,
        key: ObjectKey,
        request: http::Request<fractus_func::Body>,
    ) -> BoxFuture<'static, http::Response<fractus_func::Body>> {
        let control = Weak::clone(&self.0);
        Box::pin(async move {
            let changed = match control.upgrade() {
                Some(control) => change(&control, &bucket, &key, request).await,
                None => Err(WriteError::Interrupted.into()),
            };
            let answer = changed.unwrap_or_else(IntoResponse::into_response);
            let failed = |_| fractus_func::BodyError::Disconnected;
            answer.map(|body| body.map_err(failed).boxed_unsync())
        })
    }
}

async fn change(
    control: &Arc<Control>,
    bucket: &BucketName,
    key: &ObjectKey,
    request: http::Request<fractus_func::Body>,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    if head.method == Method::DELETE {
        let precondition = precondition(&head.headers)?;
        control.delete_object(bucket, key, precondition).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let body = Body::new(body);
    let (done, _size) = store(control, (bucket, key), &head.headers, body).await?;
    let mut response = StatusCode::CREATED.into_response();
    if let Some(tag) = done
        .etag
        .and_then(|tag| HeaderValue::try_from(tag.to_string()).ok())
    {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

pub(super) async fn delete(State(admin): App, request: Request) -> Result<StatusCode, ApiError> {
    let (bucket, key) = target(request.uri())?;
    let precondition = precondition(request.headers())?;
    admin
        .control
        .delete_object(&bucket, &key, precondition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
