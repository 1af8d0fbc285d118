//! May a response be stored (RFC 9111 §3), and for how long is it fresh (§4.2)?

use http::header::{
    AGE, AUTHORIZATION, DATE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, SET_COOKIE,
};
use http::{HeaderMap, Method, StatusCode};
use thiserror::Error;

use crate::directives::{RequestDirectives, ResponseDirectives};
use crate::limits::{HEURISTIC_PERCENT, MAX_HEURISTIC_SECONDS};
use crate::policy::{Policy, Times};
use crate::time::Timestamp;
use crate::vary::VaryKey;
use crate::{delta, list, targeted};

/// A request forwarded and its answer, as far as headers go. The headers are those exchanged with
/// the origin, before [`strip_hop_by_hop`](crate::strip_hop_by_hop).
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's header fields, those the client sent included (Authorization, those named by
    /// Vary).
    pub request: &'a HeaderMap,
    /// The final status.
    pub status: StatusCode,
    /// The response's header fields.
    pub response: &'a HeaderMap,
    /// When the request was sent.
    pub requested: Timestamp,
    /// When the response's head had arrived.
    pub received: Timestamp,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum NotStored {
    /// Only answers to GET are stored.
    #[error("the method is not GET")]
    Method,
    /// The request's no-store.
    #[error("the request says no-store")]
    RequestNoStore,
    /// The response's no-store.
    #[error("the response says no-store")]
    NoStore,
    /// The response's private.
    #[error("the response says private")]
    Private,
    /// The request carried Authorization, and the response does not say public, must-revalidate or
    /// s-maxage (RFC 9111 §3.5).
    #[error("the answer to an authorised request does not allow sharing")]
    Authorization,
    /// Set-Cookie without public, s-maxage or a targeted max-age.
    #[error("the response sets a cookie and does not say public")]
    SetCookie,
    /// `Vary: *`, or not a list of names.
    #[error("the response varies on more than the request's fields")]
    VaryAny,
    /// Vary beyond [`MAX_VARY_FIELDS`](crate::limits::MAX_VARY_FIELDS) or
    /// [`MAX_VARY_BYTES`](crate::limits::MAX_VARY_BYTES).
    #[error("the response varies on too much")]
    VaryTooWide,
    /// A status that is not final, not cacheable without explicit permission, or depends on request
    /// fields that are no part of the key.
    #[error("the status is not cacheable")]
    Status,
    /// 206: parts are not stored.
    #[error("the response is partial")]
    Partial,
    /// Neither fresh nor to be validated: it could never be used.
    #[error("the response has neither freshness nor a validator")]
    NothingToReuse,
}

impl NotStored {
    /// One word, for the `detail` of Cache-Status and for counters.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::VaryTooWide => "vary-too-wide",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NothingToReuse => "no-freshness",
        }
    }

    /// Is it this one request that forbids storing? What is stored already may then stay.
    pub const fn is_of_request(self) -> bool {
        matches!(
            self,
            Self::Method | Self::RequestNoStore | Self::Authorization
        )
    }
}

/// May a shared cache store this response? The policy says how it may be reused.
///
/// A response that sets a cookie is stored only if it says `public`, `s-maxage` or a targeted
/// `max-age`. RFC 9111 §7.3 leaves that to the origin, but a session handed to a stranger is not
/// worth the hit.
pub fn storable(exchange: &Exchange<'_>) -> Result<Policy, NotStored> {
    if exchange.method != Method::GET {
        return Err(NotStored::Method);
    }
    if RequestDirectives::parse(exchange.request).no_store {
        return Err(NotStored::RequestNoStore);
    }
    let controls = Controls::of(exchange);
    controls.check_directives(exchange)?;
    controls.check_status(exchange.status)?;
    let vary = VaryKey::new(exchange.response, exchange.request)?;
    let lifetime = controls.lifetime(exchange);
    let has_validator = [ETAG, LAST_MODIFIED]
        .iter()
        .any(|name| exchange.response.contains_key(name));
    let times = Times::new(
        initial_age(exchange),
        lifetime,
        exchange.received,
        &controls.directives,
    );
    if !has_validator && (controls.directives.no_cache || !times.usable_at(exchange.received)) {
        return Err(NotStored::NothingToReuse);
    }
    Ok(Policy::new(exchange, times, vary, &controls.directives))
}

/// What says how the response may be cached: the targeted field, or Cache-Control and Expires.
struct Controls {
    directives: ResponseDirectives,
    is_targeted: bool,
    /// Milliseconds.
    explicit_lifetime: Option<i64>,
}

impl Controls {
    fn of(exchange: &Exchange<'_>) -> Self {
        let targeted = targeted::parse(exchange.response);
        let directives = targeted.unwrap_or_else(|| ResponseDirectives::parse(exchange.response));
        let seconds = directives.s_maxage.or(directives.max_age);
        let explicit_lifetime = match seconds {
            Some(seconds) => Some(i64::from(seconds) * 1000),
            None if targeted.is_some() => None,
            None => expires_lifetime(exchange),
        };
        Self {
            directives,
            is_targeted: targeted.is_some(),
            explicit_lifetime,
        }
    }

    fn check_directives(&self, exchange: &Exchange<'_>) -> Result<(), NotStored> {
        let says = &self.directives;
        // §5.2.2.3: must-understand lifts no-store for caches that know the status.
        if says.no_store && !says.must_understand {
            return Err(NotStored::NoStore);
        }
        if says.private {
            return Err(NotStored::Private);
        }
        let shared = says.public || says.s_maxage.is_some();
        let authorised = exchange.request.contains_key(AUTHORIZATION);
        if authorised && !shared && !says.must_revalidate {
            return Err(NotStored::Authorization);
        }
        let shared = shared || (self.is_targeted && says.max_age.is_some());
        if exchange.response.contains_key(SET_COOKIE) && !shared {
            return Err(NotStored::SetCookie);
        }
        Ok(())
    }

    fn check_status(&self, status: StatusCode) -> Result<(), NotStored> {
        let explicit = self.explicit_lifetime.is_some() || self.directives.public;
        match status {
            StatusCode::PARTIAL_CONTENT => Err(NotStored::Partial),
            // Answers to conditions and ranges, which the key does not know.
            StatusCode::NOT_MODIFIED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE => Err(NotStored::Status),
            _ if status.is_informational() => Err(NotStored::Status),
            _ if self.directives.must_understand && !is_understood(status) => {
                Err(NotStored::Status)
            }
            _ if explicit || is_heuristically_cacheable(status) => Ok(()),
            _ => Err(NotStored::Status),
        }
    }

    /// Milliseconds (§4.2.1, §4.2.2).
    fn lifetime(&self, exchange: &Exchange<'_>) -> i64 {
        let may_guess = self.directives.public || is_heuristically_cacheable(exchange.status);
        match self.explicit_lifetime {
            Some(lifetime) => lifetime,
            None if may_guess => heuristic_lifetime(exchange),
            None => 0,
        }
    }
}

/// Expires, counted from Date; one that is invalid has passed (§5.3).
fn expires_lifetime(exchange: &Exchange<'_>) -> Option<i64> {
    let expires = exchange.response.get(EXPIRES)?;
    let expires = Timestamp::from_http_date(expires).unwrap_or_default();
    Some((expires.signed_millis() - date(exchange).signed_millis()).max(0))
}

fn heuristic_lifetime(exchange: &Exchange<'_>) -> i64 {
    let Some(modified) = date_field(exchange.response, LAST_MODIFIED) else {
        return 0;
    };
    let unchanged_for = date(exchange).signed_millis() - modified.signed_millis();
    let share = unchanged_for / 100 * i64::from(HEURISTIC_PERCENT);
    share.clamp(0, i64::from(MAX_HEURISTIC_SECONDS) * 1000)
}

/// Milliseconds: `corrected_initial_age` of §4.2.3.
fn initial_age(exchange: &Exchange<'_>) -> i64 {
    let received = exchange.received.signed_millis();
    // Dates have whole seconds: a fraction of one must not count as age.
    let apparent_age =
        exchange.received.floor_second().signed_millis() - date(exchange).signed_millis();
    let delay = (received - exchange.requested.signed_millis()).max(0);
    age_field(exchange.response)
        .saturating_add(delay)
        .max(apparent_age)
}

/// Milliseconds: the first member of the first Age that is a number (§5.1).
fn age_field(response: &HeaderMap) -> i64 {
    let first = list::all_members(response.get_all(AGE)).next();
    i64::from(first.and_then(delta::parse).unwrap_or(0)) * 1000
}

/// When the origin made the response; when it came, if it does not say (RFC 9110 §6.6.1).
pub(crate) fn date(exchange: &Exchange<'_>) -> Timestamp {
    let received = exchange.received.floor_second();
    date_field(exchange.response, DATE).unwrap_or(received)
}

pub(crate) fn date_field(headers: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    headers.get(name).and_then(Timestamp::from_http_date)
}

/// RFC 9110 §15.1, less 206.
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The final statuses of RFC 9110 whose meaning for a cache is that of this crate.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=411 | 413..=415 | 417 | 421 | 422 | 426
            | 500..=505
    )
}
