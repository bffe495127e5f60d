//! What time it is, by the word of t verified vaults and not by the host's.
//!
//! Of n vaults fewer than t lie, so the t-th smallest of their times is no earlier than an honest one's: nobody who does not hold
//! the key already can make expired collateral look current. What Intel signed, and when the image was built, are lower bounds
//! that nobody can forge. Intervals are counted by the machine's monotonic clock, which in a trust domain is the TSC.

use std::time::Instant;

/// What the verified vaults say.
pub(super) struct TimeQuorum {
    needed: usize,
    /// The image was built then, Unix seconds.
    built: u64,
    said: Vec<Option<Said>>,
}

/// One vault's clock, and the time before which its evidence did not exist.
#[derive(Clone, Copy)]
struct Said {
    at: Instant,
    unix_seconds: u64,
    issued: u64,
}

/// What the time is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The t-th smallest time of the vaults.
    Vaults,
    /// The youngest thing that Intel signed for them: their clocks are behind it.
    Issued,
    /// The image was built later than all of that.
    Build,
    /// The host's clock: no vault was asked.
    Host,
}

impl TimeQuorum {
    /// Nobody has said anything yet; it takes `needed` of `vaults`.
    pub(super) fn new(needed: usize, vaults: usize, built: u64) -> Self {
        Self { needed, built, said: vec![None; vaults] }
    }

    /// A verified vault said that it was `unix_seconds` at `at`; its evidence was `issued` (Unix seconds) at the latest.
    pub(super) fn heard(&mut self, vault: usize, unix_seconds: u64, issued: u64, at: Instant) {
        if let Some(place) = self.said.get_mut(vault) {
            *place = Some(Said { at, unix_seconds, issued });
        }
    }

    /// The time at `now` in Unix seconds, once enough vaults have said theirs.
    pub(super) fn at(&self, now: Instant) -> Option<(u64, Source)> {
        let elapsed = |said: &Said| said.unix_seconds.saturating_add(now.saturating_duration_since(said.at).as_secs());
        let mut times: Vec<u64> = self.said.iter().flatten().map(elapsed).collect();
        times.sort_unstable();
        let by_vaults = *times.get(self.needed.checked_sub(1)?)?;
        let issued = self.said.iter().flatten().map(|said| said.issued).max().unwrap_or(0);
        let candidates = [(by_vaults, Source::Vaults), (issued, Source::Issued), (self.built, Source::Build)];
        // The first of equals: what the vaults say, where it is enough.
        candidates.into_iter().reduce(|best, next| if next.0 > best.0 { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_392_000;
    const YEAR: u64 = 31_536_000;

    #[test]
    fn time_is_the_tth_smallest_and_never_before_what_was_signed() {
        type Case<'a> = (&'a str, &'a [u64], u64, u64, Option<(u64, Source)>);
        let cases: [Case<'_>; 7] = [
            ("nobody", &[], 0, 0, None),
            ("one of two", &[NOW], 0, 0, None),
            ("two agree", &[NOW, NOW + 60], 0, 0, Some((NOW + 60, Source::Vaults))),
            ("one is a year ahead", &[NOW, NOW + YEAR, NOW + 60], 0, 0, Some((NOW + 60, Source::Vaults))),
            ("one is a year behind", &[NOW - YEAR, NOW, NOW + 60], 0, 0, Some((NOW, Source::Vaults))),
            ("all are behind what Intel signed", &[NOW, NOW], NOW + 5, 0, Some((NOW + 5, Source::Issued))),
            ("all are behind the build", &[NOW, NOW], NOW + 5, NOW + 9, Some((NOW + 9, Source::Build))),
        ];
        let start = Instant::now();
        for (name, times, issued, built, want) in cases {
            let mut quorum = TimeQuorum::new(2, 4, built);
            for (vault, time) in times.iter().enumerate() {
                quorum.heard(vault, *time, issued, start);
            }
            assert_eq!(quorum.at(start), want, "{name}");
        }
    }

    #[test]
    fn time_goes_on_and_a_vault_has_one_voice() {
        let start = Instant::now();
        let mut quorum = TimeQuorum::new(2, 3, 0);
        quorum.heard(0, NOW, 0, start);
        quorum.heard(0, NOW, 0, start);
        assert_eq!(quorum.at(start), None);
        quorum.heard(1, NOW + 30, 0, start + Duration::from_secs(30));
        assert_eq!(quorum.at(start + Duration::from_secs(100)), Some((NOW + 100, Source::Vaults)));
    }

    proptest! {
        /// Fewer than t liars never move the time to before the earliest honest one.
        #[test]
        fn liars_do_not_turn_time_back(
            needed in 1_usize..5, honest in proptest::collection::vec(NOW..NOW + 120, 1..6), lies in proptest::collection::vec(0..2 * NOW, 0..4),
        ) {
            let liars = lies.len().min(needed - 1);
            let start = Instant::now();
            let mut quorum = TimeQuorum::new(needed, honest.len() + liars, 0);
            for (vault, time) in lies.iter().take(liars).chain(&honest).enumerate() {
                quorum.heard(vault, *time, 0, start);
            }
            if let Some((time, _)) = quorum.at(start) {
                prop_assert!(time >= honest.iter().copied().min().unwrap_or(0));
            }
        }
    }
}
