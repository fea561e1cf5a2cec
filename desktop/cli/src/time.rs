//! Moments as people write them, in UTC.

/// Year, month, day, hour, minute, second and millisecond of a moment.
struct Civil {
    date: (u64, u64, u64),
    time: (u64, u64, u64),
    ms: u64,
}

/// The proleptic Gregorian date of a moment in milliseconds since 1970.
fn civil(unix_ms: u64) -> Civil {
    let seconds = unix_ms / 1000;
    // Days since 0000-03-01, so that the leap day is a year's last.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let second = seconds % 86_400;
    Civil {
        date: (year, month, day),
        time: (second / 3600, second / 60 % 60, second % 60),
        ms: unix_ms % 1000,
    }
}

/// As a log line begins (RFC 3339).
pub(crate) fn stamp(unix_ms: u64) -> String {
    let Civil { date: (year, month, day), time: (hour, minute, second), ms } = civil(unix_ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// As a file name takes it.
pub(crate) fn file_stamp(unix_ms: u64) -> String {
    let Civil { date: (year, month, day), time: (hour, minute, second), .. } = civil(unix_ms);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// A span in milliseconds, in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (unix_ms, text) in cases {
            assert_eq!(stamp(unix_ms), text);
        }
        assert_eq!(file_stamp(951_868_799_999), "20000229-235959");
    }

    #[test]
    fn spans_are_short() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (61_000, "1m1s"),
            (3_700_000, "1h1m"),
            (90_000_000, "1d1h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
    }
}
