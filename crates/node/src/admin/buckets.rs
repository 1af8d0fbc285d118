//! Buckets and lists of objects.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use fractus_blob::limits::MAX_LIST;
use fractus_blob::{BucketInfo, BucketName, BucketSettings, ListQuery, Store};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::App;
use crate::admin::body::{self, blocking};
use crate::admin::error::ApiError;
use crate::limits::{COUNTED_MAX, COUNTED_PER_BUCKET_MAX};

/// Reads a bucket's name.
pub(super) fn bucket_name(text: &str) -> Result<BucketName, ApiError> {
    BucketName::new(text).map_err(|error| {
        let hint = "use 3 to 63 of a-z, 0-9 and -";
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid-bucket-name",
            error.to_string(),
            hint,
        )
    })
}

/// How much a bucket holds, as far as it was counted.
#[derive(Debug)]
pub(super) struct Counted {
    bucket: BucketInfo,
    pub(super) objects: usize,
    bytes: u64,
    /// There is more than was counted.
    pub(super) capped: bool,
}

/// Counts the objects of all buckets by listing them, `per_bucket` at most of each and hardly more
/// than `total`. Blocks.
pub(super) fn count(
    store: &Store,
    per_bucket: usize,
    total: usize,
) -> Result<Vec<Counted>, ApiError> {
    let mut left = total;
    let counted = store.buckets().into_iter().map(|bucket| {
        let query = ListQuery {
            prefix: "",
            start_after: "",
            limit: left.clamp(1, per_bucket),
        };
        let listing = store.list(&bucket.name, query)?;
        left = left.saturating_sub(listing.objects.len());
        Ok(Counted {
            bucket,
            objects: listing.objects.len(),
            bytes: listing.objects.iter().map(|object| object.size).sum(),
            capped: listing.truncated,
        })
    });
    counted.collect()
}

pub(super) async fn list(State(admin): App) -> Result<Json<Value>, ApiError> {
    let store = admin.control.store().clone();
    let counted = blocking(move || count(&store, COUNTED_PER_BUCKET_MAX, COUNTED_MAX)).await?;
    let described = counted.iter().map(|counted| {
        json!({
            "name": counted.bucket.name.as_str(),
            "public": counted.bucket.settings.public,
            "objects": counted.objects,
            "bytes": counted.bytes,
            "objects_capped": counted.capped,
            "created_ms": counted.bucket.created_ms,
        })
    });
    let described: Vec<_> = described.collect();
    Ok(Json(json!({"buckets": described})))
}

/// What a bucket shall be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Left out, a bucket stays as it is, and a new one is private.
    public: Option<bool>,
}

pub(super) async fn put(
    State(admin): App,
    Path(bucket): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let name = bucket_name(&bucket)?;
    let Settings { public } = body::json(body).await?;
    let before = admin.control.store().bucket(&name);
    if let (None, Some(before)) = (public, before) {
        return Ok((StatusCode::OK, described(&bucket, before.settings.public)));
    }
    let public = public.unwrap_or(false);
    let created = admin
        .control
        .put_bucket(name, BucketSettings { public })
        .await?;
    tracing::info!(bucket, public, created, "bucket");
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, described(&bucket, public)))
}

fn described(bucket: &str, public: bool) -> Json<Value> {
    Json(json!({"name": bucket, "public": public}))
}

pub(super) async fn delete(
    State(admin): App,
    Path(bucket): Path<String>,
) -> Result<StatusCode, ApiError> {
    let name = bucket_name(&bucket).or(Err(ApiError::no_such_bucket(&bucket)))?;
    admin.control.delete_bucket(name).await?;
    tracing::info!(bucket, "bucket deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Which objects are asked for.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

pub(super) async fn objects(
    State(admin): App,
    Path(bucket): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let name = bucket_name(&bucket).or(Err(ApiError::no_such_bucket(&bucket)))?;
    let store = admin.control.store().clone();
    let listing = blocking(move || {
        let query = ListQuery {
            prefix: &page.prefix,
            start_after: &page.after,
            limit: page.limit.unwrap_or(MAX_LIST).min(MAX_LIST),
        };
        let listing = store.list(&name, query)?;
        let objects = listing.objects.iter().map(|object| {
            let content_type = store.head(&name, &object.key)?;
            let content_type = content_type.and_then(|(_, meta)| meta.content_type);
            Ok(json!({
                "key": object.key.as_str(),
                "size": object.size,
                "etag": object.etag.to_string(),
                "content_type": content_type,
                "modified_ms": object.modified_ms,
            }))
        });
        let objects = objects.collect::<Result<Vec<_>, ApiError>>()?;
        Ok(json!({"objects": objects, "truncated": listing.truncated}))
    });
    listing.await.map(Json)
}

#[cfg(test)]
mod tests;
