//! Connections to a node's listeners.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::unreachable;
use crate::failure::Failure;
use crate::limits::CONNECT_MAX;

/// Opens a connection to the listener at `target`, an IP address and a port.
pub(crate) async fn connect<B>(target: &str) -> Result<SendRequest<B>, Failure>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = match timeout(CONNECT_MAX, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(&target, &error)),
        Err(elapsed) => return Err(unreachable(&target, &elapsed)),
    };
    stream
        .set_nodelay(true)
        .map_err(|error| unreachable(&target, &error))?;
    let stream = Listening {
        stream,
        is_refused: false,
    };
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&target, &error))?;
    // It ends with the sender, or with an error that the sender's user is told as well.
    drop(tokio::spawn(connection));
    Ok(sender)
}

/// A stream that is read on when its peer takes no more: a node that refuses a body may have closed
/// its end by the time we send more, and its reason lies unread in ours.
#[derive(Debug)]
struct Listening {
    stream: TcpStream,
    /// Whether the peer takes no more.
    is_refused: bool,
}

impl Listening {
    /// What a write gave; after a refusal nothing, for ever: reading tells how it ends.
    fn heard(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.is_refused = true;
                Poll::Pending
            }
            written => written,
        }
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_refused {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.heard(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refused {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.heard(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use http::{Method, Request};
    use indicatif::ProgressBar;

    use crate::client::{Pace, from_reader, read, send, url};
    use crate::limits::STALL_MAX;

    #[tokio::test]
    async fn the_answer_is_read_though_the_body_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = url(listener.local_addr().unwrap(), "/x");
        let refusing = thread::spawn(move || {
            for _ in 0..20 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 64]).unwrap();
                stream
                    .write_all(b"HTTP/1.1 507 No\r\ncontent-length: 4\r\n\r\nfull")
                    .unwrap();
                // Closed with bytes unread: the client's next write meets a reset.
            }
        });
        for _ in 0..20 {
            let pace = Pace::default();
            let endless = from_reader(tokio::io::repeat(7), None, ProgressBar::hidden(), &pace);
            let request = Request::builder()
                .method(Method::PUT)
                .uri(&target)
                .body(endless)
                .unwrap();
            let response = send(request, &pace, STALL_MAX).await.unwrap();
            assert_eq!(response.status(), 507);
            assert_eq!(read(response).await.unwrap(), "full");
        }
        refusing.join().unwrap();
    }
}
