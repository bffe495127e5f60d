//! Key policies, version 1: which images get a key, and who can change the policy (key-server-protocol.md, section 5).

mod check;
mod compare;
mod shape;

use encoding::hex;
use serde_json::{Value, json};

pub use check::{APP_OID, Facts, check, check_staged, refused_attributes, zero_registers};
pub use compare::{differences, profile_differences, same_profile};

pub use shape::Problem;

/// Default lifetime of a key, in seconds: 90 days, the longest that nodes grant.
pub const TTL_SECONDS: u64 = 7_776_000;
/// Lifetime that nodes assume for a policy without one, in seconds: 30 days.
const TTL_DEFAULT_SECONDS: u64 = 2_592_000;

/// The owner of a key, who can change the policy and delete the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `iss` of the owner's tokens.
    pub issuer: String,
    /// `sub` of the owner's tokens.
    pub sub: String,
    /// Roles that the owner must have.
    pub roles: Vec<String>,
}

/// The measurements of an image in its TDX quotes; 48 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The firmware.
    pub mrtd: [u8; 48],
    /// The machine as the firmware measured it: memory map, ACPI tables, Secure Boot variables and boot options. `None`: any.
    pub rtmr0: Option<[u8; 48]>,
    /// Boot loader and kernel.
    pub rtmr1: [u8; 48],
    /// Command line and initrd.
    pub rtmr2: [u8; 48],
}

/// The contents of a key policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Name of the guests.
    pub name: String,
    /// The images that can export the key.
    pub images: Vec<Image>,
    /// The owner. `None` writes `null`, which nodes refuse, as a placeholder.
    pub owner: Option<Owner>,
    /// Servers that verify a guest's quote for the node, in addition to its own check.
    pub attestation_servers: Vec<String>,
    /// Lifetime of the key, in seconds.
    pub ttl_seconds: u64,
}

/// The policy under which each image of `terms` can export the key, and its owner can do everything else.
#[must_use]
pub fn key_policy(terms: &Terms) -> Value {
    let owner = terms
        .owner
        .as_ref()
        .map(|owner| json!({ "Oidc": { "issuer": owner.issuer, "sub": owner.sub, "required_roles": owner.roles } }));
    let images = terms.images.iter().map(|image| {
        let (mrtd, rtmr1, rtmr2) = (hex::encode(&image.mrtd), hex::encode(&image.rtmr1), hex::encode(&image.rtmr2));
        let mut registers = json!({ "mrtd": mrtd, "rtmr1": rtmr1, "rtmr2": rtmr2 });
        if let (Some(rtmr0), Some(registers)) = (image.rtmr0, registers.as_object_mut()) {
            registers.insert("rtmr0".to_owned(), hex::encode(&rtmr0).into());
        }
        json!({ "Tdx": registers })
    });
    let servers = terms.attestation_servers.iter().map(|url| json!({ "url": url, "pinned_spki_sha256_hex": null }));
    let images: Vec<_> = images.collect();
    // Without an image there is no principal: a node might read an empty list of measurements as any guest.
    let tees = (!images.is_empty()).then(|| {
        json!({ "Tee": {
            "name": terms.name,
            "measurements": images,
            "attestation_servers": servers.collect::<Vec<_>>(),
            "required_oids": [],
            "acceptable_tcb_statuses": null,
        } })
    });
    json!({
        "version": 1,
        "principals": {
            "owner": owner,
            "managers": [],
            "auditors": [],
            "tees": tees.into_iter().collect::<Vec<_>>(),
        },
        "operations": [
            { "ops": ["ExportKey"], "principals": ["AnyTee"], "requires": [] },
            { "ops": ["DeleteKey", "UpdatePolicy", "PromoteProfile"], "principals": ["Owner"], "requires": [] },
        ],
        "mutability": {
            "owner_can": ["Managers", "Auditors", "Tees", "Operations", "Lifecycle", "PendingProfiles"],
            "manager_can": [],
            "immutable": ["Owner", "Mutability"],
        },
        "lifecycle": { "ttl_seconds": terms.ttl_seconds, "auto_migrate_to_next_attestation_profile": false },
    })
}

/// The owner in a policy.
#[must_use]
pub fn owner(policy: &Value) -> Option<Owner> {
    let oidc = policy.pointer("/principals/owner/Oidc")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let roles = oidc.get("required_roles").and_then(Value::as_array);
    Some(Owner {
        issuer: text(oidc.get("issuer"))?,
        sub: text(oidc.get("sub"))?,
        roles: roles.into_iter().flatten().filter_map(|role| text(Some(role))).collect(),
    })
}

/// Whether a policy names any guest.
pub(crate) fn names_a_guest(policy: &Value) -> bool {
    policy.pointer("/principals/tees").and_then(Value::as_array).is_some_and(|tees| !tees.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The sample of key-server-protocol.md, section 5.1.
    const SAMPLE: &str = r#"{"version":1,
     "principals":{"owner":{"Oidc":{"issuer":"https://issuer.example","sub":"owner-1","required_roles":[]}},"managers":[],"auditors":[],
       "tees":[{"Tee":{"name":"guest-v1","measurements":[{"Tdx":{"mrtd":"MRTD","rtmr1":"RTMR1","rtmr2":"RTMR2"}}],
         "attestation_servers":[{"url":"https://as.example/verify","pinned_spki_sha256_hex":null}],"required_oids":[],"acceptable_tcb_statuses":null}}]},
     "operations":[{"ops":["ExportKey"],"principals":["AnyTee"],"requires":[]},
       {"ops":["DeleteKey","UpdatePolicy","PromoteProfile"],"principals":["Owner"],"requires":[]}],
     "mutability":{"owner_can":["Managers","Auditors","Tees","Operations","Lifecycle","PendingProfiles"],"manager_can":[],"immutable":["Owner","Mutability"]},
     "lifecycle":{"ttl_seconds":7776000,"auto_migrate_to_next_attestation_profile":false}}"#;

    fn terms() -> Terms {
        Terms {
            name: "guest-v1".to_owned(),
            images: vec![Image { mrtd: [0xab; 48], rtmr0: None, rtmr1: [1; 48], rtmr2: [2; 48] }],
            owner: Some(Owner { issuer: "https://issuer.example".to_owned(), sub: "owner-1".to_owned(), roles: Vec::new() }),
            attestation_servers: vec!["https://as.example/verify".to_owned()],
            ttl_seconds: TTL_SECONDS,
        }
    }

    pub(crate) fn sample() -> Value {
        let filled =
            SAMPLE.replace("MRTD", &"ab".repeat(48)).replace("RTMR1", &"01".repeat(48)).replace("RTMR2", &"02".repeat(48));
        serde_json::from_str(&filled).unwrap()
    }

    #[test]
    fn each_term_changes_its_place_in_the_sample_and_no_other() {
        type Change = fn(&mut Terms);
        type Difference = Option<(&'static str, Value)>;
        let second = json!({ "Tdx": { "mrtd": "cd".repeat(48), "rtmr1": "01".repeat(48), "rtmr2": "02".repeat(48) } });
        let first = sample()["principals"]["tees"][0]["Tee"]["measurements"][0].clone();
        let mut with_rtmr0 = sample()["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"].clone();
        with_rtmr0["rtmr0"] = json!("0f".repeat(48));
        let cases: [(&str, Change, Difference); 9] = [
            ("none", |_| (), None),
            ("name", |t| t.name = "g".to_owned(), Some(("/principals/tees/0/Tee/name", json!("g")))),
            ("ttl", |t| t.ttl_seconds = 60, Some(("/lifecycle/ttl_seconds", json!(60)))),
            (
                "RTMR0",
                |t| t.images.iter_mut().for_each(|image| image.rtmr0 = Some([15; 48])),
                Some(("/principals/tees/0/Tee/measurements/0/Tdx", with_rtmr0)),
            ),
            ("no owner", |t| t.owner = None, Some(("/principals/owner", json!(null)))),
            ("no images", |t| t.images.clear(), Some(("/principals/tees", json!([])))),
            ("servers", |t| t.attestation_servers.clear(), Some(("/principals/tees/0/Tee/attestation_servers", json!([])))),
            (
                "roles",
                |t| t.owner.as_mut().unwrap().roles.push("keys".to_owned()),
                Some(("/principals/owner/Oidc/required_roles", json!(["keys"]))),
            ),
            (
                "two images",
                |t| t.images.push(Image { mrtd: [0xcd; 48], rtmr0: None, rtmr1: [1; 48], rtmr2: [2; 48] }),
                Some(("/principals/tees/0/Tee/measurements", json!([first, second]))),
            ),
        ];
        for (name, change, difference) in cases {
            let (mut terms, mut want) = (terms(), sample());
            change(&mut terms);
            if let Some((place, value)) = difference {
                *want.pointer_mut(place).unwrap() = value;
            }
            assert_eq!(key_policy(&terms), want, "{name}");
        }
    }

    #[test]
    fn owner_is_read_back_or_absent() {
        let with = |place: &str, value: Value| {
            let mut policy = sample();
            *policy.pointer_mut(place).unwrap() = value;
            policy
        };
        assert_eq!(owner(&sample()), terms().owner);
        let cases = [
            ("/principals/owner", json!(null)),
            ("/principals/owner/Oidc/sub", json!("")),
            ("/principals/owner/Oidc/sub", json!(7)),
            ("/principals/owner/Oidc/issuer", json!(null)),
        ];
        for (place, value) in cases {
            assert_eq!(owner(&with(place, value.clone())), None, "{place} {value}");
        }
        assert!(names_a_guest(&sample()) && !names_a_guest(&with("/principals/tees", json!([]))));
    }
}
