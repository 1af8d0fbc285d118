//! Events that wait, schedules, and queues.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::StatusCode;
use md5::{Digest as _, Md5};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::admin::App;
use crate::admin::body;
use crate::admin::error::ApiError;
use crate::events::{NewMessage, QueueError, QueueInfo, QueueSpec};
use crate::limits::QUEUE_MESSAGE_MAX;

/// How events and schedules stand.
pub(super) async fn show(State(admin): App) -> Json<Value> {
    let events = admin.control.events();
    let stats = events.stats().await;
    let schedules = events.schedules(None).into_iter().map(|schedule| {
        json!({
            "function": schedule.function,
            "schedule": schedule.spec.expression,
            "timezone": schedule.spec.timezone,
            "next_ms": schedule.next_ms,
            "last_fire_ms": schedule.last_fire_ms,
            "missed": schedule.missed,
            "last_missed_ms": schedule.last_missed_ms,
        })
    });
    Json(json!({
        "queued": stats.queued,
        "bytes": stats.bytes,
        "in_flight": stats.in_flight,
        "delivering": stats.delivering,
        "oldest_ms": stats.oldest_ms,
        "added": stats.added,
        "done": stats.done,
        "failed": stats.failed,
        "retried": stats.retried,
        "delivered": stats.delivered,
        "dropped": stats.dropped,
        "missed": stats.missed,
        "stopped": stats.stopped,
        "schedules": schedules.collect::<Vec<_>>(),
    }))
}

fn describe(queue: &QueueInfo) -> Value {
    json!({
        "name": queue.name,
        "ready": queue.ready,
        "in_flight": queue.in_flight,
        "hidden": queue.hidden,
        "oldest_ms": queue.oldest_ms,
        "created_ms": queue.created_ms,
        "visibility_ms": queue.spec.visibility_ms,
        "retention_ms": queue.spec.retention_ms,
        "max_receives": queue.spec.max_receives,
        "dead_letter": queue.spec.dead_letter,
    })
}

pub(super) async fn queues(State(admin): App) -> Json<Value> {
    let queues = admin.control.events().queues(None).await;
    Json(json!({"queues": queues.iter().map(describe).collect::<Vec<_>>()}))
}

/// What is to be changed of a queue; the rest stays, or is SQS's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    visibility_ms: Option<u64>,
    retention_ms: Option<u64>,
    max_receives: Option<u32>,
    dead_letter: Option<String>,
}

pub(super) async fn put_queue(
    State(admin): App,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let change: Change = body::json(body).await?;
    let events = admin.control.events();
    let before = events.queues(Some(&name)).await;
    let mut spec = before
        .first()
        .map_or_else(QueueSpec::default, |queue| queue.spec.clone());
    spec.visibility_ms = change.visibility_ms.unwrap_or(spec.visibility_ms);
    spec.retention_ms = change.retention_ms.unwrap_or(spec.retention_ms);
    spec.max_receives = change.max_receives.or(spec.max_receives);
    spec.dead_letter = change.dead_letter.or(spec.dead_letter);
    events.put_queue(&name, spec).await?;
    let status = if before.is_empty() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let queues = events.queues(Some(&name)).await;
    let told = queues.first().map_or(Value::Null, describe);
    Ok((status, Json(told)))
}

pub(super) async fn delete_queue(
    State(admin): App,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let removed = admin.control.events().delete_queue(&name).await;
    if removed.map_err(QueueError::from)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(QueueError::NotFound { name }.into())
    }
}

pub(super) async fn purge_queue(
    State(admin): App,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    admin.control.events().purge_queue(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A message to be sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    body: String,
    #[serde(default)]
    attributes: Option<Box<RawValue>>,
    #[serde(default)]
    delay_ms: u64,
}

pub(super) async fn send(
    State(admin): App,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Sent {
        body,
        attributes,
        delay_ms,
    } = body::json(body).await?;
    if body.len() > QUEUE_MESSAGE_MAX {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "message-too-large",
            format!(
                "a message has at most {QUEUE_MESSAGE_MAX} bytes, not {}",
                body.len()
            ),
            "keep the data in a bucket, and send its key",
        ));
    }
    let md5 = md5_of(&body);
    let message = NewMessage {
        body,
        md5: md5.clone(),
        attributes,
        delay_ms,
    };
    let id = admin.control.events().queue_send(&name, message).await?;
    Ok((StatusCode::CREATED, Json(json!({"id": id, "md5": md5}))))
}

/// The MD5 of a message (RFC 1321), in hexadecimal, as SQS tells it.
pub(crate) fn md5_of(body: &str) -> String {
    fractus_stdx::Hex(&Md5::digest(body)).to_string()
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        let message = fractus_stdx::ErrorChain(&error).to_string();
        match &error {
            QueueError::NotFound { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "no-such-queue",
                message,
                "`fractus queue create` makes one",
            ),
            QueueError::Name => Self::bad_request(message, "choose another name"),
            QueueError::TooMany => Self::new(
                StatusCode::CONFLICT,
                "too-many-queues",
                message,
                "remove queues that are not used any more",
            ),
            QueueError::Full => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "queues-full",
                message,
                "see with `fractus queue ls` which one is not worked off",
            ),
            QueueError::Write(_) => Self::internal(&error),
        }
    }
}
