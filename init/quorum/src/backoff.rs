//! Pauses between tries.

use std::time::Duration;

/// Pauses with full jitter: a random part of a limit that doubles each time. Clients that failed together return spread over the
/// whole limit and not at the same moment (the README compares it with fixed pauses).
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone)]
pub struct Backoff {
    ceiling: Duration,
    most: Duration,
}

impl Backoff {
    /// Starts with a limit of `first`, which grows to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { ceiling: first, most }
    }

    /// The next pause; `random` is any 32 bits.
    pub fn pause(&mut self, random: u32) -> Duration {
        let pause = self.ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.ceiling = (self.ceiling * 2).min(self.most);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_anywhere_under_a_ceiling_that_doubles_to_its_most() {
        let ceilings = |random| {
            let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(3));
            // Rounded to milliseconds: a quarter of 32 bits is slightly less than a quarter.
            (0..5).map(|_| (backoff.pause(random) + Duration::from_micros(1)).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(ceilings(u32::MAX), [500, 1000, 2000, 3000, 3000]);
        assert_eq!(ceilings(0), [0; 5]);
        assert_eq!(ceilings(u32::MAX / 4), [125, 250, 500, 750, 750]);
    }
}
