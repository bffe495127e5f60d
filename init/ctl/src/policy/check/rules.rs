//! Checks of the rules: whether guests get the key, and whether its owner can still delete it and admit a guest.

use serde_json::Value;

use super::list;
use crate::policy::shape::Problem;

/// Whether the list under `name` contains `word`.
fn has(value: &Value, name: &str, word: &str) -> bool {
    list(value.get(name)).iter().any(|one| one.as_str() == Some(word))
}

pub(super) fn check(policy: &Value, tees: usize, problems: &mut Vec<Problem>) {
    // A rule with conditions is useless for guests and for this tool, since neither sends approvals.
    let rules: Vec<_> = list(policy.get("operations")).iter().filter(|rule| list(rule.get("requires")).is_empty()).collect();
    let owner_may = |op: &str| rules.iter().any(|rule| has(rule, "ops", op) && has(rule, "principals", "Owner"));
    if !owner_may("DeleteKey") {
        problems.push(Problem::at(
            "/operations",
            "no rule without `requires` lets the Owner do DeleteKey: a failed provision could not be undone",
        ));
    }
    if tees == 0 {
        check_growth(policy, &owner_may, problems);
    }
    let names_a_guest = |rule: &Value| {
        let named = list(rule.get("principals")).iter();
        named
            .filter_map(|one| one.get("Tee").and_then(Value::as_u64))
            .any(|index| usize::try_from(index).is_ok_and(|at| at < tees))
            || has(rule, "principals", "AnyTee")
    };
    if tees > 0 && !rules.iter().any(|rule| has(rule, "ops", "ExportKey") && names_a_guest(rule)) {
        problems.push(Problem::at(
            "/operations",
            "no rule without `requires` lets a guest of principals.tees do ExportKey: every guest would be denied",
        ));
    }
}

/// Checks that the owner can add a guest to a policy that names none. Otherwise no guest could ever get the key.
fn check_growth(policy: &Value, owner_may: &dyn Fn(&str) -> bool, problems: &mut Vec<Problem>) {
    // Without mutability nodes assume a default that lets the owner change both fields.
    let can_change = |field: &str| {
        policy.get("mutability").is_none_or(|fields| has(fields, "owner_can", field) && !has(fields, "immutable", field))
    };
    let may_add = owner_may("UpdatePolicy") || (owner_may("PromoteProfile") && can_change("PendingProfiles"));
    if !may_add {
        problems.push(Problem::at(
            "/operations",
            "principals.tees is empty, and no rule without `requires` lets the Owner add a guest: expected UpdatePolicy, or \
             PromoteProfile with PendingProfiles in mutability.owner_can",
        ));
    }
    if !can_change("Tees") {
        problems.push(Problem::at(
            "/mutability",
            "principals.tees is empty, and the Owner cannot add a guest: expected Tees in owner_can and not in immutable",
        ));
    }
}
