//! AWS Signature Version 4: who sent a request, and that nobody changed it. Both sides of it.
//!
//! [`Signature::parse`] reads what a request says of its signature, from the `Authorization`
//! header field or from the query of a presigned URL, and looks at its time. Then
//! [`Signature::check`] compares it with the one that [`SigningKeys`] give. Between the two the
//! body can be read, which [`Signature::needs_body`] asks for.
//!
//! The source is "Signature Version 4 signing process" of the AWS documentation and, where that is
//! silent, what botocore does. A session token that comes along is not looked at: nobody here gives
//! one out.

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use canonical::{Content, canonical_request};
use keys::SigningKey;
use time::Timestamp;

mod canonical;
mod encoding;
mod keys;
mod parse;
mod presign;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use encoding::decoded;
pub use keys::{Credentials, SigningKeys};
pub use parse::Signature;
pub use presign::presign;

/// The one algorithm: HMAC and SHA-256 with a shared secret.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The last part of a credential's scope.
const TERMINATOR: &str = "aws4_request";
const DATE: &str = "x-amz-date";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What a signature must be made for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The one region.
    pub region: &'a str,
    /// The services by their signing names, such as `lambda`.
    pub services: &'a [&'a str],
}

/// What a valid signature says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// Whose signature it is.
    pub access_key_id: String,
    /// The service that it was made for, one of [`Scope::services`].
    pub service: String,
    /// What it says of the body.
    pub content_sha256: ContentHash,
    /// Whether it was in the URL.
    pub is_presigned: bool,
}

/// What a signature says of the body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ContentHash {
    /// The body's SHA-256, in a header field or query parameter of its own. If the body was not
    /// known to [`Signature::check`], it is still to be compared: see [`ContentHash::admits`].
    Hex([u8; 32]),
    /// The body has this SHA-256, as [`Signature::check`] found.
    Absent([u8; 32]),
    /// The body may be anything: `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// The body comes in chunks with signatures of their own, or a trailer: this
    /// `STREAMING-…` name of the form. Nothing of that is checked here.
    Streaming(String),
}

/// Why a request's signature is not taken, each an answer of status 403. Displays as AWS says it,
/// and never tells anything of the right signature.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum SigError {
    /// There is no signature.
    #[error("Missing Authentication Token")]
    Missing,
    /// The signature's parts are not all there, or not in their form.
    #[error("{0}")]
    Incomplete(String),
    /// Nobody has this access key.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The signature is another one than the request's.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
    )]
    Mismatch,
    /// It was made too long ago, or its time is over. In UNIX seconds.
    #[error(
        "Signature expired: {} is now earlier than {}",
        Timestamp(*at_s),
        Timestamp(*earliest_s)
    )]
    Expired {
        /// When it was made or, if it is in the URL, when it ended.
        at_s: u64,
        /// When it should have been at the earliest.
        earliest_s: u64,
    },
    /// It was made in what is the future here. In UNIX seconds.
    #[error(
        "Signature not yet current: {} is still later than {}",
        Timestamp(*at_s),
        Timestamp(*latest_s)
    )]
    NotYetCurrent {
        /// When it was made.
        at_s: u64,
        /// When it may have been at the latest.
        latest_s: u64,
    },
    /// It was made for another day, region or service.
    #[error("{0}")]
    WrongScope(String),
    /// A header field that must be covered by the signature is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    NotSigned(String),
    /// The signature covers the body's SHA-256 alone, and the body was not read.
    #[error("The request must have the header field x-amz-content-sha256.")]
    BodyUnknown,
    /// The body does not have the SHA-256 that the request says.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    BodyMismatch,
    /// The request has more header fields, parameters or text than is looked at.
    #[error("The request has too many or too long parts for a signature.")]
    TooLarge,
}

/// Why a request could not be signed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SignError {
    /// It has no header field `Host`, and its URI has no host.
    #[error("the request names no host")]
    NoHost,
    /// The access key is no text for a header field.
    #[error("the access key cannot be sent")]
    AccessKey,
    /// The request is larger than can be checked.
    #[error("the request has too many or too long parts")]
    TooLarge,
}

impl SigError {
    /// Name of the exception, as AWS has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::Mismatch
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::WrongScope(_)
            | Self::NotSigned(_)
            | Self::BodyUnknown
            | Self::BodyMismatch
            | Self::TooLarge => "InvalidSignatureException",
        }
    }
}

impl ContentHash {
    /// Whether a body of this SHA-256 is what the signature is about, as far as it says.
    pub fn admits(&self, body_sha256: &[u8; 32]) -> bool {
        match self {
            Self::Hex(signed) | Self::Absent(signed) => signed == body_sha256,
            Self::Unsigned | Self::Streaming(_) => true,
        }
    }
}

/// Signs a request: adds the header fields `Host` (if there is none), `X-Amz-Date`,
/// `X-Amz-Content-SHA256` and `Authorization`. The signature covers these, `Content-Type` and
/// all `X-Amz-…`. `now_s` is in UNIX seconds.
pub fn sign(
    head: &mut Parts,
    body_sha256: &[u8; 32],
    credentials: &Credentials,
    region: &str,
    service: &str,
    now_s: u64,
) -> Result<(), SignError> {
    use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};

    let host = match (head.headers.get(HOST), head.uri.authority()) {
        (Some(host), _) => host.clone(),
        (None, Some(authority)) => HeaderValue::from_str(authority.as_str())
            .expect("an authority has no control characters"),
        (None, None) => return Err(SignError::NoHost),
    };
    let (time, hash) = (Timestamp(now_s).to_string(), encoding::hex(body_sha256));
    let own = "made of digits and letters";
    head.headers.insert(HOST, host);
    head.headers.insert(
        HeaderName::from_static(DATE),
        HeaderValue::from_str(&time).expect(own),
    );
    let hash_value = HeaderValue::from_str(&hash).expect(own);
    head.headers
        .insert(HeaderName::from_static(CONTENT_SHA256), hash_value);
    head.headers.remove(AUTHORIZATION);

    let is_signed =
        |name: &&HeaderName| *name == HOST || *name == CONTENT_TYPE || is_amz(name.as_str());
    let mut names: Vec<_> = head
        .headers
        .keys()
        .filter(is_signed)
        .map(HeaderName::as_str)
        .collect();
    names.sort_unstable();
    let names = names.join(";");
    let content = Content {
        text: &hash,
        is_presigned: false,
    };
    let Ok(request) = canonical_request(head, &names, service, content) else {
        return Err(SignError::TooLarge);
    };
    let scope = format!("{}/{region}/{service}/{TERMINATOR}", &time[..8]);
    let key = SigningKey::derive(&credentials.secret_access_key, &scope);
    let signature = encoding::hex(&key.sign(&time, &scope, &request));
    let id = &credentials.access_key_id;
    let value = format!(
        "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    let Ok(value) = HeaderValue::from_str(&value) else {
        return Err(SignError::AccessKey);
    };
    head.headers.insert(AUTHORIZATION, value);
    Ok(())
}

/// SHA-256 of a body, as signatures have it.
pub fn body_sha256(body: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;

    sha2::Sha256::digest(body).into()
}

/// Whether a header field is one of those that AWS gives a meaning, so that a signature must cover
/// it. What the proxies of AWS add on the way is not (`x-amzn-…` is another name anyway).
fn is_amz(name: &str) -> bool {
    name.starts_with("x-amz-") && name != "x-amz-cf-id"
}
