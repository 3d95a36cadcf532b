//! Time stamps.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time of now, in UTC: `2026-11-28T07:19:30.123Z`.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    stamp(since.as_millis() as u64)
}

/// The time of day of a time in microseconds since 1970, in UTC: `07:19:30.123456`.
pub fn of_day(microseconds: u64) -> String {
    let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{rest:06}")
}

/// A time in milliseconds since 1970.
fn stamp(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let days_of = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let mut month = 1;
    while days >= days_of(month) {
        days -= days_of(month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let day = days + 1;
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

#[cfg(test)]
mod tests {
    use super::{of_day, stamp};

    #[test]
    fn a_day_has_24_hours() {
        assert_eq!(of_day(0), "00:00:00.000000");
        assert_eq!(of_day(1_735_689_599_999_999), "23:59:59.999999");
        assert_eq!(of_day(1_795_850_370_123_456), "07:19:30.123456");
    }

    #[test]
    fn dates_of_leap_years_and_others() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(1_735_689_599_999), "2024-12-31T23:59:59.999Z");
        assert_eq!(stamp(1_795_850_370_123), "2026-11-28T07:19:30.123Z");
    }
}
