//! Resolves a caller to a principal of a policy, and evaluates the policy's rules.
//!
//! Source: key-server-protocol.md, section 5.2; for the rest, policy.rs of the vault crate (texts.rs).

use encoding::hex;
use serde_json::Value;

use crate::attestation_server::accepts;
use crate::guest::{GuestEvidence, Measurements};
use crate::policy::{Operation, Policy, Principal, PrincipalRef};
use crate::profile::{AttestationProfile, Measurement};
use crate::texts;
use crate::tls::ClientLeaf;

/// Asks the attestation servers of one `Tee` entry about a quote: returns the TCB status, or why it is refused.
pub(crate) type Verify<'a> = Box<dyn Fn(&GuestEvidence) -> Result<String, String> + 'a>;

/// The caller, as far as this connection proved it.
pub(crate) struct Caller<'a> {
    /// Claims of a verified bearer token.
    pub(crate) oidc: Option<&'a Value>,
    /// The client's evidence, bound to this connection and not verified.
    pub(crate) evidence: Option<&'a GuestEvidence>,
    pub(crate) leaf: Option<&'a ClientLeaf>,
    pub(crate) verify: Verify<'a>,
    /// Gets the reason why a guest is not a principal, which the guest does not get.
    pub(crate) refused: Box<dyn Fn(&str) + 'a>,
}

impl Caller<'_> {
    /// The principal that the caller is: by its bearer token first, then by its evidence.
    pub(crate) fn resolve(&self, policy: &Policy) -> Option<PrincipalRef> {
        let who = &policy.principals;
        if self.has(&who.owner) {
            return Some(PrincipalRef::Owner);
        }
        let place = |list: &[Principal]| list.iter().position(|principal| self.has(principal));
        if let Some(index) = place(&who.managers) {
            return Some(PrincipalRef::Manager(index));
        }
        if let Some(index) = place(&who.auditors) {
            return Some(PrincipalRef::Auditor(index));
        }
        let evidence = self.evidence?;
        let why_not = |profile| self.is_guest(evidence, profile).inspect_err(|why| (self.refused)(why));
        policy.profiles().find(|(_, profile)| why_not(*profile).is_ok()).map(|(index, _)| PrincipalRef::Tee(index))
    }

    /// Whether a rule allows `operation` to the caller; otherwise the node's text.
    pub(crate) fn may(&self, operation: Operation, policy: &Policy) -> Result<PrincipalRef, String> {
        let caller = self.resolve(policy).ok_or(texts::DENIED)?;
        let names =
            |named: &PrincipalRef| *named == caller || (*named == PrincipalRef::AnyTee && matches!(caller, PrincipalRef::Tee(_)));
        let mut rules =
            policy.operations.iter().filter(|rule| rule.ops.contains(&operation) && rule.principals.iter().any(names));
        let first = rules.next().ok_or_else(|| texts::no_rule(&operation.to_string()))?;
        // This node evaluates no conditions, so a rule with conditions does not hold.
        if first.requires.is_empty() || rules.any(|rule| rule.requires.is_empty()) {
            Ok(caller)
        } else {
            Err(texts::unmet(&operation.to_string(), "conditions are not evaluated by this node"))
        }
    }

    /// The issuer in the policy is not compared: the node accepts bearer tokens of its own issuer only.
    fn has(&self, principal: &Principal) -> bool {
        let (Principal::Oidc { sub, required_roles, .. }, Some(claims)) = (principal, self.oidc) else { return false };
        let roles = claims.get("roles").and_then(Value::as_array);
        let held: Vec<_> = roles.into_iter().flatten().filter_map(Value::as_str).collect();
        let has_roles = required_roles.iter().all(|role| held.iter().any(|one| one.eq_ignore_ascii_case(role)));
        let is_subject = claims.get("sub").and_then(Value::as_str) == Some(sub);
        // Without a subject the roles decide; with neither, the entry matches no caller.
        has_roles && (is_subject || (sub.is_empty() && !required_roles.is_empty()))
    }

    /// Checks signature and TCB, then measurements, then extensions of the certificate.
    fn is_guest(&self, evidence: &GuestEvidence, profile: &AttestationProfile) -> Result<(), String> {
        let servers = &profile.attestation_servers;
        if servers.is_empty() || servers.iter().any(|server| !server.url.starts_with("https://")) {
            return Err("the policy names no attestation server with https".to_owned());
        }
        let status = (self.verify)(evidence)?;
        if !accepts(profile.acceptable_tcb_statuses.as_deref(), &status) {
            return Err(format!("TCB status {status}"));
        }
        if !profile.measurements.iter().any(|wanted| wanted.matches(&evidence.measurements)) {
            return Err("measurements are not in the policy".to_owned());
        }
        let carried = self.leaf.map(|leaf| leaf.oids.as_slice()).unwrap_or_default();
        let missing = profile.required_oids.iter().find(|one| !carried.contains(&(one.oid.clone(), one.value.clone())));
        missing.map_or(Ok(()), |one| Err(format!("the leaf does not carry OID {} with the required value", one.oid)))
    }
}

impl Measurement {
    fn matches(&self, seen: &Measurements) -> bool {
        let is = |wanted: &str, seen: &[u8]| wanted == hex::encode(seen);
        let may_be = |wanted: &Option<String>, seen: &[u8]| wanted.as_ref().is_none_or(|wanted| is(wanted, seen));
        match (self, seen) {
            (Self::Mrenclave(mrenclave), Measurements::Sgx { mrenclave: seen }) => is(mrenclave, seen),
            (
                Self::Tdx { mrtd, rtmr1, rtmr2, rtmr0, rtmr3 },
                Measurements::Td { mrtd: seen, rtmr: [seen0, seen1, seen2, seen3] },
            ) => is(mrtd, seen) && is(rtmr1, seen1) && is(rtmr2, seen2) && may_be(rtmr0, seen0) && may_be(rtmr3, seen3),
            (Self::SevSnp { measurement }, Measurements::Snp { measurement: seen }) => is(measurement, seen),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;
    use crate::Extensions;
    use crate::policy::tests::{policy, tdx};

    const APP: &str = "1.3.6.1.4.1.65230.4.1";

    fn read(json: Value) -> Policy {
        let extensions = Extensions { match_rtmr0_rtmr3: true, snp_chip: Some(Vec::new()), ..Extensions::default() };
        Policy::read(json, &extensions).unwrap()
    }

    fn td() -> GuestEvidence {
        let rtmr = [[0; 48], [1; 48], [2; 48], [3; 48]];
        GuestEvidence { quote: Vec::new(), measurements: Measurements::Td { mrtd: [0xaa; 48], rtmr } }
    }

    fn snp() -> GuestEvidence {
        GuestEvidence { quote: Vec::new(), measurements: Measurements::Snp { measurement: [0xaa; 48] } }
    }

    /// Returns which principal a guest with this evidence and an app id is, and the number of calls to an attestation server.
    fn guest(policy: &Policy, evidence: &GuestEvidence, status: Result<&str, &str>) -> (Option<PrincipalRef>, usize) {
        let asked = Cell::new(0);
        let leaf =
            ClientLeaf { der: Vec::new(), spki: Vec::new(), oids: vec![(APP.to_owned(), "42".repeat(16))], names_app: true };
        let verify = |_: &GuestEvidence| {
            asked.set(asked.get() + 1);
            status.map(str::to_owned).map_err(str::to_owned)
        };
        let (verify, refused) = (Box::new(verify), Box::new(|_: &str| ()));
        let caller = Caller { oidc: None, evidence: Some(evidence), leaf: Some(&leaf), verify, refused };
        (caller.resolve(policy), asked.get())
    }

    fn owner<T>(claims: &Value, ask: impl Fn(&Caller<'_>) -> T) -> T {
        let verify = Box::new(|_: &GuestEvidence| Err("no evidence".to_owned()));
        ask(&Caller { oidc: Some(claims), evidence: None, leaf: None, verify, refused: Box::new(|_| ()) })
    }

    #[test]
    fn td_matches_only_its_own_measurements() {
        let with = |register: &str, value: &str| {
            let mut tdx = tdx();
            tdx[register] = json!(value.repeat(48));
            guest(&read(policy(&tdx, &json!([]))), &td(), Ok("UpToDate")).0.is_some()
        };
        let cases = [
            ("mrtd", "aa", true),
            ("mrtd", "AA", true),
            ("mrtd", "ab", false),
            ("rtmr1", "00", false),
            ("rtmr2", "00", false),
            ("rtmr0", "00", true),
            ("rtmr3", "00", false),
        ];
        for (register, value, want) in cases {
            assert_eq!(with(register, value), want, "{register} {value}");
        }
    }

    #[test]
    fn guest_needs_its_attestation_server_and_its_certificate_too() {
        /// The change of a case, the server's result, whether the guest is a principal, and the number of calls.
        type Case<'a> = (&'a str, fn(&mut Value), Result<&'a str, &'a str>, (bool, usize));
        let oid = |oid: &str, value: &str| json!([{ "oid": oid, "value": value }]);
        let cases: [Case<'_>; 10] = [
            ("as it is", |_| (), Ok("UpToDate"), (true, 1)),
            ("refused by the server", |_| (), Err("signature"), (false, 1)),
            ("no server", |tee| tee["attestation_servers"] = json!([]), Ok("UpToDate"), (false, 0)),
            ("http", |tee| tee["attestation_servers"][0]["url"] = json!("http://as.example"), Ok("UpToDate"), (false, 0)),
            ("out of date", |_| (), Ok("OutOfDate"), (true, 1)),
            ("out of date under a floor", |tee| tee["acceptable_tcb_statuses"] = json!([]), Ok("OutOfDate"), (false, 1)),
            ("its app", |tee| tee["required_oids"][0]["value"] = json!("42".repeat(16)), Ok(""), (true, 1)),
            ("another app", |tee| tee["required_oids"][0]["value"] = json!("43".repeat(16)), Ok(""), (false, 1)),
            ("another OID", |tee| tee["required_oids"][0]["oid"] = json!("1.3.6.1.4.1.65230.4.2"), Ok(""), (false, 1)),
            ("no measurement", |tee| tee["measurements"] = json!([]), Ok("UpToDate"), (false, 1)),
        ];
        for (name, change, status, (is_principal, asked)) in cases {
            let mut given = policy(&tdx(), &json!([]));
            let tee = &mut given["principals"]["tees"][0]["Tee"];
            tee["required_oids"] = oid(APP, &"42".repeat(16));
            change(tee);
            let seen = guest(&read(given), &td(), status);
            assert_eq!((seen.0.is_some(), seen.1), (is_principal, asked), "{name}");
        }
    }

    #[test]
    fn a_server_is_asked_once_for_each_entry_until_one_matches() {
        let mut other = tdx();
        other["mrtd"] = json!("ab".repeat(48));
        let entry = |tdx: &Value| policy(tdx, &json!([]))["principals"]["tees"][0].clone();
        let with = |tees: Value| {
            let mut given = policy(&tdx(), &json!([]));
            given["principals"]["tees"] = tees;
            guest(&read(given), &td(), Ok("UpToDate"))
        };
        assert_eq!(with(json!([entry(&other), entry(&tdx()), entry(&other)])), (Some(PrincipalRef::Tee(1)), 2));
        let mut both = entry(&other);
        both["Tee"]["measurements"] = json!([{ "Tdx": other }, { "Tdx": tdx() }]);
        assert_eq!(with(json!([both])), (Some(PrincipalRef::Tee(0)), 1), "one entry with both");
    }

    #[test]
    fn policy_of_one_tee_does_not_match_another() {
        let with = |measurement: Value| {
            let mut given = policy(&tdx(), &json!([]));
            given["principals"]["tees"][0]["Tee"]["measurements"] = json!([measurement]);
            read(given)
        };
        let launch = |byte: &str| json!({ "SevSnp": { "measurement": byte.repeat(48) } });
        let cases = [
            (launch("aa"), snp(), true),
            (launch("ab"), snp(), false),
            (launch("aa"), td(), false),
            (json!({ "Tdx": tdx() }), snp(), false),
            (json!({ "Tdx": tdx() }), td(), true),
            (json!({ "Mrenclave": "aa".repeat(32) }), td(), false),
        ];
        for (measurement, seen, want) in cases {
            let is_principal = guest(&with(measurement.clone()), &seen, Ok("UpToDate")).0.is_some();
            assert_eq!(is_principal, want, "{measurement} {seen:?}");
        }
    }

    #[test]
    fn an_owner_has_the_subject_and_the_roles() {
        let policy = read(policy(&tdx(), &json!([])));
        let cases = [
            (json!({ "sub": "owner-1", "roles": ["Admin"] }), true),
            (json!({ "sub": "owner-1", "roles": [] }), false),
            (json!({ "sub": "owner-1" }), false),
            (json!({ "sub": "owner-2", "roles": ["admin"] }), false),
        ];
        for (claims, want) in cases {
            assert_eq!(owner(&claims, |caller| caller.resolve(&policy).is_some()), want, "{claims}");
        }
    }

    #[test]
    fn rules_permit_their_principals_their_operations() {
        let rule = |principal: &str, requires: &Value| json!([{ "ops": ["DeleteKey"], "principals": [principal], "requires": requires }]);
        let unmet = texts::unmet("DeleteKey", "conditions are not evaluated by this node");
        let cases = [
            (rule("Owner", &json!([])), Ok(PrincipalRef::Owner)),
            (rule("AnyTee", &json!([])), Err(texts::no_rule("DeleteKey"))),
            (rule("Owner", &json!([{ "TimeWindow": {} }])), Err(unmet)),
        ];
        let claims = json!({ "sub": "owner-1", "roles": ["admin"] });
        for (rules, want) in cases {
            let policy = read(policy(&tdx(), &rules));
            assert_eq!(owner(&claims, |caller| caller.may(Operation::DeleteKey, &policy)), want, "{rules}");
            let other = owner(&claims, |caller| caller.may(Operation::ExportKey, &policy));
            assert_eq!(other, Err(texts::no_rule("ExportKey")), "{rules}");
        }
        let stranger =
            owner(&json!({ "sub": "x" }), |caller| caller.may(Operation::DeleteKey, &read(policy(&tdx(), &json!([])))));
        assert_eq!(stranger, Err(texts::DENIED.to_owned()));
    }
}
