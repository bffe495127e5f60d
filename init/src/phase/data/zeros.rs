//! Writes zeros to the open disk, so that every sector that may be read has a valid tag: for a full wipe, at the first format,
//! and for inode tables that were never written.

use std::ops::Range;
use std::time::{Duration, Instant};

use linux::block::Device;

use crate::watchdog;

/// Written at once, in bytes: a few seconds on a slow disk.
const PIECE: u64 = 16 << 20;
/// How often the console reports the progress.
const REPORT: Duration = Duration::from_secs(5);

/// Writes zeros to `ranges` (bytes, multiples of 4,096) of `target` and flushes. `what` begins the progress messages, as in
/// `data: wiping`. Returns the bytes written.
pub(in crate::phase) fn write(target: &Device, ranges: &[Range<u64>], what: &str) -> Result<u64, linux::Error> {
    let of = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
    let start = Instant::now();
    let (mut report, mut done) = (start + REPORT, 0);
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let length = PIECE.min(range.end - at);
            target.write_zeros(at, length)?;
            watchdog::keepalive();
            (at, done) = (at + length, done + length);
            if Instant::now() >= report {
                log::info!("{what}: {}", Progress { done, of, took: start.elapsed() });
                report = Instant::now() + REPORT;
            }
        }
    }
    target.flush()?;
    log::info!("{what}: {}", Progress { done, of, took: start.elapsed() });
    Ok(done)
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
        // Bytes per millisecond are kilobytes per second.
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
