//! Vary (RFC 9111 §4.1): which stored response a request selects.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, VARY};

use crate::limits::{MAX_VARIANTS, MAX_VARY_BYTES, MAX_VARY_FIELDS};
use crate::list;
use crate::storable::NotStored;

/// The request fields a response varies on and the values they had. Empty for most responses; a
/// clone shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaryKey(Option<Arc<[Selector]>>);

#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: HeaderName,
    /// Members joined by single commas; `None` if the request had no such field.
    value: Option<Box<[u8]>>,
}

impl VaryKey {
    /// Of a response to a request. Fails for `*`, for what is no list of field names, and beyond
    /// [`MAX_VARY_FIELDS`] or [`MAX_VARY_BYTES`].
    pub fn new(response: &HeaderMap, request: &HeaderMap) -> Result<Self, NotStored> {
        let mut names = Vec::new();
        for member in list::all_members(response.get_all(VARY)) {
            // `*` is a field name by its syntax.
            if member == b"*" {
                return Err(NotStored::VaryAny);
            }
            names.push(HeaderName::from_bytes(member).map_err(|_invalid| NotStored::VaryAny)?);
            if names.len() > MAX_VARY_FIELDS {
                return Err(NotStored::VaryTooWide);
            }
        }
        if names.is_empty() {
            return Ok(Self(None));
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let selectors: Arc<[Selector]> = names
            .into_iter()
            .map(|name| Selector::new(name, request))
            .collect();
        let bytes: usize = selectors
            .iter()
            .filter_map(|s| s.value.as_ref())
            .map(|v| v.len())
            .sum();
        if bytes > MAX_VARY_BYTES {
            return Err(NotStored::VaryTooWide);
        }
        Ok(Self(Some(selectors)))
    }

    /// Does a request select the response? Lines are combined and whitespace around commas is
    /// ignored; nothing is allocated.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.selectors()
            .iter()
            .all(|selector| selector.matches(request))
    }

    /// Does the response vary on nothing?
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes it occupies, for an index's weights.
    pub fn weight(&self) -> usize {
        let value = |selector: &Selector| selector.value.as_ref().map_or(0, |value| value.len());
        self.selectors()
            .iter()
            .map(|s| size_of::<Selector>() + value(s))
            .sum()
    }

    fn selectors(&self) -> &[Selector] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Selector {
    fn new(name: HeaderName, request: &HeaderMap) -> Self {
        let value = request.contains_key(&name).then(|| {
            let members: Vec<&[u8]> = list::all_members(request.get_all(&name)).collect();
            members.join(&b","[..]).into_boxed_slice()
        });
        Self { name, value }
    }

    fn matches(&self, request: &HeaderMap) -> bool {
        let mut lines = request.get_all(&self.name).iter();
        match (&self.value, lines.next()) {
            (None, None) => true,
            (Some(value), Some(first)) => {
                // Nearly always one line, spelt as before.
                let same = lines.next().is_none() && first.as_bytes() == &**value;
                same || matches_members(value, request.get_all(&self.name).iter())
            }
            _ => false,
        }
    }
}

fn matches_members<'a>(joined: &[u8], lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let mut rest = Some(joined);
    for member in lines.flat_map(|line| list::members(line.as_bytes())) {
        let Some(tail) = rest.and_then(|rest| rest.strip_prefix(member)) else {
            return false;
        };
        rest = if tail.is_empty() {
            None
        } else {
            tail.strip_prefix(b",")
        };
        if rest.is_none() && !tail.is_empty() {
            return false;
        }
    }
    rest.is_none_or(<[u8]>::is_empty)
}

/// The stored responses of one key, newest first, at most [`MAX_VARIANTS`].
///
/// A value, not a place: [`Variants::with`] makes the next one, so that readers need no lock longer
/// than it takes to clone a `T` (which should be an `Arc`).
#[derive(Clone, Debug)]
pub struct Variants<T>(Vec<(VaryKey, T)>);

impl<T> Default for Variants<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Variants<T> {
    /// The newest response the request selects. `None` from a non-empty set is a
    /// [`VaryMiss`](crate::Forward::VaryMiss).
    pub fn select(&self, request: &HeaderMap) -> Option<&T> {
        self.0
            .iter()
            .find(|(vary, _)| vary.matches(request))
            .map(|(_, variant)| variant)
    }

    /// This set and one more, which replaces that of the same key and is preferred to the others.
    /// One that varies on nothing replaces all.
    #[must_use]
    pub fn with(&self, vary: VaryKey, variant: T) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|(other, _)| !vary.is_empty() && *other != vary)
            .cloned();
        let kept = kept.take(MAX_VARIANTS - 1).collect::<Vec<_>>();
        Self(std::iter::once((vary, variant)).chain(kept).collect())
    }

    /// This set without the responses `gone` names.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&T) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(_, variant)| !gone(variant))
                .cloned()
                .collect(),
        )
    }

    /// All responses, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, variant)| variant)
    }

    /// How many responses there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
