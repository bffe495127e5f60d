//! Undoing an incomplete `provision`. The key and the unsent shares are gone, so it cannot be completed later; the sent shares are deleted.

use encoding::hex;
use ratls::Identity;
use vault::operator::KeyServer as _;

use super::{Ready, Request};
use crate::policy::Owner;
use crate::{Cause, Failure};

/// What a vault holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// A share was sent, and the answer does not tell whether it was stored.
    Perhaps,
    Share,
}

/// The parts of a request that are needed to contact the vaults again.
pub(super) struct Undo<'a> {
    pub(super) request: &'a Request,
    pub(super) identity: &'a Identity,
    pub(super) owner: &'a Owner,
}

/// Quotes a text as one argument of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=[]".contains(&byte);
    let text = vault::operator::NodeText::new(text).to_string();
    if !text.is_empty() && text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

impl Undo<'_> {
    /// Deletes the key at each vault that holds or may hold a share. Returns where this succeeded and where it failed.
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

    /// The command that deletes remaining shares later. Its options differ from those of `provision`.
    pub(super) fn command(&self, everywhere: bool) -> String {
        let Request { nodes, handle, credentials, .. } = self.request;
        let list = |ids: &mut dyn Iterator<Item = String>| ids.collect::<Vec<_>>().join(",");
        let (handle, vaults) = (quoted(handle), quoted(&nodes.vaults.join(",")));
        let mut arguments = vec![format!("cvmctl key delete --handle {handle} --vault {vaults}")];
        if everywhere {
            arguments.push("--even-in-use".to_owned());
        }
        arguments.push(format!("--mrenclave {}", list(&mut nodes.mrenclaves.iter().map(|bytes| hex::encode(bytes)))));
        if !nodes.platforms.is_empty() {
            arguments.push(format!("--platform {}", list(&mut nodes.platforms.iter().map(|bytes| hex::encode(bytes)))));
        }
        arguments.push(format!("--tcb {}", list(&mut nodes.statuses.iter().map(ToString::to_string))));
        arguments.push("--anchor FILE --collateral FILE".to_owned());
        if credentials.signs() {
            let (issuer, sub) = (quoted(&self.owner.issuer), quoted(&self.owner.sub));
            arguments.push(format!("--issuer-key FILE --issuer {issuer} --owner-sub {sub}"));
            arguments.extend(self.owner.roles.iter().map(|role| format!("--owner-role {}", quoted(role))));
        } else {
            arguments.push("--bearer-fd N".to_owned());
        }
        if !nodes.node_ca.is_empty() {
            arguments.push("--node-ca FILE".to_owned());
        }
        let rest = "(each FILE and N as for provision; also --kid, --audience, --floors and --client-key, if they were given)";
        format!("{} {rest}", arguments.join(" "))
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
        // A new connection, since a late answer on the old one would be taken for the answer to this request.
        drop(ready);
        let mut vault = self.request.nodes.prove_one(&address, self.identity).map_err(|failure| failure.cause)?;
        let bearer = self.request.credentials.bearer(Some(self.owner), vault.node.time)?;
        match vault.server.key_info(handle, &bearer) {
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error.into()),
            // The vault had no such key when `provision` began, so an older key is of another node at this address.
            Ok(info) if info.created_at < begun => return Err(Cause::Older(info.created_at)),
            Ok(_) => {}
        }
        match vault.server.delete_key(handle, &bearer) {
            Err(error) if !error.is_absent() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
