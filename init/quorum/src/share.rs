//! One vault's share: share set id (16 bytes) || X (1) || data (32), and the combination of t shares.
//!
//! The arithmetic is in GF(2^8) modulo x^8+x^4+x^3+x+1 (0x11b), with one polynomial for each byte and the secret at x = 0
//! (key-server-protocol.md, section 6).

use std::num::NonZeroU8;

use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::Dek;
use crate::dek::DEK_BYTES;

/// Bytes of a share as a vault sends it.
const MATERIAL_BYTES: usize = SHARE_SET_ID_BYTES + 1 + DEK_BYTES;
const SHARE_SET_ID_BYTES: usize = 16;

/// Identifies the shares of one split. Shares of two sets never combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareSetId(pub [u8; SHARE_SET_ID_BYTES]);

/// One share, wiped on drop.
pub struct Share {
    set_id: ShareSetId,
    x: NonZeroU8,
    /// X || data, the form that vsss-rs combines.
    point: Zeroizing<Vec<u8>>,
}

/// Why material is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The length is not 49 bytes.
    #[error("the share has {0} bytes, expected 49")]
    Length(usize),
    /// X is zero, which would be the secret itself.
    #[error("the share has x = 0")]
    Origin,
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
    /// Takes the material that a vault sent.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn parse(material: &[u8]) -> Result<Self, ShareError> {
        let wrong = ShareError::Length(material.len());
        let (share_set_id, point) = material.split_first_chunk().ok_or(wrong)?;
        let (x, data) = point.split_first().ok_or(wrong)?;
        if data.len() != DEK_BYTES {
            return Err(wrong);
        }
        let x = NonZeroU8::new(*x).ok_or(ShareError::Origin)?;
        Ok(Self { set_id: ShareSetId(*share_set_id), x, point: Zeroizing::new(point.to_vec()) })
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

    /// The bytes in the form that a vault stores; `git grep expose` lists all uses.
    #[must_use]
    pub fn expose_material(&self) -> Zeroizing<Vec<u8>> {
        let mut material = Zeroizing::new(Vec::with_capacity(MATERIAL_BYTES));
        material.extend_from_slice(&self.set_id.0);
        material.extend_from_slice(&self.point);
        material
    }
}

/// The secret at x = 0 of the polynomials through `shares`; `None` when they are of different share sets, or two have the same X.
pub(crate) fn combine(shares: &[&Share]) -> Option<Dek> {
    let share_set_id = shares.first()?.set_id;
    if shares.iter().any(|share| share.set_id != share_set_id) {
        return None;
    }
    let mut points: Vec<Vec<u8>> = shares.iter().map(|share| share.point.to_vec()).collect();
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
        let mut material = Zeroizing::new(Vec::with_capacity(MATERIAL_BYTES));
        material.extend_from_slice(&share_set_id.0);
        material.push(x);
        for byte in 0..DEK_BYTES {
            // Horner: ((c[t-1] * x + c[t-2]) * x + ...) + c[0]
            let value = rows.iter().rev().fold(Gf256(0), |sum, row| sum * Gf256(x) + Gf256(row.get(byte).copied().unwrap_or(0)));
            material.push(value.0);
        }
        shares.push(Share::parse(&material).ok()?);
    }
    Some(shares)
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
            .map(|share| Share::parse(&[vec![7; 16], hex(share.as_str().unwrap())].concat()).ok().unwrap())
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
    fn material_must_be_49_bytes_away_from_the_origin() {
        let cases: [(&str, Vec<u8>, Option<ShareError>); 5] = [
            ("empty", vec![], Some(ShareError::Length(0))),
            ("short", vec![1; 48], Some(ShareError::Length(48))),
            ("long", vec![1; 50], Some(ShareError::Length(50))),
            ("x = 0", [vec![1; 16], vec![0], vec![1; 32]].concat(), Some(ShareError::Origin)),
            ("good", vec![1; 49], None),
        ];
        for (name, material, want) in cases {
            assert_eq!(Share::parse(&material).err(), want, "{name}");
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
    fn shares_of_two_generations_or_of_one_x_do_not_combine() {
        let share =
            |share_set_id: u8, x: u8| Share::parse(&[vec![share_set_id; 16], vec![x], vec![9; 32]].concat()).ok().unwrap();
        assert!(combine(&[&share(1, 1), &share(2, 2)]).is_none());
        assert!(combine(&[&share(1, 1), &share(1, 1)]).is_none());
    }
}
