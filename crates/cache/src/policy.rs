//! What is kept of a response's rules: a few instants, compared on every hit.

use http::header::{
    ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};

use crate::conditional::{Validators, strip_conditions};
use crate::directives::{RequestDirectives, ResponseDirectives};
use crate::status::Forward;
use crate::storable::{Exchange, date, date_field};
use crate::time::Timestamp;
use crate::vary::VaryKey;

/// How one stored response may be reused. Made by [`storable`](crate::storable); all arithmetic is
/// done there. At most 168 bytes, and those of its [`VaryKey`]; entity tag and Last-Modified share
/// the response's memory.
#[derive(Clone, Debug)]
pub struct Policy {
    times: Times,
    /// no-cache: validate before every use.
    always_validate: bool,
    /// §4.2.4 forbids serving it stale.
    never_stale: bool,
    status: StatusCode,
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    /// Last-Modified, else Date, else when it came (§4.3.2).
    modified: Timestamp,
    vary: VaryKey,
}

/// May a stored response be used now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it stale: the request's max-stale accepts that.
    Stale,
    /// Serve it stale and validate it in the background (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Validate it first; the reason is for Cache-Status.
    Revalidate(Forward),
}

/// Milliseconds since the epoch, signed since an Age may lie before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When its age was zero.
    born: i64,
    fresh_until: i64,
    /// End of stale-while-revalidate; `fresh_until` without one.
    refreshable_until: i64,
    /// End of stale-if-error; `fresh_until` without one.
    error_until: i64,
}

impl Times {
    pub(crate) fn new(
        initial_age: i64,
        lifetime: i64,
        received: Timestamp,
        says: &ResponseDirectives,
    ) -> Self {
        let born = received.signed_millis().saturating_sub(initial_age);
        let fresh_until = born.saturating_add(lifetime);
        let window = |seconds: Option<u32>| {
            let allowed = seconds.filter(|_| !says.forbids_stale()).unwrap_or(0);
            fresh_until.saturating_add(i64::from(allowed) * 1000)
        };
        Self {
            born,
            fresh_until,
            refreshable_until: window(says.stale_while_revalidate),
            error_until: window(says.stale_if_error),
        }
    }

    /// Could it ever be served from `now` on without validation?
    pub(crate) fn usable_at(&self, now: Timestamp) -> bool {
        now.signed_millis()
            < self
                .fresh_until
                .max(self.refreshable_until)
                .max(self.error_until)
    }
}

impl Policy {
    pub(crate) fn new(
        exchange: &Exchange<'_>,
        times: Times,
        vary: VaryKey,
        says: &ResponseDirectives,
    ) -> Self {
        let field = |name: HeaderName| exchange.response.get(name).cloned();
        Self {
            times,
            always_validate: says.no_cache,
            never_stale: says.forbids_stale(),
            status: exchange.status,
            etag: field(ETAG),
            last_modified: field(LAST_MODIFIED),
            modified: date_field(exchange.response, LAST_MODIFIED)
                .unwrap_or_else(|| date(exchange)),
            vary,
        }
    }

    /// May the response be used at `now` for a request that says this (RFC 9111 §4)? The request
    /// must have been [selected](VaryKey::matches) already.
    pub fn reuse(&self, now: Timestamp, request: &RequestDirectives) -> Reuse {
        if self.always_validate {
            return Reuse::Revalidate(Forward::Stale);
        }
        let now = now.signed_millis();
        let remaining = self.times.fresh_until.saturating_sub(now);
        let exceeds = |limit: Option<u32>, millis: i64| {
            limit.is_some_and(|seconds| millis > i64::from(seconds) * 1000)
        };
        let too_old = exceeds(request.max_age, now.saturating_sub(self.times.born));
        let too_soon_stale = request
            .min_fresh
            .is_some_and(|least| remaining < i64::from(least) * 1000);
        if remaining > 0 {
            let refused = request.no_cache || too_old || too_soon_stale;
            return if refused {
                Reuse::Revalidate(Forward::Request)
            } else {
                Reuse::Fresh
            };
        }
        let refused = self.never_stale || request.no_cache || too_old || too_soon_stale;
        if refused {
            return Reuse::Revalidate(Forward::Stale);
        }
        if request.max_stale.is_some() && !exceeds(request.max_stale, remaining.saturating_neg()) {
            return Reuse::Stale;
        }
        if now < self.times.refreshable_until {
            return Reuse::StaleWhileRevalidate;
        }
        Reuse::Revalidate(Forward::Stale)
    }

    /// May it be served although validation failed: the origin did not answer, or with
    /// [such a status](is_stale_if_error_status) (RFC 5861 §4)? Only within a stale-if-error of
    /// response or request, never against §4.2.4 or the request's no-cache.
    pub fn may_serve_on_error(&self, now: Timestamp, request: &RequestDirectives) -> bool {
        if self.never_stale || request.no_cache {
            return false;
        }
        let accepted = i64::from(request.stale_if_error.unwrap_or(0)) * 1000;
        let until = self
            .times
            .error_until
            .max(self.times.fresh_until.saturating_add(accepted));
        now.signed_millis() < until
    }

    /// Seconds: the value of Age (§5.1).
    pub fn age(&self, now: Timestamp) -> u64 {
        let millis = now.signed_millis().saturating_sub(self.times.born);
        u64::try_from(millis / 1000).unwrap_or(0)
    }

    /// Seconds of freshness left, negative when stale: the `ttl` of Cache-Status.
    pub fn ttl(&self, now: Timestamp) -> i64 {
        self.times
            .fresh_until
            .saturating_sub(now.signed_millis())
            .div_euclid(1000)
    }

    /// Makes a request to the origin one that validates this response (§4.3.1): the client's own
    /// conditions and Range go, the stored validators come. Without validators it becomes an
    /// unconditional one.
    pub fn add_conditions(&self, request: &mut HeaderMap) {
        strip_conditions(request);
        if let Some(etag) = &self.etag {
            request.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(last_modified) = &self.last_modified {
            request.insert(IF_MODIFIED_SINCE, last_modified.clone());
        }
    }

    /// For [`conditional_cached`](crate::conditional_cached) and
    /// [`range_answer`](crate::range_answer). Without Last-Modified its place is taken by Date, as
    /// §4.3.2 has it.
    pub fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.etag.as_ref(),
            last_modified: Some(self.modified),
        }
    }

    /// What selects the response.
    pub fn vary(&self) -> &VaryKey {
        &self.vary
    }

    /// The status stored.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn last_modified(&self) -> Option<&HeaderValue> {
        self.last_modified.as_ref()
    }
}

/// Does an origin's status count as an error for stale-if-error (RFC 5861 §4)?
pub fn is_stale_if_error_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}
