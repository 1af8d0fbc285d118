//! Where requests begin and end on a connection, read beside hyper.
//!
//! hyper answers a request with both Content-Length and Transfer-Encoding as RFC 9112 §6.3 lets it:
//! it drops the one, obeys the other and closes. A proxy does better to refuse it: whoever stands
//! before us may have obeyed the other. Since hyper does not show the dropped field, heads are read
//! here as they come in. Where this reading and hyper's could differ, hyper refuses the request.

/// Bytes of a line that are looked at; the names asked for and any length fit.
const LINE_SEEN: usize = 64;

/// Reads along with a connection's input.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    line: Line,
    head: Head,
    /// Heads completed so far.
    heads: u64,
    ambiguous: Option<u64>,
}

#[derive(Debug, Default)]
enum State {
    /// In a head; whether its request line has come.
    #[default]
    Between,
    Fields,
    /// Bytes left of a body or of a chunk, and where it ends.
    Skip(u64, AfterSkip),
    ChunkSize,
    Trailers,
    /// Broken: hyper ends the connection.
    Lost,
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

/// The start of a line that may come in pieces.
#[derive(Debug)]
struct Line {
    bytes: [u8; LINE_SEEN],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; LINE_SEEN],
            length: 0,
        }
    }
}

impl Line {
    /// Adds what fits.
    fn push(&mut self, piece: &[u8]) {
        let taken = piece.len().min(LINE_SEEN - self.length);
        self.bytes[self.length..self.length + taken].copy_from_slice(&piece[..taken]);
        self.length += taken;
    }

    fn take(&mut self) -> &[u8] {
        let length = std::mem::take(&mut self.length);
        &self.bytes[..length]
    }
}

impl Framing {
    /// Takes the bytes that came in next.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.state {
                State::Lost => return,
                State::Skip(left, after) => {
                    let taken = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = match after {
                            AfterSkip::Request => State::Between,
                            AfterSkip::Chunk => State::ChunkSize,
                        };
                    }
                    &bytes[taken..]
                }
                State::Between | State::Fields | State::ChunkSize | State::Trailers => {
                    self.read_line(bytes)
                }
            };
        }
    }

    /// Is a head begun and not complete?
    pub(crate) fn in_head(&self) -> bool {
        match self.state {
            State::Fields => true,
            State::Between => self.line.length > 0,
            _ => false,
        }
    }

    /// Was the head of request number `request`, counted from 0, one to refuse?
    pub(crate) fn is_ambiguous(&self, request: u64) -> bool {
        self.ambiguous == Some(request)
    }

    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.line.push(bytes);
            return &[];
        };
        let (piece, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.line.length == 0 {
            self.end_line(piece);
        } else {
            self.line.push(piece);
            let mut line = std::mem::take(&mut self.line);
            self.end_line(line.take());
        }
        rest
    }

    /// `line` comes without its line feed, and may be cut off after [`LINE_SEEN`] bytes.
    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Between if line.is_empty() => {}
            State::Between => self.state = State::Fields,
            State::Fields if line.is_empty() => self.end_head(),
            State::Fields => self.head.see(line),
            State::ChunkSize => {
                self.state = match hex_prefix(line) {
                    None => State::Lost,
                    Some(0) => State::Trailers,
                    // The line end after a chunk counts with it.
                    Some(size) => State::Skip(size.saturating_add(2), AfterSkip::Chunk),
                };
            }
            State::Trailers if line.is_empty() => self.state = State::Between,
            State::Trailers | State::Skip(..) | State::Lost => {}
        }
    }

    fn end_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        if head.lengths > 1 || (head.encoded && head.lengths > 0) {
            self.ambiguous.get_or_insert(self.heads);
        }
        self.heads += 1;
        self.state = match head {
            Head { encoded: true, .. } => State::ChunkSize,
            Head { lengths: 0, .. } => State::Between,
            Head { length, .. } => match length {
                Some(0) => State::Between,
                Some(length) => State::Skip(length, AfterSkip::Request),
                None => State::Lost,
            },
        };
    }
}

impl Head {
    fn see(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().take(18).position(|&byte| byte == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encoded = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = str::from_utf8(value)
                .ok()
                .and_then(|digits| digits.trim_ascii().parse().ok());
        }
    }
}

fn hex_prefix(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let digits = str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests;
