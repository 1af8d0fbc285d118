//! Time as an argument, and HTTP-date (RFC 9110 §5.6.7).

use http::header::HeaderValue;

/// Milliseconds since the UNIX epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the UNIX epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the UNIX epoch; saturates.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the UNIX epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// An HTTP-date in any of its three forms; `None` if it is none of them or before 1970.
    ///
    /// Names are matched without regard to case and the day of the week is not checked against the
    /// date, since neither leaves a doubt about the moment meant. Two-digit years run from 1970 to
    /// 2069.
    pub fn from_http_date(date: &HeaderValue) -> Option<Self> {
        let date = date.as_bytes().trim_ascii();
        imf_fixdate(date)
            .or_else(|| rfc850(date))
            .or_else(|| asctime(date))
            .map(Self::from_secs)
    }

    /// For differences. Beyond the year 292,278,994 all times are one.
    pub(crate) fn signed_millis(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The whole second this lies in, as an HTTP-date would have it.
    pub(crate) fn floor_second(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(date: &[u8]) -> Option<u64> {
    if date.len() != 29 || &date[3..5] != b", " || !date[..3].is_ascii() {
        return None;
    }
    let separated = date[7] == b' ' && date[11] == b' ' && date[16] == b' ';
    if !separated || !is_gmt(&date[25..]) {
        return None;
    }
    seconds(
        number(&date[12..16])?,
        &date[8..11],
        number(&date[5..7])?,
        &date[17..25],
    )
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(date: &[u8]) -> Option<u64> {
    let comma = date.iter().position(|&byte| byte == b',')?;
    let (day_name, date) = (&date[..comma], &date[comma..]);
    let shaped = date.len() == 24 && day_name.iter().all(u8::is_ascii_alphabetic);
    if !shaped || &date[..2] != b", " || date[4] != b'-' || date[8] != b'-' || date[11] != b' ' {
        return None;
    }
    if !is_gmt(&date[20..]) {
        return None;
    }
    let year = number(&date[9..11])?;
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    seconds(year, &date[5..8], number(&date[2..4])?, &date[12..20])
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(date: &[u8]) -> Option<u64> {
    let separated = date.len() == 24
        && date[3] == b' '
        && date[7] == b' '
        && date[10] == b' '
        && date[19] == b' ';
    if !separated {
        return None;
    }
    let day = number(date[8..10].strip_prefix(b" ").unwrap_or(&date[8..10]))?;
    seconds(number(&date[20..24])?, &date[4..7], day, &date[11..19])
}

fn is_gmt(zone: &[u8]) -> bool {
    zone.eq_ignore_ascii_case(b" GMT")
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    })
}

/// Seconds since the epoch of a civil date and `hh:mm:ss`; a leap second counts as the next one.
fn seconds(year: u64, month: &[u8], day: u64, clock: &[u8]) -> Option<u64> {
    const MONTHS: [&[u8]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let month = MONTHS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(month))?;
    let (hour, minute, second) = (
        number(&clock[..2])?,
        number(&clock[3..5])?,
        number(&clock[6..])?,
    );
    let colons = clock[2] == b':' && clock[5] == b':';
    if !colons || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_epoch(year, month, day)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// `month` counts from 0.
fn days_since_epoch(year: u64, month: usize, day: u64) -> Option<u64> {
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = DAYS[month] + u64::from(leap && month == 1);
    if year < 1970 || day == 0 || day > length {
        return None;
    }
    let leaps_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let years = (year - 1970) * 365 + leaps_before(year) - leaps_before(1970);
    let months = DAYS[..month].iter().sum::<u64>() + u64::from(leap && month > 1);
    Some(years + months + day - 1)
}
