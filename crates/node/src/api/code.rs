//! Code to be downloaded, at URLs that are good for a while: `GetFunction` and `GetLayerVersion`
//! tell them.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use fractus_lambda::control::ServiceError;
use fractus_lambda::sigv4::{Scope, SigError, Signature, presign};
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::answer::internal;
use super::{Api, refused};
use crate::artifacts::Digest;
use crate::clock::now_ms;
use crate::limits::CODE_URL_S;

/// Where code lies; no bucket may have a name that begins like this.
const FOLDER: &str = "/_code/";

/// Whether a path is one of code.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with(FOLDER)
}

impl Api {
    /// Where a client that asked `host` finds an archive.
    pub(super) fn code_location(&self, host: &str, digest: Digest) -> String {
        let path = format!("{FOLDER}{digest}");
        let times = (now_ms() / 1000, CODE_URL_S);
        let query = presign(&self.own, &self.region, (host, &path), times);
        format!("http://{host}{path}?{}", query.unwrap_or_default())
    }
}

pub(super) async fn answer(api: &Arc<Api>, head: &Parts) -> Response {
    match read(api, head).await {
        Ok(bytes) => {
            let kind = [(CONTENT_TYPE, "application/zip")];
            (kind, Body::from(bytes)).into_response()
        }
        Err(error) => refused(&error),
    }
}

async fn read(api: &Arc<Api>, head: &Parts) -> Result<Vec<u8>, ServiceError> {
    let signature = Signature::parse(head, now_ms() / 1000)?.ok_or(SigError::Missing)?;
    let scope = Scope {
        region: &api.region,
        services: &["s3"],
    };
    signature.check(None, &api.keys, &scope)?;
    let missing = || ServiceError::not_found("there is no such code any more");
    let digest = head
        .uri
        .path()
        .strip_prefix(FOLDER)
        .and_then(|text| text.parse().ok());
    let digest: Digest = digest.ok_or_else(missing)?;
    let artifacts = Arc::clone(api.control.artifacts());
    if artifacts.size(digest).is_none() {
        return Err(missing());
    }
    let read = tokio::task::spawn_blocking(move || artifacts.read(digest)).await;
    let read = read.map_err(|_why| ServiceError::service("the node stops"))?;
    read.map_err(|error| internal(&error))
}
