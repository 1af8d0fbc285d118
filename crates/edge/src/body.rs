//! Bodies that the edge answers with, and what is stored.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use fractus_func::{Body, BodyError};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};

use crate::conn::ConnState;
use crate::fill::Reader;
use crate::limits::PIECE_MIN;

/// A body of no bytes, without an allocation.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A whole body, in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    pieces: Arc<[Bytes]>,
    length: u64,
}

impl Pieces {
    /// Small pieces are copied together: none pins a larger buffer, and few make a body.
    pub(crate) fn new<'a>(parts: impl Iterator<Item = &'a Bytes>) -> Self {
        let mut pieces = Vec::new();
        let mut small = BytesMut::new();
        let mut length = 0;
        for part in parts {
            length += part.len() as u64;
            if small.is_empty() && part.len() >= PIECE_MIN {
                pieces.push(part.clone());
                continue;
            }
            small.extend_from_slice(part);
            if small.len() >= PIECE_MIN {
                pieces.push(std::mem::take(&mut small).freeze());
            }
        }
        if !small.is_empty() {
            // The buffer grew by doubling.
            pieces.push(Bytes::copy_from_slice(&small));
        }
        Self {
            pieces: pieces.into(),
            length,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// The bytes from `first` to `last`, both included; `last` lies within the body.
    pub(crate) fn part(&self, first: u64, last: u64) -> Kind {
        Kind::Pieces(Part {
            pieces: Arc::clone(&self.pieces),
            next: 0,
            skip: first,
            left: last + 1 - first,
        })
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Kind {
        match &*self.pieces {
            [] => Kind::Empty,
            [only] => Kind::Whole(only.clone()),
            _ => self.part(0, self.length - 1),
        }
    }
}

/// A part of a stored body on its way out.
#[derive(Debug)]
pub(crate) struct Part {
    pieces: Arc<[Bytes]>,
    next: usize,
    /// Bytes to leave out before the first that goes out.
    skip: u64,
    left: u64,
}

impl Part {
    fn next(&mut self) -> Option<Bytes> {
        while self.left > 0 {
            let piece = self.pieces.get(self.next)?;
            self.next += 1;
            if let Some(cut) = cut(piece, &mut self.skip, &mut self.left) {
                return Some(cut);
            }
        }
        None
    }
}

/// What of the next piece of a body lies within a part that begins after `skip` bytes and has
/// `left`.
pub(crate) fn cut(piece: &Bytes, skip: &mut u64, left: &mut u64) -> Option<Bytes> {
    let length = piece.len() as u64;
    if *skip >= length {
        *skip -= length;
        return None;
    }
    let from = usize::try_from(*skip).expect("less than a piece's length");
    *skip = 0;
    let rest = piece.len() - from;
    let taken = usize::try_from(*left).map_or(rest, |left| left.min(rest));
    *left -= taken as u64;
    (taken > 0).then(|| piece.slice(from..from + taken))
}

/// The body of an answer. Tells the connection when it has ended.
#[derive(Debug)]
pub(crate) struct EdgeBody {
    kind: Kind,
    connection: Arc<ConnState>,
}

/// Where an answer's body comes from.
#[derive(Debug)]
pub(crate) enum Kind {
    Empty,
    Whole(Bytes),
    Pieces(Part),
    Fill(Reader),
    Origin(Body),
}

impl Kind {
    pub(crate) fn with(self, connection: Arc<ConnState>) -> EdgeBody {
        EdgeBody {
            kind: self,
            connection,
        }
    }
}

impl EdgeBody {
    /// An origin that was told that the request's body broke off may end its answer as if it had
    /// been whole: the client must not take it for one.
    fn is_void(&self) -> bool {
        self.connection.has_lost_upload()
    }
}

impl Drop for EdgeBody {
    fn drop(&mut self) {
        self.connection.end_request();
    }
}

impl http_body::Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = |bytes: Bytes| Some(Ok(Frame::data(bytes)));
        let is_void = self.is_void();
        match &mut self.kind {
            Kind::Origin(_) if is_void => Poll::Ready(Some(Err(BodyError::Disconnected))),
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(data(bytes))
            }
            Kind::Pieces(part) => Poll::Ready(part.next().and_then(data)),
            Kind::Fill(reader) => reader
                .poll_next(cx)
                .map(|next| next.map(|piece| piece.map(Frame::data))),
            Kind::Origin(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Pieces(part) => part.left == 0,
            Kind::Fill(reader) => reader.is_done(),
            Kind::Origin(body) => body.is_end_stream() && !self.is_void(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pieces(part) => SizeHint::with_exact(part.left),
            Kind::Fill(reader) => reader.size_hint(),
            Kind::Origin(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Kind, Part, Pieces};
    use crate::limits::PIECE_MIN;

    fn read(mut part: Part) -> Vec<u8> {
        std::iter::from_fn(|| part.next()).flatten().collect()
    }

    #[test]
    fn any_part_of_any_pieces_is_the_same_as_of_the_whole() {
        let sizes = [1, 0, PIECE_MIN, 7, PIECE_MIN + 3, 2];
        let parts: Vec<Bytes> = (0_u8..)
            .zip(sizes)
            .map(|(byte, size)| Bytes::from(vec![byte; size]))
            .collect();
        let whole: Vec<u8> = parts.iter().flatten().copied().collect();
        let pieces = Pieces::new(parts.iter());
        assert_eq!(pieces.len(), whole.len() as u64);
        let last = whole.len() - 1;
        for (first, last) in [
            (0, last),
            (0, 0),
            (last, last),
            (1, PIECE_MIN),
            (PIECE_MIN, last),
        ] {
            let Kind::Pieces(part) = pieces.part(first as u64, last as u64) else {
                panic!("a part")
            };
            assert_eq!(part.left, (last + 1 - first) as u64);
            assert!(read(part) == whole[first..=last], "{first}..={last}");
        }
    }

    #[test]
    fn small_parts_become_one_piece() {
        let parts = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let Kind::Whole(whole) = Pieces::new(parts.iter()).whole() else {
            panic!("one piece")
        };
        assert_eq!(whole, "abc");
        assert!(matches!(Pieces::new([].iter()).whole(), Kind::Empty));
    }
}
