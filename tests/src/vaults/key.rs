//! The key of a set of vaults, made by the harness or by `cvmctl`.

use std::fs::File;
use std::io::Read as _;

use quorum::{Dek, Share, ShareSetId, Threshold, split};
use ring::digest::{SHA256, digest};
use vault::ShareMaterial;

use crate::{Context, Failure};

/// Who made the key.
pub(super) enum Key {
    /// The harness, which stores the shares in the nodes and so knows all secrets.
    Dealt { dek: Dek, shares: Vec<Vec<u8>> },
    /// `cvmctl`, over the network: the harness knows only the commitment.
    Provisioned { commitment: [u8; 32] },
}

impl Key {
    pub(super) fn deal(needed: usize, dealt: usize) -> Result<Self, Failure> {
        let mut random = File::open("/dev/urandom").context("reading random numbers")?;
        let dek = Dek::fill_with(|bytes| random.read_exact(bytes)).context("reading random numbers")?;
        Self::split(dek, needed, dealt)
    }

    /// The key of the images that contain their command line. It is not secret.
    pub(super) fn of_images(needed: usize, dealt: usize) -> Result<Self, Failure> {
        let hash = digest(&SHA256, b"cvm-init: the key of the images in tests/chains");
        let fill = |bytes: &mut [u8; 32]| hash.as_ref().try_into().map(|hash| *bytes = hash);
        Self::split(Dek::fill_with(fill).context("making the key of the images")?, needed, dealt)
    }

    fn split(dek: Dek, needed: usize, dealt: usize) -> Result<Self, Failure> {
        let threshold =
            Threshold::new(needed, dealt).ok_or_else(|| Failure(format!("{needed} of {dealt} is not a valid threshold")))?;
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

    /// The secrets: the key, its passphrase form, and the data of every share. The share set id and X are public.
    pub(super) fn secrets(&self) -> Vec<Vec<u8>> {
        let Self::Dealt { dek, shares } = self else { return Vec::new() };
        let data = shares.iter().filter_map(|share| share.get(17..)).map(<[u8]>::to_vec);
        [dek.expose().to_vec(), dek.expose_passphrase().to_vec()].into_iter().chain(data).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding::hex::encode as hex;

    #[test]
    fn images_commit_to_the_key_that_their_vaults_hold() {
        let argument = format!("    cvm.vault.key-commitment={}\n", hex(&Key::of_images(2, 3).unwrap().commitment()));
        assert!(include_str!("../../chains/mkosi.conf").contains(&argument), "{argument}");
    }
}
