//! One connection of the guest's.

use std::convert::Infallible;
use std::sync::Arc;

use fractus_stdx::ErrorChain;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::RuntimeApi;
use super::routes::respond;
use crate::limits::HEAD_MAX;

impl RuntimeApi {
    /// Serves one connection until the guest closes it or the [`super::Driver`] is dropped.
    /// A connection too many is closed at once.
    pub async fn serve<IO>(&self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(_place) = self.connections.try_acquire() else {
            tracing::debug!("a guest has too many connections to its runtime API");
            return;
        };
        let service = service_fn(|request| {
            let shared = Arc::clone(&self.shared);
            async move { Ok::<_, Infallible>(respond(shared, request).await) }
        });
        let connection = http1::Builder::new()
            .auto_date_header(false)
            .max_buf_size(HEAD_MAX)
            .max_header_size(HEAD_MAX)
            .serve_connection(TokioIo::new(io), service);
        let mut alive = self.alive.clone();
        tokio::select! {
            end = connection => {
                if let Err(error) = end {
                    tracing::trace!(error = %ErrorChain(&error), "a runtime API connection ended");
                }
            }
            // Nothing is ever sent: this is the driver's end.
            _ = alive.changed() => {}
        }
    }
}
