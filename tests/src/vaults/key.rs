//! The key that the vaults hold: dealt here, or by `cvmctl`.

use std::fs::File;
use std::io::Read as _;

use quorum::{Dek, Share, ShareSetId, Threshold, split};
use ring::digest::{SHA256, digest};
use vault::ShareMaterial;

use crate::{Doing, Failure};

/// How the key came to the nodes.
pub(super) enum Key {
    /// Dealt here and put into the nodes behind their back, so that the scenario knows what must never be seen.
    Dealt { dek: Dek, shares: Vec<Vec<u8>> },
    /// Dealt by `cvmctl` over the wire: nobody here ever saw it. Its commitment is all there is.
    Provisioned { commitment: [u8; 32] },
}

impl Key {
    pub(super) fn deal(needed: usize, dealt: usize) -> Result<Self, Failure> {
        let mut random = File::open("/dev/urandom").doing("random numbers")?;
        let dek = Dek::fill_with(|bytes| random.read_exact(bytes)).doing("random numbers")?;
        Self::split(dek, needed, dealt)
    }

    /// The key that images commit to which bring their command line along. It is no secret.
    pub(super) fn of_images(needed: usize, dealt: usize) -> Result<Self, Failure> {
        let hash = digest(&SHA256, b"cvm-init: the key of the images in tests/chains");
        let fill = |bytes: &mut [u8; 32]| hash.as_ref().try_into().map(|hash| *bytes = hash);
        Self::split(Dek::fill_with(fill).doing("the key of images")?, needed, dealt)
    }

    fn split(dek: Dek, needed: usize, dealt: usize) -> Result<Self, Failure> {
        let threshold = Threshold::new(needed, dealt).ok_or_else(|| Failure(format!("{needed} of {dealt} is no threshold")))?;
        let shares = split(&dek, threshold, ShareSetId([0x67; 16])).ok_or_else(|| Failure("dealing".to_owned()))?;
        let material = |share: &Share| {
            ShareMaterial { set_id: &share.share_set_id().0, x: share.x(), data: share.expose_data() }.to_bytes().to_vec()
        };
        Ok(Self::Dealt { dek, shares: shares.iter().map(material).collect() })
    }

    pub(super) fn commitment(&self) -> [u8; 32] {
        match self {
            Self::Dealt { dek, .. } => dek.commitment().0,
            Self::Provisioned { commitment } => *commitment,
        }
    }

    /// Everything that must never be seen: the key, its passphrase form, the data of every share. The share set id and X are public.
    pub(super) fn secrets(&self) -> Vec<Vec<u8>> {
        let Self::Dealt { dek, shares } = self else { return Vec::new() };
        let data = shares.iter().filter_map(|share| share.get(17..)).map(<[u8]>::to_vec);
        [dek.expose().to_vec(), dek.expose_passphrase().to_vec()].into_iter().chain(data).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vaults::hex;

    #[test]
    fn images_commit_to_the_key_that_their_vaults_hold() {
        let word = format!("    cvm.vault.key-commitment={}\n", hex(&Key::of_images(2, 3).unwrap().commitment()));
        assert!(include_str!("../../chains/mkosi.conf").contains(&word), "{word}");
    }
}
