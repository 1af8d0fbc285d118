//! Bodies of admin requests and answers, bounded in size and time.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::admin::error::ApiError;
use crate::limits::{CONTROL_BODY_MAX, CONTROL_STALL_MS};

/// The next bytes of a request's body, or none at its end.
pub(super) async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    let stall = Duration::from_millis(CONTROL_STALL_MS);
    loop {
        let Ok(frame) = tokio::time::timeout(stall, body.frame()).await else {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-stalled",
                format!("no byte of the body came for {} s", stall.as_secs()),
                "check the connection and send it again",
            ));
        };
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(_)) => {
                return Err(ApiError::bad_request(
                    "the body broke off or its framing is wrong",
                    "send it again",
                ));
            }
        }
    }
}

/// Reads a JSON body of at most [`CONTROL_BODY_MAX`] bytes.
pub(super) async fn json<T: DeserializeOwned>(mut body: Body) -> Result<T, ApiError> {
    let mut text = Vec::new();
    while let Some(bytes) = next(&mut body).await? {
        if text.len() + bytes.remaining() > CONTROL_BODY_MAX {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                format!("this request's body has at most {CONTROL_BODY_MAX} bytes"),
                "shorten it",
            ));
        }
        text.extend_from_slice(&bytes);
    }
    serde_json::from_slice(&text).map_err(|error| {
        let hint = "compare it with the admin API's description";
        ApiError::bad_request(
            format!("the body is not the JSON expected here: {error}"),
            hint,
        )
    })
}

/// Runs what blocks for disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// A body made of what a channel yields; it ends when the sender is dropped.
#[derive(Debug)]
pub(crate) struct Channel(pub(crate) mpsc::Receiver<Bytes>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}
