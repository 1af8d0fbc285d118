//! Cache-Control (RFC 9111 §5.2), read tolerantly: names in any case, arguments as tokens or quoted
//! strings, unknown directives skipped, the first of several alike wins (§4.2.1). Nothing is
//! allocated.

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use crate::{delta, list};

/// Cache-Control of a request (RFC 9111 §5.2.1). Default: nothing asked. All times in seconds.
///
/// A client's wishes are honoured as they stand; an edge that does not want clients to force
/// revalidation passes the default instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Validate before reuse.
    pub no_cache: bool,
    /// Do not store the answer; a stored one may still be used (§5.2.1.5).
    pub no_store: bool,
    /// Answer 504 rather than forward (§5.2.1.7).
    pub only_if_cached: bool,
    /// The greatest age accepted.
    pub max_age: Option<u32>,
    /// The least remaining lifetime accepted.
    pub min_fresh: Option<u32>,
    /// The greatest staleness accepted; `u32::MAX` when written without a value.
    pub max_stale: Option<u32>,
    /// The greatest staleness accepted when the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<u32>,
}

impl RequestDirectives {
    /// Reads the Cache-Control lines of a request. An argument that is no number counts as 0, the
    /// strictest, except that of `stale-if-error` and `max-stale`, where 0 is just that.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        for (name, argument) in parse(headers) {
            let seconds = || argument.and_then(delta::parse_argument).unwrap_or(0);
            match Name::of(name) {
                Some(Name::NoCache) => read.no_cache = true,
                Some(Name::NoStore) => read.no_store = true,
                Some(Name::OnlyIfCached) => read.only_if_cached = true,
                Some(Name::MaxAge) => first(&mut read.max_age, seconds),
                // The least remaining lifetime is the one directive where 0 is the laxest.
                Some(Name::MinFresh) => {
                    let seconds = || argument.and_then(delta::parse_argument).unwrap_or(u32::MAX);
                    first(&mut read.min_fresh, seconds);
                }
                Some(Name::MaxStale) if argument.is_none() => {
                    first(&mut read.max_stale, || u32::MAX);
                }
                Some(Name::MaxStale) => first(&mut read.max_stale, seconds),
                Some(Name::StaleIfError) => first(&mut read.stale_if_error, seconds),
                _ => {}
            }
        }
        read
    }
}

/// Cache-Control of a response (RFC 9111 §5.2.2), or the targeted field that replaces it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) s_maxage: Option<u32>,
    pub(crate) stale_while_revalidate: Option<u32>,
    pub(crate) stale_if_error: Option<u32>,
}

impl ResponseDirectives {
    /// `no-cache="field"` and `private="field"` count as their unqualified forms: the listed fields
    /// would otherwise have to be kept apart from the rest, and refusing the whole is always
    /// allowed.
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        for (name, argument) in parse(headers) {
            // Invalid freshness makes a response stale (§4.2.1).
            let seconds = argument.and_then(delta::parse_argument).unwrap_or(0);
            if let Some(name) = Name::of(name) {
                read.apply(name, seconds);
            }
        }
        read
    }

    /// `seconds` matters only to directives that have them.
    pub(crate) fn apply(&mut self, name: Name, seconds: u32) {
        match name {
            Name::NoStore => self.no_store = true,
            Name::NoCache => self.no_cache = true,
            Name::Private => self.private = true,
            Name::Public => self.public = true,
            Name::MustRevalidate => self.must_revalidate = true,
            Name::ProxyRevalidate => self.proxy_revalidate = true,
            Name::MustUnderstand => self.must_understand = true,
            Name::MaxAge => first(&mut self.max_age, || seconds),
            Name::SMaxage => first(&mut self.s_maxage, || seconds),
            Name::StaleWhileRevalidate => first(&mut self.stale_while_revalidate, || seconds),
            Name::StaleIfError => first(&mut self.stale_if_error, || seconds),
            Name::OnlyIfCached | Name::MinFresh | Name::MaxStale => {}
        }
    }

    /// May it be served stale at all (§4.2.4)?
    pub(crate) fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

/// The directives that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    MaxAge,
    MaxStale,
    MinFresh,
    MustRevalidate,
    MustUnderstand,
    NoCache,
    NoStore,
    OnlyIfCached,
    Private,
    ProxyRevalidate,
    Public,
    SMaxage,
    StaleIfError,
    StaleWhileRevalidate,
}

impl Name {
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Name); 14] = [
            (b"max-age", Name::MaxAge),
            (b"no-cache", Name::NoCache),
            (b"no-store", Name::NoStore),
            (b"public", Name::Public),
            (b"private", Name::Private),
            (b"s-maxage", Name::SMaxage),
            (b"must-revalidate", Name::MustRevalidate),
            (b"proxy-revalidate", Name::ProxyRevalidate),
            (b"stale-while-revalidate", Name::StaleWhileRevalidate),
            (b"stale-if-error", Name::StaleIfError),
            (b"must-understand", Name::MustUnderstand),
            (b"max-stale", Name::MaxStale),
            (b"min-fresh", Name::MinFresh),
            (b"only-if-cached", Name::OnlyIfCached),
        ];
        let found = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|&(_, name)| name)
    }

    /// Does it carry delta-seconds?
    pub(crate) fn is_timed(self) -> bool {
        use Name::{MaxAge, SMaxage, StaleIfError, StaleWhileRevalidate};
        matches!(self, MaxAge | SMaxage | StaleIfError | StaleWhileRevalidate)
    }
}

fn parse(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    list::all_members(headers.get_all(CACHE_CONTROL)).map(|member| {
        match member.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&member[..equals], Some(&member[equals + 1..])),
            None => (member, None),
        }
    })
}

fn first(slot: &mut Option<u32>, seconds: impl FnOnce() -> u32) {
    slot.get_or_insert_with(seconds);
}
