//! The host's time, and QEMU's form of it.

use std::time::SystemTime;

/// The current time in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-11-24T10:15:00`, UTC.
pub(crate) fn date(unix_seconds: u64) -> String {
    let time = ratls::QuoteTime::at(unix_seconds).to_string();
    let minute = time.trim_end_matches('Z');
    format!("{minute}:{:02}", unix_seconds % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn date_has_the_form_that_qemu_expects() {
        assert_eq!(super::date(1_788_516_959), "2026-09-04T10:15:59");
    }
}
