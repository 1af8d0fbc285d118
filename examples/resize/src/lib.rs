//! Resizes pictures of a bucket: `GET /resize/KEY?w=&h=&fit=&q=`.
//!
//! [`request`] reads what is asked, [`accept`] picks the format of the answer, [`picture`] decodes,
//! resizes and encodes, [`reply`] builds the answer and its caching headers. All of them are plain
//! functions over bytes, tested natively; `wasi` connects them to the host.

pub mod accept;
pub mod picture;
pub mod reply;
pub mod request;
#[cfg(target_family = "wasm")]
mod wasi;
