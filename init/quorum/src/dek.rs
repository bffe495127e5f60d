//! The data encryption key (DEK), which the vaults' shares combine to.

use ring::digest;
use zeroize::Zeroizing;

/// Bytes of the key.
pub(crate) const DEK_BYTES: usize = 32;

/// Domain separation of the commitment (key-server-protocol.md, section 6).
const COMMITMENT_LABEL: &[u8] = b"cvm-init dek commit v1";

/// The DEK: 32 random bytes on the heap, wiped on drop. It is not the volume key of the disk: its hexadecimal form is the LUKS
/// passphrase, which opens the keyslot that contains the volume key, and it is the root of HKDF for the keys of named disks and
/// for header authentication.
///
/// It has no `Debug`, `Clone`, `PartialEq` or `Serialize`, on purpose: a secret that cannot be printed is never logged, one that
/// cannot be copied is wiped once, and one that cannot be compared leaks no timing. Boxed, because moving an array leaves its
/// bytes behind on the stack.
pub struct Dek(Box<Zeroizing<[u8; DEK_BYTES]>>);

/// The public hash of a key, made together with it. It is safe to publish, since the key has 256 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

impl Dek {
    /// Builds the key in place: `fill` writes into the memory that will be wiped.
    ///
    /// # Errors
    /// What `fill` returns.
    pub fn fill_with<E>(fill: impl FnOnce(&mut [u8; DEK_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Box::new(Zeroizing::new([0; DEK_BYTES]));
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The only access to the bytes; `git grep expose` lists all uses.
    #[must_use]
    pub fn expose(&self) -> &[u8; DEK_BYTES] {
        &self.0
    }

    /// The LUKS passphrase: 64 lower-case hex characters, no newline (key-server-protocol.md, section 6).
    #[must_use]
    pub fn expose_passphrase(&self) -> Zeroizing<[u8; 2 * DEK_BYTES]> {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        let mut text = Zeroizing::new([0; 2 * DEK_BYTES]);
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.expose()) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        text
    }

    /// SHA-256(label || key).
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(COMMITMENT_LABEL);
        context.update(self.expose());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Commitment(hash)
    }
}

/// Breaks the build when [`Dek`] gets `Debug`: the call would then be ambiguous.
const _: fn() = || {
    trait NotDebug<A> {
        fn check() {}
    }
    impl<T: ?Sized> NotDebug<()> for T {}
    struct Printable;
    impl<T: ?Sized + std::fmt::Debug> NotDebug<Printable> for T {}
    let _ = <Dek as NotDebug<_>>::check;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrase_is_lower_case_hex_without_a_newline() {
        let dek = Dek::fill_with::<()>(|bytes| {
            bytes.iter_mut().zip((0xf0..=0xff).cycle()).for_each(|(byte, value)| *byte = value);
            Ok(())
        });
        let text = dek.ok().unwrap().expose_passphrase();
        assert_eq!(&text[..16], b"f0f1f2f3f4f5f6f7");
        assert_eq!(text.len(), 64);
    }

    #[test]
    fn commitment_is_the_hash_of_label_and_key() {
        // printf 'cvm-init dek commit v1' | cat - <(head -c 32 /dev/zero) | sha256sum, coreutils 9.7
        let dek = Dek::fill_with::<()>(|_| Ok(())).ok().unwrap();
        let hex: String = dek.commitment().0.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "d95429f1810f117159f1ac5a6219510e211c56e9cd873670936d3f25bef1137a");
    }
}
