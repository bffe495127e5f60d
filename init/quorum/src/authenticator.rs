//! Keys derived from the DEK that authenticate bytes outside of the ciphertext: the LUKS2 header and the intent record.

use ring::hmac;

use crate::Dek;

/// Authenticates bytes with HMAC-SHA256 under a derived key, which is never printed or returned. `ring` keeps it in memory and
/// does not wipe it: an attacker who reads that memory could forge a token and would learn nothing about the DEK.
pub struct Authenticator(hmac::Key);

impl Authenticator {
    /// HMAC-SHA256(key, message), 32 bytes.
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.iter_mut().zip(hmac::sign(&self.0, message).as_ref()).for_each(|(to, from)| *to = *from);
        mac
    }

    /// Whether `mac` is the MAC of `message`, in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], mac: &[u8; 32]) -> bool {
        hmac::verify(&self.0, message, mac).is_ok()
    }
}

/// The purpose of a derived key. Each purpose has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Authenticates a LUKS2 header.
    HeaderAuthentication,
    /// Authenticates the record that a first format was begun.
    FormatIntent,
}

impl Purpose {
    /// Part of the format on disk: it never changes.
    const fn info(self) -> &'static [u8] {
        match self {
            Self::HeaderAuthentication => b"cvm-init header seal v1",
            Self::FormatIntent => b"cvm-init format intent v1",
        }
    }
}

/// The salt of HKDF for the keys of named disks.
const DISK_SALT: &[u8] = b"cvm-init data disk key v1";

impl Dek {
    /// The key of the data disk `name`: HKDF-SHA256(key, salt = a label, info = the name), 32 bytes. It reveals nothing about the
    /// DEK or the keys of other disks. `ring` does not wipe its temporary copy; the returned key is wiped as the DEK is.
    #[must_use]
    pub fn of_disk(&self, name: &str) -> Self {
        let derived = hkdf(DISK_SALT, self.expose(), name.as_bytes());
        let fill = |bytes: &mut [u8; 32]| {
            bytes.iter_mut().zip(derived.as_ref()).for_each(|(to, from)| *to = *from);
            Ok::<(), std::convert::Infallible>(())
        };
        match Self::fill_with(fill) {
            Ok(dek) => dek,
            Err(never) => match never {},
        }
    }

    /// HKDF-SHA256(key, salt = the disk's LUKS UUID as text, info = the purpose), used as a key of HMAC-SHA256.
    #[must_use]
    pub fn authenticator(&self, purpose: Purpose, uuid: &str) -> Authenticator {
        let expanded = hkdf(uuid.as_bytes(), self.expose(), purpose.info());
        Authenticator(hmac::Key::new(hmac::HMAC_SHA256, expanded.as_ref()))
    }
}

/// RFC 5869, section 2, for one block of output: extract, expand. Written out because ring's own HKDF returns an error that
/// cannot occur here.
fn hkdf(salt: &[u8], key: &[u8], info: &[u8]) -> hmac::Tag {
    let sign = |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let extracted = sign(salt, key);
    sign(extracted.as_ref(), &[info, &[1]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dek(byte: u8) -> Dek {
        Dek::fill_with::<()>(|bytes| {
            bytes.fill(byte);
            Ok(())
        })
        .ok()
        .unwrap()
    }

    const UUID: &str = "6b3f1c0e-0000-4000-8000-000000000001";

    #[test]
    fn mac_is_what_python_computes() {
        // Python 3.11: h = lambda k, m: hmac.new(k, m, 'sha256').digest(); key = h(h(UUID, b'\x07' * 32), info + b'\x01'); h(key, b'abc')
        let cases = [
            (Purpose::HeaderAuthentication, "463174203cbaa657a6aca6763472378b505a8ed4969f51874261eaed5be1f42f"),
            (Purpose::FormatIntent, "7f39eb91bf0387b21f79b080aa049f35ebace0666e9b474e900f1b6fa5f03e0f"),
        ];
        for (purpose, want) in cases {
            let mac = dek(7).authenticator(purpose, UUID).mac(b"abc");
            assert_eq!(mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), want, "{purpose:?}");
        }
    }

    #[test]
    fn key_of_a_named_disk_is_what_python_computes() {
        // Python 3.11: h(h(b'cvm-init data disk key v1', b'\x07' * 32), b'logs' + b'\x01'), h as above
        let hex = |name| dek(7).of_disk(name).expose().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex("logs"), "51a1686308185ab26c719c24db5e169a3ebc9b64f23df96697a09c030a38e680");
        assert_ne!(hex("log"), hex("logs"));
    }

    #[test]
    fn mac_verifies_under_its_own_key_purpose_and_disk_only() {
        let mac = dek(7).authenticator(Purpose::HeaderAuthentication, UUID).mac(b"abc");
        let verifies = |byte, purpose, uuid: &str, message: &[u8]| dek(byte).authenticator(purpose, uuid).verifies(message, &mac);
        assert!(verifies(7, Purpose::HeaderAuthentication, UUID, b"abc"));
        assert!(!verifies(8, Purpose::HeaderAuthentication, UUID, b"abc"));
        assert!(!verifies(7, Purpose::FormatIntent, UUID, b"abc"));
        assert!(!verifies(7, Purpose::HeaderAuthentication, &UUID.replace('1', "2"), b"abc"));
        assert!(!verifies(7, Purpose::HeaderAuthentication, UUID, b"abd"));
    }
}
