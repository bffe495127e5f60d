//! Staged profiles: guests that are proposed for a key, and promoted or dropped later. Promoting adds; `cvmctl promote` replaces.

use serde_json::Value;
use vault::operator::{KeyServer, PendingProfile, ProfileSource, Staged, Token};

use crate::keys::{Answers, Request};
use crate::policy::{self, Facts, same_profile};
use crate::{Cause, Error};

/// Which staged profile is meant.
pub enum Which {
    /// The one with this content, whatever its number.
    Profile(Value),
    /// The one with this number: at one node only.
    Number(u32),
}

/// Proposes a profile at each vault.
///
/// # Errors
/// [`Error::Policy`] for a mistake that nodes accept; what is wrong with the request itself, before anyone is dialled.
pub fn stage(
    request: &Request,
    handle: &str,
    profile: &Value,
    source: ProfileSource,
    facts: &Facts,
) -> Result<Answers<Staged>, Error> {
    let problems = policy::check_staged(profile, facts);
    if !problems.is_empty() {
        return Err(Error::Policy(problems));
    }
    request.ask(|server, bearer| {
        let staged = server.stage_profile(handle, profile, source, bearer)?;
        if staged.auto_promoted {
            in_force(server, handle, profile, bearer)?;
            return Ok(staged);
        }
        // Read back: a node drops what it does not know without a word.
        let pending = server.pending_profiles(handle, bearer)?;
        let read = pending.into_iter().find(|pending| pending.id == staged.pending_id).ok_or(Cause::NotStaged)?;
        let differences = policy::profile_differences(profile, &read.profile);
        if differences.is_empty() { Ok(staged) } else { Err(Cause::PolicyDiffers(differences)) }
    })
}

/// What is staged at each vault.
///
/// # Errors
/// As [`stage`].
pub fn list(request: &Request, handle: &str) -> Result<Answers<Vec<PendingProfile>>, Error> {
    request.ask(|server, bearer| Ok(server.pending_profiles(handle, bearer)?))
}

/// Lets the guests of a staged profile have the key, beside those that have it already; the version of the policy.
///
/// # Errors
/// As [`stage`]; [`Error::ProfileNumber`].
pub fn promote(request: &Request, handle: &str, which: &Which, facts: &Facts) -> Result<Answers<u64>, Error> {
    check_number(request, which)?;
    request.ask(|server, bearer| {
        let pending = find(server, handle, which, bearer)?;
        // The platform may have staged it: what is promoted is held against the same rules as what is staged here.
        let problems = policy::check_staged(&pending.profile, facts);
        if !problems.is_empty() {
            return Err(Cause::Profile(problems));
        }
        let version = server.promote_profile(handle, pending.id, bearer)?;
        in_force(server, handle, &pending.profile, bearer)?;
        Ok(version)
    })
}

/// Drops a staged profile.
///
/// # Errors
/// As [`promote`].
pub fn revoke(request: &Request, handle: &str, which: &Which) -> Result<Answers<()>, Error> {
    check_number(request, which)?;
    request.ask(|server, bearer| {
        let pending = find(server, handle, which, bearer).map_err(|cause| match cause {
            Cause::NotStaged => Cause::NothingToRevoke,
            other => other,
        })?;
        Ok(server.revoke_profile(handle, pending.id, bearer)?)
    })
}

fn check_number(request: &Request, which: &Which) -> Result<(), Error> {
    match which {
        Which::Number(_) if request.nodes.vaults.len() != 1 => Err(Error::ProfileNumber),
        Which::Number(_) | Which::Profile(_) => Ok(()),
    }
}

fn find(server: &mut dyn KeyServer, handle: &str, which: &Which, bearer: &Token) -> Result<PendingProfile, Cause> {
    let is_meant = |pending: &PendingProfile| match which {
        Which::Number(number) => pending.id == *number,
        Which::Profile(profile) => same_profile(profile, &pending.profile),
    };
    server.pending_profiles(handle, bearer)?.into_iter().find(is_meant).ok_or(Cause::NotStaged)
}

/// Whether the policy has the profile among its guests.
fn in_force(server: &mut dyn KeyServer, handle: &str, profile: &Value, bearer: &Token) -> Result<(), Cause> {
    let read = server.policy(handle, bearer)?;
    let tees = read.policy.pointer("/principals/tees").and_then(Value::as_array);
    let has = tees.is_some_and(|tees| tees.iter().filter_map(|tee| tee.get("Tee")).any(|tee| same_profile(profile, tee)));
    if has { Ok(()) } else { Err(Cause::NotInForce) }
}
