//! Who is asked next, and when the shares make a key.
//!
//! A vault goes through: unknown, ready (it proved itself), asked, and then it served or was lost. Asking costs a quote of over
//! a second, one after the other, so only as many are asked as are still needed; a stalled one is hedged with the next.

use std::num::NonZeroU8;

use crate::share::{Share, Threshold, combine};
use crate::{Commitment, Dek, Generation, subsets};

/// What proves a candidate key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The measured policy's commitment.
    Commitment(Commitment),
    /// The caller tries it against the disk (seal or keyslot): for a disk that others made, and that is only opened. It proves
    /// that key and disk belong together, and not whose they are. Shares that agree prove nothing: of t or more vaults t - 1
    /// that choose their shares jointly make any key agree.
    Disk,
}

/// What became of a vault, as far as the shares say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Not heard of yet, or not needed.
    Waiting,
    /// It proved itself and was not asked.
    Ready,
    /// Asked for its share.
    Asked,
    /// Its share is part of the key.
    Served,
    /// Its share is not on the polynomial of the key: it lies, or is of another dealing.
    BadShare,
    /// Its share has the X of another vault's.
    Duplicate,
    /// It answered with a share that was not needed to find the key; it fits.
    Spare,
    /// It could not be used; the caller knows why.
    Lost,
}

/// A proved key.
pub struct Quorum {
    /// The key.
    pub dek: Dek,
    /// Which dealing it is of.
    pub generation: Generation,
    /// The vaults whose shares made it, by their place in the list.
    pub vaults: Vec<usize>,
}

/// What to do next.
pub enum Progress {
    /// Wait for an event.
    Wait,
    /// Ask this vault for its share.
    Ask(usize),
    /// The key is found and proved.
    Done(Quorum),
}

/// The state of all vaults, by their place in the list of the policy.
pub struct Collector {
    threshold: Threshold,
    rule: Rule,
    fates: Vec<Fate>,
    /// How often each was asked.
    asked: Vec<u32>,
    shares: Vec<(usize, Share)>,
    hedges: usize,
}

impl Collector {
    /// Starts with no vault heard of.
    #[must_use]
    pub fn new(threshold: Threshold, rule: Rule) -> Self {
        let (fates, asked) = (vec![Fate::Waiting; threshold.dealt()], vec![0; threshold.dealt()]);
        Self { threshold, rule, fates, asked, shares: Vec::new(), hedges: 0 }
    }

    /// What became of each vault.
    #[must_use]
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// How many shares there are, good or bad.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.shares.len()
    }

    /// How many shares it takes at least.
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
        self.set(vault, Fate::Ready);
    }

    /// The vault cannot be used now; it may become ready again.
    pub fn lost(&mut self, vault: usize) {
        self.set(vault, Fate::Lost);
    }

    /// A vault that was asked is slow: one more than needed may be asked.
    pub fn stalled(&mut self) {
        self.hedges += 1;
    }

    /// The next vault to ask, if more shares are wanted than are coming.
    pub fn ask_next(&mut self) -> Progress {
        // Shares that are here and did not make a key were not enough: at least one more is wanted.
        let wanted = self.needed().max(self.shares.len() + 1) + self.hedges;
        // One that takes the place of a share that is here makes no more of them.
        let (new, replacing) = (self.shares.len() + self.of(Fate::Asked, false).count(), self.of(Fate::Asked, true).count());
        // Who was asked least often goes first: one that serves in vain again and again must not keep another from being asked.
        let turn = |has_share: bool| self.of(Fate::Ready, has_share).min_by_key(|vault| self.times_asked(*vault));
        let first = turn(false).filter(|_| new < wanted);
        let other = turn(true).filter(|_| new + replacing < wanted);
        let next = first.into_iter().chain(other).min_by_key(|vault| self.times_asked(*vault));
        let Some(next) = next else { return Progress::Wait };
        self.set(next, Fate::Asked);
        if let Some(times) = self.asked.get_mut(next) {
            *times += 1;
        }
        Progress::Ask(next)
    }

    fn times_asked(&self, vault: usize) -> u32 {
        self.asked.get(vault).copied().unwrap_or(0)
    }

    /// The vaults of this fate whose share is here, or is not.
    fn of(&self, fate: Fate, has_share: bool) -> impl Iterator<Item = usize> {
        let is = move |vault: &usize| self.fates.get(*vault) == Some(&fate) && self.has_share_of(*vault) == has_share;
        (0..self.fates.len()).filter(is)
    }

    /// Takes a vault's share, in place of one that was here: an address may lead to another node than before. `opens` tries a
    /// candidate against the disk; it is called only under [`Rule::Disk`].
    pub fn received(&mut self, vault: usize, share: Share, opens: impl FnMut(&Dek) -> bool) -> Progress {
        self.take(vault, share, |_| true, opens).map_or_else(|| self.ask_next(), Progress::Done)
    }

    /// The share of this vault counts no more.
    pub(crate) fn forget(&mut self, vault: usize) {
        self.shares.retain(|(other, _)| *other != vault);
    }

    /// Looks at a share; returns the key when it is found. Only the shares of vaults that `may_combine` together are tried.
    pub(crate) fn take(
        &mut self,
        vault: usize,
        share: Share,
        may_combine: impl Fn(&[usize]) -> bool,
        mut opens: impl FnMut(&Dek) -> bool,
    ) -> Option<Quorum> {
        self.forget(vault);
        self.set(vault, Fate::Spare);
        self.shares.push((vault, share));
        let newest = self.shares.len() - 1;
        let candidates: Vec<_> = subsets::with(newest, self.shares.len(), self.threshold.needed()).collect();
        for subset in candidates {
            if !may_combine(&self.vaults(&subset)) {
                continue;
            }
            let Some(dek) = self.combine(&subset) else { continue };
            let proved = match self.rule {
                Rule::Commitment(commitment) => dek.commitment() == commitment,
                Rule::Disk => opens(&dek),
            };
            if proved {
                return Some(self.finish(&subset, dek));
            }
        }
        None
    }

    /// Whose shares these are.
    fn vaults(&self, subset: &[usize]) -> Vec<usize> {
        subset.iter().filter_map(|index| self.shares.get(*index)).map(|(vault, _)| *vault).collect()
    }

    /// The X of each share of a subset.
    fn points(&self, subset: &[usize]) -> Vec<NonZeroU8> {
        subset.iter().filter_map(|index| self.shares.get(*index)).map(|(_, share)| share.x()).collect()
    }

    /// Two polynomials of degree t - 1 that agree at t - 1 shares and at 0 are one, so comparing the secrets is enough.
    fn fits(&self, other: usize, subset: &[usize], dek: &Dek) -> bool {
        let swapped: Vec<usize> = std::iter::once(other).chain(subset.iter().skip(1).copied()).collect();
        // Commitments are compared, not keys: a key has no equality.
        self.combine(&swapped).is_some_and(|same| same.commitment() == dek.commitment())
    }

    fn combine(&self, subset: &[usize]) -> Option<Dek> {
        let shares: Vec<&Share> = subset.iter().filter_map(|index| self.shares.get(*index)).map(|(_, share)| share).collect();
        combine(&shares)
    }

    /// Names every vault whose share is here, and gives the key away.
    fn finish(&mut self, subset: &[usize], dek: Dek) -> Quorum {
        let (taken, vaults) = (self.points(subset), self.vaults(subset));
        let verdicts: Vec<_> = (0..self.shares.len())
            .filter_map(|index| {
                let (vault, share) = self.shares.get(index)?;
                let fate = match () {
                    () if subset.contains(&index) => Fate::Served,
                    () if taken.contains(&share.x()) => Fate::Duplicate,
                    () if self.fits(index, subset, &dek) => Fate::Spare,
                    () => Fate::BadShare,
                };
                Some((*vault, fate))
            })
            .collect();
        for (vault, fate) in verdicts {
            self.set(vault, fate);
        }
        let generation = subset.first().and_then(|index| self.shares.get(*index)).map(|(_, share)| share.generation());
        self.shares.clear();
        Quorum { dek, generation: generation.unwrap_or(Generation([0; 16])), vaults }
    }

    fn set(&mut self, vault: usize, fate: Fate) {
        if let Some(place) = self.fates.get_mut(vault) {
            *place = fate;
        }
    }
}

#[cfg(test)]
impl Collector {
    /// The same again, for a test that goes on from here in more than one way.
    pub(crate) fn again(&self) -> Self {
        let shares = self.shares.iter().map(|(vault, share)| (*vault, share.changed(|_| ())));
        let (fates, asked) = (self.fates.clone(), self.asked.clone());
        Self { threshold: self.threshold, rule: self.rule, fates, asked, shares: shares.collect(), hedges: self.hedges }
    }
}

#[cfg(test)]
mod tests;
