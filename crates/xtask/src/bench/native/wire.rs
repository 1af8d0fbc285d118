//! HTTP/1.1 over one connection, either side, as plainly as it can be done: messages with a
//! length or in chunks, one write for each.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// How long a message may be in coming.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Longest message: far above what a benchmark sends.
const MESSAGE_MAX: usize = 16 << 20;

/// A request or an answer, taken apart.
#[derive(Debug)]
pub(in crate::bench) struct Message {
    /// Up to the empty line, which is left out.
    pub(in crate::bench) head: String,
    pub(in crate::bench) body: Vec<u8>,
}

impl Message {
    /// The value of a header, if it is there.
    pub(in crate::bench) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The status of an answer.
    pub(in crate::bench) fn status(&self) -> Option<u16> {
        self.head.split(' ').nth(1)?.parse().ok()
    }

    /// Whether this is the last message of its connection.
    pub(super) fn closes(&self) -> bool {
        let connection = self.header("connection");
        connection.is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// What has arrived and was not asked for yet.
    arrived: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            arrived: Vec::new(),
        })
    }

    /// Sends a message in one write.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(message)?)
    }

    /// Reads the next message; `None` when the peer has ended the connection between two.
    pub(super) fn receive(&mut self) -> Result<Option<Message>> {
        let end = loop {
            if let Some(end) = find(&self.arrived, b"\r\n\r\n") {
                break end;
            }
            if !self.more()? {
                ensure!(self.arrived.is_empty(), "the head was cut");
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.arrived[..end]).into_owned();
        self.arrived.drain(..end + 4);
        let mut message = Message {
            head,
            body: Vec::new(),
        };
        let length = message.header("content-length").map(str::parse::<usize>);
        message.body = match length.transpose().context("content-length")? {
            Some(length) => self.take(length)?,
            None if message.header("transfer-encoding").is_some() => self.chunks()?,
            None => Vec::new(),
        };
        Ok(Some(message))
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).context("size of a chunk")?;
            if size == 0 {
                // Trailers end with an empty line.
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.line()?;
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.arrived, b"\r\n") {
                let line = String::from_utf8_lossy(&self.arrived[..end]).into_owned();
                self.arrived.drain(..end + 2);
                return Ok(line);
            }
            ensure!(self.more()?, "a line was cut");
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.arrived.len() < length {
            ensure!(self.more()?, "a body of {length} bytes was cut");
        }
        Ok(self.arrived.drain(..length).collect())
    }

    /// Reads what there is; false at the end.
    fn more(&mut self) -> Result<bool> {
        ensure!(self.arrived.len() < MESSAGE_MAX, "the message is too long");
        let mut piece = [0; 16 << 10];
        let read = self.stream.read(&mut piece)?;
        self.arrived.extend_from_slice(&piece[..read]);
        Ok(read > 0)
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::Wire;

    /// What is read of a connection on which `bytes` arrive.
    fn read(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.write_all(bytes).unwrap();
        drop(sender);
        let mut wire = Wire::new(listener.accept().unwrap().0).unwrap();
        let mut messages = Vec::new();
        while let Some(message) = wire.receive().unwrap() {
            messages.push((message.head, message.body));
        }
        messages
    }

    #[test]
    fn messages_follow_each_other() {
        let messages = read(
            b"GET / HTTP/1.1\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\
              POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nde\r\n1\r\nf\r\n0\r\nT: u\r\n\r\n",
        );
        let bodies: Vec<_> = messages.iter().map(|(_, body)| body.as_slice()).collect();
        assert_eq!(bodies, [&b""[..], b"abc", b"def"]);
        assert_eq!(messages[0].0, "GET / HTTP/1.1\r\nA: b");
    }
}
