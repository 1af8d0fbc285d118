//! A client that keeps its connection and notes when each piece of an answer came.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Node, text};

/// Longest wait for the next bytes of an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// A connection to the edge, for one function.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
    /// What goes before every path.
    base: String,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The pieces in which the body came, and when.
    pub(crate) pieces: Vec<(Instant, String)>,
}

impl Answer {
    /// The values of a header; its name is in lower case.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(own, _)| own == name);
        named.map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    /// The body, which must be JSON and come with this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        let shown = self.text();
        assert_eq!(self.status, status, "{shown}");
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }

    /// Asserts that the body came in pieces, with pauses between the first and the last.
    #[track_caller]
    pub(crate) fn assert_streamed(&self, text: &str, pauses: Duration) {
        assert_eq!((self.status, self.text().as_str()), (200, text));
        let (first, last) = (self.pieces.first().unwrap(), self.pieces.last().unwrap());
        let took = last.0.duration_since(first.0);
        assert!(took >= pauses, "{:?} in {took:?}", self.pieces);
    }
}

impl Client {
    /// Connects to a node for a function of it.
    pub(crate) fn of(node: &Node, name: &str) -> Self {
        Self::at(node.address("edge"), name).unwrap()
    }

    /// The same, at an address.
    pub(crate) fn at(edge: SocketAddr, name: &str) -> io::Result<Self> {
        Self::connect(edge, "fractus.test", format!("/run/{name}"))
    }

    /// Connects to a node for what is at a function's URL.
    pub(crate) fn visit(node: &Node, url: &str) -> Self {
        let host = url.strip_prefix("http://").unwrap().trim_end_matches('/');
        Self::connect(node.address("edge"), host, String::new()).unwrap()
    }

    fn connect(edge: SocketAddr, host: &str, base: String) -> io::Result<Self> {
        let stream = TcpStream::connect(edge)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: host.to_owned(),
            base,
        })
    }

    /// The path of a page of the function's, as links have it.
    pub(crate) fn path(&self, page: &str) -> String {
        format!("{}{page}", self.base)
    }

    /// Sends a request and reads the answer. `line` is a method and a path below the function's.
    pub(crate) fn send(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let (method, path) = line.split_once(' ').unwrap_or((line, ""));
        let fields = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{}\r\n",
            self.base,
            self.host,
            body.len(),
            fields.collect::<String>()
        );
        let stream = self.stream.get_mut();
        stream.write_all(&[head.as_bytes(), body].concat())?;
        self.read()
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], b"").unwrap()
    }

    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        self.send(&format!("POST {path}"), &[], body).unwrap()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self) -> io::Result<Answer> {
        let start = self.line()?;
        let status = start.get(9..12).and_then(|code| code.parse().ok());
        let mut answer = Answer {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            headers: Vec::new(),
            body: Vec::new(),
            pieces: Vec::new(),
        };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let value = value.trim().to_owned();
            answer.headers.push((name.to_ascii_lowercase(), value));
        }
        if answer.header("transfer-encoding").is_empty() {
            let length = answer.header("content-length").parse().unwrap_or(0);
            answer.body = self.bytes(length)?;
            return Ok(answer);
        }
        loop {
            let size = self.line()?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            let piece = self.bytes(size)?;
            self.line()?;
            if size == 0 {
                return Ok(answer);
            }
            answer.pieces.push((Instant::now(), text(&piece)));
            answer.body.extend(piece);
        }
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
