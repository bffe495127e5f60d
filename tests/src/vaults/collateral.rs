//! The sources of collateral for the vaults' platforms: a cache, or the initrd. Real nodes staple none.

use std::path::PathBuf;

use dcap::{Collateral, Platform, SignedCollateral};
use vault_node::NodeConfig;

use super::Vaults;
use crate::pccs::Pccs;
use crate::scenarios::TestContext;
use crate::{Context, Failure, clock};

impl Vaults {
    /// Removes the cache: the initrd contains collateral, or none is needed.
    #[must_use]
    pub fn without_cache(self) -> Self {
        Self { cache: None, ..self }
    }

    /// Changes the cache's collateral before it is signed; `change` gets the platforms of the nodes too.
    ///
    /// # Errors
    /// The cache does not start.
    pub(crate) fn caching(mut self, change: impl FnOnce(&mut Collateral, &[Platform])) -> Result<Self, Failure> {
        let mut collateral = self.collateral()?;
        change(&mut collateral, &self.platforms);
        self.cache = Some(cache(&collateral.sign(&self.pki).context("signing collateral")?)?);
        Ok(self)
    }

    /// Serves the cache over TLS, with a self-signed certificate.
    ///
    /// # Errors
    /// The cache does not start.
    pub(crate) fn caching_over_tls(mut self) -> Result<Self, Failure> {
        let collateral = self.collateral()?.sign(&self.pki).context("signing collateral")?;
        self.cache = Some(placed(Pccs::start_tls(collateral).context("starting a cache of collateral")?));
        Ok(self)
    }

    /// The collateral of the nodes' platforms, which are of one type.
    ///
    /// # Errors
    /// There is no node.
    pub(crate) fn collateral(&self) -> Result<Collateral, Failure> {
        let platform = self.platforms.first().ok_or_else(|| Failure("the set of vaults is empty".to_owned()))?;
        Ok(Collateral::sgx(platform, clock::now()))
    }

    /// How many requests the cache answered.
    pub(crate) fn cache_requests(&self) -> usize {
        self.cache.as_ref().map_or(0, |(_, cache)| cache.asked())
    }

    /// The simulated initrd with the collateral of these platforms.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn initrd_with_collateral(&self, context: &TestContext) -> Result<PathBuf, Failure> {
        let collateral = self.collateral()?.sign(&self.pki).context("signing collateral")?;
        let json = serde_json::to_vec(&collateral).context("writing collateral as JSON")?;
        context.initrd_with("etc/cvm-init/collateral/platform.json", json)
    }
}

/// Lets the node staple its collateral.
pub(super) fn staple(config: &mut NodeConfig) {
    config.extensions.staple_collateral = true;
}

/// Starts a cache; returns it with its address in the guest.
fn cache(collateral: &SignedCollateral) -> Result<(String, Pccs), Failure> {
    Ok(placed(Pccs::start(collateral.clone()).context("starting a cache of collateral")?))
}

fn placed(cache: Pccs) -> (String, Pccs) {
    (format!("{}:{}", qemu::HOST_IN_GUEST, cache.address.port()), cache)
}
