//! The one text form of time in an event.

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_MS: u64 = 86_400_000;
/// The last millisecond of the year 9999: later times are shown as this one.
const LAST_MS: u64 = 253_402_300_799_999;

/// UNIX milliseconds as `12/Mar/2020:19:03:58 +0000`.
pub(super) fn common_log(unix_ms: u64) -> String {
    let unix_ms = unix_ms.min(LAST_MS);
    let (year, month, day) = civil(unix_ms / DAY_MS);
    let seconds = unix_ms % DAY_MS / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let month = usize::try_from(month).map_or("", |month| MONTHS[month - 1]);
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month from 1 and day from 1 of so many days after 1970-01-01, in the Gregorian calendar.
/// Years are counted from March here, so that a leap day is the last one of its year; 400 of them
/// have 146,097 days.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days, over and over: 153 in five.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year_of_era + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::common_log;

    #[test]
    fn knows_the_calendar() {
        for (ms, text) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (1_583_348_638_390, "04/Mar/2020:19:03:58 +0000"),
            (1_582_977_599_999, "29/Feb/2020:11:59:59 +0000"),
            (951_782_400_000, "29/Feb/2000:00:00:00 +0000"),
            (1_673_437_534_837, "11/Jan/2023:11:45:34 +0000"),
            (4_107_542_399_000, "28/Feb/2100:23:59:59 +0000"),
            (4_107_542_400_000, "01/Mar/2100:00:00:00 +0000"),
            (u64::MAX, "31/Dec/9999:23:59:59 +0000"),
        ] {
            assert_eq!(common_log(ms), text);
        }
    }
}
