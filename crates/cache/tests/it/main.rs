//! The cache's decisions, by the RFC that asks for them.

mod eviction;
mod keys;
mod rfc9110;
mod rfc9111;
mod rfc9111_reuse;
mod rfc9111_vary;
mod rfc9211;
mod rfc9213;
mod support;
