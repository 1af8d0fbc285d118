//! Schedules in the form of `cron`, in a time zone.
//!
//! # Daylight saving
//!
//! As in Vixie cron, which its users know: a schedule whose minute or hour begins with `*` follows
//! the clock on the wall. Times that the clock skips do not come; times that it shows twice come
//! twice. All other schedules name fixed times, and each fires once a day: those that the clock
//! skips fire at the first moment after the gap, together if there are several; those that it shows
//! twice fire the first time.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Span, Timestamp};
use thiserror::Error;

use crate::limits::CRON_MAX;

/// Longest time between two fires of any schedule, in years: 29 February that is a Sunday comes
/// each 28 years, but for the century years without one.
const YEARS_MAX: i64 = 41;

/// The schedules that have names.
const NAMED: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The other number of Sunday, which is 0 too. No other field ends with it.
const SUNDAY: u8 = 7;

const MINUTE: Kind = Kind::new("minute", 0, 59, &[]);
const HOUR: Kind = Kind::new("hour", 0, 23, &[]);
const DAY: Kind = Kind::new("day of month", 1, 31, &[]);
const MONTH: Kind = Kind::new(
    "month",
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAY: Kind = Kind::new(
    "day of week",
    0,
    SUNDAY,
    &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
);

/// A schedule of five fields, minute, hour, day of month, month and day of week, in a time zone.
///
/// A field is `*`, a value, a range `a-b`, either of the two with a step as in `*/5` or `10-50/5`,
/// or a list of them with commas. Months and days of the week have English names of three letters;
/// Sunday is 0 and 7. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for whole
/// schedules. As in Vixie cron, a day must fit both of its fields if one of them begins with `*`,
/// and otherwise either.
///
/// Displays its expression in one form: names as numbers, single blanks, nothing abbreviated.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

/// A text that is not a schedule: the field, and what to write.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CronError {
    /// The expression is over its bound.
    #[error("a schedule has at most {CRON_MAX} bytes")]
    TooLong,
    /// Not five fields.
    #[error(
        "a schedule has five fields and this has {found}: write minute, hour, day of month, month \
         and day of week, such as `30 5 * * 1-5`"
    )]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// A name that no schedule has.
    #[error("`{name}` names no schedule: write @hourly, @daily, @weekly, @monthly or @yearly")]
    Name {
        /// What was written.
        name: String,
    },
    /// One part of one field.
    #[error("{field}: `{part}` {hint}")]
    Part {
        /// The field, such as `day of month`.
        field: &'static str,
        /// The part that was not understood.
        part: String,
        /// What is wrong with it, and what to write.
        hint: String,
    },
    /// Such as 30 February.
    #[error("day of month: no month of this schedule has such a day: write an earlier day")]
    NoSuchDay,
    /// The time zone is not known.
    #[error("`{name}` is no time zone: write an IANA name such as `Europe/Berlin` or `UTC`")]
    TimeZone {
        /// What was written.
        name: String,
    },
}

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    low: u8,
    high: u8,
    /// Of the values from `low` on, in lower case.
    names: &'static [&'static str],
}

/// One field of a schedule.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    /// Its one form.
    text: String,
    /// Bit n stands for the value n.
    values: u64,
    /// Whether it begins with `*`.
    is_star: bool,
}

/// A time in which the zone's clock runs without a jump.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Where the search in it begins.
    from: Timestamp,
    /// The clock there.
    begin: DateTime,
    /// What the clock would show at the begin of the stretch, had it not jumped.
    seen: DateTime,
    /// Whether `from` is the begin of the stretch.
    is_entered: bool,
    /// Its end, which is the begin of the next.
    end: Option<Timestamp>,
}

impl Cron {
    /// Reads an expression of at most [`CRON_MAX`] bytes. `timezone` is an IANA name.
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, CronError> {
        if expression.len() > CRON_MAX {
            return Err(CronError::TooLong);
        }
        let expression = expression.trim();
        let expression = if expression.starts_with('@') {
            long_form(expression)?
        } else {
            expression
        };
        let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields {
                found: fields.len(),
            });
        };
        let cron = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: WEEKDAY.parse(weekday)?,
            zone: zone(timezone)?,
        };
        if cron.has_days() {
            Ok(cron)
        } else {
            Err(CronError::NoSuchDay)
        }
    }

    /// The IANA name of its time zone.
    pub fn timezone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first fire strictly after an instant, both in milliseconds since the UNIX epoch. None
    /// only where the calendar ends, in the year 9999.
    pub fn next_after(&self, unix_ms: u64) -> Option<u64> {
        // Fires are at whole seconds, and so are a zone's jumps.
        let second = i64::try_from(unix_ms / 1000).ok()?.checked_add(1)?;
        let mut from = Timestamp::from_second(second).ok()?;
        let years = SignedDuration::from_hours(YEARS_MAX * 366 * 24);
        let horizon = from.saturating_add(years).ok()?;
        while from < horizon {
            let stretch = Stretch::at(&self.zone, from);
            if let Some(fire) = self.first_in(&stretch, horizon) {
                return u64::try_from(fire.as_millisecond()).ok();
            }
            from = stretch.end?;
        }
        None
    }

    /// The first fire in a stretch, or before the horizon if that comes first.
    fn first_in(&self, stretch: &Stretch, horizon: Timestamp) -> Option<Timestamp> {
        let offset = self.zone.to_offset(stretch.from);
        let end = offset.to_datetime(stretch.end.unwrap_or(horizon).min(horizon));
        let Stretch {
            from, begin, seen, ..
        } = *stretch;
        if self.is_wild() {
            return offset.to_timestamp(self.first_time(begin, end)?).ok();
        }
        if stretch.is_entered && self.first_time(seen, begin).is_some() {
            return Some(from);
        }
        let first = self.first_time(begin.max(seen), end)?;
        offset.to_timestamp(first).ok()
    }

    /// Whether it follows the clock on the wall rather than naming fixed times.
    fn is_wild(&self) -> bool {
        self.minutes.is_star || self.hours.is_star
    }

    /// Whether it can ever fire.
    fn has_days(&self) -> bool {
        // A field that begins with `*` has its lowest value, which comes together with any other.
        let is_either = !self.days.is_star && !self.weekdays.is_star;
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut months = (MONTH.low..=MONTH.high).filter(|month| self.months.has(*month));
        let first = self.days.next(DAY.low);
        is_either || months.any(|month| first.is_some_and(|day| day <= longest(month)))
    }

    /// The first time from `from` on and before `until` that fits, as if clocks never jumped.
    fn first_time(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let (mut hour, mut minute) = (from.hour().unsigned_abs(), from.minute().unsigned_abs());
        minute += u8::from(from.second() > 0);
        let mut date = from.date();
        while date <= until.date() {
            let is_month = self.months.has(date.month().unsigned_abs());
            if is_month
                && self.has_day(date)
                && let Some(time) = self.first_of_day(hour, minute)
            {
                let found = date.to_datetime(time);
                return (found < until).then_some(found);
            }
            let last = if is_month { date } else { date.last_of_month() };
            date = last.tomorrow().ok()?;
            (hour, minute) = (0, 0);
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day().unsigned_abs());
        let weekday = date.weekday().to_sunday_zero_offset().unsigned_abs();
        let weekday = self.weekdays.has(weekday);
        if self.days.is_star || self.weekdays.is_star {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// The first time of a day that fits, from one on whose minute may be 60.
    fn first_of_day(&self, hour: u8, minute: u8) -> Option<Time> {
        let in_hour = self.hours.has(hour).then(|| self.minutes.next(minute));
        let (hour, minute) = match in_hour.flatten() {
            Some(minute) => (hour, minute),
            None => (self.hours.next(hour + 1)?, self.minutes.next(0)?),
        };
        Time::new(hour.cast_signed(), minute.cast_signed(), 0, 0).ok()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            minutes,
            hours,
            days,
            months,
            weekdays,
            zone: _,
        } = self;
        f.pad(
            &[minutes, hours, days, months, weekdays]
                .map(|field| field.text.as_str())
                .join(" "),
        )
    }
}

impl Stretch {
    /// The one that an instant lies in, from that instant on.
    fn at(zone: &TimeZone, from: Timestamp) -> Self {
        let second = Span::new().seconds(1);
        let begin = zone.to_datetime(from);
        // What is asked for is strictly before and after.
        let after = from.saturating_add(second).unwrap_or(from);
        let entered = zone.preceding(after).next().map(|jump| jump.timestamp());
        let seen = entered.and_then(|entered| {
            let before = entered.saturating_sub(second).ok()?;
            Some(zone.to_offset(before).to_datetime(entered))
        });
        Self {
            from,
            begin,
            seen: seen.unwrap_or(begin),
            is_entered: entered == Some(from),
            end: zone.following(from).next().map(|jump| jump.timestamp()),
        }
    }
}

impl Field {
    fn has(&self, value: u8) -> bool {
        self.values >> value & 1 == 1
    }

    /// Its lowest value from one on, which is at most 63.
    fn next(&self, from: u8) -> Option<u8> {
        let left = self.values >> from << from;
        u8::try_from(left.trailing_zeros())
            .ok()
            .filter(|_| left != 0)
    }
}

impl Kind {
    const fn new(name: &'static str, low: u8, high: u8, names: &'static [&'static str]) -> Self {
        Self {
            name,
            low,
            high,
            names,
        }
    }

    fn parse(&self, text: &str) -> Result<Field, CronError> {
        let mut values = 0;
        let mut parts = Vec::new();
        for part in text.split(',') {
            let (of_part, text) = self.part(part).map_err(|hint| CronError::Part {
                field: self.name,
                part: part.to_owned(),
                hint,
            })?;
            values |= of_part;
            parts.push(text);
        }
        if self.high == SUNDAY {
            values |= values >> SUNDAY & 1;
        }
        Ok(Field {
            text: parts.join(","),
            values,
            is_star: text.starts_with('*'),
        })
    }

    /// The values of one part of a list, and its one form; or what to write in its place.
    fn part(&self, text: &str) -> Result<(u64, String), String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            None if range == "*" => (self.low, self.high),
            None => {
                let value = self.value(range)?;
                if let Some(step) = step {
                    let high = self.high;
                    return Err(format!(
                        "has a step but no range: write `{value}-{high}/{step}`"
                    ));
                }
                (value, value)
            }
            Some((first, last)) => (self.value(first)?, self.value(last)?),
        };
        // Saturday to Sunday is no way back.
        let is_sunday = self.high == SUNDAY && last == 0 && first > 0;
        let last = if is_sunday { SUNDAY } else { last };
        if first > last {
            let (low, high) = (self.low, self.high);
            return Err(format!(
                "runs backwards: write `{first}-{high},{low}-{last}`"
            ));
        }
        let range = match range {
            "*" => range.to_owned(),
            _ if first == last => first.to_string(),
            _ => format!("{first}-{last}"),
        };
        let Some(step) = step else {
            return Ok((values(first..=last), range));
        };
        let most = last - first + 1;
        let step = number(step).filter(|step| (1..=most).contains(step));
        let step = step.ok_or_else(|| format!("has a wrong step: write one from 1 to {most}"))?;
        let steps = (first..=last).step_by(step.into());
        Ok((values(steps), format!("{range}/{step}")))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let is_name = |name: &&str| name.eq_ignore_ascii_case(text);
        let named = (self.low..).zip(self.names).find(|(_, name)| is_name(name));
        let high = self.high;
        let value = named.map(|(value, _)| value).or_else(|| number(text));
        value
            .filter(|value| (self.low..=high).contains(value))
            .ok_or_else(|| {
                let names = match self.names {
                    [first, .., last] => format!(", {first} to {last}"),
                    _ => String::new(),
                };
                let low = self.low;
                format!(
                    "is not understood: write *, {low} to {high}{names}, or such as {low}-{high}/2"
                )
            })
    }
}

fn values(values: impl Iterator<Item = u8>) -> u64 {
    values.fold(0, |values, value| values | 1 << value)
}

/// A number of one or two digits.
fn number(text: &str) -> Option<u8> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 2;
    text.parse().ok().filter(|_| is_number)
}

fn long_form(name: &str) -> Result<&'static str, CronError> {
    let known = NAMED
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    known
        .map(|(_, fields)| *fields)
        .ok_or_else(|| CronError::Name {
            name: name.to_owned(),
        })
}

fn zone(name: &str) -> Result<TimeZone, CronError> {
    let zone = TimeZoneDatabase::bundled().get(name).ok();
    zone.filter(|zone| zone.iana_name().is_some())
        .ok_or_else(|| CronError::TimeZone {
            name: name.chars().take(CRON_MAX).collect(),
        })
}

#[cfg(test)]
mod tests;
