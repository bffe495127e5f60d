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
fn each_mistake_is_reported_with_its_place() {
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
        (format!("{tdx}/rtmr1"), json!("00".repeat(48)), ""),
        (format!("{tdx}/rtmr2"), json!("00".repeat(48)), ""),
        (format!("{tdx}/mrtd"), json!("00".repeat(48)), ""),
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
fn facts_about_nodes_and_guests_are_used() {
    let rtmr0 = format!("{TEE}/measurements/0/Tdx/rtmr0");
    let matched = Facts { matched: vec!["rtmr0".to_owned()], ..Facts::default() };
    assert!(wrong(&rtmr0, json!("ab".repeat(48)), &matched).is_empty());
    assert_eq!(wrong(&rtmr0, json!("AB".repeat(48)), &matched), [rtmr0]);
    let app = |byte| Facts { app: Some([byte; 16]), ..Facts::default() };
    let oids = json!([{ "oid": APP_OID, "value": "09".repeat(16) }]);
    assert!(wrong(&format!("{TEE}/required_oids"), oids.clone(), &app(9)).is_empty());
    assert_eq!(wrong(&format!("{TEE}/required_oids"), oids, &app(8)), [format!("{TEE}/required_oids/0/value")]);
}

/// Any client that the node allows to stage profiles may have written it.
#[test]
fn a_staged_profile_with_hostile_names_is_printed_safely() {
    let mut profile = sample()["principals"]["tees"][0]["Tee"].clone();
    profile["\u{1b}[2J\u{202e}"] = json!("x".repeat(100_000));
    let problems = check_staged(&profile, &Facts::default());
    assert_eq!(problems[0].to_string(), "/\\u{1b}[2J\\u{202e}: nodes silently drop this field: remove it");
    profile = json!({ "x".repeat(100_000): 1 });
    assert!(check_staged(&profile, &Facts::default()).iter().all(|problem| problem.to_string().len() < 700));
}

#[test]
fn debug_and_migratable_guests_are_refused() {
    assert_eq!(refused_attributes(0x0000_0000_1000_0000), None, "SEPT_VE_DISABLE");
    assert!(refused_attributes(1).unwrap().contains("DEBUG"));
    assert!(refused_attributes(1 << 29).unwrap().contains("MIGRATABLE"));
}
