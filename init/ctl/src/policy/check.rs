//! Mistakes in a policy that nodes accept, and that cost the key or let in more than was meant. They are refused before anyone is dialled.

use serde_json::Value;

use super::shape::{POLICY, PROFILE, Problem};
use super::{TTL_DEFAULT_SECONDS, TTL_SECONDS, owner};

/// The only OID that a guest's leaf carries and a policy may so demand: its app UUID.
pub const APP_OID: &str = "1.3.6.1.4.1.65230.4.1";
/// Statuses of Intel's that a policy may name; Revoked is never accepted.
const TCB_STATUSES: [&str; 6] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
];
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
            Some(profile) => check_profile(profile, &format!("/principals/tees/{index}/Tee"), facts, &mut problems),
            None => problems.push(Problem::at(&format!("/principals/tees/{index}"), "expected {\"Tee\":..}")),
        }
    }
    check_rules(policy, tees.len(), &mut problems);
    check_ttl(policy, &mut problems);
    problems
}

/// Everything wrong with a profile that is to be staged.
#[must_use]
pub fn check_staged(profile: &Value, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    PROFILE.hold(profile, "", &facts.matched, &mut problems);
    if problems.is_empty() {
        check_profile(profile, "", facts, &mut problems);
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

fn check_profile(profile: &Value, place: &str, facts: &Facts, problems: &mut Vec<Problem>) {
    let measurements = list(profile.get("measurements"));
    if measurements.is_empty() {
        problems.push(Problem::at(&format!("{place}/measurements"), "empty: no guest matches it"));
    }
    for (index, measurement) in measurements.iter().enumerate() {
        let place = format!("{place}/measurements/{index}");
        if let Some(value) = measurement.get("Mrenclave") {
            check_digest(value, 64, &format!("{place}/Mrenclave"), problems);
        }
        for (name, value) in measurement.get("Tdx").and_then(Value::as_object).into_iter().flatten() {
            check_digest(value, 96, &format!("{place}/Tdx/{name}"), problems);
        }
    }
    check_servers(profile, place, problems);
    check_oids(profile, place, facts, problems);
    for (index, status) in list(profile.get("acceptable_tcb_statuses")).iter().enumerate() {
        if !status.as_str().is_some_and(|status| TCB_STATUSES.contains(&status)) {
            let place = format!("{place}/acceptable_tcb_statuses/{index}");
            problems.push(Problem::at(&place, format!("expected one of {}", TCB_STATUSES.join(", "))));
        }
    }
}

fn check_digest(value: &Value, digits: usize, place: &str, problems: &mut Vec<Problem>) {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !value.as_str().is_some_and(|text| text.len() == digits && text.bytes().all(is_digit)) {
        problems.push(Problem::at(place, format!("expected {digits} lower-case hexadecimal digits: nodes compare texts")));
    }
}

fn check_servers(profile: &Value, place: &str, problems: &mut Vec<Problem>) {
    let servers = list(profile.get("attestation_servers"));
    let place = format!("{place}/attestation_servers");
    if servers.is_empty() {
        problems.push(Problem::at(
            &place,
            "empty: nodes accept such a policy and then deny every guest; give --attestation-server https://..",
        ));
    }
    for (index, server) in servers.iter().enumerate() {
        let url = text(server, "url");
        let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
        if host.is_none_or(str::is_empty) || url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            problems.push(Problem::at(
                &format!("{place}/{index}/url"),
                "expected https://HOST..: nodes ask no other, and then deny every guest",
            ));
        }
        if let Some(pin) = server.get("pinned_spki_sha256_hex").filter(|pin| !pin.is_null()) {
            check_digest(pin, 64, &format!("{place}/{index}/pinned_spki_sha256_hex"), problems);
        }
    }
}

fn check_oids(profile: &Value, place: &str, facts: &Facts, problems: &mut Vec<Problem>) {
    for (index, required) in list(profile.get("required_oids")).iter().enumerate() {
        let place = format!("{place}/required_oids/{index}");
        let for_ever = "nodes never let a required OID go, so a wrong one denies every guest for ever";
        if text(required, "oid") != APP_OID {
            problems.push(Problem::at(
                &format!("{place}/oid"),
                format!("expected {APP_OID}, the only one that a guest carries: {for_ever}"),
            ));
            continue;
        }
        let what = match facts.app {
            None => format!("it must be the guest's app id: give it with --app UUID ({for_ever})"),
            Some(app) if text(required, "value") != hex::encode(app) => {
                format!("expected {}, the 32 digits of --app: {for_ever}", hex::encode(app))
            }
            Some(_) => continue,
        };
        problems.push(Problem::at(&format!("{place}/value"), what));
    }
}

/// Whether the list under `name` contains `word`.
fn has(value: &Value, name: &str, word: &str) -> bool {
    list(value.get(name)).iter().any(|one| one.as_str() == Some(word))
}

fn check_rules(policy: &Value, tees: usize, problems: &mut Vec<Problem>) {
    // A rule with conditions serves neither guests nor this tool: neither sends approvals.
    let rules: Vec<_> = list(policy.get("operations")).iter().filter(|rule| list(rule.get("requires")).is_empty()).collect();
    let owner_may = |op: &str| rules.iter().any(|rule| has(rule, "ops", op) && has(rule, "principals", "Owner"));
    if !owner_may("DeleteKey") {
        problems.push(Problem::at(
            "/operations",
            "no rule without `requires` lets the Owner do DeleteKey: a dealing that fails could not be undone",
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

/// Whether the owner can add the first guest to a policy that names none. Otherwise no guest ever gets the key.
fn check_growth(policy: &Value, owner_may: &dyn Fn(&str) -> bool, problems: &mut Vec<Problem>) {
    // Without mutability nodes assume their own, which lets the owner change both fields.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::tests::sample;

    const TEE: &str = "/principals/tees/0/Tee";

    fn wrong(place: &str, value: Value, facts: &Facts) -> Vec<String> {
        let mut policy = sample();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = policy.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(parts) => parts[name.parse::<usize>().unwrap()] = value,
            parent => parent[name] = value,
        }
        check(&policy, facts).into_iter().map(|problem| problem.place).collect()
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let none = Facts::default();
        assert_eq!(check(&sample(), &none), []);
        let tdx = format!("{TEE}/measurements/0/Tdx");
        let approval = json!([{ "ManagerApproval": { "manager": 0, "fresh_for_seconds": 60 } }]);
        let upper = json!("AB".repeat(48));
        let oid = |oid: &str, value: &str| json!([{ "oid": oid, "value": value }]);
        let cases: Vec<(String, Value, &str)> = vec![
            (format!("{TEE}/attestation_servers"), json!([]), ""),
            (format!("{TEE}/attestation_servers/0/url"), json!("http://as.example/verify"), ""),
            (format!("{TEE}/attestation_servers/0/url"), json!("https:///verify"), ""),
            (format!("{TEE}/attestation_servers/0/url"), json!("https://as.example/\n"), ""),
            (format!("{TEE}/attestation_servers/0/pinned_spki_sha256_hex"), json!("AB"), ""),
            (format!("{tdx}/mrtd"), upper.clone(), ""),
            (format!("{tdx}/rtmr1"), json!("ab".repeat(47)), ""),
            (format!("{tdx}/rtmr2"), json!(null), ""),
            (format!("{tdx}/rtmr0"), json!("ab".repeat(48)), ""),
            (format!("{tdx}/rtmr3"), json!("ab".repeat(48)), ""),
            (format!("{tdx}/mrconfigid"), json!("ab".repeat(48)), ""),
            (format!("{TEE}/measurements"), json!([]), ""),
            (format!("{TEE}/td_attributes"), json!("00"), ""),
            (format!("{TEE}/required_oids"), oid("1.3.6.1.4.1.65230.3.6", "aa"), "/0/oid"),
            (format!("{TEE}/required_oids"), oid(APP_OID, &"09".repeat(16)), "/0/value"),
            (format!("{TEE}/acceptable_tcb_statuses"), json!(["Revoked"]), "/0"),
            ("/lifecycle/ttl_seconds".to_owned(), json!(7_776_001), ""),
            ("/lifecycle/ttl_seconds".to_owned(), json!(0), ""),
            ("/lifecycle/ttl_seconds".to_owned(), json!(-1), ""),
            ("/version".to_owned(), json!(2), ""),
            ("/principals/owner".to_owned(), json!(null), ""),
            ("/principals/owner/Oidc/sub".to_owned(), json!(""), "!/principals/owner"),
            ("/operations/1/ops".to_owned(), json!(["UpdatePolicy"]), "!/operations"),
            ("/operations/0/principals".to_owned(), json!([{ "Tee": 1 }]), "!/operations"),
            ("/operations/0/ops".to_owned(), json!(["Export"]), "/0"),
            ("/operations/0/requires".to_owned(), approval.clone(), "!/operations"),
            ("/operations/1/requires".to_owned(), approval.clone(), "!/operations"),
            ("/comment".to_owned(), json!("x"), ""),
        ];
        for (place, value, more) in cases {
            let want = more.strip_prefix('!').map_or_else(|| format!("{place}{more}"), str::to_owned);
            assert_eq!(wrong(&place, value.clone(), &none), [want], "{place} {value}");
        }
    }

    #[test]
    fn a_policy_without_guests_lets_its_owner_add_one() {
        let places = |ops: &[&str], owner_can: &[&str], immutable: &[&str]| {
            let mut policy = sample();
            policy["principals"]["tees"] = json!([]);
            policy["operations"][1]["ops"] = json!([&["DeleteKey"], ops].concat());
            policy["mutability"]["owner_can"] = json!(owner_can);
            policy["mutability"]["immutable"] = json!(immutable);
            check(&policy, &Facts::default()).into_iter().map(|problem| problem.place).collect::<Vec<_>>()
        };
        let (none, rule, field) = (Vec::<String>::new(), vec!["/operations".to_owned()], vec!["/mutability".to_owned()]);
        assert_eq!(places(&["UpdatePolicy"], &["Tees"], &["Owner"]), none);
        assert_eq!(places(&["PromoteProfile"], &["Tees", "PendingProfiles"], &[]), none);
        assert_eq!(places(&[], &["Tees", "PendingProfiles"], &[]), rule);
        assert_eq!(places(&["PromoteProfile"], &["Tees"], &[]), rule);
        assert_eq!(places(&["PromoteProfile"], &["Tees", "PendingProfiles"], &["PendingProfiles"]), rule);
        assert_eq!(places(&["UpdatePolicy"], &["Lifecycle"], &[]), field);
        assert_eq!(places(&["UpdatePolicy"], &["Tees"], &["Tees"]), field);
        let mut policy = sample();
        policy["principals"]["tees"] = json!([]);
        assert!(policy.as_object_mut().unwrap().remove("mutability").is_some() && check(&policy, &Facts::default()).is_empty());
    }

    #[test]
    fn what_the_operator_says_of_nodes_and_guests_counts() {
        let rtmr0 = format!("{TEE}/measurements/0/Tdx/rtmr0");
        let matched = Facts { matched: vec!["rtmr0".to_owned()], ..Facts::default() };
        assert!(wrong(&rtmr0, json!("ab".repeat(48)), &matched).is_empty());
        assert_eq!(wrong(&rtmr0, json!("AB".repeat(48)), &matched), [rtmr0]);
        let app = |byte| Facts { app: Some([byte; 16]), ..Facts::default() };
        let oids = json!([{ "oid": APP_OID, "value": "09".repeat(16) }]);
        assert!(wrong(&format!("{TEE}/required_oids"), oids.clone(), &app(9)).is_empty());
        assert_eq!(wrong(&format!("{TEE}/required_oids"), oids, &app(8)), [format!("{TEE}/required_oids/0/value")]);
    }

    /// Anyone whom the node lets stage may have written it.
    #[test]
    fn a_staged_profile_with_hostile_names_is_printed_safely() {
        let mut profile = sample()["principals"]["tees"][0]["Tee"].clone();
        profile["\u{1b}[2J\u{202e}"] = json!("x".repeat(100_000));
        let problems = check_staged(&profile, &Facts::default());
        assert_eq!(problems[0].to_string(), "/\\u{1b}[2J\\u{202e}: nodes do not know this field and drop it silently; remove it");
        profile = json!({ "x".repeat(100_000): 1 });
        assert!(check_staged(&profile, &Facts::default()).iter().all(|problem| problem.to_string().len() < 700));
    }

    #[test]
    fn debug_and_migratable_guests_are_refused() {
        assert_eq!(refused_attributes(0x0000_0000_1000_0000), None, "SEPT_VE_DISABLE");
        assert!(refused_attributes(1).unwrap().contains("DEBUG"));
        assert!(refused_attributes(1 << 29).unwrap().contains("MIGRATABLE"));
    }
}
