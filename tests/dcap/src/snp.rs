//! SEV-SNP attestation reports, signed by a key that replaces a chip's VCEK.
//!
//! Source: SEV Secure Nested Paging Firmware ABI, AMD 56860, revision 1.58, table 23. Numbers are little endian.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};

use crate::Error;

/// Length of a report, in bytes.
const LENGTH: usize = 1184;
/// Length of the signed part, before the signature.
const SIGNED: usize = 0x2a0;
/// The report version of the first kernels for SNP.
const VERSION: u32 = 2;
/// `SIGNATURE_ALGO`: ECDSA over P-384 with SHA-384.
const ALGORITHM: u32 = 1;
/// A number of the signature has 72 bytes, of which P-384 uses 48.
const NUMBER: usize = 72;

/// A chip: the key that signs its reports.
#[derive(Clone)]
pub struct SnpChip(Arc<EcdsaKeyPair>);

impl SnpChip {
    /// Makes a chip.
    pub fn generate() -> Result<Self, Error> {
        let unread = |_| Error::Key("a P-384 key");
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).map_err(unread)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &SystemRandom::new());
        pair.map(|pair| Self(Arc::new(pair))).map_err(|_| Error::Key("a P-384 key"))
    }

    /// The public key, as an uncompressed point.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }
}

/// The fields of a report that tests use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpReport {
    /// `POLICY`: bit 19 allows debugging, bit 17 is always one.
    pub policy: u64,
    /// `VMPL` of the requester.
    pub vmpl: u32,
    /// `REPORT_DATA`: what the guest asked the chip to sign.
    pub report_data: [u8; 64],
    /// `MEASUREMENT` of the guest at launch.
    pub measurement: [u8; 48],
}

impl SnpReport {
    /// The bit of `POLICY` that allows debugging.
    pub const DEBUG: u64 = 1 << 19;

    /// An honest guest's report.
    #[must_use]
    pub const fn new(report_data: [u8; 64], measurement: [u8; 48]) -> Self {
        Self { policy: 0x3_0000, vmpl: 0, report_data, measurement }
    }

    /// The signed report.
    ///
    /// # Errors
    /// There is no randomness for the signature.
    pub fn sign(&self, chip: &SnpChip) -> Result<Vec<u8>, Error> {
        let mut report = vec![0; LENGTH];
        put(&mut report, 0, &VERSION.to_le_bytes());
        put(&mut report, 0x08, &self.policy.to_le_bytes());
        put(&mut report, 0x30, &self.vmpl.to_le_bytes());
        put(&mut report, 0x34, &ALGORITHM.to_le_bytes());
        put(&mut report, 0x50, &self.report_data);
        put(&mut report, 0x90, &self.measurement);
        let signed = report.get(..SIGNED).unwrap_or_default();
        let signature = chip.0.sign(&SystemRandom::new(), signed).map_err(|_| Error::Key("no randomness to sign with"))?;
        for (number, bytes) in signature.as_ref().chunks(48).enumerate() {
            let little: Vec<u8> = bytes.iter().rev().copied().collect();
            put(&mut report, SIGNED + number * NUMBER, &little);
        }
        Ok(report)
    }

    /// Reads a report and verifies that the chip with this public key signed it.
    #[must_use]
    pub fn verify(report: &[u8], chip: &[u8]) -> Option<Self> {
        let numbers = [SIGNED, SIGNED + NUMBER].map(|at| report.get(at..at + 48));
        let signature: Option<Vec<Vec<u8>>> =
            numbers.iter().map(|number| number.map(|bytes| bytes.iter().rev().copied().collect())).collect();
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, chip);
        key.verify(report.get(..SIGNED)?, &signature?.concat()).ok()?;
        let number = |at: usize| Some(u32::from_le_bytes(*report.get(at..)?.first_chunk()?));
        if report.len() != LENGTH || number(0)? != VERSION || number(0x34)? != ALGORITHM {
            return None;
        }
        Some(Self {
            policy: u64::from_le_bytes(*report.get(0x08..)?.first_chunk()?),
            vmpl: number(0x30)?,
            report_data: *report.get(0x50..)?.first_chunk()?,
            measurement: *report.get(0x90..)?.first_chunk()?,
        })
    }
}

fn put(report: &mut [u8], at: usize, bytes: &[u8]) {
    report.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_verifies_only_under_its_chip_and_unchanged() {
        let (chip, other) = (SnpChip::generate().unwrap(), SnpChip::generate().unwrap());
        let report = SnpReport::new([7; 64], [9; 48]);
        let signed = report.sign(&chip).unwrap();
        assert_eq!((signed.len(), signed[0x50], signed[0x90]), (1184, 7, 9));
        assert_eq!(SnpReport::verify(&signed, &chip.public()), Some(report));
        assert_eq!(SnpReport::verify(&signed, &other.public()), None);
        for at in [0, 0x08, 0x50, 0x90, SIGNED - 1, SIGNED, SIGNED + NUMBER] {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert_eq!(SnpReport::verify(&changed, &chip.public()), None, "byte {at:#x}");
        }
        assert_eq!(SnpReport::verify(&signed[..1183], &chip.public()), None);
    }
}
