//! Buckets and lists of objects.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use fractus_blob::limits::MAX_LIST;
use fractus_blob::{BucketName, BucketSettings, ListQuery, Store};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::App;
use crate::admin::body::{self, blocking};
use crate::admin::error::ApiError;

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

/// How much a store or a bucket holds.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) buckets: u64,
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// Counts the objects of a bucket by listing them. Blocks.
fn count(store: &Store, bucket: &BucketName) -> Result<Counts, ApiError> {
    let mut counts = Counts {
        buckets: 1,
        ..Counts::default()
    };
    let mut last = String::new();
    loop {
        let page = store.list(
            bucket,
            ListQuery {
                prefix: "",
                start_after: &last,
                limit: MAX_LIST,
            },
        )?;
        counts.objects += page.objects.len() as u64;
        counts.bytes += page.objects.iter().map(|object| object.size).sum::<u64>();
        match page.objects.last() {
            Some(object) if page.truncated => object.key.as_str().clone_into(&mut last),
            _ => return Ok(counts),
        }
    }
}

/// Counts the objects of all buckets. Blocks.
pub(super) fn count_all(store: &Store) -> Result<Counts, ApiError> {
    store
        .buckets()
        .iter()
        .try_fold(Counts::default(), |sum, bucket| {
            let more = count(store, &bucket.name)?;
            Ok(Counts {
                buckets: sum.buckets + more.buckets,
                objects: sum.objects + more.objects,
                bytes: sum.bytes + more.bytes,
            })
        })
}

pub(super) async fn list(State(admin): App) -> Result<Json<Value>, ApiError> {
    let store = admin.control.store().clone();
    let buckets = blocking(move || {
        let described = store.buckets().into_iter().map(|bucket| {
            let counts = count(&store, &bucket.name)?;
            Ok(json!({
                "name": bucket.name.as_str(),
                "public": bucket.settings.public,
                "objects": counts.objects,
                "bytes": counts.bytes,
                "created_ms": bucket.created_ms,
            }))
        });
        described.collect::<Result<Vec<_>, ApiError>>()
    });
    Ok(Json(json!({"buckets": buckets.await?})))
}

/// What a bucket shall be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    public: bool,
}

pub(super) async fn put(
    State(admin): App,
    Path(bucket): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let name = bucket_name(&bucket)?;
    let Settings { public } = body::json(body).await?;
    let created = admin
        .control
        .put_bucket(name, BucketSettings { public })
        .await?;
    tracing::info!(bucket, public, created, "bucket");
    Ok(if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    })
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
