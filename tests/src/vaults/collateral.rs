//! Where a guest gets the collateral of the vaults' platforms. Real nodes staple none: a cache has it, or the initrd.

use std::path::PathBuf;

use dcap::{Collateral, Platform, SignedCollateral};
use vault_node::NodeConfig;

use super::Vaults;
use crate::pccs::Pccs;
use crate::scenarios::Stage;
use crate::{Doing, Failure, clock};

impl Vaults {
    /// Names no cache of collateral: it comes with the initrd, or is not demanded.
    #[must_use]
    pub fn without_cache(self) -> Self {
        Self { cache: None, ..self }
    }

    /// Lets the cache serve other collateral than is right; `change` is also given the platforms of the nodes.
    ///
    /// # Errors
    /// When the cache does not start.
    pub(crate) fn caching(mut self, change: impl FnOnce(&mut Collateral, &[Platform])) -> Result<Self, Failure> {
        let mut collateral = self.collateral()?;
        change(&mut collateral, &self.platforms);
        self.cache = Some(cache(&collateral.sign(&self.pki).doing("signing collateral")?)?);
        Ok(self)
    }

    /// Has the cache speak TLS, with a certificate of its own making.
    ///
    /// # Errors
    /// When the cache does not start.
    pub(crate) fn caching_over_tls(mut self) -> Result<Self, Failure> {
        let collateral = self.collateral()?.sign(&self.pki).doing("signing collateral")?;
        self.cache = Some(placed(Pccs::start_tls(collateral).doing("starting a cache of collateral")?));
        Ok(self)
    }

    /// Collateral for the nodes' platforms, which are of one type.
    ///
    /// # Errors
    /// When there is no node.
    pub(crate) fn collateral(&self) -> Result<Collateral, Failure> {
        let platform = self.platforms.first().ok_or_else(|| Failure("no vault".to_owned()))?;
        Ok(Collateral::sgx(platform, clock::now()))
    }

    /// How many requests the cache had.
    pub(crate) fn asked_for_collateral(&self) -> usize {
        self.cache.as_ref().map_or(0, |(_, cache)| cache.asked())
    }

    /// The simulated initrd with the collateral of these vaults' platforms.
    ///
    /// # Errors
    /// As the file system.
    pub(crate) fn bundled(&self, stage: &Stage) -> Result<PathBuf, Failure> {
        let collateral = self.collateral()?.sign(&self.pki).doing("signing collateral")?;
        let json = serde_json::to_vec(&collateral).doing("collateral")?;
        stage.initrd_with("etc/cvm-init/collateral/platform.json", json)
    }
}

/// Has a node staple its collateral.
pub(super) fn staple(config: &mut NodeConfig) {
    config.extensions.staple_collateral = true;
}

/// A cache that serves this, and where a guest finds it by IPv4.
fn cache(collateral: &SignedCollateral) -> Result<(String, Pccs), Failure> {
    Ok(placed(Pccs::start(collateral.clone()).doing("starting a cache of collateral")?))
}

fn placed(cache: Pccs) -> (String, Pccs) {
    (format!("{}:{}", qemu::spec::HOST_IN_GUEST, cache.address.port()), cache)
}
