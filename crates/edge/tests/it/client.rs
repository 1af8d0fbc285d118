//! A client that sends the bytes it is told to and reads answers strictly.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    read: Vec<u8>,
}

/// An answer; the body is empty until it is read.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The one field of a name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().skip(1).filter_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let first = found.next();
        assert_eq!(found.next(), None, "{name} comes twice: {}", self.head);
        first
    }

    /// The one field of a name, which must be there.
    pub(crate) fn expect(&self, name: &str) -> &str {
        self.field(name)
            .unwrap_or_else(|| panic!("no {name}: {}", self.head))
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a text")
    }

    /// What the cache did.
    pub(crate) fn cache(&self) -> &str {
        self.expect("cache-status")
    }
}

impl Client {
    pub(crate) async fn new(addr: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(addr).await.expect("connects"),
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.expect("sends");
    }

    /// Sends a request without a body; `fields` are whole lines.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, fields: &str) {
        let fields = fields.replace('\n', "\r\n");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
        self.send(head).await;
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.get_with(path, "").await
    }

    pub(crate) async fn get_with(&mut self, path: &str, fields: &str) -> Answer {
        self.ask("GET", path, fields).await;
        self.answer().await.expect("an answer")
    }

    pub(crate) async fn head(&mut self, path: &str) -> Answer {
        self.ask("HEAD", path, "").await;
        self.answer_head().await.expect("an answer")
    }

    /// Reads a head. `None` if the connection ends first.
    pub(crate) async fn answer_head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.more().await {
                assert_eq!(self.read, b"", "half a head");
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end + 4).collect()).expect("a text");
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        Some(Answer {
            status: status.expect("a status"),
            head,
            body: Vec::new(),
        })
    }

    /// Reads an answer with its body. `None` if the connection ends first, or within the body.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.answer_head().await?;
        self.body(&mut answer).await.then_some(answer)
    }

    /// Reads the body of an answer. False if it does not come whole.
    pub(crate) async fn body(&mut self, answer: &mut Answer) -> bool {
        if matches!(answer.status, 100 | 204 | 304) {
            return true;
        }
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().expect("a length");
            return self.take(length, &mut answer.body).await;
        }
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
        loop {
            let Some(size) = self.line().await else {
                return false;
            };
            let size = usize::from_str_radix(&size, 16).expect("a chunk size");
            if !self.take(size, &mut answer.body).await {
                return false;
            }
            if self.line().await.is_none() {
                return false;
            }
            if size == 0 {
                return true;
            }
        }
    }

    /// Reads a chunk of a chunked body.
    pub(crate) async fn chunk(&mut self) -> String {
        let size = self.line().await.expect("a chunk size");
        let mut chunk = Vec::new();
        let size = usize::from_str_radix(&size, 16).expect("a chunk size");
        assert!(self.take(size + 2, &mut chunk).await);
        chunk.truncate(size);
        String::from_utf8(chunk).expect("a text")
    }

    /// Reads more of an answer's body, until `length` bytes of it have come. False if they do not.
    pub(crate) async fn rest(&mut self, length: usize, answer: &mut Answer) -> bool {
        self.take(length - answer.body.len(), &mut answer.body)
            .await
    }

    /// Is the connection at its end?
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }

    async fn take(&mut self, count: usize, into: &mut Vec<u8>) -> bool {
        while self.read.len() < count {
            if !self.more().await {
                return false;
            }
        }
        into.extend(self.read.drain(..count));
        true
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.read.drain(..at + 2).take(at).collect();
                return Some(String::from_utf8(line).expect("a text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        // A connection that is cut may end with an error as well.
        let count = self.socket.read(&mut buffer).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }
}
