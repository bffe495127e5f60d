//! What each vault did, for the console, the failure line and the boot report: names, counts and reasons, never a value of a key
//! or a share.

mod event;
mod status;

use attest::Tcb;
use cmdline::{TcbPolicy, Vaults};
use encoding::hex;
use failure::chain;
use quorum::{KeyProof, ShareSetId, ShareStatus};
use serde::Serialize;

use super::Error;
use super::vault_client::{self, Ready};
use status::VaultStatus;

/// In seconds.
const DAY: u64 = 86_400;
/// From how many days before the key's expiry the console warns.
const EXPIRY_WARNING: u64 = 14;

/// The report on one vault.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct VaultReport {
    /// As the policy writes it.
    address: String,
    status: VaultStatus,
    /// Why it did not serve.
    reason: Option<String>,
    /// Hex, once the node was verified.
    mrenclave: Option<String>,
    /// As the collateral has it; `unknown` where policy requires signatures only.
    tcb_status: Option<String>,
    advisories: Vec<String>,
    /// Identifies its platform, hex.
    platform: Option<String>,
    /// When its evidence is valid, Unix seconds.
    valid_from: Option<u64>,
    valid_until: Option<u64>,
    /// Its own clock, Unix seconds.
    quote_time: Option<u64>,
    /// When it deletes the key, Unix seconds.
    key_expires: Option<u64>,
    /// This report as it was when the vault gave the share that is here: another node may have proved itself at the address
    /// since.
    #[serde(skip)]
    share_report: Option<Box<Self>>,
}

/// The report on the recovery of one key.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UnlockReport {
    handle: String,
    threshold: u8,
    /// `commitment`, or `disk` where policy has no commitment: then nothing proves who owns the vaults.
    key_proof: &'static str,
    /// `collateral`, or `signature` where policy does not check revocation and TCB.
    tcb: &'static str,
    /// The share set's 16 bytes in hex, once the key was proved.
    share_set_id: Option<String>,
    /// The earliest time at which a vault deletes the key, Unix seconds.
    key_expires: Option<u64>,
    vaults: Vec<VaultReport>,
    /// How many shares are here from vaults whose evidence is valid.
    #[serde(skip)]
    shares: usize,
    /// Whether no key is possible any more.
    #[serde(skip)]
    impossible: bool,
}

impl UnlockReport {
    pub(super) fn new(vaults: &Vaults, tcb: &TcbPolicy, proof: KeyProof) -> Self {
        let entry = |address: &cmdline::VaultAddress| VaultReport { address: address.to_string(), ..VaultReport::default() };
        Self {
            handle: vaults.handle.as_str().to_owned(),
            threshold: vaults.threshold.get(),
            key_proof: match proof {
                KeyProof::Commitment(_) => "commitment",
                KeyProof::Disk => "disk",
            },
            tcb: if matches!(tcb, TcbPolicy::Signature) { "signature" } else { "collateral" },
            share_set_id: None,
            key_expires: None,
            vaults: vaults.addresses.iter().map(entry).collect(),
            shares: 0,
            impossible: false,
        }
    }

    /// Records a node that proved itself.
    pub(super) fn verified(&mut self, index: usize, ready: &Ready) {
        let Ready { node, time, .. } = ready;
        let Some(vault) = self.vaults.get_mut(index) else { return };
        let (status, advisories) = match node.tcb() {
            Tcb::Assessed { status, advisories, .. } => (status.to_string(), advisories.clone()),
            Tcb::Unknown => ("unknown".to_owned(), Vec::new()),
        };
        log::info!("vault {}: verified, tcb {status}", vault.address);
        (vault.status, vault.reason) = (VaultStatus::Ready, None);
        vault.mrenclave = Some(hex::encode(node.mrenclave()));
        vault.tcb_status = Some(status);
        vault.advisories = advisories;
        vault.platform = Some(hex::encode(node.platform()));
        let (from, until) = node.valid();
        (vault.valid_from, vault.valid_until) = (Some(from), Some(until));
        vault.quote_time = Some(time.unix_seconds());
    }

    /// Records that a vault was asked: until [`Self::presented`] it waits for this machine's quote.
    pub(super) fn asked(&mut self, index: usize) {
        if let Some(vault) = self.vaults.get_mut(index) {
            vault.status = VaultStatus::Quoting;
        }
    }

    /// Records that a vault has this machine's quote: unless it answers, it was too slow.
    pub(super) fn presented(&mut self, index: usize) {
        if let Some(vault) = self.vaults.get_mut(index) {
            vault.status = VaultStatus::Slow;
        }
    }

    pub(super) fn served(&mut self, index: usize, expires_at: u64) {
        let Some(vault) = self.vaults.get_mut(index) else { return };
        log::info!("vault {}: gave a share", vault.address);
        (vault.key_expires, vault.status, vault.share_report) = (Some(expires_at), VaultStatus::Spare, None);
        vault.share_report = Some(Box::new(vault.clone()));
    }

    /// Records that a vault gave a share under evidence that is not valid at the agreed time.
    pub(super) fn stale(&mut self, index: usize) {
        let Some(vault) = self.vaults.get_mut(index).filter(|vault| vault.status != VaultStatus::Stale) else { return };
        let reason = chain(&vault_client::Error::Stale);
        log::warn!("vault {}: {}: {reason}", vault.address, VaultStatus::Stale.as_str());
        (vault.status, vault.reason) = (VaultStatus::Stale, Some(reason));
    }

    /// Logs that a vault's share does not combine to a key with the others.
    pub(super) fn unfit(&self, index: usize) {
        if let Some(vault) = self.vaults.get(index) {
            log::warn!("vault {}: its share and the others do not combine to the key; trying again", vault.address);
        }
    }

    /// Records that a vault cannot be used now; `is_transient`: its address is dialled again.
    pub(super) fn lost(&mut self, index: usize, error: &vault_client::Error, is_transient: bool) {
        let Some(vault) = self.vaults.get_mut(index) else { return };
        vault.status = VaultStatus::of(error);
        let reason = chain(error);
        let again = if is_transient { "; trying again" } else { "" };
        log::warn!("vault {}: {}: {reason}{again}", vault.address, vault.status.as_str());
        vault.reason = Some(reason);
        if vault.status == VaultStatus::Expired {
            log::warn!("vault {}: the key has expired there: provision a new one", vault.address);
        }
    }

    /// Whether no key is possible any more.
    pub(super) const fn is_impossible(&self) -> bool {
        self.impossible
    }

    /// Sets the final status of each vault from the collection that found the key, at `now` (Unix seconds).
    pub(super) fn proved(&mut self, statuses: &[ShareStatus], share_set_id: ShareSetId, now: u64) {
        self.share_set_id = Some(hex::encode(&share_set_id.0));
        for (vault, share) in self.vaults.iter_mut().zip(statuses) {
            let status = match share {
                ShareStatus::Lost | ShareStatus::Waiting | ShareStatus::Asked => continue,
                ShareStatus::Ready => VaultStatus::Ready,
                ShareStatus::Served => VaultStatus::Served,
                ShareStatus::Spare => VaultStatus::Spare,
                ShareStatus::BadShare => VaultStatus::BadShare,
                ShareStatus::Duplicate => VaultStatus::Duplicate,
            };
            if let Some(share_report) = vault.share_report.take().filter(|_| status != VaultStatus::Ready) {
                *vault = *share_report;
            }
            vault.status = status;
            vault.reason = None; // from an earlier connection
            if matches!(share, ShareStatus::BadShare | ShareStatus::Duplicate) {
                log::warn!("vault {}: {}", vault.address, vault.status.as_str());
            }
        }
        let served = self.vaults.iter().filter(|vault| vault.status == VaultStatus::Served);
        self.key_expires = served.clone().filter_map(|vault| vault.key_expires).min();
        let left = self.key_expires.map(|at| at.saturating_sub(now) / DAY);
        if let Some(days) = left.filter(|days| *days < EXPIRY_WARNING) {
            log::warn!("unlock: the vaults delete this key in {days} days: provision a new one");
        }
        let names: Vec<_> = served.map(|vault| vault.address.as_str()).collect();
        log::info!("unlock: {} of {} shares made the key; served by {}", names.len(), self.vaults.len(), names.join(" "));
    }

    /// `1 of 2 shares; waiting for: ...`.
    pub(super) fn progress(&mut self, shares: usize) -> String {
        self.shares = shares;
        let awaited = self.vaults.iter().filter(|vault| !matches!(vault.status, VaultStatus::Spare | VaultStatus::Served));
        let awaited: Vec<_> = awaited.map(|vault| vault.address.as_str()).collect();
        format!("{self}; waiting for: {}", awaited.join(" "))
    }

    /// Chooses the most useful reason: what must change for the unlock to succeed. `shares`: how many are here from vaults whose
    /// evidence is valid; `impossible`: no key is possible any more.
    pub(super) fn failure(mut self, shares: usize, impossible: bool) -> Error {
        (self.impossible, self.shares) = (impossible, shares);
        let needed = usize::from(self.threshold);
        let count = |statuses: &[VaultStatus]| self.vaults.iter().filter(|vault| statuses.contains(&vault.status)).count();
        let can_serve = |without: &[VaultStatus]| self.vaults.len() - count(without) >= needed;
        let stands_first = |status, others: &[VaultStatus]| count(&[status]) > 0 && !can_serve(others);
        if shares >= needed {
            Error::Unproved(Box::new(self))
        } else if stands_first(VaultStatus::Untrusted, &[VaultStatus::Untrusted]) {
            Error::Untrusted(Box::new(self))
        } else if stands_first(VaultStatus::Expired, &[VaultStatus::Expired, VaultStatus::Untrusted]) {
            Error::Expired(Box::new(self))
        } else if stands_first(VaultStatus::Stale, &[VaultStatus::Stale, VaultStatus::Untrusted]) {
            Error::Stale(Box::new(self))
        } else if count(&[VaultStatus::NoQuote, VaultStatus::Rejected]) > 0 {
            Error::OwnQuote(Box::new(self))
        } else if count(&[VaultStatus::Denied]) > 0 && count(&[VaultStatus::Denied]) + shares >= needed {
            Error::Denied(Box::new(self))
        } else if count(&[VaultStatus::Quoting]) > 0 {
            // A request that is not answered fails after the kernel's timeout, which may be after the deadline.
            Error::OwnQuote(Box::new(self))
        } else {
            Error::TooFew(Box::new(self))
        }
    }
}

impl std::fmt::Display for UnlockReport {
    /// `1 of 2 shares`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} shares", self.shares, self.threshold)
    }
}

#[cfg(test)]
mod tests;
