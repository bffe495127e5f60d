//! The node's clock, and the minutes in evidence.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, Time};

/// The largest age of a guest's evidence, in seconds.
const OLDEST: u64 = (24 * 60 + 5) * 60;
/// How far a guest's evidence may be ahead of the node's clock, in seconds.
const AHEAD: u64 = 5 * 60;

/// The host's time plus `offset`, in Unix seconds.
pub(crate) fn now(offset: i64) -> u64 {
    let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    here.saturating_add_signed(offset)
}

/// Whether a node whose clock shows `now` accepts evidence of this minute: at most 24 h 05 min old, and at most 5 min ahead.
///
/// Source: key-server-protocol.md, section 2.8.
pub(crate) fn is_recent(text: &str, now: u64) -> bool {
    parse(text).is_some_and(|minute| minute <= now.saturating_add(AHEAD) && now.saturating_sub(minute) <= OLDEST)
}

/// The minute of `seconds`, 17 bytes of ASCII: `2026-09-04T10:15Z`.
pub(crate) fn minute(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|signed| OffsetDateTime::from_unix_timestamp(signed).ok());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}Z", time.hour(), time.minute())
}

/// Unix seconds of the start of such a minute.
fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let byte = |from: usize| number(from, from + 2).and_then(|number| u8::try_from(number).ok());
    let date = Date::from_calendar_date(number(0, 4)?.into(), Month::try_from(byte(5)?).ok()?, byte(8)?).ok()?;
    let time = OffsetDateTime::new_utc(date, Time::from_hms(byte(11)?, byte(14)?, 0).ok()?);
    let seconds = u64::try_from(time.unix_timestamp()).ok()?;
    // The parser accepts no sign and no other separator, so a minute has one spelling.
    (minute(seconds) == text).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minute_is_seventeen_bytes_of_ascii() {
        assert_eq!(minute(1_788_516_959), "2026-09-04T10:15Z");
        assert_eq!(parse("2026-09-04T10:15Z"), Some(1_788_516_900));
    }

    #[test]
    fn evidence_is_at_most_a_day_old_or_five_minutes_ahead() {
        let now = 1_788_516_900; // 2026-09-04T10:15:00Z
        let cases = [
            ("2026-09-04T10:15Z", 0, true),
            ("2026-09-03T10:10Z", 0, true),
            ("2026-09-03T10:10Z", 1, false),
            ("2026-09-04T10:20Z", 0, true),
            ("2026-09-04T10:21Z", 59, false),
            ("2026-09-04T10:21Z", 60, true),
            ("2026-09-04T10:15", 0, false),
            ("2026-09-04 10:15Z", 0, false),
            ("+026-09-04T10:15Z", 0, false),
            ("2026-09-31T10:15Z", 0, false),
            ("", 0, false),
        ];
        for (text, later, want) in cases {
            assert_eq!(is_recent(text, now + later), want, "{text} {later} s later");
        }
    }
}
