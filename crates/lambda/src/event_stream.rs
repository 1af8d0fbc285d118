//! Messages of `application/vnd.amazon.eventstream`, in which `InvokeWithResponseStream` answers.
//!
//! A message is its length, the length of its header fields and a CRC-32 of these two; the header
//! fields; the payload; and a CRC-32 of all before. Numbers are big-endian. The source is "Event
//! stream encoding" of the AWS documentation (Amazon Transcribe, Smithy).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use crc_fast::CrcAlgorithm::Crc32IsoHdlc;
use crc_fast::checksum;
use serde::Serialize;
use thiserror::Error;

use crate::limits::{EVENT_CHUNK_MAX, EVENT_HEADERS_MAX, EVENT_PAYLOAD_MAX};

#[cfg(test)]
mod tests;

/// The media type of a body of messages.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Two lengths and their CRC.
const PRELUDE: usize = 12;
/// The CRC at the end.
const TRAILER: usize = 4;
/// The kind of a header field's value that is text.
const TEXT: u8 = 7;

/// A message that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Header fields whose values are text, in their order; others are left out.
    pub headers: Vec<(String, String)>,
    /// What the message carries.
    pub payload: Bytes,
}

/// Reads messages from bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

/// Why bytes are no message. Nothing can be read after it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum DecodeError {
    /// A CRC is another than that of the bytes.
    #[error("a message's checksum is wrong")]
    Checksum,
    /// A length is impossible or beyond [`EVENT_PAYLOAD_MAX`] or [`EVENT_HEADERS_MAX`].
    #[error("a message's length is impossible or too large")]
    Length,
    /// The header fields are not in their form.
    #[error("a message's header fields are malformed")]
    Headers,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Complete<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_result: Option<&'a str>,
}

/// A part of the function's answer, as `PayloadChunk` events. More than [`EVENT_CHUNK_MAX`] bytes
/// become several; none become none.
pub fn payload_chunk(bytes: &[u8]) -> Bytes {
    let each = message_len(&CHUNK_HEADERS, 0);
    let count = bytes.len().div_ceil(EVENT_CHUNK_MAX);
    let mut out = BytesMut::with_capacity(bytes.len() + count * each);
    for chunk in bytes.chunks(EVENT_CHUNK_MAX) {
        write_message(&mut out, &CHUNK_HEADERS, chunk);
    }
    out.freeze()
}

/// The end of the function's answer, as an `InvokeComplete` event: with the error's code and
/// details if it failed, and the last lines of its log in base64 if they were asked for.
pub fn invoke_complete(error: Option<(&str, &str)>, log_result: Option<&str>) -> Bytes {
    let payload = Complete {
        error_code: error.map(|(code, _)| code),
        error_details: error.map(|(_, details)| details),
        log_result,
    };
    let payload = serde_json::to_vec(&payload).expect("texts are always JSON");
    let mut out = BytesMut::with_capacity(message_len(&COMPLETE_HEADERS, payload.len()));
    write_message(&mut out, &COMPLETE_HEADERS, &payload);
    out.freeze()
}

type Headers = [(&'static str, &'static str); 3];

const CHUNK_HEADERS: Headers = [
    (":event-type", "PayloadChunk"),
    (":content-type", "application/octet-stream"),
    (":message-type", "event"),
];
const COMPLETE_HEADERS: Headers = [
    (":event-type", "InvokeComplete"),
    (":content-type", "application/json"),
    (":message-type", "event"),
];

fn headers_len(headers: &Headers) -> usize {
    headers
        .iter()
        .map(|(name, value)| 1 + name.len() + 1 + 2 + value.len())
        .sum()
}

fn message_len(headers: &Headers, payload: usize) -> usize {
    PRELUDE + headers_len(headers) + payload + TRAILER
}

fn write_message(out: &mut BytesMut, headers: &Headers, payload: &[u8]) {
    let start = out.len();
    let number = |length| u32::try_from(length).expect("payloads are far from 4 GiB");
    out.put_u32(number(message_len(headers, payload.len())));
    out.put_u32(number(headers_len(headers)));
    out.put_u32(crc(&out[start..]));
    for (name, value) in headers {
        out.put_u8(u8::try_from(name.len()).expect("our names are short"));
        out.put_slice(name.as_bytes());
        out.put_u8(TEXT);
        out.put_u16(u16::try_from(value.len()).expect("our values are short"));
        out.put_slice(value.as_bytes());
    }
    out.put_slice(payload);
    out.put_u32(crc(&out[start..]));
}

fn crc(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(Crc32IsoHdlc, bytes)).expect("a CRC-32 has 32 bits")
}

impl Message {
    /// The value of a header field, such as `:event-type`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(each, _)| each == name);
        found.map(|(_, value)| &**value)
    }
}

impl Decoder {
    /// Has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes of a body, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether all bytes were part of messages that were given.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message; none if there are not yet enough bytes.
    pub fn message(&mut self) -> Result<Option<Message>, DecodeError> {
        let Some(mut prelude) = self.buffer.get(..PRELUDE) else {
            return Ok(None);
        };
        let expected = crc(&prelude[..8]);
        let (total, headers) = (prelude.get_u32() as usize, prelude.get_u32() as usize);
        if prelude.get_u32() != expected {
            return Err(DecodeError::Checksum);
        }
        let payload = total
            .checked_sub(PRELUDE + TRAILER)
            .and_then(|n| n.checked_sub(headers));
        if payload.is_none_or(|n| n > EVENT_PAYLOAD_MAX) || headers > EVENT_HEADERS_MAX {
            return Err(DecodeError::Length);
        }
        if self.buffer.len() < total {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(total).freeze();
        let mut trailer = message.split_off(total - TRAILER);
        if trailer.get_u32() != crc(&message) {
            return Err(DecodeError::Checksum);
        }
        message.advance(PRELUDE);
        let payload = message.split_off(headers);
        let headers = read_headers(&message).ok_or(DecodeError::Headers)?;
        Ok(Some(Message { headers, payload }))
    }
}

fn read_headers(mut rest: &[u8]) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let length = rest.try_get_u8().ok()?;
        let name = take(&mut rest, length.into())?;
        let kind = rest.try_get_u8().ok()?;
        let length = match kind {
            // True and false.
            0 | 1 => 0,
            // Integers of 8, 16, 32 and 64 bits.
            2..=5 => 1 << (kind - 2),
            // Bytes and text.
            6 | TEXT => rest.try_get_u16().ok()?.into(),
            // A time and a UUID.
            8 => 8,
            9 => 16,
            _ => return None,
        };
        let value = take(&mut rest, length)?;
        if kind == TEXT {
            let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(str::to_owned);
            headers.push((text(name)?, text(value)?));
        }
    }
    Some(headers)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
