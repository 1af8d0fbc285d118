//! Single requests over a connection that is open already, timed from the moment the request is
//! handed to the socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use crate::client::connect::connect;
use crate::failure::Failure;
use crate::limits::STALL_MAX;

/// A kept-alive HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
}

/// An answer and when it came.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From the request until the answer's head was here.
    pub(crate) ttfb: Duration,
    /// From the request until the answer's last byte was here.
    pub(crate) total: Duration,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let sender = connect(&address.to_string()).await?;
        Ok(Self { address, sender })
    }

    /// Gets `path`, with the headers of `more` added.
    pub(crate) async fn get(&mut self, path: &str, more: &HeaderMap) -> Result<Timed, Failure> {
        let failed = |why: &(dyn std::error::Error + 'static)| {
            Failure::new(format!("GET {path} failed")).because(why)
        };
        let mut request = Request::get(path)
            .header(HOST, self.address.to_string())
            .header(ACCEPT, "image/*")
            .body(Empty::new())
            .map_err(|error| failed(&error))?;
        request.headers_mut().extend(more.clone());
        self.sender.ready().await.map_err(|error| failed(&error))?;
        let start = Instant::now();
        match timeout(STALL_MAX, self.exchange(request, start)).await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(elapsed) => Err(failed(&elapsed)),
        }
    }

    async fn exchange(
        &mut self,
        request: Request<Empty<Bytes>>,
        start: Instant,
    ) -> Result<Timed, hyper::Error> {
        let response = self.sender.send_request(request).await?;
        let ttfb = start.elapsed();
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Timed {
            status: head.status,
            headers: head.headers,
            body,
            ttfb,
            total: start.elapsed(),
        })
    }
}
