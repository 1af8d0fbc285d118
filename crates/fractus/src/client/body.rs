//! Streamed bodies that show their progress and whose pace is watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use indicatif::ProgressBar;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time;

use crate::failure::Failure;
use crate::limits::{CHUNK, STALL_MAX};

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn from_bytes(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body read from `reader` as it is sent; of `length` bytes, or chunked when that is unknown.
pub(crate) fn from_reader(
    reader: impl AsyncRead + Send + 'static,
    length: Option<u64>,
    bar: ProgressBar,
    pace: &Pace,
) -> Body {
    let body = Reading {
        reader: Box::pin(reader),
        left: length,
        bar,
        pace: pace.clone(),
    };
    body.boxed_unsync()
}

/// How far a body has come, for whoever waits for its exchange to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<AtomicU64>);

impl Pace {
    fn moved(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits for `work`; None once `wait` has passed in which nothing moved.
    pub(crate) async fn limit<F: Future>(&self, work: F, wait: Duration) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            if let Ok(done) = time::timeout(wait, work.as_mut()).await {
                return Some(done);
            }
            if self.0.load(Ordering::Relaxed) == before {
                return None;
            }
        }
    }
}

struct Reading {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    left: Option<u64>,
    bar: ProgressBar,
    pace: Pace,
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let most = self.left.map_or(CHUNK, |left| {
            usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)
        });
        if most == 0 {
            return Poll::Ready(None);
        }
        let mut space = BytesMut::zeroed(most);
        let mut buffer = ReadBuf::new(&mut space);
        if let Err(error) = ready!(self.reader.as_mut().poll_read(context, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let read = buffer.filled().len();
        if read == 0 {
            let missing = self.left.map(|left| {
                let text = format!("{left} bytes fewer than there were when it was opened");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            });
            return Poll::Ready(missing);
        }
        self.left = self.left.map(|left| left - read as u64);
        self.bar.inc(read as u64);
        self.pace.moved(read);
        space.truncate(read);
        Poll::Ready(Some(Ok(Frame::data(space.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Writes a body to `sink` as it arrives.
pub(crate) async fn copy(
    mut body: Incoming,
    sink: &mut (impl AsyncWrite + Unpin),
    bar: &ProgressBar,
) -> Result<u64, Failure> {
    let mut copied = 0;
    loop {
        let frame = match time::timeout(STALL_MAX, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(
                    Failure::new(format!("the answer broke off after {copied} bytes"))
                        .because(&error)
                        .broken_off(),
                );
            }
            Err(_) => {
                return Err(Failure::new("the answer stalled")
                    .why(format!("nothing arrived for {} s", STALL_MAX.as_secs())));
            }
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        sink.write_all(&data).await.map_err(unwritable)?;
        copied += data.len() as u64;
        bar.inc(data.len() as u64);
    }
    sink.flush().await.map_err(unwritable)?;
    Ok(copied)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn unwritable(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::new("cannot write what was received").because(&error),
    }
}
