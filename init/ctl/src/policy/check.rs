//! Mistakes in a policy that nodes accept, and that cost the key or let in more than was meant. They are refused before anyone is dialled.

mod profile;
mod rules;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::shape::{POLICY, PROFILE, Problem};
use super::{TTL_DEFAULT_SECONDS, TTL_SECONDS, owner};

pub use profile::APP_OID;

/// TDATTRIBUTES.DEBUG: the host reads and writes the domain's memory (Intel TDX module ABI, TD_ATTRIBUTES, bit 0).
const DEBUG: u64 = 1;
/// TDATTRIBUTES.MIGRATABLE: a migration TD can move the domain elsewhere (bit 29).
const MIGRATABLE: u64 = 1 << 29;

/// What an operator says of the guests and nodes that a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The guest's app UUID (`cvm.vault.app`), if it is known.
    pub app: Option<[u8; 16]>,
    /// Registers beyond MRTD, RTMR1 and RTMR2 that the nodes match: `rtmr0`, `rtmr3`.
    pub matched: Vec<String>,
}

/// Everything wrong with a policy.
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
            "expected {\"Oidc\":..} with issuer and sub: nobody else could change or delete the key",
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

/// Everything wrong with a profile that is to be staged.
#[must_use]
pub fn check_staged(profile: &Value, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    PROFILE.hold(profile, "", &facts.matched, &mut problems);
    if problems.is_empty() {
        profile::check(profile, "", facts, &mut problems);
    }
    problems
}

/// Why guests with these TDATTRIBUTES may not have a key. Nodes do not look at them: such a guest with the same measurements gets the key
/// unless the attestation server refuses it.
#[must_use]
pub fn refused_attributes(attributes: u64) -> Option<&'static str> {
    if attributes & DEBUG != 0 {
        return Some("TDATTRIBUTES.DEBUG is set (bit 0): the host reads the memory of this guest, and nodes do not look");
    }
    (attributes & MIGRATABLE != 0)
        .then_some("TDATTRIBUTES.MIGRATABLE is set (bit 29): a migration TD moves this guest elsewhere, and nodes do not look")
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
            format!(
                "absent or 0: nodes would forget the key after {TTL_DEFAULT_SECONDS} s (30 days); write how long it shall live"
            ),
        ));
    } else if ttl > TTL_SECONDS {
        problems.push(Problem::at(
            "/lifecycle/ttl_seconds",
            format!("{ttl} is more than {TTL_SECONDS} (90 days): nodes would shorten it to that silently; write at most {TTL_SECONDS} and rotate in time"),
        ));
    }
}
