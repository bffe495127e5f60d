//! One vault's share: share set id, X and data, and the combination of t shares.
//!
//! The arithmetic is in GF(2^8) modulo x^8+x^4+x^3+x+1 (0x11b), with one polynomial for each byte and the secret at x = 0
//! (key-server-protocol.md, section 6).

use std::num::NonZeroU8;

use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::Dek;
use crate::dek::DEK_BYTES;

const SHARE_SET_ID_BYTES: usize = 16;

/// Identifies the shares of one split. Shares of two sets never combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareSetId(pub [u8; SHARE_SET_ID_BYTES]);

/// One share, wiped on drop.
pub struct Share {
    set_id: ShareSetId,
    x: NonZeroU8,
    data: Box<Zeroizing<[u8; DEK_BYTES]>>,
}

/// The threshold t of n shares, 2 <= t <= n <= 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    needed: usize,
    dealt: usize,
}

impl Threshold {
    /// `needed` of `dealt`, or `None` outside of these bounds.
    #[must_use]
    pub fn new(needed: usize, dealt: usize) -> Option<Self> {
        (2 <= needed && needed <= dealt && dealt <= 255).then_some(Self { needed, dealt })
    }

    /// t.
    #[must_use]
    pub fn needed(self) -> usize {
        self.needed
    }

    /// n.
    #[must_use]
    pub fn dealt(self) -> usize {
        self.dealt
    }
}

impl Share {
    /// The share of set `set_id` at `x`.
    #[must_use]
    pub fn new(set_id: ShareSetId, x: NonZeroU8, data: &[u8; DEK_BYTES]) -> Self {
        let mut kept = Box::new(Zeroizing::new([0; DEK_BYTES]));
        kept.copy_from_slice(data);
        Self { set_id, x, data: kept }
    }

    /// The share set that it belongs to.
    #[must_use]
    pub fn share_set_id(&self) -> ShareSetId {
        self.set_id
    }

    /// The X coordinate.
    #[must_use]
    pub fn x(&self) -> NonZeroU8 {
        self.x
    }

    /// The data: the values of the polynomials at X. `git grep expose` lists all uses.
    #[must_use]
    pub fn expose_data(&self) -> &[u8; DEK_BYTES] {
        &self.data
    }
}

/// The secret at x = 0 of the polynomials through `shares`; `None` when they are of different share sets, or two have the same X.
pub(crate) fn combine(shares: &[&Share]) -> Option<Dek> {
    let share_set_id = shares.first()?.set_id;
    if shares.iter().any(|share| share.set_id != share_set_id) {
        return None;
    }
    // X || data, the form that vsss-rs combines.
    let mut points: Vec<Vec<u8>> = shares.iter().map(|share| [&[share.x.get()], share.data.as_slice()].concat()).collect();
    let secret = Gf256::combine_bytes(&points).map(Zeroizing::new);
    for point in &mut points {
        zeroize::Zeroize::zeroize(point);
    }
    let secret = secret.ok()?;
    Dek::fill_with(|bytes| {
        let source: &[u8; DEK_BYTES] = secret.as_slice().try_into().map_err(|_| ())?;
        bytes.copy_from_slice(source);
        Ok::<_, ()>(())
    })
    .ok()
}

/// Splits `dek` into `threshold.dealt()` shares with `share_set_id`; any `threshold.needed()` of them combine to it.
///
/// Coefficients come from the operating system's generator.
///
/// # Errors
/// `None` when the generator fails.
#[must_use]
pub fn split(dek: &Dek, threshold: Threshold, share_set_id: ShareSetId) -> Option<Vec<Share>> {
    use ring::rand::{SecureRandom, SystemRandom};
    let random = SystemRandom::new();
    // Row 0 is the secret; each further row has one random coefficient for each byte.
    let mut rows: Vec<Zeroizing<[u8; DEK_BYTES]>> = vec![Zeroizing::new(*dek.expose())];
    for _ in 1..threshold.needed() {
        let mut row = Zeroizing::new([0; DEK_BYTES]);
        random.fill(row.as_mut_slice()).ok()?;
        rows.push(row);
    }
    let mut shares = Vec::with_capacity(threshold.dealt());
    for x in (1..=u8::MAX).take(threshold.dealt()) {
        let x = NonZeroU8::new(x)?;
        let mut data = Zeroizing::new([0; DEK_BYTES]);
        for (at, byte) in data.iter_mut().enumerate() {
            // Horner: ((c[t-1] * x + c[t-2]) * x + ...) + c[0]
            let value =
                rows.iter().rev().fold(Gf256(0), |sum, row| sum * Gf256(x.get()) + Gf256(row.get(at).copied().unwrap_or(0)));
            *byte = value.0;
        }
        shares.push(Share::new(share_set_id, x, &data));
    }
    Some(shares)
}

#[cfg(test)]
impl Share {
    /// The same share with its data changed.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut [u8; DEK_BYTES])) -> Self {
        let mut data = *self.expose_data();
        change(&mut data);
        Self::new(self.set_id, self.x, &data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    /// Computed twice by independent code, GF(2^8)/0x11b, t = 2: tests/vectors/README.md.
    #[test]
    fn shares_of_the_published_vector_combine_pairwise() {
        let vector: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/shamir-11b.json")).unwrap();
        let secret = hex(vector["secret"].as_str().unwrap());
        let shares: Vec<_> = vector["shares"]
            .as_array()
            .unwrap()
            .iter()
            .map(|share| hex(share.as_str().unwrap()))
            .map(|point| Share::new(ShareSetId([7; 16]), NonZeroU8::new(point[0]).unwrap(), &point[1..].try_into().unwrap()))
            .collect();
        for pair in [[0, 1], [0, 2], [1, 2], [2, 0]] {
            let dek = combine(&[&shares[pair[0]], &shares[pair[1]]]).unwrap();
            assert_eq!(dek.expose().as_slice(), secret, "{pair:?}");
        }
    }

    #[test]
    fn split_shares_combine_to_the_key_for_every_threshold() {
        for (needed, dealt) in [(2, 2), (2, 3), (3, 5), (7, 16)] {
            let dek = Dek::fill_with(|bytes| -> Result<(), ()> {
                bytes.fill(0x5a);
                Ok(())
            })
            .ok()
            .unwrap();
            let shares = split(&dek, Threshold::new(needed, dealt).unwrap(), ShareSetId([1; 16])).unwrap();
            let last: Vec<_> = shares.iter().rev().take(needed).collect();
            assert_eq!(combine(&last).unwrap().expose(), dek.expose(), "{needed} of {dealt}");
            let few: Vec<_> = shares.iter().take(needed - 1).collect();
            assert!(combine(&few).is_none_or(|wrong| wrong.expose() != dek.expose()), "{needed} of {dealt}");
        }
    }

    #[test]
    fn threshold_holds_only_two_to_n() {
        let cases = [(1, 3, false), (2, 1, false), (2, 2, true), (3, 3, true), (255, 255, true), (2, 256, false)];
        for (needed, dealt, good) in cases {
            assert_eq!(Threshold::new(needed, dealt).is_some(), good, "{needed} of {dealt}");
        }
    }

    #[test]
    fn shares_of_two_sets_or_of_one_x_do_not_combine() {
        let share = |set_id: u8, x: u8| Share::new(ShareSetId([set_id; 16]), NonZeroU8::new(x).unwrap(), &[9; 32]);
        assert!(combine(&[&share(1, 1), &share(2, 2)]).is_none());
        assert!(combine(&[&share(1, 1), &share(1, 1)]).is_none());
    }
}
