use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};

use super::{Cron, CronError};

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// The first `count` fires after a time of the clock in the zone, as the clock shows them.
fn fires(expression: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(expression, timezone).unwrap();
    let zone = zone(timezone);
    let after: DateTime = after.parse().unwrap();
    let mut at = u64::try_from(zone.to_timestamp(after).unwrap().as_millisecond()).unwrap();
    let mut shown = Vec::new();
    for _ in 0..count {
        at = cron.next_after(at).unwrap();
        let fire = Timestamp::from_millisecond(at.try_into().unwrap()).unwrap();
        let offset = zone.to_offset(fire);
        shown.push(format!("{} {offset}", offset.to_datetime(fire)));
    }
    shown
}

/// Whether a field has a value, read in the simplest way there is.
fn has(field: &str, (low, high): (i8, i8), value: i8) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
            None if range == "*" => (low, high),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        (first..=last).contains(&value) && (value - first) % step.parse::<i8>().unwrap() == 0
    })
}

fn fits(fields: &[&str], at: DateTime) -> bool {
    let weekday = at.weekday().to_sunday_zero_offset();
    let day = has(fields[2], (1, 31), at.day());
    let weekday = has(fields[4], (0, 6), weekday) || weekday == 0 && has(fields[4], (0, 7), 7);
    let is_day = if fields[2].starts_with('*') || fields[4].starts_with('*') {
        day && weekday
    } else {
        day || weekday
    };
    has(fields[0], (0, 59), at.minute())
        && has(fields[1], (0, 23), at.hour())
        && has(fields[3], (1, 12), at.month())
        && is_day
}

/// All fires in a span of time, found by looking at each minute. The zone's offsets are whole
/// minutes.
fn stepped(expression: &str, zone: &TimeZone, begin: i64, end: i64) -> Vec<u64> {
    let fields: Vec<&str> = expression.split(' ').collect();
    let is_wild = fields[..2].iter().any(|field| field.starts_with('*'));
    let show = |second| zone.to_datetime(Timestamp::from_second(second).unwrap());
    let minute = Span::new().minutes(1);
    let mut fires = Vec::new();
    // Far enough back to know what the clock has shown already.
    let before = begin - 2 * 24 * 3600;
    let mut latest = show(before);
    for second in (before + 60..end).step_by(60) {
        let now = show(second);
        let is_fire = if is_wild {
            fits(&fields, now)
        } else {
            let mut unseen = latest.checked_add(minute).unwrap();
            latest = latest.max(now);
            let mut found = false;
            while unseen <= now {
                found |= fits(&fields, unseen);
                unseen = unseen.checked_add(minute).unwrap();
            }
            found
        };
        if is_fire && second > begin {
            fires.push(u64::try_from(second).unwrap() * 1000);
        }
    }
    fires
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }

    fn field(&mut self, low: u64, high: u64) -> String {
        let size = high - low + 1;
        let value = low + self.below(size);
        let last = value + self.below(high - value + 1);
        let step = 1 + self.below(size);
        match self.below(8) {
            0..=2 => "*".to_owned(),
            3 => format!("*/{step}"),
            4 => format!("{value}-{last}/{}", 1 + self.below(last - value + 1)),
            5 => format!("{value}-{last}"),
            6 => format!("{value},{last},{}", low + self.below(size)),
            _ => value.to_string(),
        }
    }
}

#[test]
fn each_minute_tells_the_same() {
    let mut numbers = Numbers(7);
    for (name, from, days) in [
        ("Europe/Berlin", "2026-03-28T00:00", 3),
        ("Europe/Berlin", "2026-10-24T00:00", 3),
        ("America/New_York", "2026-03-07T00:00", 3),
        ("America/New_York", "2026-10-31T00:00", 3),
        ("Australia/Lord_Howe", "2026-04-04T00:00", 3),
        ("Australia/Lord_Howe", "2026-10-03T00:00", 3),
        // The clock jumps at midnight.
        ("America/Sao_Paulo", "2018-11-03T00:00", 3),
        ("America/Sao_Paulo", "2018-02-17T00:00", 2),
        // A day that never was.
        ("Pacific/Apia", "2011-12-29T00:00", 3),
        ("Asia/Kathmandu", "2026-12-31T00:00", 2),
        // Its one jump was this.
        ("Asia/Kathmandu", "1985-12-31T00:00", 2),
        ("UTC", "2024-02-28T00:00", 3),
        ("UTC", "2026-12-31T00:00", 2),
    ] {
        let zone = zone(name);
        let from: DateTime = from.parse().unwrap();
        let begin = zone.to_timestamp(from).unwrap().as_second();
        let end = begin + days * 24 * 3600;
        for _ in 0..40 {
            // Days that come, so that there is something to compare.
            let (day, weekday) = match numbers.below(3) {
                0 => (numbers.field(1, 31), "*".to_owned()),
                1 => ("*".to_owned(), numbers.field(0, 7)),
                _ => ("*".to_owned(), "*".to_owned()),
            };
            let (minute, hour) = (numbers.field(0, 59), numbers.field(0, 23));
            // Jumps are early in the day.
            let hour = if numbers.below(2) == 0 {
                hour
            } else {
                numbers.field(0, 3)
            };
            let expression = format!("{minute} {hour} {day} * {weekday}");
            let cron = match Cron::parse(&expression, name) {
                Ok(cron) => cron,
                Err(CronError::Part {
                    field: "day of week" | "hour",
                    hint,
                    ..
                }) if hint.contains("step") => {
                    continue;
                }
                Err(error) => panic!("{expression}: {error}"),
            };
            let end_ms = u64::try_from(end * 1000).unwrap();
            let mut found = Vec::new();
            let mut at = u64::try_from(begin * 1000).unwrap();
            while let Some(next) = cron.next_after(at).filter(|next| *next < end_ms) {
                found.push(next);
                at = next;
            }
            assert_eq!(
                found,
                stepped(&expression, &zone, begin, end),
                "{expression} {name}"
            );
        }
    }
}

#[test]
fn a_skipped_time_fires_once_after_the_gap() {
    let zone = "Europe/Berlin";
    assert_eq!(
        fires("30 2 * * *", zone, "2026-03-28T03:00", 2),
        ["2026-03-29T03:00:00 +02", "2026-03-30T02:30:00 +02"]
    );
    // Several become one, also with a time at the end of the gap.
    assert_eq!(
        fires("0,30 2,3 29 3 *", zone, "2026-03-28T03:00", 3),
        [
            "2026-03-29T03:00:00 +02",
            "2026-03-29T03:30:00 +02",
            "2027-03-29T02:00:00 +02"
        ]
    );
    // A schedule that follows the clock goes on with it.
    assert_eq!(
        fires("*/30 * * * *", zone, "2026-03-29T01:00", 3),
        [
            "2026-03-29T01:30:00 +01",
            "2026-03-29T03:00:00 +02",
            "2026-03-29T03:30:00 +02"
        ]
    );
    assert_eq!(
        fires("*/30 2 * * *", zone, "2026-03-28T12:00", 1),
        ["2026-03-30T02:00:00 +02"]
    );
    assert_eq!(
        fires("@daily", "America/Sao_Paulo", "2018-11-03T12:00", 2),
        ["2018-11-04T01:00:00 -02", "2018-11-05T00:00:00 -02"]
    );
    assert_eq!(
        fires("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00", 2),
        ["2011-12-31T00:00:00 +14", "2012-12-30T12:00:00 +14"]
    );
    assert_eq!(
        fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", 2),
        ["2026-10-04T02:30:00 +11", "2026-10-05T02:15:00 +11"]
    );
}

#[test]
fn a_time_that_comes_twice_fires_once_unless_it_follows_the_clock() {
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2),
        ["2026-10-25T02:30:00 +02", "2026-10-26T02:30:00 +01"]
    );
    assert_eq!(
        fires("30 * * * *", "Europe/Berlin", "2026-10-25T01:45", 3),
        [
            "2026-10-25T02:30:00 +02",
            "2026-10-25T02:30:00 +01",
            "2026-10-25T03:30:00 +01"
        ]
    );
    // Half an hour comes twice: from 01:30 on.
    assert_eq!(
        fires("0,45 1 5 4 *", "Australia/Lord_Howe", "2026-04-04T12:00", 3),
        [
            "2026-04-05T01:00:00 +11",
            "2026-04-05T01:45:00 +11",
            "2027-04-05T01:00:00 +10:30"
        ]
    );
    assert_eq!(
        fires("*/45 1 5 4 *", "Australia/Lord_Howe", "2026-04-04T12:00", 3),
        [
            "2026-04-05T01:00:00 +11",
            "2026-04-05T01:45:00 +11",
            "2026-04-05T01:45:00 +10:30"
        ]
    );
    // After the second time the first does not come again.
    let late = fires("30 2 25 10 *", "Europe/Berlin", "2026-10-25T03:00", 1);
    assert_eq!(late, ["2027-10-25T02:30:00 +02"]);
}

#[test]
fn a_fire_is_strictly_later() {
    let cron = Cron::parse("*/5 * * * *", "UTC").unwrap();
    assert_eq!(cron.next_after(0), Some(300_000));
    assert_eq!(cron.next_after(299_999), Some(300_000));
    assert_eq!(cron.next_after(300_000), Some(600_000));
    assert_eq!(cron.next_after(300_001), Some(600_000));
    // What lies behind the calendar.
    assert_eq!(cron.next_after(u64::MAX), None);
    let end = Timestamp::MAX.as_millisecond().try_into().unwrap();
    assert_eq!(cron.next_after(end), None);
    assert!(cron.next_after(end - 24 * 3_600_000).is_some());
}

#[test]
fn clocks_that_are_off_by_seconds() {
    // Until 7 January 1972 it was 44 minutes and 30 seconds behind.
    assert_eq!(
        fires("* * * * *", "Africa/Monrovia", "1972-01-06T23:58:00", 2),
        ["1972-01-06T23:59:00 -00:44:30", "1972-01-07T00:45:00 +00"]
    );
    assert_eq!(
        fires("0 0 7 1 *", "Africa/Monrovia", "1972-01-06T12:00:00", 1),
        ["1972-01-07T00:44:30 +00"]
    );
}

#[test]
fn rare_days() {
    assert_eq!(
        fires("0 0 29 2 *", "UTC", "2096-02-29T00:00", 2),
        ["2104-02-29T00:00:00 +00", "2108-02-29T00:00:00 +00"]
    );
    // Both fields of the day, since one begins with a star: a leap day that is a Sunday.
    assert_eq!(
        fires("0 0 29 2 */7", "Europe/Berlin", "2072-01-01T00:00", 2),
        ["2088-02-29T00:00:00 +01", "2128-02-29T00:00:00 +01"]
    );
    assert_eq!(
        fires("59 23 31 12 *", "Asia/Kathmandu", "2026-12-31T23:59", 1),
        ["2027-12-31T23:59:00 +05:45"]
    );
}

#[test]
fn either_field_of_the_day() {
    // 13 May 2026 is a Wednesday.
    assert_eq!(
        fires("0 9 13 * fri", "UTC", "2026-05-10T00:00", 3),
        [
            "2026-05-13T09:00:00 +00",
            "2026-05-15T09:00:00 +00",
            "2026-05-22T09:00:00 +00"
        ]
    );
    assert_eq!(
        fires("0 9 */6 5 fri", "UTC", "2026-05-01T12:00", 2),
        ["2027-05-07T09:00:00 +00", "2028-05-19T09:00:00 +00"]
    );
    for sunday in ["0", "7", "sun", "7-7", "*/7"] {
        let fires = fires(&format!("0 0 * * {sunday}"), "UTC", "2026-05-10T00:00", 1);
        assert_eq!(fires, ["2026-05-17T00:00:00 +00"], "{sunday}");
    }
}

#[test]
fn one_form_for_all_spellings() {
    for (written, shown) in [
        (" *  * * *\t* ", "* * * * *"),
        (
            "05 00-07/02 1,2 JAN,mar-dec mon-FRI",
            "5 0-7/2 1,2 1,3-12 1-5",
        ),
        ("*/15 3-3 * * 7", "*/15 3 * * 7"),
        ("0 0 * * sat-sun", "0 0 * * 6-7"),
        ("0 */24 */31 */12 */7", "0 */24 */31 */12 */7"),
        ("@Hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        let cron = Cron::parse(written, "UTC").unwrap();
        assert_eq!(cron.to_string(), shown, "{written}");
        assert_eq!(Cron::parse(shown, "UTC").unwrap(), cron, "{written}");
    }
    let cron = Cron::parse("@daily", "europe/berlin").unwrap();
    assert_eq!(cron.timezone(), "Europe/Berlin");
    assert_eq!(Cron::parse("@daily", "UTC").unwrap().timezone(), "UTC");
}

#[test]
fn what_is_no_schedule_is_told() {
    let five = |found| {
        format!(
            "a schedule has five fields and this has {found}: write minute, hour, day of month, \
             month and day of week, such as `30 5 * * 1-5`"
        )
    };
    let told = |text: &str| Cron::parse(text, "UTC").unwrap_err().to_string();
    assert_eq!(told(""), five(0));
    assert_eq!(told("0 0 12 * * *"), five(6));
    assert_eq!(
        told("@reboot"),
        "`@reboot` names no schedule: write @hourly, @daily, @weekly, @monthly or @yearly"
    );
    let never = "day of month: no month of this schedule has such a day: write an earlier day";
    for never_fires in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 */2"] {
        assert_eq!(told(never_fires), never);
    }
    // Either field of the day may fit.
    assert!(Cron::parse("0 0 30 2 1", "UTC").is_ok());
    let long = format!("{} * * * *", "1,".repeat(200));
    assert_eq!(Cron::parse(&long, "UTC"), Err(CronError::TooLong));
    for name in ["", "Mars/Phobos", "Etc/Unknown", "local", "+01:00"] {
        let error = Cron::parse("@daily", name).unwrap_err();
        let told = "is no time zone: write an IANA name such as `Europe/Berlin` or `UTC`";
        assert_eq!(error.to_string(), format!("`{name}` {told}"));
    }
}

#[test]
fn what_is_no_part_is_told() {
    for (written, told) in [
        (
            "60 * * * *",
            "minute: `60` is not understood: write *, 0 to 59, or such as 0-59/2",
        ),
        (
            "* 1,,2 * * *",
            "hour: `` is not understood: write *, 0 to 23, or such as 0-23/2",
        ),
        (
            "* * L * *",
            "day of month: `L` is not understood: write *, 1 to 31, or such as 1-31/2",
        ),
        (
            "* * * may-octo *",
            "month: `may-octo` is not understood: write *, 1 to 12, jan to dec, or such as 1-12/2",
        ),
        (
            "* * * * 8",
            "day of week: `8` is not understood: write *, 0 to 7, sun to sat, or such as 0-7/2",
        ),
        (
            "* * * * fri-mon",
            "day of week: `fri-mon` runs backwards: write `5-7,0-1`",
        ),
        (
            "* 22-2 * * *",
            "hour: `22-2` runs backwards: write `22-23,0-2`",
        ),
        (
            "5/10 * * * *",
            "minute: `5/10` has a step but no range: write `5-59/10`",
        ),
        (
            "*/90 * * * *",
            "minute: `*/90` has a wrong step: write one from 1 to 60",
        ),
        (
            "*/+5 * * * *",
            "minute: `*/+5` has a wrong step: write one from 1 to 60",
        ),
    ] {
        let error = Cron::parse(written, "UTC").unwrap_err();
        assert_eq!(error.to_string(), told, "{written}");
    }
    for written in [
        "*/0 * * * *",
        "* * 0 * *",
        "* * * 13 *",
        "** * * * *",
        "-1 * * * *",
    ] {
        let error = Cron::parse(written, "UTC").unwrap_err();
        assert!(matches!(error, CronError::Part { .. }), "{written}");
    }
}

#[test]
fn no_text_is_too_strange() {
    let mut numbers = Numbers(3);
    let pieces = [
        "*",
        "/",
        "-",
        ",",
        " ",
        "0",
        "7",
        "59",
        "99",
        "mon",
        "dec",
        "@",
        "daily",
        "ü",
        "\n",
        "\0",
        "4294967296",
    ];
    for _ in 0..5_000 {
        let text: String = (0..numbers.below(14))
            .map(|_| pieces[usize::try_from(numbers.below(17)).unwrap()])
            .collect();
        if let Ok(cron) = Cron::parse(&text, "America/New_York") {
            let fire = cron.next_after(1_700_000_000_000).unwrap();
            assert!(fire > 1_700_000_000_000, "{text}");
            assert_eq!(Cron::parse(&cron.to_string(), "America/New_York"), Ok(cron));
        }
    }
}
