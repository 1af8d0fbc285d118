//! RFC 9211: Cache-Status.

use fractus_cache::{CacheStatus, Forward, NotStored};
use http::StatusCode;

#[test]
fn members_render() {
    let miss = CacheStatus::forward(Forward::UriMiss).forward_status(StatusCode::OK);
    for (status, expect) in [
        (CacheStatus::hit(376), "Fractus; hit; ttl=376"),
        (CacheStatus::hit(-412), "Fractus; hit; ttl=-412"),
        (miss, "Fractus; fwd=uri-miss; fwd-status=200"),
        (
            miss.stored(),
            "Fractus; fwd=uri-miss; fwd-status=200; stored",
        ),
        (
            CacheStatus::forward(Forward::UriMiss).collapsed(),
            "Fractus; fwd=uri-miss; collapsed",
        ),
        (
            CacheStatus::forward(Forward::Stale)
                .forward_status(StatusCode::NOT_MODIFIED)
                .stored(),
            "Fractus; fwd=stale; fwd-status=304; stored",
        ),
        (
            CacheStatus::forward(Forward::VaryMiss),
            "Fractus; fwd=vary-miss",
        ),
        (CacheStatus::forward(Forward::Method), "Fractus; fwd=method"),
        (CacheStatus::forward(Forward::Bypass), "Fractus; fwd=bypass"),
        (
            CacheStatus::forward(Forward::Request),
            "Fractus; fwd=request",
        ),
        (
            miss.detail(NotStored::NothingToReuse.token()),
            "Fractus; fwd=uri-miss; fwd-status=200; detail=no-freshness",
        ),
        (
            CacheStatus::hit(0).detail("a \"b\"\\\n\u{e9}"),
            "Fractus; hit; ttl=0; detail=\"a \\\"b\\\"\\\\\"",
        ),
        (
            CacheStatus::hit(0).detail(""),
            "Fractus; hit; ttl=0; detail=\"\"",
        ),
        (
            CacheStatus::hit(0).detail("9x"),
            "Fractus; hit; ttl=0; detail=\"9x\"",
        ),
    ] {
        assert_eq!(status.to_string(), expect);
        assert_eq!(status.to_header_value(), expect);
    }
}
