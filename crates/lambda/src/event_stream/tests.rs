use serde_json::{Value, json};

use super::{DecodeError, Decoder, Message, crc, invoke_complete, payload_chunk};
use crate::limits::{EVENT_CHUNK_MAX, EVENT_PAYLOAD_MAX};

fn decode(bytes: &[u8]) -> Vec<Message> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let mut messages = Vec::new();
    while let Some(message) = decoder.message().unwrap() {
        messages.push(message);
    }
    assert!(decoder.is_empty());
    messages
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// A message of these header fields (as they are in it) and payload.
fn raw(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = u32::try_from(16 + headers.len() + payload.len()).unwrap();
    let mut out = total.to_be_bytes().to_vec();
    out.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    out.extend(crc(&out).to_be_bytes());
    out.extend(headers);
    out.extend(payload);
    out.extend(crc(&out).to_be_bytes());
    out
}

/// What botocore 1.44.8 reads as the events that the tests below say.
const CHUNK: &str = "0000006f0000005af5fe871f0b3a6576656e742d7479706507000c5061796c6f616443687\
    56e6b0d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d0d3a6d\
    6573736167652d747970650700056576656e7468656c6c6f29e71260";
const COMPLETE: &str = "00000066000000541f56c8690b3a6576656e742d7479706507000e496e766f6b65436f6d70\
    6c6574650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d\
    747970650700056576656e747b7d7006d467";
const FAILED: &str = "0000009b00000054aff25c850b3a6576656e742d7479706507000e496e766f6b65436f6d706c\
    6574650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d74\
    7970650700056576656e747b224572726f72436f6465223a2245222c224572726f7244657461696c73223a2264222c\
    224c6f67526573756c74223a2254413d3d227d1569ffac";

#[test]
fn events_are_what_botocore_reads() {
    assert_eq!(payload_chunk(b"hello"), bytes(CHUNK));
    assert_eq!(invoke_complete(None, None), bytes(COMPLETE));
    assert_eq!(
        invoke_complete(Some(("E", "d")), Some("TA==")),
        bytes(FAILED)
    );
}

#[test]
fn events_are_read_as_they_are_written() {
    let [chunk] = &decode(&payload_chunk(b"\x00\xff"))[..] else {
        panic!("one chunk is one message");
    };
    assert_eq!(chunk.header(":event-type"), Some("PayloadChunk"));
    assert_eq!(
        chunk.header(":content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(chunk.header(":message-type"), Some("event"));
    assert_eq!(chunk.header("other"), None);
    assert_eq!(&chunk.payload[..], b"\x00\xff");

    let [failed] = &decode(&invoke_complete(Some(("Unhandled", "a \"b\"")), None))[..] else {
        panic!("the end is one message");
    };
    assert_eq!(failed.header(":event-type"), Some("InvokeComplete"));
    assert_eq!(failed.header(":content-type"), Some("application/json"));
    let payload: Value = serde_json::from_slice(&failed.payload).unwrap();
    assert_eq!(
        payload,
        json!({"ErrorCode": "Unhandled", "ErrorDetails": "a \"b\""})
    );
}

#[test]
fn long_answers_are_several_events() {
    assert!(payload_chunk(b"").is_empty());
    assert_eq!(decode(&payload_chunk(&vec![1; EVENT_CHUNK_MAX])).len(), 1);
    let long: Vec<u8> = (0..=255).cycle().take(2 * EVENT_CHUNK_MAX + 1).collect();
    let messages = decode(&payload_chunk(&long));
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[2].payload.len(), 1);
    let all: Vec<u8> = messages
        .into_iter()
        .flat_map(|message| message.payload)
        .collect();
    assert_eq!(all, long);
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut decoder = Decoder::new();
    let all = [bytes(CHUNK), bytes(FAILED)].concat();
    let mut found = Vec::new();
    for (at, byte) in all.iter().enumerate() {
        decoder.push(&[*byte]);
        if let Some(message) = decoder.message().unwrap() {
            found.push((at, message.header(":event-type").unwrap().to_owned()));
        }
    }
    let expected = [
        (bytes(CHUNK).len() - 1, "PayloadChunk".to_owned()),
        (all.len() - 1, "InvokeComplete".to_owned()),
    ];
    assert_eq!(found, expected);
    assert!(decoder.is_empty());
}

#[test]
fn each_bit_is_covered() {
    let right = bytes(CHUNK);
    for at in 0..right.len() {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        let mut decoder = Decoder::new();
        decoder.push(&wrong);
        assert_eq!(decoder.message(), Err(DecodeError::Checksum), "byte {at}");
    }
}

#[test]
fn other_kinds_of_fields_are_passed_over() {
    let fields: &[&[u8]] = &[
        b"\x01a\x00",
        b"\x01b\x01",
        b"\x01c\x02\xff",
        b"\x01d\x03\xff\xff",
        b"\x01e\x04\xff\xff\xff\xff",
        b"\x01f\x05\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01g\x06\x00\x02\xff\xff",
        b"\x01h\x07\x00\x02xy",
        b"\x01i\x08\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01j\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01k\x07\x00\x00",
    ];
    let [message] = &decode(&raw(&fields.concat(), b"p"))[..] else {
        panic!("it is one message");
    };
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(message.headers, [field("h", "xy"), field("k", "")]);
    assert_eq!(&message.payload[..], b"p");
}

#[test]
fn malformed_messages_are_refused() {
    let fields: &[&[u8]] = &[
        b"\x05ab",
        b"\x01a",
        b"\x01a\x0a",
        b"\x01a\x07",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x03xy",
        b"\x01a\x07\x00\x01\xff",
        b"\x01\xff\x07\x00\x00",
        b"\x01a\x05\x00",
    ];
    for field in fields {
        let mut decoder = Decoder::new();
        decoder.push(&raw(field, b""));
        assert_eq!(decoder.message(), Err(DecodeError::Headers), "{field:?}");
    }
    let max = u32::try_from(EVENT_PAYLOAD_MAX).unwrap();
    let lengths = [
        (0, 0),
        (15, 0),
        (20, 5),
        (u32::MAX, 0),
        (u32::MAX, u32::MAX),
        (16 + max + 1, 0),
        (16 + 200_000, 200_000),
    ];
    for (total, headers) in lengths {
        let mut prelude = [u32::to_be_bytes(total), u32::to_be_bytes(headers)].concat();
        prelude.extend(crc(&prelude).to_be_bytes());
        let mut decoder = Decoder::new();
        decoder.push(&prelude);
        assert_eq!(
            decoder.message(),
            Err(DecodeError::Length),
            "{total} {headers}"
        );
    }
}
