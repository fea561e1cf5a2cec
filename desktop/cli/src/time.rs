//! Moments as people write them, in UTC.

use weft_model::Civil;

/// The moment so many milliseconds after 1970 began.
fn civil(unix_ms: u64) -> Civil {
    Civil::from_unix((unix_ms / 1000).cast_signed())
}

/// As a log line begins (RFC 3339).
pub(crate) fn stamp(unix_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = civil(unix_ms);
    let ms = unix_ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// As a file name takes it.
pub(crate) fn file_stamp(unix_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = civil(unix_ms);
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
