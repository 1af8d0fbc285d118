//! HTTP caching as decisions: may this request be looked up, may that response be stored, may a
//! stored one be reused now, which variant answers, what makes room. RFC 9111 for a shared cache,
//! with RFC 5861 (stale), RFC 9110 §13 and §14 (conditionals, ranges), RFC 9211 (Cache-Status) and
//! RFC 9213 (CDN-Cache-Control).
//!
//! It never fetches, never awaits, holds no body, reads no clock and no randomness: the edge passes
//! [`Timestamp`]s and hashers in and acts on the answers. Everything that can be computed when a
//! response is stored is computed then, so that a hit compares integers.
//!
//! Where to start, in the order of a request's life:
//!
//! 1. [`lookup`] says whether the request concerns the cache; [`CacheKey::new`] names what it asks
//!    for.
//! 2. [`Index::get`] finds the stored [`Variants`]; [`Variants::select`] the one this request may
//!    have; [`Policy::reuse`] whether it may be served now.
//! 3. On a hit, [`conditional_cached`] and [`range_answer`] turn a 200 into a 304, 206 or 416.
//! 4. Otherwise [`Policy::add_conditions`] or [`strip_conditions`] prepare the request to the
//!    origin; [`storable`] judges its answer, [`Policy::on_not_modified`] its 304,
//!    [`Policy::may_serve_on_error`] its failure.
//! 5. [`invalidates`] and [`CacheKey::resolve`] say what an unsafe request removes.
//! 6. [`CacheStatus`] tells the client what happened.

mod conditional;
mod delta;
mod directives;
mod freshen;
mod hop;
mod index;
mod key;
pub mod limits;
mod list;
mod policy;
mod range;
mod request;
mod status;
mod storable;
mod targeted;
mod time;
mod vary;

pub use conditional::{
    Conditional, Validators, conditional_cached, conditional_origin, not_modified_headers,
    strip_conditions,
};
pub use directives::RequestDirectives;
pub use freshen::Refreshed;
pub use hop::{strip_hop_by_hop, strip_nominated};
pub use index::{Index, PrecomputedHash};
pub use key::{CacheKey, KeyError, Scheme, normal_target};
pub use policy::{Policy, Reuse, is_stale_if_error_status};
pub use range::{RangeAnswer, range_answer};
pub use request::{Lookup, invalidates, lookup};
pub use status::{CacheStatus, Forward};
pub use storable::{Exchange, NotStored, storable};
pub use time::Timestamp;
pub use vary::{Variants, VaryKey};
