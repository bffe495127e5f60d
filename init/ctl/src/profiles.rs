//! Staged profiles: proposed guests of a key, promoted or revoked later. Promoting a profile adds guests; `cvmctl promote` replaces the policy.

use serde_json::Value;
use vault::operator::{KeyServer, PendingProfile, ProfileSource, Staged, Token};

use crate::keys::{Answers, Request};
use crate::policy::{self, Facts, same_profile};
use crate::{Cause, Error};

/// Selects a staged profile.
pub enum Which {
    /// By its content.
    Profile(Value),
    /// By its number, at one node only.
    Number(u32),
}

/// Stages a profile at each vault.
///
/// # Errors
/// [`Error::Policy`] for a mistake that nodes accept; errors in the request itself, before any connection.
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
        // Read it back, since a node silently drops unknown fields.
        let pending = server.pending_profiles(handle, bearer)?;
        let read = pending.into_iter().find(|pending| pending.id == staged.pending_id).ok_or(Cause::NotStaged)?;
        let differences = policy::profile_differences(profile, &read.profile);
        if differences.is_empty() { Ok(staged) } else { Err(Cause::PolicyDiffers(differences)) }
    })
}

/// Lists the staged profiles at each vault.
///
/// # Errors
/// As [`stage`].
pub fn list(request: &Request, handle: &str) -> Result<Answers<Vec<PendingProfile>>, Error> {
    request.ask(|server, bearer| Ok(server.pending_profiles(handle, bearer)?))
}

/// Adds the guests of a staged profile to the policy. Returns the version of the policy.
///
/// # Errors
/// As [`stage`]; [`Error::ProfileNumber`].
pub fn promote(request: &Request, handle: &str, which: &Which, facts: &Facts) -> Result<Answers<u64>, Error> {
    check_number(request, which)?;
    request.ask(|server, bearer| {
        let pending = find(server, handle, which, bearer)?;
        // The platform may have staged it, so it is checked as a profile that is staged here.
        let problems = policy::check_staged(&pending.profile, facts);
        if !problems.is_empty() {
            return Err(Cause::Profile(problems));
        }
        let version = server.promote_profile(handle, pending.id, bearer)?;
        in_force(server, handle, &pending.profile, bearer)?;
        Ok(version)
    })
}

/// Revokes a staged profile.
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

/// Whether the policy contains the profile.
fn in_force(server: &mut dyn KeyServer, handle: &str, profile: &Value, bearer: &Token) -> Result<(), Cause> {
    let read = server.policy(handle, bearer)?;
    let tees = read.policy.pointer("/principals/tees").and_then(Value::as_array);
    let has = tees.is_some_and(|tees| tees.iter().filter_map(|tee| tee.get("Tee")).any(|tee| same_profile(profile, tee)));
    if has { Ok(()) } else { Err(Cause::NotInForce) }
}
