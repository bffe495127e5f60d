//! The full wipe: every sector of the open disk is written once, so that none is ever without a valid tag.

use std::time::{Duration, Instant};

use kernel::block::Device;

use crate::watchdog;

/// Written at once, in bytes.
const PIECE: usize = 1 << 20;
/// How often the console hears of it.
const REPORT: Duration = Duration::from_secs(5);

/// Writes zeros over the whole of `target`, which has `bytes`, and tells the console how far it is.
pub(super) fn wipe(target: &Device, bytes: u64) -> Result<(), kernel::Error> {
    let zeros = vec![0; PIECE];
    let start = Instant::now();
    let mut report = start + REPORT;
    let mut at = 0;
    while at < bytes {
        let length = usize::try_from(bytes - at).unwrap_or(PIECE).min(PIECE);
        target.write(at, zeros.get(..length).unwrap_or_default())?;
        at += u64::try_from(length).unwrap_or(u64::MAX);
        if Instant::now() >= report {
            log::info!("data: wiping: {}", Progress { done: at, of: bytes, took: start.elapsed() });
            report = Instant::now() + REPORT;
            watchdog::alive();
        }
    }
    target.flush()?;
    log::info!("data: wiped: {}", Progress { done: bytes, of: bytes, took: start.elapsed() });
    Ok(())
}

/// `12%, 34 MB/s, 5 min left`.
struct Progress {
    done: u64,
    of: u64,
    took: Duration,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { done, of, took } = *self;
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        // Bytes a millisecond are kilobytes a second.
        let rate = (done / milliseconds).max(1);
        let percent = u128::from(done) * 100 / u128::from(of.max(1));
        let left = (of - done.min(of)) / rate / 1000;
        write!(f, "{percent}%, {} MB/s, ", rate / 1000)?;
        match left {
            0..100 => write!(f, "{left} s left"),
            _ => write!(f, "{} min left", left / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_how_fast_and_how_long_still() {
        let cases = [
            (0, 1 << 30, 0, "0%, 0 MB/s, 17895 min left"),
            (25_000_000, 100_000_000, 1000, "25%, 25 MB/s, 3 s left"),
            (1_000_000_000, 200_000_000_000, 10_000, "0%, 100 MB/s, 33 min left"),
            (7, 7, 1, "100%, 0 MB/s, 0 s left"),
            (u64::MAX, u64::MAX, 1, "100%, 18446744073709551 MB/s, 0 s left"),
        ];
        for (done, of, milliseconds, want) in cases {
            assert_eq!(Progress { done, of, took: Duration::from_millis(milliseconds) }.to_string(), want);
        }
    }
}
