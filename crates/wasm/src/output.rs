//! What a guest writes to its standard streams, cut into lines.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fractus_func::LogStream;
use fractus_func::limits::LOG_LINE_MAX;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::call::Context;
use crate::limits::LOG_BYTES_MAX;

/// Lines of one call that are not complete yet, and how much it has logged.
#[derive(Debug, Default)]
pub(crate) struct Lines {
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
    pub(crate) fn write(&self, stream: LogStream, bytes: &[u8], emit: &dyn Fn(LogStream, &str)) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.write(stream, bytes, emit);
    }

    /// Lets go of lines without an end, since the guest is gone.
    pub(crate) fn finish(&self, emit: &dyn Fn(LogStream, &str)) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if !buffers.of(stream).is_empty() {
                buffers.emit(stream, emit);
            }
        }
    }
}

/// One of a guest's standard streams.
#[derive(Clone, Debug)]
pub(crate) struct GuestOutput {
    pub(crate) context: Arc<Context>,
    pub(crate) stream: LogStream,
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        unreachable!("components of WASI 0.2 write through `p2_stream`")
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

#[async_trait::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.context.log_bytes(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_LINE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use fractus_func::LogStream;
    use fractus_func::limits::LOG_LINE_MAX;

    use super::Lines;
    use crate::limits::LOG_BYTES_MAX;

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
