//! Single requests over a connection that is open already, timed from the moment the request is
//! handed to the socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::unreachable;
use crate::failure::Failure;
use crate::limits::{CONNECT_MAX, STALL_MAX};

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
        let stream = match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(&address, &error)),
            Err(elapsed) => return Err(unreachable(&address, &elapsed)),
        };
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(&address, &error))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&address, &error))?;
        // It ends with the sender, or with an error that the sender's user is told as well.
        drop(tokio::spawn(connection));
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
