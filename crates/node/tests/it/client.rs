//! The smallest HTTP client that shows what a server really sent.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer, whole or as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub(crate) whole: bool,
}

impl Answer {
    /// A header's value, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The code of the edge's or the admin API's error.
    pub(crate) fn code(&self) -> String {
        match self.header("x-fractus-error") {
            "" => self.json()["error"]["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            code => code.to_owned(),
        }
    }

    /// Asserts a status and gives the answer back.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// Sends one request on a connection of its own.
pub(crate) fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_send(to, method, path, headers, body).expect("the server answers")
}

pub(crate) fn try_send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        write!(head, "host: {to}\r\n").expect("strings take all");
    }
    if !headers.iter().any(|(name, _)| *name == "content-length") {
        write!(head, "content-length: {}\r\n", body.len()).expect("strings take all");
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("strings take all");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    // A server that answers early may have stopped reading.
    stream.write_all(body).ok();
    read(stream, method == "HEAD")
}

fn read(stream: TcpStream, is_head: bool) -> io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer");
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    let mut answer = Answer {
        status,
        headers: Vec::new(),
        body: Vec::new(),
        whole: true,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => answer.headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    if is_head || status == 204 || status == 304 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding") == "chunked" {
        answer.whole = read_chunks(&mut reader, &mut answer.body).is_ok();
    } else {
        let length = answer.header("content-length").parse::<usize>().ok();
        let read = reader.read_to_end(&mut answer.body);
        answer.whole = read.is_ok() && length.is_none_or(|length| length == answer.body.len());
    }
    Ok(answer)
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16);
        let size = size.or(Err(io::Error::from(io::ErrorKind::UnexpectedEof)))?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(());
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
