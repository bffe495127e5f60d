//! The node's own clock: the machine's, plus an offset.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// How old a guest's evidence may say that it is, and how far ahead, in seconds.
const OLDEST: u64 = (24 * 60 + 5) * 60;
const AHEAD: u64 = 5 * 60;

/// Unix seconds, `offset` seconds from what this machine believes.
pub(crate) fn now(offset: i64) -> u64 {
    let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    here.saturating_add_signed(offset)
}

/// Whether a node whose clock says `now` takes evidence of this minute: at most 24 hours and 5 minutes old, and at most 5 minutes ahead
/// (wire.md, section 6). Minutes have one spelling, whose order is that of time.
pub(crate) fn is_recent(text: &str, now: u64) -> bool {
    text.len() == 17 && (minute(now.saturating_sub(OLDEST)).as_str()..=minute(now + AHEAD).as_str()).contains(&text)
}

/// The minute of `seconds`, 17 bytes of ASCII: `2026-09-04T10:15Z`.
pub(crate) fn minute(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|signed| OffsetDateTime::from_unix_timestamp(signed).ok());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}Z", time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minute_is_seventeen_bytes_of_ascii() {
        assert_eq!(minute(1_788_516_959), "2026-09-04T10:15Z");
    }

    #[test]
    fn evidence_is_of_the_last_day_or_of_a_moment_ahead() {
        let now = 1_788_516_959; // 2026-09-04T10:15Z
        let cases = [
            ("2026-09-04T10:15Z", true),
            ("2026-09-03T10:10Z", true),
            ("2026-09-03T10:09Z", false),
            ("2026-09-04T10:20Z", true),
            ("2026-09-04T10:21Z", false),
            ("2026-09-04T10:15", false),
            ("", false),
        ];
        for (text, want) in cases {
            assert_eq!(is_recent(text, now), want, "{text}");
        }
    }
}
