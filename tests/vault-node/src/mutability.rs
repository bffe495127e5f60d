//! Which changes of a policy a node allows.
//!
//! Source: key-server-protocol.md, section 5.4; for the rest, policy.rs of the vault crate (texts.rs).

use crate::policy::{Policy, PolicyField, PrincipalRef};
use crate::profile::AttestationProfile;
use crate::texts;

impl Policy {
    /// Whether `caller` may replace this policy with `next`; otherwise the node's text.
    pub(crate) fn allows_change(&self, next: &Self, caller: PrincipalRef) -> Result<(), String> {
        for field in self.changed(next) {
            if self.mutability.immutable.contains(&field) {
                return Err(texts::immutable(&field.to_string()));
            }
            if !self.changeable_by(caller).contains(&field) {
                return Err(texts::not_allowed_to_change(role(caller), &field.to_string()));
            }
        }
        let kept = next.oids_of_all();
        let dropped = self.oids_of_all().into_iter().find(|oid| !kept.contains(oid));
        dropped.map_or(Ok(()), |oid| Err(texts::oid_dropped(oid)))
    }

    /// Whether `caller` may stage and revoke profiles.
    pub(crate) fn allows_staging(&self, caller: Option<PrincipalRef>) -> Result<(), String> {
        let caller = caller.ok_or(texts::NOT_A_PRINCIPAL)?;
        if self.mutability.immutable.contains(&PolicyField::PendingProfiles) {
            return Err(texts::PENDING_IMMUTABLE.to_owned());
        }
        let may = self.changeable_by(caller).contains(&PolicyField::PendingProfiles);
        if may { Ok(()) } else { Err(texts::not_allowed_to_stage(role(caller))) }
    }

    /// Whether this profile may become a principal: it must require every OID that all current principals require.
    pub(crate) fn allows_profile(&self, profile: &AttestationProfile) -> Result<(), String> {
        let missing = self.oids_of_all().into_iter().find(|oid| !profile.required_oids.iter().any(|one| one.oid == **oid));
        missing.map_or(Ok(()), |oid| Err(texts::oid_missing(oid)))
    }

    fn changeable_by(&self, caller: PrincipalRef) -> &[PolicyField] {
        match caller {
            PrincipalRef::Owner => &self.mutability.owner_can,
            PrincipalRef::Manager(_) => &self.mutability.manager_can,
            PrincipalRef::Auditor(_) | PrincipalRef::Tee(_) | PrincipalRef::AnyTee => &[],
        }
    }

    fn changed(&self, next: &Self) -> Vec<PolicyField> {
        let (old, new) = (&self.principals, &next.principals);
        let fields = [
            (PolicyField::Owner, old.owner != new.owner),
            (PolicyField::Managers, old.managers != new.managers),
            (PolicyField::Auditors, old.auditors != new.auditors),
            (PolicyField::Tees, old.tees != new.tees),
            (PolicyField::Operations, self.operations != next.operations),
            (PolicyField::Lifecycle, self.lifecycle != next.lifecycle),
            (PolicyField::Mutability, self.mutability != next.mutability),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }

    /// The OIDs that every guest needs, regardless of its entry.
    fn oids_of_all(&self) -> Vec<&str> {
        let mut profiles = self.profiles().map(|(_, profile)| &profile.required_oids);
        let first = profiles.next().into_iter().flatten().map(|one| one.oid.as_str());
        let mut common: Vec<&str> = first.collect();
        profiles.for_each(|required| common.retain(|oid| required.iter().any(|one| one.oid == *oid)));
        common
    }
}

fn role(caller: PrincipalRef) -> &'static str {
    match caller {
        PrincipalRef::Owner => "Owner",
        PrincipalRef::Manager(_) => "Manager",
        PrincipalRef::Auditor(_) => "Auditor",
        PrincipalRef::Tee(_) | PrincipalRef::AnyTee => "Tee",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Extensions;
    use crate::policy::tests::{policy, tdx};

    fn read(json: Value) -> Policy {
        Policy::read(json, &Extensions::default()).unwrap()
    }

    #[test]
    fn owners_change_only_what_they_may() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, Result<(), String>); 5] = [
            ("nothing", |_| (), Ok(())),
            ("a guest", |policy| policy["principals"]["tees"][0]["Tee"]["name"] = json!("g"), Ok(())),
            (
                "the owner",
                |policy| policy["principals"]["owner"]["Oidc"]["sub"] = json!("owner-2"),
                Err(texts::immutable("Owner")),
            ),
            (
                "a rule",
                |policy| policy["operations"] = json!([{ "ops": [], "principals": [] }]),
                Err(texts::not_allowed_to_change("Owner", "Operations")),
            ),
            ("what is lost anyway", |policy| policy["tomorrow"] = json!(1), Ok(())),
        ];
        let old = policy(&tdx(), &json!([]));
        for (name, change, want) in cases {
            let mut next = old.clone();
            change(&mut next);
            assert_eq!(read(old.clone()).allows_change(&read(next), PrincipalRef::Owner), want, "{name}");
        }
        let mut guests = old.clone();
        guests["principals"]["tees"] = json!([]);
        let manager = read(old).allows_change(&read(guests), PrincipalRef::Manager(0));
        assert_eq!(manager, Err(texts::not_allowed_to_change("Manager", "Tees")));
    }

    /// The OIDs that each entry requires.
    type Entries<'a> = &'a [&'a [&'a str]];

    #[test]
    fn a_required_oid_stays_while_every_entry_has_it() {
        let with = |oids: &[&[&str]]| {
            let mut given = policy(&tdx(), &json!([]));
            let tee = given["principals"]["tees"][0].clone();
            let entries = oids.iter().map(|oids| {
                let mut tee = tee.clone();
                tee["Tee"]["required_oids"] = oids.iter().map(|oid| json!({ "oid": oid, "value": "00" })).collect();
                tee
            });
            given["principals"]["tees"] = entries.collect();
            read(given)
        };
        let cases: [(Entries<'_>, Entries<'_>, Option<&str>); 5] = [
            (&[&["1"]], &[&["1", "2"]], None),
            (&[&["1"]], &[&[]], Some("1")),
            (&[&["1"]], &[], Some("1")),
            (&[&["1"], &[]], &[&[]], None),
            (&[&["1"]], &[&["1"], &["2"]], Some("1")),
        ];
        for (old, new, dropped) in cases {
            let want = dropped.map_or(Ok(()), |oid| Err(texts::oid_dropped(oid)));
            assert_eq!(with(old).allows_change(&with(new), PrincipalRef::Owner), want, "{old:?} to {new:?}");
        }
        let profile = |policy: &Policy| policy.profiles().next().unwrap().1.clone();
        assert_eq!(with(&[&["1"]]).allows_profile(&profile(&with(&[&["2"]]))), Err(texts::oid_missing("1")));
        assert_eq!(with(&[&["1"]]).allows_profile(&profile(&with(&[&["1", "2"]]))), Ok(()));
    }
}
