use super::Framing;

/// Reads `input` whole and byte by byte; both must agree. Returns the heads seen, the ambiguous one
/// and whether a head is open.
fn read(input: &str) -> (u64, Option<u64>, bool) {
    let mut whole = Framing::default();
    whole.read(input.as_bytes());
    let mut single = Framing::default();
    for byte in input.as_bytes() {
        single.read(std::slice::from_ref(byte));
    }
    let of = |framing: &Framing| (framing.heads, framing.ambiguous, framing.in_head());
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
    for bad in [both, turned, twice] {
        assert_eq!(read(bad), (1, Some(0), false), "{bad:?}");
        assert_eq!(
            read(&format!("{get}{get}{bad}{get}")),
            (4, Some(2), false),
            "{bad:?}"
        );
    }
}

#[test]
fn nonsense_ends_the_reading() {
    let lost = "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    assert_eq!(read(lost), (1, None, false));
    let lost = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nGET / HTTP/1.1\r\n\r\n";
    assert_eq!(read(lost), (1, None, false));
}
