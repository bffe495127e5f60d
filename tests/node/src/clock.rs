//! The node's own clock: the machine's, plus an offset.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Unix seconds, `offset` seconds from what this machine believes.
pub(crate) fn now(offset: i64) -> u64 {
    let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    here.saturating_add_signed(offset)
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
}
