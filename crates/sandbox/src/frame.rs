//! The frames between the node and our own bootstraps for Python and Node: kind (one byte), length
//! of the payload (32 bits, little-endian), payload. `docs/formats.md` has what each kind means.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Kinds of frames from the node.
pub(crate) mod to {
    pub(crate) const BEGIN: u8 = b'B';
    pub(crate) const INVOKE: u8 = b'I';
    pub(crate) const DATA: u8 = b'D';
    pub(crate) const END: u8 = b'E';
    /// In place of [`END`]: the request's body broke off.
    pub(crate) const BROKEN_OFF: u8 = b'X';
}

/// Kinds of frames from the guest.
pub(crate) mod from {
    pub(crate) const READY: u8 = b'R';
    pub(crate) const INIT_FAILED: u8 = b'F';
    pub(crate) const ANSWER: u8 = b'A';
    pub(crate) const HTTP_HEAD: u8 = b'H';
    pub(crate) const STREAM: u8 = b'S';
    pub(crate) const DATA: u8 = b'D';
    pub(crate) const END: u8 = b'E';
    pub(crate) const ERROR: u8 = b'X';
    /// From the interpreter of plans, in place of all others: a step of building it failed.
    pub(crate) const BROKEN: u8 = b'!';
}

/// A frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
}

/// What a guest sent is no frame.
#[derive(Debug, Error)]
#[error("the runtime sent a frame of {0} bytes, more than may be")]
pub(crate) struct FrameError(usize);

/// Length of kind and length.
const HEAD: usize = 5;

impl Frame {
    /// Takes the first frame out of a buffer, if it is there whole. Its payload has at most `max`
    /// bytes.
    pub(crate) fn take(buffer: &mut BytesMut, max: usize) -> Result<Option<Self>, FrameError> {
        if buffer.len() < HEAD {
            return Ok(None);
        }
        let length = u32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
        if length > max {
            return Err(FrameError(length));
        }
        if buffer.len() < HEAD + length {
            buffer.reserve(HEAD + length - buffer.len());
            return Ok(None);
        }
        let kind = buffer[0];
        buffer.advance(HEAD);
        let payload = buffer.split_to(length).freeze();
        Ok(Some(Self { kind, payload }))
    }
}

/// Puts a frame's head before a payload that follows.
pub(crate) fn head(out: &mut BytesMut, kind: u8, length: usize) {
    out.put_u8(kind);
    out.put_u32_le(u32::try_from(length).expect("payloads are bounded below 4 GiB"));
}

/// A whole frame.
pub(crate) fn put(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.reserve(HEAD + payload.len());
    head(out, kind, payload.len());
    out.put_slice(payload);
}

/// Which sort of handler a guest found, or is told to have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HandlerKind {
    /// `handler(event, context)`, as AWS Lambda's.
    Lambda,
    /// `f(event)`, as `OpenLambda`'s.
    Event,
    /// PEP 3333.
    Wsgi,
    /// ASGI 3.
    Asgi,
}

/// [`to::BEGIN`]: what the guest is to be.
#[derive(Debug, Serialize)]
pub(crate) struct Begin<'a> {
    pub(crate) handler: Option<&'a str>,
    pub(crate) root: &'a str,
    pub(crate) env: std::collections::BTreeMap<&'a str, &'a str>,
    pub(crate) paths: &'a [String],
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) memory_mb: u32,
    pub(crate) log_group: &'a str,
    pub(crate) log_stream: &'a str,
    pub(crate) kind: Option<HandlerKind>,
}

/// [`from::READY`].
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) kind: HandlerKind,
    #[serde(default)]
    pub(crate) modules: Vec<String>,
}

/// The head of [`to::INVOKE`].
#[derive(Debug, Serialize)]
pub(crate) struct Invoke<'a> {
    pub(crate) id: String,
    pub(crate) deadline_ms: u64,
    pub(crate) arn: &'a str,
    pub(crate) trace: Option<&'a str>,
    pub(crate) client_context: Option<&'a serde_json::value::RawValue>,
    pub(crate) more: bool,
    pub(crate) http: Option<HttpHead<'a>>,
}

/// A request's head, for web applications.
#[derive(Debug, Serialize)]
pub(crate) struct HttpHead<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
    pub(crate) client: &'a str,
    pub(crate) root_path: &'a str,
}

/// Whether a guest that sent [`from::ERROR`] says that it ends.
pub(crate) fn is_exiting(error: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Exiting {
        #[serde(default)]
        exiting: bool,
    }
    serde_json::from_slice(error).is_ok_and(|error: Exiting| error.exiting)
}

/// [`from::HTTP_HEAD`].
#[derive(Debug, Deserialize)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

/// [`from::STREAM`].
#[derive(Debug, Deserialize)]
pub(crate) struct StreamHead {
    pub(crate) content_type: Option<String>,
    pub(crate) prelude: Option<Box<serde_json::value::RawValue>>,
}

/// Starts a frame of [`to::INVOKE`] whose body, of `body` bytes, follows.
pub(crate) fn invoke(out: &mut BytesMut, invoke: &Invoke<'_>, body: usize) {
    let json = serde_json::to_vec(invoke).expect("texts and numbers are JSON");
    head(out, to::INVOKE, 4 + json.len() + body);
    out.put_u32_le(u32::try_from(json.len()).expect("heads are bounded"));
    out.put_slice(&json);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Frame, put, to};

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut wire = BytesMut::new();
        put(&mut wire, to::DATA, b"one");
        put(&mut wire, to::END, b"");
        let wire = wire.freeze();
        for cut in 0..wire.len() {
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(frame) = Frame::take(&mut buffer, 3).unwrap() {
                    frames.push((frame.kind, frame.payload.to_vec()));
                }
            }
            assert_eq!(frames, [(to::DATA, b"one".to_vec()), (to::END, Vec::new())]);
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused() {
        let mut buffer = BytesMut::from(&b"D\x04\0\0\0"[..]);
        assert!(Frame::take(&mut buffer, 3).is_err());
        assert!(Frame::take(&mut buffer, 4).unwrap().is_none());
    }
}
