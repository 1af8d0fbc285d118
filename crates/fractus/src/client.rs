//! HTTP to a node: one client for every command, bodies streamed both ways, nothing waited for
//! without a limit.
//!
//! [`Admin`] speaks to the admin listener of the node on a data directory; [`send`] sends any
//! request; [`timed`] measures single ones.

mod admin;
mod body;
mod connect;
pub(crate) mod timed;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time;

pub(crate) use self::admin::{Admin, find};
pub(crate) use self::body::{Body, Pace, copy, empty, from_bytes, from_reader};
use self::connect::connect;
use crate::failure::Failure;
use crate::limits::{ANSWER_MAX, STALL_MAX};

/// Sends a request over a connection of its own and waits for the head of its answer: at most
/// `wait` after its body last moved. The answer may come before the body is sent.
///
/// Connections are not kept: between two requests a build may take longer than a node waits for the
/// second one, and a new connection costs nothing here.
pub(crate) async fn send(
    mut request: Request<Body>,
    pace: &Pace,
    wait: Duration,
) -> Result<Response<Incoming>, Failure> {
    let target = to_origin_form(&mut request)?;
    let mut connection = connect(&target).await?;
    match pace.limit(connection.send_request(request), wait).await {
        Some(Ok(response)) => Ok(response),
        Some(Err(error)) => {
            Err(Failure::new(format!("the exchange with {target} broke off")).because(&error))
        }
        None => Err(stalled(&target, wait)),
    }
}

/// Splits a request's URL into what its head says (RFC 9112 §3.2.1) and where it goes.
fn to_origin_form(request: &mut Request<Body>) -> Result<String, Failure> {
    let uri = request.uri();
    let (Some(target), Some(path)) = (uri.authority(), uri.path_and_query()) else {
        return Err(Failure::new(format!("{uri} is no URL of a node")));
    };
    let (target, path) = (target.to_string(), Uri::from(path.clone()));
    let host = HeaderValue::try_from(&target)
        .map_err(|error| Failure::new(format!("{target} is no host")).because(&error))?;
    *request.uri_mut() = path;
    request.headers_mut().entry(HOST).or_insert(host);
    Ok(target)
}

/// Reads a whole answer of moderate size.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect();
    match time::timeout(STALL_MAX, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Failure::new("the answer broke off").because(error.as_ref())),
        Err(_) => Err(Failure::new("the answer stalled").why(format!(
            "it was not complete after {} s",
            STALL_MAX.as_secs()
        ))),
    }
}

/// A header's value as text, if it is there and text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Percent-encodes what may not stand in a path or query as it is (RFC 3986 §2.3); `/` stays.
pub(crate) fn encode(text: &str) -> String {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    encoded
}

/// Percent-encodes one segment of a path: `/` too.
pub(crate) fn encode_segment(text: &str) -> String {
    encode(text).replace('/', "%2F")
}

pub(crate) fn unreachable(target: &impl ToString, error: &(dyn Error + 'static)) -> Failure {
    Failure::new(format!("no answer from {}", target.to_string()))
        .because(error)
        .hint(
            "the node may have been killed, leaving its node.json behind: start it again with \
             `fractus up`",
        )
}

fn stalled(target: &str, wait: Duration) -> Failure {
    Failure::new(format!("no answer from {target}"))
        .why(format!("nothing moved for {} s", wait.as_secs()))
        .hint("`fractus status` tells whether the node is well; its log says what it does")
}

/// The URL of a path on a listener. A node that listens on every address is reached by loopback.
pub(crate) fn url(address: SocketAddr, path_and_query: &str) -> String {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{reachable}{path_and_query}")
}

#[cfg(test)]
mod tests {
    use super::{encode, encode_segment, url};

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode("a/b c?ü.jpg"), "a/b%20c%3F%C3%BC.jpg");
        assert_eq!(encode_segment("a/b"), "a%2Fb");
    }

    #[test]
    fn every_address_means_loopback_to_a_client() {
        assert_eq!(
            url(([0, 0, 0, 0], 80).into(), "/x"),
            "http://127.0.0.1:80/x"
        );
        assert_eq!(url(([10, 0, 0, 1], 80).into(), "/"), "http://10.0.0.1:80/");
    }
}
