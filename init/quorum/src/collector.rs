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
    /// The caller tries it against the disk (seal or keyslot).
    Disk,
    /// As [`Rule::Disk`], or as [`Rule::Agreement`]: the disk may still be under the key that is rotated away from, and what it
    /// does not answer to must not become its key on the word of a threshold that may contain a liar.
    DiskOrAgreement,
    /// One share more than needed lies on the same polynomial: the only proof there is for a disk that has no header yet.
    Agreement,
}

/// What became of a vault, as far as the shares say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    shares: Vec<(usize, Share)>,
    hedges: usize,
}

impl Collector {
    /// Starts with no vault heard of.
    #[must_use]
    pub fn new(threshold: Threshold, rule: Rule) -> Self {
        Self { threshold, rule, fates: vec![Fate::Waiting; threshold.dealt()], shares: Vec::new(), hedges: 0 }
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

    /// How many shares the rule needs at least.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.threshold.needed() + usize::from(self.rule == Rule::Agreement)
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
        let coming = self.fates.iter().filter(|fate| **fate == Fate::Asked).count();
        // Shares that are here and did not make a key were not enough: at least one more is wanted.
        let wanted = self.needed().max(self.shares.len() + 1) + self.hedges;
        match self.fates.iter().position(|fate| *fate == Fate::Ready) {
            Some(vault) if self.shares.len() + coming < wanted => {
                self.set(vault, Fate::Asked);
                Progress::Ask(vault)
            }
            _ => Progress::Wait,
        }
    }

    /// Takes a vault's share. `opens` tries a candidate against the disk; it is called only under
    /// [`Rule::Disk`] and [`Rule::DiskOrAgreement`].
    pub fn received(&mut self, vault: usize, share: Share, mut opens: impl FnMut(&Dek) -> bool) -> Progress {
        if self.shares.iter().any(|(other, _)| *other == vault) {
            return self.ask_next(); // one share a vault: a second one is not looked at
        }
        self.shares.push((vault, share));
        self.set(vault, Fate::Spare);
        let newest = self.shares.len() - 1;
        let candidates: Vec<_> = subsets::with(newest, self.shares.len(), self.threshold.needed()).collect();
        for subset in candidates {
            let Some(dek) = self.combine(&subset) else { continue };
            let proved = match self.rule {
                Rule::Commitment(commitment) => dek.commitment() == commitment,
                Rule::Disk => opens(&dek),
                Rule::DiskOrAgreement => opens(&dek) || self.agrees(&subset, &dek),
                Rule::Agreement => self.agrees(&subset, &dek),
            };
            if proved {
                return Progress::Done(self.finish(&subset, dek));
            }
        }
        self.ask_next()
    }

    /// Whether a share outside `subset` lies on its polynomials: then swapping it for one of the subset gives the same secret.
    fn agrees(&self, subset: &[usize], dek: &Dek) -> bool {
        // A copy of a share of the subset says nothing new: it would fit whatever it says.
        let taken = self.points(subset);
        let new = |(_, share): &(usize, Share)| !taken.contains(&share.x());
        (0..self.shares.len()).any(|other| self.shares.get(other).is_some_and(new) && self.fits(other, subset, dek))
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
        let taken = self.points(subset);
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
        Quorum { dek, generation: generation.unwrap_or(Generation([0; 16])) }
    }

    fn set(&mut self, vault: usize, fate: Fate) {
        if let Some(place) = self.fates.get_mut(vault) {
            *place = fate;
        }
    }
}

#[cfg(test)]
mod tests;
