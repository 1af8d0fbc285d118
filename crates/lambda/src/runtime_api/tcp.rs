//! TCP without its delays. Clients of the Runtime API leave Nagle's algorithm on and write a
//! request in parts: each part waits until the one before is acknowledged, which a receiver that
//! has nothing to send puts off for 40 ms. Here it does not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fractus_stdx::ErrorChain;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::RuntimeApi;

impl RuntimeApi {
    /// As [`RuntimeApi::serve`], for TCP: what is received is acknowledged at once.
    pub async fn serve_tcp(&self, stream: TcpStream) {
        // Replies are one write each, but those of more than a segment need it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %ErrorChain(&error), "TCP keeps its delays");
        }
        let mut stream = Prompt(stream);
        stream.acknowledge();
        self.serve(stream).await;
    }
}

/// A TCP stream that acknowledges what it reads.
#[derive(Debug)]
struct Prompt(TcpStream);

impl Prompt {
    /// The kernel forgets this as it likes, so it is said again and again.
    #[cfg(target_os = "linux")]
    fn acknowledge(&mut self) {
        // All that is lost where it fails is time.
        self.0.set_quickack(true).ok();
    }

    #[cfg(not(target_os = "linux"))]
    fn acknowledge(&mut self) {}
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        // A full buffer means that more is there already: nobody waits.
        if buffer.remaining() > 0 {
            self.acknowledge();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
