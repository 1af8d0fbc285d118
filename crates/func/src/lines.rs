//! What a guest writes to its standard streams, cut into lines.

use std::sync::{Mutex, PoisonError};

use crate::LogStream;
use crate::limits::{LOG_BYTES_MAX, LOG_LINE_MAX};

/// Lines of one call that are not complete yet, and how much it has logged: at most
/// [`LOG_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Lines {
    buffers: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    logged: usize,
}

impl Buffers {
    fn of(&mut self, stream: LogStream) -> &mut Vec<u8> {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr | LogStream::System => &mut self.stderr,
        }
    }

    /// Adds bytes to a stream; `emit` gets each line that they complete.
    fn write(&mut self, stream: LogStream, bytes: &[u8], emit: &dyn Fn(LogStream, &str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let buffer = self.of(stream);
            let room = LOG_LINE_MAX.saturating_sub(buffer.len());
            buffer.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.emit(stream, emit);
            }
        }
    }

    fn emit(&mut self, stream: LogStream, emit: &dyn Fn(LogStream, &str)) {
        let line = std::mem::take(self.of(stream));
        if self.logged > LOG_BYTES_MAX {
            return;
        }
        self.logged += line.len() + 1;
        if self.logged > LOG_BYTES_MAX {
            emit(
                LogStream::System,
                "this call logged too much: the rest is dropped",
            );
        } else {
            emit(stream, &String::from_utf8_lossy(&line));
        }
    }
}

impl Lines {
    /// Adds bytes that the guest wrote.
    pub fn write(&self, stream: LogStream, bytes: &[u8], emit: &dyn Fn(LogStream, &str)) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.write(stream, bytes, emit);
    }

    /// Lets go of lines without an end, since the guest is gone.
    pub fn finish(&self, emit: &dyn Fn(LogStream, &str)) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if !buffers.of(stream).is_empty() {
                buffers.emit(stream, emit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::Lines;
    use crate::LogStream;
    use crate::limits::{LOG_BYTES_MAX, LOG_LINE_MAX};

    fn lines(writes: &[(LogStream, &[u8])]) -> Vec<String> {
        let seen = RefCell::new(Vec::new());
        let emit = |stream, line: &str| seen.borrow_mut().push(format!("{stream:?} {line}"));
        let log = Lines::default();
        for (stream, bytes) in writes {
            log.write(*stream, bytes, &emit);
        }
        log.finish(&emit);
        seen.into_inner()
    }

    #[test]
    fn lines_are_whole_and_streams_apart() {
        use LogStream::{Stderr, Stdout};
        let seen = lines(&[
            (Stdout, b"a"),
            (Stderr, b"x\ny"),
            (Stdout, b"b\n\nc"),
            (Stdout, b"\xff"),
        ]);
        assert_eq!(
            seen,
            [
                "Stderr x",
                "Stdout ab",
                "Stdout ",
                "Stdout c\u{fffd}",
                "Stderr y"
            ]
        );
    }

    #[test]
    fn long_lines_and_long_logs_are_cut() {
        let long = vec![b'x'; 2 * LOG_LINE_MAX];
        assert_eq!(
            lines(&[(LogStream::Stdout, &long)])[0].len(),
            "Stdout ".len() + LOG_LINE_MAX
        );
        let endless = b"0123456789\n".repeat(LOG_BYTES_MAX / 10);
        let seen = lines(&[(LogStream::Stdout, &endless)]);
        assert!(seen.len() < LOG_BYTES_MAX / 10);
        assert!(
            seen.last()
                .unwrap()
                .starts_with("System this call logged too much")
        );
    }
}
