//! The time, by the clocks of t verified vaults instead of the host's.
//!
//! Of t vaults fewer than t lie, so the latest of their times is not earlier than an honest one: without t shares nobody can make
//! expired collateral look valid. Signatures of Intel and the build of the image are lower bounds that the host cannot change.
//! Intervals are measured by the caller's monotonic clock, which in a trust domain is the TSC.
//!
//! There are two results. Validity of certificates is checked at the t-th smallest time, the safe one. The machine's clock is
//! corrected only when it is outside of the range of all vaults' clocks, so that one lying vault cannot move it.

use std::time::Duration;

/// In seconds: a node reports minutes, and a message takes time on its way.
const MINUTE: u64 = 60;
/// How far outside of the range the host's clock is tolerated, in seconds.
const TOLERANCE: u64 = 5;

/// The clock of one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockReading {
    /// When it was read, by the caller's monotonic clock.
    pub(crate) at: Duration,
    /// The node's clock, Unix seconds.
    pub(crate) unix_seconds: u64,
}

/// Lower bounds of the time, Unix seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// The most recent signature of Intel for a verified node.
    pub(crate) issued: u64,
    /// The build time of the image.
    pub(crate) built: u64,
}

impl ClockReading {
    const fn now(&self, now: Duration) -> u64 {
        self.unix_seconds.saturating_add(now.saturating_sub(self.at).as_secs())
    }
}

/// The source of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The t-th smallest time of the vaults.
    Vaults,
    /// The most recent signature of Intel, when the vaults' clocks are behind it.
    Issued,
    /// The build time of the image, when it is later than both.
    Build,
}

/// The time that the vaults agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedTime {
    /// The time at which validity is checked: Unix seconds.
    pub unix_seconds: u64,
    /// The source of the time.
    pub source: TimeSource,
    /// The earliest and the latest time that a reading allows, not before the lower bounds.
    pub interval: (u64, u64),
}

impl AgreedTime {
    /// The time at `now` by these readings; `None` when there are fewer than `needed`.
    pub(crate) fn of(readings: &[ClockReading], needed: usize, bounds: Bounds, now: Duration) -> Option<Self> {
        let mut times: Vec<u64> = readings.iter().map(|reading| reading.now(now)).collect();
        times.sort_unstable();
        let by_vaults = *times.get(needed.checked_sub(1)?)?;
        let Bounds { issued, built } = bounds;
        let candidates = [(by_vaults, TimeSource::Vaults), (issued, TimeSource::Issued), (built, TimeSource::Build)];
        // The first of equal times, so that the vaults' time goes before the bounds.
        let (unix_seconds, source) = candidates.into_iter().reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        let bound = |time: u64| time.max(issued).max(built);
        let interval = (bound(*times.first()?), bound(times.last()?.saturating_add(MINUTE)));
        Some(Self { unix_seconds, source, interval })
    }

    /// By how many seconds a clock that shows `host` is ahead of every reading, or (negative) behind every reading; 0 between
    /// two.
    #[must_use]
    pub fn ahead(&self, host: u64) -> i64 {
        let (from, until) = self.interval;
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        signed(host.saturating_sub(until)) - signed(from.saturating_sub(host))
    }

    /// The correction of a clock that shows `host`: the nearer end of the range; `None` inside of it.
    #[must_use]
    pub fn correction(&self, host: u64) -> Option<u64> {
        let (from, until) = self.interval;
        match self.ahead(host) {
            ahead if ahead.unsigned_abs() <= TOLERANCE => None,
            ahead if ahead > 0 => Some(until),
            _ => Some(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_392_000;
    const YEAR: u64 = 31_536_000;
    const START: Duration = Duration::from_secs(7);

    fn readings(times: &[u64]) -> Vec<ClockReading> {
        times.iter().map(|time| ClockReading { at: START, unix_seconds: *time }).collect()
    }

    fn time(times: &[u64], needed: usize, (issued, built): (u64, u64)) -> Option<AgreedTime> {
        AgreedTime::of(&readings(times), needed, Bounds { issued, built }, START)
    }

    #[test]
    fn time_is_the_tth_smallest_and_never_before_what_was_signed() {
        type Case<'a> = (&'a str, &'a [u64], u64, u64, Option<(u64, TimeSource)>);
        let cases: [Case<'_>; 7] = [
            ("nobody", &[], 0, 0, None),
            ("one of two", &[NOW], 0, 0, None),
            ("two agree", &[NOW, NOW + 60], 0, 0, Some((NOW + 60, TimeSource::Vaults))),
            ("one is a year ahead", &[NOW, NOW + YEAR, NOW + 60], 0, 0, Some((NOW + 60, TimeSource::Vaults))),
            ("one is a year behind", &[NOW - YEAR, NOW, NOW + 60], 0, 0, Some((NOW, TimeSource::Vaults))),
            ("all are behind what Intel signed", &[NOW, NOW], NOW + 5, 0, Some((NOW + 5, TimeSource::Issued))),
            ("all are behind the build", &[NOW, NOW], NOW + 5, NOW + 9, Some((NOW + 9, TimeSource::Build))),
        ];
        for (name, times, issued, built, want) in cases {
            assert_eq!(time(times, 2, (issued, built)).map(|time| (time.unix_seconds, time.source)), want, "{name}");
        }
    }

    #[test]
    fn time_goes_on() {
        let mut readings = readings(&[NOW]);
        readings.push(ClockReading { at: START + Duration::from_secs(30), unix_seconds: NOW + 30 });
        let time = AgreedTime::of(&readings, 2, Bounds::default(), START + Duration::from_secs(100));
        assert_eq!(time.map(|time| time.unix_seconds), Some(NOW + 100));
    }

    #[test]
    fn clock_is_set_only_outside_of_all_voices_and_to_the_nearer_end() {
        type Case<'a> = (&'a str, &'a [u64], u64, i64, Option<u64>);
        let cases: [Case<'_>; 9] = [
            ("right", &[NOW, NOW], NOW + 30, 0, None),
            ("at the end of the minute", &[NOW, NOW], NOW + 64, 4, None),
            ("a little early", &[NOW, NOW], NOW - 5, -5, None),
            ("a year behind", &[NOW, NOW + 60], NOW - YEAR, -31_536_000, Some(NOW)),
            ("a year ahead", &[NOW, NOW + 60], NOW + YEAR, 31_535_880, Some(NOW + 120)),
            ("one liar is a year ahead", &[NOW, NOW + YEAR], NOW, 0, None),
            ("one liar is a year behind", &[NOW - YEAR, NOW], NOW, 0, None),
            ("a liar behind, the host far ahead", &[NOW - YEAR, NOW], NOW + YEAR, 31_535_940, Some(NOW + 60)),
            ("a liar ahead, the host far behind", &[NOW, NOW + YEAR], NOW - YEAR, -31_536_000, Some(NOW)),
        ];
        for (name, times, host, ahead, want) in cases {
            let time = time(times, 2, (0, 0)).unwrap();
            assert_eq!((time.ahead(host), time.correction(host)), (ahead, want), "{name}");
        }
        // Not before Intel's signature, even if all vaults report an earlier time.
        assert_eq!(time(&[NOW, NOW], 2, (NOW + YEAR, 0)).unwrap().correction(NOW), Some(NOW + YEAR));
    }

    proptest! {
        /// Fewer than t liars never move the time to before the earliest honest clock, nor correct a clock that agrees with an
        /// honest one.
        #[test]
        fn liars_do_not_turn_time_back(
            needed in 1_usize..5, honest in proptest::collection::vec(NOW..NOW + 120, 1..6), lies in proptest::collection::vec(0..2 * NOW, 0..4),
        ) {
            let liars = lies.len().min(needed - 1);
            let reported: Vec<u64> = lies.iter().take(liars).chain(&honest).copied().collect();
            if let Some(time) = time(&reported, needed, (0, 0)) {
                prop_assert!(time.unix_seconds >= honest.iter().copied().min().unwrap_or(0));
                prop_assert_eq!(time.correction(honest[0]), None);
            }
        }
    }
}
