//! Cache-Status (RFC 9211): what this cache did with a request.

use std::fmt::{self, Display, Formatter, Write as _};

use http::StatusCode;
use http::header::HeaderValue;

/// Why a request went forward (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was not to handle the request.
    Bypass,
    /// The method requires it.
    Method,
    /// No response of this URI is stored.
    UriMiss,
    /// Responses of this URI are stored, none that the request selects.
    VaryMiss,
    /// A fresh response is stored, but the request's directives forbid its use.
    Request,
    /// The stored response is stale, or always to be validated.
    Stale,
}

impl Forward {
    /// The value of `fwd`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// One member of Cache-Status, to be appended after those of caches nearer to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    forward: Option<Forward>,
    forward_status: Option<StatusCode>,
    ttl: Option<i64>,
    stored: bool,
    collapsed: bool,
    detail: Option<&'a str>,
}

impl<'a> CacheStatus<'a> {
    /// Answered from the cache, with `ttl` seconds of freshness left; negative when stale.
    pub const fn hit(ttl: i64) -> Self {
        Self {
            ttl: Some(ttl),
            ..Self::EMPTY
        }
    }

    /// Went forward.
    pub const fn forward(reason: Forward) -> Self {
        Self {
            forward: Some(reason),
            ..Self::EMPTY
        }
    }

    const EMPTY: Self = Self {
        forward: None,
        forward_status: None,
        ttl: None,
        stored: false,
        collapsed: false,
        detail: None,
    };

    /// The status the origin answered with.
    #[must_use]
    pub const fn forward_status(self, status: StatusCode) -> Self {
        Self {
            forward_status: Some(status),
            ..self
        }
    }

    /// The answer was stored.
    #[must_use]
    pub const fn stored(self) -> Self {
        Self {
            stored: true,
            ..self
        }
    }

    /// The request shared another one's fetch.
    #[must_use]
    pub const fn collapsed(self) -> Self {
        Self {
            collapsed: true,
            ..self
        }
    }

    /// More, in words of our own; what is not printable ASCII is left out.
    #[must_use]
    pub const fn detail(self, detail: &'a str) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }

    /// As a field value.
    pub fn to_header_value(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("only printable ASCII is written")
    }
}

impl Display for CacheStatus<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Fractus")?;
        match self.forward {
            None => f.write_str("; hit")?,
            Some(reason) => write!(f, "; fwd={}", reason.as_str())?,
        }
        if let Some(status) = self.forward_status {
            write!(f, "; fwd-status={}", status.as_u16())?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if self.collapsed {
            f.write_str("; collapsed")?;
        }
        match self.detail {
            None => Ok(()),
            Some(token) if is_token(token) => write!(f, "; detail={token}"),
            Some(text) => {
                f.write_str("; detail=")?;
                write_string(f, text)
            }
        }
    }
}

/// An sf-token (RFC 9651 §3.3.4), less the characters nobody needs here.
fn is_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
}

/// An sf-string (RFC 9651 §3.3.3).
fn write_string(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars().filter(|letter| matches!(letter, ' '..='~')) {
        if matches!(letter, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(letter)?;
    }
    f.write_char('"')
}
