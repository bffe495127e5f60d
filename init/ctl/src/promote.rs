//! Replacement of a key policy, so that another image gets the key.

use ratls::Identity;
use serde_json::Value;
use vault::operator::KeyServer as _;

use crate::nodes::Proved;
use crate::policy::{self, Facts, Owner};
use crate::{Cause, Credentials, Error, Failure, Nodes};

/// One change of policy.
pub struct Request {
    /// The vaults, and what they must prove before the owner's bearer token is sent.
    pub nodes: Nodes,
    /// Name of the key at every vault.
    pub handle: String,
    /// The new policy, complete, with the owner of the old one.
    pub policy: Value,
    /// Facts about the policy's guests and nodes.
    pub facts: Facts,
    /// Credentials of the owner.
    pub credentials: Credentials,
    /// The stored client key; `None`: a new one.
    pub client_key: Option<Identity>,
}

/// A vault at which the new policy is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// Its address, as on the command line.
    pub vault: String,
    /// The version of the policy.
    pub version: u64,
}

/// Replaces the policy at each vault, in the order of the list, and reads it back. Continues after a vault fails: the same command can be
/// repeated later.
///
/// # Errors
/// Errors in the request itself, before any connection.
pub fn promote(request: &Request) -> Result<Vec<Result<Promoted, Failure>>, Error> {
    let owner = policy::owner(&request.policy).ok_or(Error::NoOwner)?;
    if !policy::names_a_guest(&request.policy) {
        return Err(Error::NoGuest);
    }
    let problems = policy::check(&request.policy, &request.facts);
    if !problems.is_empty() {
        return Err(Error::Policy(problems));
    }
    request.credentials.check(false)?;
    let identity = crate::identity(request.client_key.as_ref())?;
    let proved = request.nodes.prove(&identity);
    let change = |mut vault: Proved| match change(&mut vault, request, &owner) {
        Ok(version) => Ok(Promoted { vault: vault.node.address, version }),
        Err(cause) => Err(vault.failed(cause)),
    };
    Ok(proved.into_iter().map(|vault| vault.and_then(change)).collect())
}

fn change(vault: &mut Proved, request: &Request, owner: &Owner) -> Result<u64, Cause> {
    let bearer = request.credentials.bearer(Some(owner), vault.node.time)?;
    let version = vault.server.update_policy(&request.handle, &request.policy, &bearer)?;
    in_force(vault, &request.handle, &request.policy, version, &bearer)?;
    Ok(version)
}

/// Reads the policy back as the owner: a node drops fields that it does not know, without an error.
pub(crate) fn in_force(
    vault: &mut Proved,
    handle: &str,
    sent: &Value,
    version: u64,
    bearer: &vault::operator::Token,
) -> Result<(), Cause> {
    let read = vault.server.policy(handle, bearer)?;
    let differences = policy::differences(sent, &read.policy);
    if !differences.is_empty() {
        return Err(Cause::PolicyDiffers(differences));
    }
    if read.policy_version != version {
        return Err(Cause::Version { expected: version, found: read.policy_version });
    }
    Ok(())
}
