use super::Framing;
use crate::answer::Refusal;

/// Reads `input` whole and byte by byte; both must agree. Returns the heads understood, the first
/// request to refuse and whether a head is open.
fn read(input: &str) -> (u64, Option<u64>, bool) {
    let mut whole = Framing::default();
    whole.read(input.as_bytes());
    let mut single = Framing::default();
    for byte in input.as_bytes() {
        single.read(std::slice::from_ref(byte));
    }
    let of = |framing: &Framing| {
        let refused = (0..9).find(|&request| framing.refusal(request).is_some());
        (framing.heads, refused, framing.in_head())
    };
    assert_eq!(of(&whole), of(&single), "{input:?}");
    of(&whole)
}

#[test]
fn plain_requests_follow_each_other() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(read(get), (1, None, false));
    assert_eq!(read(&get.repeat(3)), (3, None, false));
    assert_eq!(read("\r\n\r\nGET / HTTP/1.1\n\n"), (1, None, false));
    assert_eq!(read("GET / HT"), (0, None, true));
    assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\n"), (0, None, true));
}

#[test]
fn bodies_are_not_read_as_heads() {
    let body = "GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: x\r\n\r\n";
    let sized = format!(
        "POST / HTTP/1.1\r\ncontent-length:  {} \r\n\r\n{body}GET / HTTP/1.1\r\n\r\n",
        body.len()
    );
    assert_eq!(read(&sized), (2, None, false));
    let chunked = format!(
        "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\n\r\n{:x};ext=1\r\n{body}\r\n3\r\nabc\r\n0\r\n\
         Content-Length: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        body.len()
    );
    assert_eq!(read(&chunked), (2, None, false));
}

#[test]
fn the_head_to_refuse_is_named() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    let both =
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let turned =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";
    let twice = "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n";
    let padded = format!("POST / HTTP/1.1\r\nContent-Length:{:70}3\r\n\r\nabc", "");
    let zeros = format!("POST / HTTP/1.1\r\nContent-Length: {:070}\r\n\r\nabc", 3);
    let words = "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n";
    let signed = "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc";
    for bad in [both, turned, twice, &padded, &zeros, words, signed] {
        assert_eq!(read(bad), (0, Some(0), false), "{bad:?}");
        let behind = format!("{get}{get}{bad}{get}");
        assert_eq!(read(&behind), (2, Some(2), false), "{bad:?}");
    }
}

/// A body that hyper could find another end of is refused with its request, and what comes next.
#[test]
fn a_body_without_a_clear_end_is_refused_and_hidden() {
    let post = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let zeros = format!("{:070x}\r\nabc\r\n0\r\n\r\n", 3);
    let get = "GET / HTTP/1.1\r\n\r\n";
    for (good, bad) in [
        ("", "xyz\r\n"),
        ("", "-3\r\nabc\r\n0\r\n\r\n"),
        ("", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("", "3 3\r\nabc\r\n0\r\n\r\n"),
        ("", "\r\n0\r\n\r\n"),
        ("", "3\nabc\r\n0\r\n\r\n"),
        ("3\r\nabc", "d\r\n0\r\n\r\n"),
        ("3\r\nabc", "\n0\r\n\r\n"),
        ("0\r\n", "X: y\n\n"),
        ("", "0\n\n"),
        ("", "fffffffffffffffff\r\n"),
        ("", "ffffffffffffffff\r\n"),
        ("", &zeros),
    ] {
        let input = format!("{get}{post}{good}{bad}{get}");
        assert_eq!(read(&input), (2, Some(1), false), "{bad:?}");
        let mut framing = Framing::default();
        let seen = get.len() + post.len() + good.len();
        assert_eq!(framing.read(input.as_bytes()), seen, "{bad:?}");
        assert_eq!(framing.refusal(1), Some(Refusal::Chunk), "{bad:?}");
        assert_eq!(framing.read(get.as_bytes()), 0, "{bad:?}");
    }
    let extended = format!("{post}3;{:90}\r\nabc\r\n0\r\nX: {:90}\r\n\r\n", "", "y");
    assert_eq!(read(&extended), (1, None, false));
}

#[test]
fn a_body_that_ends_early_is_refused() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, body, refused) in [
        (get, "", None),
        (get, "GET /", None),
        (sized, "abc", None),
        (sized, "ab", Some(Refusal::Incomplete)),
        (chunked, "0\r\n\r\n", None),
        (chunked, "", Some(Refusal::Incomplete)),
        (chunked, "3\r\nab", Some(Refusal::Incomplete)),
        (chunked, "3\r\nabc", Some(Refusal::Incomplete)),
        (chunked, "0\r\n", Some(Refusal::Incomplete)),
    ] {
        let mut framing = Framing::default();
        let input = format!("{get}{head}{body}");
        assert_eq!(framing.read(input.as_bytes()), input.len());
        framing.end();
        assert_eq!(framing.refusal(0), None, "{head:?} {body:?}");
        assert_eq!(framing.refusal(1), refused, "{head:?} {body:?}");
    }
}
