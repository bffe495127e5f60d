//! Measurement registers: their hash functions, and the extend operation.

use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};

/// A hash function of measurement registers.
///
/// Source: TCG Algorithm Registry, `TPM_ALG_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// 20 bytes; some TPMs have this bank.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes; the registers of TDX use it.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    /// All hash functions.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Finds the hash function with this `TPM_ALG_ID`.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.id() == id)
    }

    /// Finds the hash function with this name in CEL-JSON and systemd, for example `sha256`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.name() == name)
    }

    /// Returns the `TPM_ALG_ID`.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 4,
            Self::Sha256 => 0xb,
            Self::Sha384 => 0xc,
            Self::Sha512 => 0xd,
        }
    }

    /// Returns the name in CEL-JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the length of a digest in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.algorithm().output_len()
    }

    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        digest(self.algorithm(), bytes).as_ref().to_vec()
    }

    /// Extends a register with `value` by `digest`: returns `H(value || digest)`.
    ///
    /// Source: TPM 2.0 Library part 1, section 17.2; Intel TDX Module ABI, `TDG.MR.RTMR.EXTEND`.
    #[must_use]
    pub fn extend(self, value: &[u8], digest: &[u8]) -> Vec<u8> {
        self.digest(&[value, digest].concat())
    }

    /// Extends a register of zeros by `digests` in order, and returns its value.
    #[must_use]
    pub fn replay<'a>(self, digests: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        digests.into_iter().fold(vec![0; self.bytes()], |value, digest| self.extend(&value, digest))
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hash;

    #[test]
    fn replay_extends_in_order() {
        // Python 3.11 hashlib, 2026-11-25: e = lambda r, d: sha256(r + d).digest(); e(e(bytes(32), b"a" * 32), b"b" * 32).hex()
        let want = "5d2f124608951a16b422eea0171a3c2e84f9064c4a7c7ecde4287bebb6be3474";
        let got: String = Hash::Sha256.replay([&[b'a'; 32][..], &[b'b'; 32]]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn names_and_numbers_find_their_hash() {
        for hash in Hash::ALL {
            assert_eq!((Hash::from_id(hash.id()), Hash::from_name(hash.name())), (Some(hash), Some(hash)));
            assert_eq!(hash.digest(b"").len(), hash.bytes());
        }
        assert_eq!((Hash::from_id(0x12), Hash::from_name("sm3_256")), (None, None));
    }
}
