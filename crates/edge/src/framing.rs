//! Where requests begin and end on a connection, read before hyper.
//!
//! hyper answers a request with both Content-Length and Transfer-Encoding as RFC 9112 §6.3 lets it:
//! it drops the one, obeys the other and closes. A proxy does better to refuse it: whoever stands
//! before us may have obeyed the other. Since hyper does not show the dropped field, heads are read
//! here as they come in. Where this reading and hyper's could differ, hyper refuses the request, or
//! we do, and with it all that come after: nobody could say which of them is meant. Of a body whose
//! framing breaks hyper sees nothing from there on, as if the client had gone.

use crate::answer::Refusal;
use crate::limits::CHUNK_MAX;

/// Bytes of a line that are looked at; the names asked for and any length fit. One that is padded
/// beyond is not read.
const LINE_SEEN: usize = 64;

/// Reads along with a connection's input.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    line: Line,
    head: Head,
    /// Heads understood so far.
    heads: u64,
}

#[derive(Debug, Default)]
enum State {
    /// Before a request line, or in it.
    #[default]
    Between,
    Fields,
    /// Bytes left of a body or of a chunk, and where it ends.
    Skip(u64, AfterSkip),
    ChunkSize,
    /// The line end after a chunk's bytes.
    ChunkEnd,
    Trailers,
    /// A head or a body was not understood: no request from this number on is served any more.
    Lost(Refusal, u64),
}

#[derive(Clone, Copy, Debug)]
enum AfterSkip {
    Request,
    Chunk,
}

/// What a head says of its body.
#[derive(Debug, Default)]
struct Head {
    lengths: u32,
    length: Option<u64>,
    encoded: bool,
}

/// The start of a line that comes in pieces.
#[derive(Debug)]
struct Line {
    bytes: [u8; LINE_SEEN],
    /// Bytes that have come, whether or not they fit.
    length: usize,
    last: u8,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; LINE_SEEN],
            length: 0,
            last: 0,
        }
    }
}

impl Line {
    /// Keeps what fits.
    fn push(&mut self, piece: &[u8]) {
        let at = self.length.min(LINE_SEEN);
        let taken = piece.len().min(LINE_SEEN - at);
        self.bytes[at..at + taken].copy_from_slice(&piece[..taken]);
        self.length = self.length.saturating_add(piece.len());
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    fn ended(&self) -> Ended<'_> {
        let seen = &self.bytes[..self.length.min(LINE_SEEN)];
        Ended::new(seen, self.length > LINE_SEEN, self.last)
    }
}

/// A line that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended<'a> {
    /// Its start, without the line's end.
    seen: &'a [u8],
    /// Whether there is more than that.
    cut: bool,
    /// Whether a carriage return comes before the line feed.
    crlf: bool,
}

impl<'a> Ended<'a> {
    /// Of a line without its line feed.
    fn whole(line: &'a [u8]) -> Self {
        let seen = &line[..line.len().min(LINE_SEEN)];
        let last = line.last().copied().unwrap_or_default();
        Self::new(seen, line.len() > LINE_SEEN, last)
    }

    fn new(seen: &'a [u8], cut: bool, last: u8) -> Self {
        let crlf = last == b'\r';
        let seen = if crlf && !cut {
            &seen[..seen.len() - 1]
        } else {
            seen
        };
        Self { seen, cut, crlf }
    }

    fn is_empty(self) -> bool {
        self.seen.is_empty()
    }
}

impl Framing {
    /// Takes the bytes that came in next; says how many of them hyper may see.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            rest = self.step(rest);
            if self.is_at_end() {
                return bytes.len() - before;
            }
        }
        bytes.len()
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match &mut self.state {
            State::Lost(..) => &[],
            State::Skip(left, after) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.state = match after {
                        AfterSkip::Request => State::Between,
                        AfterSkip::Chunk => State::ChunkEnd,
                    };
                }
                &bytes[taken..]
            }
            State::Between
            | State::Fields
            | State::ChunkSize
            | State::ChunkEnd
            | State::Trailers => self.read_line(bytes),
        }
    }

    /// Nothing comes any more.
    pub(crate) fn end(&mut self) {
        if let State::Skip(..) | State::ChunkSize | State::ChunkEnd | State::Trailers = self.state {
            self.lose_body(Refusal::Incomplete);
        }
    }

    /// Gives up every request that is not answered yet, unless that has happened.
    pub(crate) fn lose(&mut self, why: Refusal) {
        if !self.is_lost() {
            self.state = State::Lost(why, 0);
        }
    }

    /// Gives up the request whose body is being read.
    fn lose_body(&mut self, why: Refusal) {
        self.state = State::Lost(why, self.heads.saturating_sub(1));
    }

    /// Does hyper see nothing of what comes?
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(
            self.state,
            State::Lost(Refusal::Chunk | Refusal::Incomplete, _)
        )
    }

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(..))
    }

    /// Is a head begun and not complete?
    pub(crate) fn in_head(&self) -> bool {
        match self.state {
            State::Fields => true,
            State::Between => self.line.length > 0,
            _ => false,
        }
    }

    /// Why request number `request`, counted from 0, must be refused: for itself, or for one before
    /// it.
    pub(crate) fn refusal(&self, request: u64) -> Option<Refusal> {
        match self.state {
            State::Lost(why, first) if request >= first => Some(why),
            _ => None,
        }
    }

    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.line.push(bytes);
            return &[];
        };
        let (piece, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.line.length == 0 {
            self.end_line(Ended::whole(piece));
        } else {
            self.line.push(piece);
            let line = std::mem::take(&mut self.line);
            self.end_line(line.ended());
        }
        rest
    }

    fn end_line(&mut self, line: Ended<'_>) {
        match self.state {
            State::Between if line.is_empty() => {}
            State::Between => self.state = State::Fields,
            State::Fields if line.is_empty() => self.end_head(),
            State::Fields => self.head.see(line),
            // Between chunks hyper takes a line feed alone for none, or for a part of the line.
            State::ChunkSize | State::ChunkEnd | State::Trailers if !line.crlf => {
                self.lose_body(Refusal::Chunk);
            }
            State::ChunkSize => match chunk_size(line) {
                None => self.lose_body(Refusal::Chunk),
                Some(0) => self.state = State::Trailers,
                Some(size) => self.state = State::Skip(size, AfterSkip::Chunk),
            },
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => self.lose_body(Refusal::Chunk),
            State::Trailers if line.is_empty() => self.state = State::Between,
            State::Trailers | State::Skip(..) | State::Lost(..) => {}
        }
    }

    fn end_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.state = match (head.encoded, head.lengths, head.length) {
            (false, 0, _) | (false, 1, Some(0)) => State::Between,
            (false, 1, Some(length)) => State::Skip(length, AfterSkip::Request),
            (true, 0, _) => State::ChunkSize,
            _ => State::Lost(Refusal::Ambiguous, self.heads),
        };
        self.heads += u64::from(!self.is_lost());
    }
}

impl Head {
    fn see(&mut self, line: Ended<'_>) {
        let seen = line.seen;
        let Some(colon) = seen.iter().take(18).position(|&byte| byte == b':') else {
            return;
        };
        let (name, value) = (&seen[..colon], &seen[colon + 1..]);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encoded = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = if line.cut { None } else { number(value, 10) };
        }
    }
}

fn chunk_size(line: Ended<'_>) -> Option<u64> {
    let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
    let digits = line.seen.iter().take_while(is_digit).count();
    let may_go_on = line.cut && digits == line.seen.len();
    // RFC 9112 §7.1: nothing but an extension may follow.
    let extension = line.seen[digits..].trim_ascii_start();
    if may_go_on || !(extension.is_empty() || extension.starts_with(b";")) {
        return None;
    }
    number(&line.seen[..digits], 16).filter(|&size| size <= CHUNK_MAX)
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = str::from_utf8(text).ok()?.trim_ascii();
    // `from_str_radix` alone would accept a sign.
    let is_signed = digits.starts_with(['+', '-']);
    let value = u64::from_str_radix(digits, radix).ok();
    value.filter(|_| !is_signed)
}

#[cfg(test)]
mod tests;
