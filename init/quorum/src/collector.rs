//! Decides which vault is asked next, and when the shares make a key.
//!
//! A vault is first unknown, then ready (it proved itself), then asked, and then it served or was lost. Asking costs a quote,
//! which takes over a second, and quotes are made one at a time. So only as many vaults are asked as are still needed, and one
//! more for each that is slow (hedging).

use std::num::NonZeroU8;

use crate::share::{Share, Threshold, combine};
use crate::{Commitment, Dek, ShareSetId, combinations};

/// What proves a candidate key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProof {
    /// The measured policy's commitment.
    Commitment(Commitment),
    /// The disk: the caller tries the key on it (header authentication or keyslot). This is for a disk that was made elsewhere
    /// and is only opened. It proves that key and disk belong together, but not who owns them. Agreement of shares proves
    /// nothing: t - 1 of t or more vaults can choose shares jointly so that all agree on a wrong key.
    Disk,
}

/// The status of a vault's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShareStatus {
    /// Unknown yet, or not needed.
    Waiting,
    /// It proved itself and was not asked.
    Ready,
    /// It was asked for its share.
    Asked,
    /// Its share is part of the key.
    Served,
    /// Its share is not on the polynomial of the key: the share is wrong or belongs to another share set.
    BadShare,
    /// Its share has the X of another vault's.
    Duplicate,
    /// Its share fits and was not needed to find the key.
    Spare,
    /// It cannot be used now; the caller knows why.
    Lost,
}

/// A proved key.
pub struct RecoveredKey {
    /// The key.
    pub dek: Dek,
    /// The share set that it belongs to.
    pub share_set_id: ShareSetId,
    /// The vaults whose shares made it, by their index in the list.
    pub vaults: Vec<usize>,
}

/// What to do next.
pub enum Action {
    /// Wait for an event.
    Wait,
    /// Ask this vault for its share.
    Ask(usize),
    /// The key is found and proved.
    Done(RecoveredKey),
}

/// The state of all vaults, by their index in the policy's list.
pub struct Collector {
    threshold: Threshold,
    proof: KeyProof,
    statuses: Vec<ShareStatus>,
    /// How often each vault was asked.
    asked: Vec<u32>,
    shares: Vec<(usize, Share)>,
    hedges: usize,
}

impl Collector {
    /// Starts without any event.
    #[must_use]
    pub fn new(threshold: Threshold, proof: KeyProof) -> Self {
        let (statuses, asked) = (vec![ShareStatus::Waiting; threshold.dealt()], vec![0; threshold.dealt()]);
        Self { threshold, proof, statuses, asked, shares: Vec::new(), hedges: 0 }
    }

    /// The status of each vault's share.
    #[must_use]
    pub fn statuses(&self) -> &[ShareStatus] {
        &self.statuses
    }

    /// How many shares there are, right or wrong.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.shares.len()
    }

    /// The threshold.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.threshold.needed()
    }

    /// Whether a share of this vault is here.
    #[must_use]
    pub fn has_share_of(&self, vault: usize) -> bool {
        self.shares.iter().any(|(other, _)| *other == vault)
    }

    /// The vault proved itself and waits to be asked.
    pub fn ready(&mut self, vault: usize) {
        self.set(vault, ShareStatus::Ready);
    }

    /// The vault cannot be used now; it may become ready again.
    pub fn lost(&mut self, vault: usize) {
        self.set(vault, ShareStatus::Lost);
    }

    /// A vault that was asked is slow: permits one more request.
    pub fn stalled(&mut self) {
        self.hedges += 1;
    }

    /// The next vault to ask, if more shares are wanted than are pending.
    pub fn ask_next(&mut self) -> Action {
        // The shares that are here did not suffice: at least one more is wanted.
        let wanted = self.needed().max(self.shares.len() + 1) + self.hedges;
        // A share that replaces another does not add one.
        let (new, replacing) =
            (self.shares.len() + self.of(ShareStatus::Asked, false).count(), self.of(ShareStatus::Asked, true).count());
        // The vault asked least often comes first: one that gives a wrong share again and again must not keep another from being
        // asked.
        let turn = |has_share: bool| self.of(ShareStatus::Ready, has_share).min_by_key(|vault| self.times_asked(*vault));
        let first = turn(false).filter(|_| new < wanted);
        let other = turn(true).filter(|_| new + replacing < wanted);
        let next = first.into_iter().chain(other).min_by_key(|vault| self.times_asked(*vault));
        let Some(next) = next else { return Action::Wait };
        self.set(next, ShareStatus::Asked);
        if let Some(times) = self.asked.get_mut(next) {
            *times += 1;
        }
        Action::Ask(next)
    }

    fn times_asked(&self, vault: usize) -> u32 {
        self.asked.get(vault).copied().unwrap_or(0)
    }

    /// The vaults with this status that have a share here, or have none.
    fn of(&self, status: ShareStatus, has_share: bool) -> impl Iterator<Item = usize> {
        let is = move |vault: &usize| self.statuses.get(*vault) == Some(&status) && self.has_share_of(*vault) == has_share;
        (0..self.statuses.len()).filter(is)
    }

    /// Adds a vault's share in entry of an earlier one, since the address may lead to another node now. `verify` tries a
    /// candidate key on the disk; it is called only with [`KeyProof::Disk`].
    pub fn received(&mut self, vault: usize, share: Share, verify: impl FnMut(&Dek) -> bool) -> Action {
        self.add_share(vault, share, |_| true, verify).map_or_else(|| self.ask_next(), Action::Done)
    }

    /// Discards the share of this vault.
    pub(crate) fn discard_share(&mut self, vault: usize) {
        self.shares.retain(|(other, _)| *other != vault);
    }

    /// Adds a share; returns the key when it is found. Only combinations of vaults for which `may_combine` returns `true` are
    /// tried.
    pub(crate) fn add_share(
        &mut self,
        vault: usize,
        share: Share,
        may_combine: impl Fn(&[usize]) -> bool,
        mut verify: impl FnMut(&Dek) -> bool,
    ) -> Option<RecoveredKey> {
        self.discard_share(vault);
        self.set(vault, ShareStatus::Spare);
        self.shares.push((vault, share));
        let newest = self.shares.len() - 1;
        let candidates: Vec<_> = combinations::with(newest, self.shares.len(), self.threshold.needed()).collect();
        for combination in candidates {
            if !may_combine(&self.vaults(&combination)) {
                continue;
            }
            let Some(dek) = self.combine(&combination) else { continue };
            let proved = match self.proof {
                KeyProof::Commitment(commitment) => dek.commitment() == commitment,
                KeyProof::Disk => verify(&dek),
            };
            if proved {
                return Some(self.finish(&combination, dek));
            }
        }
        None
    }

    /// The vaults of a combination of shares.
    fn vaults(&self, combination: &[usize]) -> Vec<usize> {
        combination.iter().filter_map(|index| self.shares.get(*index)).map(|(vault, _)| *vault).collect()
    }

    /// The X coordinates of a combination of shares.
    fn points(&self, combination: &[usize]) -> Vec<NonZeroU8> {
        combination.iter().filter_map(|index| self.shares.get(*index)).map(|(_, share)| share.x()).collect()
    }

    /// Whether another share lies on the polynomial of the key: two polynomials of degree t - 1 that agree at t - 1 shares and at
    /// 0 are equal, so it is enough to compare the secrets.
    fn fits(&self, other: usize, combination: &[usize], dek: &Dek) -> bool {
        let swapped: Vec<usize> = std::iter::once(other).chain(combination.iter().skip(1).copied()).collect();
        // Compares commitments: a key cannot be compared.
        self.combine(&swapped).is_some_and(|same| same.commitment() == dek.commitment())
    }

    fn combine(&self, combination: &[usize]) -> Option<Dek> {
        let shares: Vec<&Share> =
            combination.iter().filter_map(|index| self.shares.get(*index)).map(|(_, share)| share).collect();
        combine(&shares)
    }

    /// Sets the status of every vault whose share is here, and returns the key.
    fn finish(&mut self, combination: &[usize], dek: Dek) -> RecoveredKey {
        let (taken, vaults) = (self.points(combination), self.vaults(combination));
        let statuses: Vec<_> = (0..self.shares.len())
            .filter_map(|index| {
                let (vault, share) = self.shares.get(index)?;
                let status = match () {
                    () if combination.contains(&index) => ShareStatus::Served,
                    () if taken.contains(&share.x()) => ShareStatus::Duplicate,
                    () if self.fits(index, combination, &dek) => ShareStatus::Spare,
                    () => ShareStatus::BadShare,
                };
                Some((*vault, status))
            })
            .collect();
        for (vault, status) in statuses {
            self.set(vault, status);
        }
        let share_set_id = combination.first().and_then(|index| self.shares.get(*index)).map(|(_, share)| share.share_set_id());
        self.shares.clear();
        RecoveredKey { dek, share_set_id: share_set_id.unwrap_or(ShareSetId([0; 16])), vaults }
    }

    fn set(&mut self, vault: usize, status: ShareStatus) {
        if let Some(entry) = self.statuses.get_mut(vault) {
            *entry = status;
        }
    }
}

#[cfg(test)]
impl Collector {
    /// A copy, for tests that continue from here in several ways.
    pub(crate) fn copy(&self) -> Self {
        let shares = self.shares.iter().map(|(vault, share)| (*vault, share.changed(|_| ())));
        let (statuses, asked) = (self.statuses.clone(), self.asked.clone());
        Self { threshold: self.threshold, proof: self.proof, statuses, asked, shares: shares.collect(), hedges: self.hedges }
    }
}

#[cfg(test)]
mod tests;
