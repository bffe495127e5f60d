//! Checks for mistakes that nodes accept but that lose the key or admit more guests than intended. They run before any connection.

mod profile;
mod rules;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::shape::{POLICY, PROFILE, Problem};
use super::{TTL_DEFAULT_SECONDS, TTL_SECONDS, owner};

pub use profile::APP_OID;

/// TDATTRIBUTES.DEBUG: the host can read and write the domain's memory (Intel TDX module ABI, TD_ATTRIBUTES, bit 0).
const DEBUG: u64 = 1;
/// TDATTRIBUTES.MIGRATABLE: a migration TD can move the domain elsewhere (bit 29).
const MIGRATABLE: u64 = 1 << 29;

/// Facts about the guests and nodes of a policy, from the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The guest's app UUID (`cvm.vault.app`), if known.
    pub app: Option<[u8; 16]>,
    /// Registers that the nodes compare in addition to MRTD, RTMR1 and RTMR2: `rtmr0`, `rtmr3`.
    pub matched: Vec<String>,
}

/// All problems of a policy.
#[must_use]
pub fn check(policy: &Value, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    POLICY.hold(policy, "", &facts.matched, &mut problems);
    if !problems.is_empty() {
        return problems;
    }
    if policy.get("version") != Some(&Value::from(1)) {
        problems.push(Problem::at("/version", "expected 1"));
    }
    if owner(policy).is_none() {
        problems.push(Problem::at(
            "/principals/owner",
            "expected {\"Oidc\":..} with issuer and sub: without an owner the key cannot be changed or deleted",
        ));
    }
    let tees = list(policy.pointer("/principals/tees"));
    for (index, tee) in tees.iter().enumerate() {
        match tee.get("Tee") {
            Some(profile) => profile::check(profile, &format!("/principals/tees/{index}/Tee"), facts, &mut problems),
            None => problems.push(Problem::at(&format!("/principals/tees/{index}"), "expected {\"Tee\":..}")),
        }
    }
    rules::check(policy, tees.len(), &mut problems);
    check_ttl(policy, &mut problems);
    problems
}

/// All problems of a profile that is to be staged.
#[must_use]
pub fn check_staged(profile: &Value, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    PROFILE.hold(profile, "", &facts.matched, &mut problems);
    if problems.is_empty() {
        profile::check(profile, "", facts, &mut problems);
    }
    problems
}

/// The problems of registers that are all zero: no command prints or sends a policy with one.
#[must_use]
pub fn zero_registers(policy: &Value) -> Vec<Problem> {
    profile::zero_registers(policy)
}

/// Why guests with these TDATTRIBUTES must not get a key. Nodes do not check them: such a guest with the same measurements gets the key
/// unless the attestation server refuses it.
#[must_use]
pub fn refused_attributes(attributes: u64) -> Option<&'static str> {
    if attributes & DEBUG != 0 {
        return Some("TDATTRIBUTES.DEBUG is set (bit 0): the host can read the memory of this guest, and nodes do not check it");
    }
    (attributes & MIGRATABLE != 0).then_some(
        "TDATTRIBUTES.MIGRATABLE is set (bit 29): a migration TD can move this guest elsewhere, and nodes do not check it",
    )
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn check_ttl(policy: &Value, problems: &mut Vec<Problem>) {
    let ttl = policy.pointer("/lifecycle/ttl_seconds").and_then(Value::as_u64).unwrap_or(0);
    if ttl == 0 {
        problems.push(Problem::at(
            "/lifecycle/ttl_seconds",
            format!("absent or 0: nodes would delete the key after {TTL_DEFAULT_SECONDS} s (30 days): give a lifetime"),
        ));
    } else if ttl > TTL_SECONDS {
        problems.push(Problem::at(
            "/lifecycle/ttl_seconds",
            format!("{ttl} is more than {TTL_SECONDS} (90 days): nodes silently shorten it to that: give at most {TTL_SECONDS} and rotate in time"),
        ));
    }
}
