//! The text forms of time in answers.

use crate::event::civil;

const DAY_MS: u64 = 86_400_000;

/// UNIX milliseconds as `2026-01-31T23:59:59.123+0000`, as functions' `LastModified`.
pub fn iso_time(unix_ms: u64) -> String {
    let (date, time) = parts(unix_ms);
    format!("{date}T{time}.{:03}+0000", unix_ms % 1000)
}

/// UNIX milliseconds as `2026-01-31T23:59:59.123Z`, as events have it.
pub fn iso_millis(unix_ms: u64) -> String {
    let (date, time) = parts(unix_ms);
    format!("{date}T{time}.{:03}Z", unix_ms % 1000)
}

/// UNIX milliseconds as `2026-01-31T23:59:59Z`, as function URLs and permissions have it.
pub fn iso_seconds(unix_ms: u64) -> String {
    let (date, time) = parts(unix_ms);
    format!("{date}T{time}Z")
}

fn parts(unix_ms: u64) -> (String, String) {
    let (year, month, day) = civil(unix_ms / DAY_MS);
    let seconds = unix_ms % DAY_MS / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{hour:02}:{minute:02}:{second:02}"),
    )
}
