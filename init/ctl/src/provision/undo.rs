//! Undoing a dealing that ended halfway. Shares are nowhere but at the vaults, so what was dealt cannot be completed later: it is deleted.

use vault::Identity;
use vault::operator::KeyServer as _;

use super::{Ready, Request};
use crate::policy::Owner;
use crate::{Cause, Failure};

/// What a vault holds of a dealing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// It was sent a share, and no answer came that says whether it took it.
    Perhaps,
    Share,
}

/// What is needed to speak to the vaults once more.
pub(super) struct Undo<'a> {
    pub(super) request: &'a Request,
    pub(super) identity: &'a Identity,
    pub(super) owner: &'a Owner,
}

impl Undo<'_> {
    /// Deletes the key at each vault that holds or may hold a share; where that was done, and where it was not.
    pub(super) fn run(&self, vaults: Vec<(Ready<'_>, Held)>) -> (Vec<String>, Vec<Failure>) {
        let (mut deleted, mut left) = (Vec::new(), Vec::new());
        for (vault, held) in vaults.into_iter().filter(|(_, held)| *held != Held::Nothing) {
            let address = vault.vault.node.address.clone();
            match self.delete(vault, held) {
                Ok(()) => deleted.push(address),
                Err(cause) => left.push(Failure { vault: address, cause }),
            }
        }
        (deleted, left)
    }

    fn delete(&self, mut ready: Ready<'_>, held: Held) -> Result<(), Cause> {
        let handle = &self.request.handle;
        let (begun, address) = (ready.vault.node.time, ready.vault.node.address.clone());
        if held == Held::Share {
            match ready.vault.server.delete_key(handle, &ready.bearer) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_absent() => return Ok(()),
                Err(error) if !error.leaves_doubt() => return Err(error.into()),
                Err(_) => {}
            }
        }
        // On the old connection a late answer would be taken for the answer to another request.
        drop(ready);
        let mut vault = self.request.nodes.prove_one(&address, self.identity).map_err(|failure| failure.cause)?;
        let bearer = self.request.credentials.bearer(Some(self.owner), vault.node.time)?;
        match vault.server.key_info(handle, &bearer) {
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error.into()),
            // The vault had no such key when this dealing began, so an older one is a node's that lost its state, or of another fleet.
            Ok(info) if info.created_at < begun => return Err(Cause::Older(info.created_at)),
            Ok(_) => {}
        }
        match vault.server.delete_key(handle, &bearer) {
            Err(error) if !error.is_absent() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
