//! Points in time as signatures have them: `20150830T123600Z`.

use std::fmt;
use std::time::UNIX_EPOCH;

const DAY_S: u64 = 86_400;
/// Days of 400 years.
const ERA_DAYS: u64 = 146_097;
/// The last second of the year 9999: later ones are shown as this one.
const LAST_S: u64 = 253_402_300_799;

/// UNIX seconds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Timestamp(pub(super) u64);

impl Timestamp {
    /// Reads `20150830T123600Z`, from 1970 on.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let [date @ .., b'T', h1, h2, m1, m2, s1, s2, b'Z'] = text.as_bytes() else {
            return None;
        };
        let [year @ .., month1, month2, day1, day2] = date else {
            return None;
        };
        let year = <[u8; 4]>::try_from(year)
            .ok()
            .and_then(|year| number(&year))?;
        let (month, day) = (number(&[*month1, *month2])?, number(&[*day1, *day2])?);
        let (hour, minute) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
        let second = number(&[*s1, *s2])?;
        let is_date =
            year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        (is_date && hour < 24 && minute < 60 && second < 60).then(|| {
            let days = days_until(year, month) + day - 1;
            Self(days * DAY_S + hour * 3600 + minute * 60 + second)
        })
    }

    /// Reads a time of HTTP (RFC 9110, 5.6.7), also with the zone as mail has it and botocore too.
    pub(super) fn parse_http(text: &str) -> Option<Self> {
        let numeric = text
            .strip_suffix("-0000")
            .or_else(|| text.strip_suffix("+0000"));
        let time = match numeric {
            Some(rest) => httpdate::parse_http_date(&format!("{rest}GMT")),
            None => httpdate::parse_http_date(text),
        };
        let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(since.as_secs()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unix_s = self.0.min(LAST_S);
        let (days, second) = (unix_s / DAY_S, unix_s % DAY_S);
        // At most one year too early.
        let mut year = 1970 + days * 400 / (ERA_DAYS + 400);
        while days_until(year + 1, 1) <= days {
            year += 1;
        }
        let month = (1..=12)
            .rev()
            .find(|&month| days_until(year, month) <= days)
            .unwrap_or(1);
        let day = days - days_until(year, month) + 1;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        )
    }
}

/// A decimal number of digits only.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Days from 1970-01-01 to the first day of the month, in the Gregorian calendar.
fn days_until(year: u64, month: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = 365 * (year - 1970) + leap_days(year - 1) - leap_days(1969);
    years + (1..month).map(|month| days_of(year, month)).sum::<u64>()
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(400) || (year.is_multiple_of(4) && !year.is_multiple_of(100)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
