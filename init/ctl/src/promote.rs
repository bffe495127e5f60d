//! Putting a new key policy into force, so that another image may have the key.

use serde_json::{Value, json};
use vault::{Answer, Identity};
use zeroize::Zeroizing;

use crate::nodes::Proved;
use crate::token::Signer;
use crate::{Cause, Error, Failure, Nodes, policy};

/// One change of policy.
pub struct Request {
    /// The vaults, and what they must prove before they see the owner's bearer.
    pub nodes: Nodes,
    /// The key's name at every vault.
    pub handle: String,
    /// The whole new policy, under the owner of the old one.
    pub policy: Value,
    /// The issuer's key that signs the bearer: PKCS#8 of P-256, PEM or DER.
    pub issuer_key: Zeroizing<Vec<u8>>,
}

/// A vault at which the new policy is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// Its address as it was given.
    pub vault: String,
    /// The number of the policy.
    pub version: u64,
}

/// Changes the policy at each vault, in the order of the list. A vault that is down does not keep the others from it: the same
/// change can be made again when it is back.
///
/// # Errors
/// What is wrong with the request itself, before anyone is dialled.
pub fn promote(request: &Request) -> Result<Vec<Result<Promoted, Failure>>, Error> {
    let owner = policy::owner(&request.policy).ok_or(Error::NoOwner)?;
    if !policy::names_a_guest(&request.policy) {
        return Err(Error::NoGuest);
    }
    let bearer = Signer::read(&request.issuer_key)?.bearer(&owner)?;
    let identity = Identity::operator().map_err(Error::Identity)?;
    let update = json!({ "UpdatePolicy": { "handle": request.handle, "new_policy": request.policy, "approvals": [] } });
    let proved = request.nodes.prove(&identity);
    Ok(proved.into_iter().map(|vault| change(vault?, &update, &bearer)).collect())
}

fn change(mut vault: Proved, update: &Value, bearer: &str) -> Result<Promoted, Failure> {
    match vault.ask(update, Some(bearer)) {
        Ok(Answer::PolicyUpdated { version }) => Ok(Promoted { vault: vault.node.address, version }),
        Ok(_) => Err(vault.failed(Cause::Answer)),
        Err(error) => Err(vault.failed(error.into())),
    }
}
