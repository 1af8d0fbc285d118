//! The admin API of the node that runs on a data directory.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fractus_node::{Addresses, Credentials, DataDirError};
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{Body, Pace, empty, from_bytes, read, send, url};
use crate::failure::Failure;
use crate::limits::STALL_MAX;

#[derive(Deserialize)]
struct Refusal {
    error: Refused,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

/// The admin API of a node.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    token: HeaderValue,
}

/// Finds the node that runs on the data directory `data`.
pub(crate) fn find(data: &Path) -> Result<Addresses, Failure> {
    Addresses::read(data).map_err(|error| match &error {
        DataDirError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::new(format!("no node runs on {} (no node.json)", data.display()))
                .hint("start one with `fractus up`, or point --data at its directory")
        }
        _ => no_entry(data, &error),
    })
}

impl Admin {
    /// Finds the node that runs on the data directory `data`, and the token that lets us in.
    pub(crate) fn connect(data: &Path) -> Result<Self, Failure> {
        let node = find(data)?;
        let credentials = Credentials::read(data).map_err(|error| match &error {
            DataDirError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                no_entry(data, &error)
                    .hint("only the user who started the node may command it: become that user")
            }
            DataDirError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                no_entry(data, &error).hint(
                    "put the node's credentials.json back, or stop the node and start it again: \
                     it then makes new credentials",
                )
            }
            _ => no_entry(data, &error),
        })?;
        let token = HeaderValue::try_from(format!("Bearer {}", credentials.admin_token))
            .map_err(|error| no_entry(data, &error))?;
        Ok(Self {
            address: node.admin,
            token,
        })
    }

    /// Where the API listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The header that lets a request in.
    pub(crate) const fn token(&self) -> &HeaderValue {
        &self.token
    }

    /// Begins a request that is let in.
    pub(crate) fn request(&self, method: Method, path_and_query: &str) -> request::Builder {
        Request::builder()
            .method(method)
            .uri(url(self.address, path_and_query))
            .header(AUTHORIZATION, &self.token)
    }

    /// Sends a request; a refusal becomes a failure that tells what the node said.
    pub(crate) async fn send(
        &self,
        request: Result<Request<Body>, http::Error>,
        pace: &Pace,
        wait: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let request = request
            .map_err(|error| Failure::new("cannot ask the node for this").because(&error))?;
        let response = send(request, pace, wait).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(refusal(status, &read(response).await?))
    }

    /// Gets what the node answers as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path_and_query: &str,
    ) -> Result<T, Failure> {
        let request = self.request(Method::GET, path_and_query).body(empty());
        self.answer(request, STALL_MAX).await
    }

    /// Sends JSON and gets JSON, waiting for `wait` at most.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new("cannot write the request as JSON").because(&error))?;
        let request = self
            .request(method, path)
            .header(CONTENT_TYPE, "application/json")
            .body(from_bytes(body));
        self.answer(request, wait).await
    }

    /// Deletes what stands at a path.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, path).body(empty());
        let response = self.send(request, &Pace::default(), STALL_MAX).await?;
        read(response).await.map(drop)
    }

    /// Deletes an object, which must be there; else the node refuses with `precondition-failed`.
    pub(crate) async fn delete_present(&self, path: &str) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, path).header(IF_MATCH, "*");
        let request = request.body(empty());
        let response = self.send(request, &Pace::default(), STALL_MAX).await?;
        read(response).await.map(drop)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: Result<Request<Body>, http::Error>,
        wait: Duration,
    ) -> Result<T, Failure> {
        let response = self.send(request, &Pace::default(), wait).await?;
        let body = read(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::new("the node's answer is not what this version of fractus expects")
                .because(&error)
                .hint("`fractus status` and `fractus --version` show whether versions differ")
        })
    }
}

fn no_entry(data: &Path, error: &(dyn Error + 'static)) -> Failure {
    Failure::new(format!("no way to the node on {}", data.display())).because(error)
}

/// What a refusing answer of the admin API says.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let failure = if let Ok(Refusal { error }) = serde_json::from_slice(body) {
        let failure = Failure::new(error.message).refused(error.code);
        match error.hint {
            Some(hint) if !hint.is_empty() => failure.hint(hint),
            _ => failure,
        }
    } else {
        let text = String::from_utf8_lossy(body);
        Failure::new(text.trim()).why(format!("the node answered with status {status}"))
    };
    match status {
        StatusCode::UNAUTHORIZED => failure.hint(
            "credentials.json does not belong to the node that runs here: restart the node, or \
             point --data at its directory",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::refusal;

    #[test]
    fn refusals_are_told_in_the_nodes_words() {
        let body = json!({"error": {"code": "x", "message": "no such bucket", "hint": "make it"}});
        let told = refusal(StatusCode::NOT_FOUND, body.to_string().as_bytes()).to_string();
        assert_eq!(told, "error: no such bucket\n  try: make it");
        assert!(refusal(StatusCode::NOT_FOUND, body.to_string().as_bytes()).is_refusal("x"));
        let told = refusal(StatusCode::BAD_GATEWAY, b"<html>").to_string();
        assert_eq!(
            told,
            "error: <html>\n  why: the node answered with status 502 Bad Gateway"
        );
    }
}
