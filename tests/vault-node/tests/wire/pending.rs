//! Staged profiles and the audit log: an owner admits another image and reads what happened.

use serde_json::{Value, json};
use vault_node::{Misbehaviour, texts};

use crate::guest::{Guest, HANDLE, World};
use crate::link::{Link, material};

const APP: &str = "1.3.6.1.4.1.65230.4.1";

fn profile(world: &World, mrtd: &str) -> Value {
    let mut profile = world.policy()["principals"]["tees"][0]["Tee"].clone();
    profile["measurements"][0]["Tdx"]["mrtd"] = json!(mrtd.repeat(48));
    profile
}

fn stage(profile: &Value, source: &str) -> Value {
    json!({ "StagePendingProfile": { "handle": HANDLE, "profile": profile, "source": source } })
}

fn on(request: &str, id: u64) -> Value {
    json!({ request: { "handle": HANDLE, "pending_id": id, "approvals": [] } })
}

fn pending(link: &mut Link<'_>, bearer: &str) -> Vec<Value> {
    let listed = link.data(&json!({ "ListPendingProfiles": { "handle": HANDLE } }), Some(bearer));
    listed["PendingProfileList"]["pending"].as_array().unwrap().clone()
}

#[test]
fn a_promoted_profile_is_one_more_and_the_old_image_stays() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut upgraded = Guest::new(&world);
    upgraded.td.mrtd = [0xbb; 48];
    let (bearer, next) = (world.bearer(), profile(&world, "bb"));
    let mut link = guest.unlock(node.addr()).unwrap();

    let staged = link.data(&stage(&next, "ManualImport"), Some(&bearer));
    assert_eq!(staged, json!({ "PendingProfileStaged": { "pending_id": 0, "auto_promoted": false, "policy_version": 1 } }));
    assert_eq!(link.data(&stage(&next, "PlatformBuild"), Some(&bearer)), staged, "the same profile waits once");
    let waiting = pending(&mut link, &bearer);
    assert_eq!(waiting.len(), 1);
    let (of, source) = (waiting[0]["profile"].clone(), waiting[0]["source"].clone());
    assert_eq!((of, source, &waiting[0]["staged_by_sub"]), (next.clone(), json!("ManualImport"), &json!("owner-1")));
    assert_eq!(
        upgraded.unlock(node.addr()).unwrap().export(HANDLE),
        json!({ "Error": texts::DENIED }),
        "waiting is not in force"
    );

    let promoted = link.data(&on("PromotePendingProfile", 0), Some(&bearer));
    assert_eq!(promoted, json!({ "PendingProfilePromoted": { "policy_version": 2 } }));
    for guest in [&guest, &upgraded] {
        assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
    }
    assert!(pending(&mut link, &bearer).is_empty());
    let again = link.data(&stage(&next, "ManualImport"), Some(&bearer));
    assert_eq!(again, json!({ "PendingProfileStaged": { "pending_id": 0, "auto_promoted": true, "policy_version": 2 } }));
}

#[test]
fn a_profile_is_staged_promoted_and_revoked_by_those_who_may() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    let mut policy = world.policy();
    policy["principals"]["tees"][0]["Tee"]["required_oids"] = json!([{ "oid": APP, "value": "42".repeat(16) }]);
    node.put_key(HANDLE, vec![7; 49], policy).unwrap();
    let bearer = world.bearer();
    let mut link = guest.unlock(node.addr()).unwrap();
    let weaker = profile(&world, "bb");
    let unknown = stage(&weaker, "Elsewhere");
    assert_eq!(link.data(&unknown, Some(&bearer)), unknown, "echoed");
    let as_guest = link.data(&stage(&weaker, "ManualImport"), None);
    assert_eq!(as_guest, json!({ "Error": texts::not_allowed_to_stage("Tee") }));
    let stranger = guest.dial(node.addr()).unwrap().data(&stage(&weaker, "ManualImport"), None);
    assert_eq!(stranger, json!({ "Error": texts::NOT_A_PRINCIPAL }));

    for id in [0, 7] {
        for request in ["PromotePendingProfile", "RevokePendingProfile"] {
            let answer = link.data(&on(request, id), Some(&bearer));
            assert_eq!(answer, json!({ "Error": texts::no_pending(u32::try_from(id).unwrap()) }), "{request}");
        }
    }
    link.data(&stage(&weaker, "ManualImport"), Some(&bearer));
    let refused = link.data(&on("PromotePendingProfile", 0), Some(&bearer));
    assert_eq!(refused, json!({ "Error": texts::oid_missing(APP) }), "what every guest must carry, this one must too");
    assert_eq!(link.data(&on("PromotePendingProfile", 0), None), json!({ "Error": texts::no_rule("PromoteProfile") }));
    assert_eq!(link.data(&on("RevokePendingProfile", 0), Some(&bearer)), json!("PendingProfileRevoked"));
    for number in 0..16 {
        link.data(&stage(&profile(&world, &format!("{number:02x}")), "ManualImport"), Some(&bearer));
    }
    let one_more = link.data(&stage(&profile(&world, "ff"), "ManualImport"), Some(&bearer));
    assert_eq!(one_more, json!({ "Error": texts::TOO_MANY_PENDING }));
}

#[test]
fn the_audit_log_has_every_decision_about_the_key() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    guest.dial(node.addr()).unwrap().export(HANDLE);
    let mut link = guest.unlock(node.addr()).unwrap();
    link.export(HANDLE);
    let bearer = world.bearer();
    link.data(&stage(&profile(&world, "bb"), "ManualImport"), Some(&bearer));
    let mut read = |since: u64, limit: u64| {
        let request = json!({ "ReadAuditLog": { "handle": HANDLE, "since_seq": since, "limit": limit } });
        link.data(&request, Some(&bearer))["AuditLog"].clone()
    };
    let log = read(0, 0);
    let decisions: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|one| json!([one["op"], one["caller"], one["decision"]])).collect();
    let want = [
        json!(["ExportKey", "tee", "Denied"]),
        json!(["ExportKey", "tee", "Allowed"]),
        json!(["StagePendingProfile", "oidc:owner-1", "Allowed"]),
    ];
    assert_eq!((decisions.as_slice(), &log["next_seq"]), (&want[..], &json!(3)));
    assert_eq!(log["entries"][0]["reason"], texts::DENIED);
    let page = read(1, 1);
    assert_eq!((&page["entries"][0]["seq"], &page["next_seq"]), (&json!(1), &json!(2)));
}
