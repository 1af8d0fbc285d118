use super::Framing;

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
        let refused = (0..9).find(|&request| framing.is_ambiguous(request));
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

/// Where hyper could find another end of the body, what comes next is not served.
#[test]
fn after_a_body_without_a_clear_end_all_is_refused() {
    let post = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let zeros = format!("{:070x}\r\nabc\r\n0\r\n\r\n", 3);
    for body in [
        "xyz\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "0\r\nX: y\n\n",
        "0\n\n",
        "fffffffffffffffff\r\n",
        &zeros,
    ] {
        let input = format!("{post}{body}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(read(&input), (1, Some(1), false), "{body:?}");
    }
    let extended = format!("{post}3;{:90}\r\nabc\r\n0\r\nX: {:90}\r\n\r\n", "", "y");
    assert_eq!(read(&extended), (1, None, false));
}
