//! Answers of the admin API to what it cannot do: what happened, why, and what to do.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fractus_blob::{ReadError, WriteError};
use fractus_func::CompileError;
use fractus_stdx::ErrorChain;
use http::StatusCode;
use serde_json::json;

use crate::artifacts::ArtifactError;
use crate::control::DeployError;

/// A refusal or a failure.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: &'static str,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            hint,
        }
    }

    /// Its status, its code for programs, and what happened.
    pub(crate) fn into_parts(self) -> (StatusCode, &'static str, String) {
        (self.status, self.code, self.message)
    }

    /// No token, or a wrong one.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the admin API needs the node's token",
            "send `Authorization: Bearer TOKEN` with the admin_token of DIR/credentials.json",
        )
    }

    /// Something in the request that is not what it must be.
    pub(crate) fn bad_request(message: impl Into<String>, hint: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message, hint)
    }

    /// No function has this name.
    pub(crate) fn no_such_function(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-function",
            format!("there is no function `{name}`"),
            "`fractus ls` lists those that are deployed",
        )
    }

    /// No bucket has this name.
    pub(crate) fn no_such_bucket(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-bucket",
            format!("there is no bucket `{name}`"),
            "`fractus bucket create` makes one",
        )
    }

    /// The bucket has no such object.
    pub(crate) fn no_such_object(bucket: &str, key: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-object",
            format!("there is no object `{key}` in bucket `{bucket}`"),
            "`fractus bucket ls BUCKET` shows what is there",
        )
    }

    /// An object that is there and cannot be read.
    pub(crate) fn unreadable(bucket: &str, key: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "storage",
            format!("the node found damaged data: object `{key}` of bucket `{bucket}` is not sent"),
            "the node's log says what is damaged; store the object again from another copy",
        )
    }

    /// The node's fault; the log has more.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let message = ErrorChain(error).to_string();
        tracing::error!(error = %message, "admin request");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            message,
            "the node's log says more; try again, and check the disk below the data directory",
        )
    }

    /// The disk, or the part of it that may be used, is full.
    fn no_space(message: String) -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "no-space",
            message,
            "free space on the disk or raise store_max, and try again; deleted objects keep their \
             space in this version",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }});
        (self.status, Json(body)).into_response()
    }
}

/// The code of an artifact that cannot become a function, and what to do about it.
fn invalid(why: &CompileError) -> (&'static str, &'static str) {
    match why {
        CompileError::NotWasm
        | CompileError::CoreModule
        | CompileError::Invalid(_)
        | CompileError::UnknownImport(_)
        | CompileError::NoHandler { .. } => (
            "invalid-artifact",
            "a function is a component of wasi:http 0.2, built for wasm32-wasip2 as examples/hello \
             is, or a zip archive of Python, Node or native code",
        ),
        CompileError::Archive(_) => (
            "invalid-artifact",
            "`fractus deploy DIRECTORY` packs a directory so that it can be used",
        ),
        CompileError::Packages(_) => (
            "packages",
            "correct requirements.txt; the node installs with its own pip, and PIP_INDEX_URL and the \
             like in its environment count",
        ),
        CompileError::OtherRuntime { .. } => (
            "invalid-manifest",
            "correct `runtime` in fractus.toml, or leave it out: the artifact tells it",
        ),
        CompileError::Unfit(_) => ("invalid-manifest", "correct fractus.toml"),
        CompileError::Unsupported(_) => (
            "unsupported",
            "`fractus status` and the node's log say what is missing on its machine",
        ),
        CompileError::Io { .. } => (
            "invalid-artifact",
            "check the disk below the data directory",
        ),
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        let message = ErrorChain(&error).to_string();
        match &error {
            ArtifactError::Missing { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "no-such-artifact",
                message,
                "upload it with PUT /v1/artifacts/SHA256 first",
            ),
            ArtifactError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "artifact-too-large",
                message,
                "build with --release, strip it, and keep data in a bucket",
            ),
            ArtifactError::Mismatch { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "digest-mismatch",
                message,
                "the file changed while it was read, or was damaged on the way: send it again",
            ),
            ArtifactError::Invalid(why) => {
                let (code, hint) = invalid(why);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message, hint)
            }
            ArtifactError::Io { source, .. }
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::no_space(message)
            }
            ArtifactError::Io { .. } | ArtifactError::Gone => Self::internal(&error),
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        let message = ErrorChain(&error).to_string();
        match error {
            DeployError::Artifact(error) => error.into(),
            DeployError::Manifest(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-manifest",
                message,
                "correct fractus.toml",
            ),
            DeployError::Reserved(_) | DeployError::Taken(_) => Self::new(
                StatusCode::CONFLICT,
                "route-taken",
                message,
                "choose another route, or remove the function that has it; `fractus ls` shows them",
            ),
            DeployError::TooMany => Self::new(
                StatusCode::CONFLICT,
                "too-many-functions",
                message,
                "remove functions that are not used any more",
            ),
            DeployError::TooManyVersions
            | DeployError::Exists
            | DeployError::Missing
            | DeployError::Changed => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                message,
                "look at the function again with `fractus ls`, and try once more",
            ),
            DeployError::Registry(_) | DeployError::Schedule(_) | DeployError::Events(_) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let message = ErrorChain(&error).to_string();
        match &error {
            WriteError::NoSuchBucket { bucket } => Self::no_such_bucket(bucket.as_str()),
            WriteError::BucketExists { .. } => Self::new(
                StatusCode::CONFLICT,
                "bucket-exists",
                message,
                "use it, or choose another name",
            ),
            WriteError::BucketNotEmpty { .. } => Self::new(
                StatusCode::CONFLICT,
                "bucket-not-empty",
                message,
                "delete its objects first",
            ),
            WriteError::TooManyBuckets => Self::new(
                StatusCode::CONFLICT,
                "too-many-buckets",
                message,
                "delete buckets that are not used any more",
            ),
            WriteError::PreconditionFailed => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                message,
                "read the object again and decide anew",
            ),
            WriteError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "object-too-large",
                message,
                "split it into several objects",
            ),
            WriteError::MetaTooLarge => Self::new(
                StatusCode::BAD_REQUEST,
                "metadata-too-large",
                message,
                "shorten Content-Type and Cache-Control",
            ),
            WriteError::NoSpace => Self::no_space(message),
            WriteError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-busy",
                message,
                "try again in a moment",
            ),
            WriteError::Interrupted => Self::internal(&error),
            WriteError::Failed(_) | WriteError::Stopped => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-stopped",
                message,
                "the disk failed; the node's log says how. Mend it and restart the node",
            ),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::NoSuchBucket { bucket } => Self::no_such_bucket(bucket.as_str()),
            ReadError::Damaged { .. } | ReadError::Volume { .. } | ReadError::Index(_) => {
                Self::internal(&error)
            }
        }
    }
}
