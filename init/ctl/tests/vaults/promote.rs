//! Promotion: a new policy gives a new image the old key.

use ctl::Error;
use ctl::promote::promote;
use ctl::provision::provision;
use serde_json::json;
use vault_node::Misbehaviour;

use crate::scripted::Scripted;
use crate::world::{HANDLE, NEW_IMAGE, OLD_IMAGE, World};

#[test]
fn a_promoted_image_gets_the_share_and_the_old_one_still_does() {
    let world = World::new();
    provision(&world.request()).unwrap();
    assert!(world.export(0, &NEW_IMAGE).is_err());
    let outcomes = promote(&world.promotion(&[OLD_IMAGE, NEW_IMAGE])).unwrap();
    assert_eq!(outcomes.into_iter().map(|outcome| outcome.unwrap().version).collect::<Vec<_>>(), [2, 2, 2]);
    for index in 0..3 {
        let (old, new) = (world.export(index, &OLD_IMAGE).unwrap(), world.export(index, &NEW_IMAGE).unwrap());
        assert_eq!((old.x(), old.share_set_id()), (new.x(), new.share_set_id()));
    }
}

#[test]
fn each_vault_answers_for_itself() {
    let world = World::new();
    provision(&world.request()).unwrap();
    world.nodes[0].set_misbehaviour(Misbehaviour::WrongMrenclave);
    world.nodes[1].drop_key(HANDLE).unwrap();
    let outcomes = promote(&world.promotion(&[NEW_IMAGE])).unwrap();
    let message: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(ToString::to_string).map(|done| done.version)).collect();
    let [first, second, _] = world.vaults().try_into().unwrap();
    let want = [
        Err(format!(
            "{first}: challenge: node not verified: mrenclave {} is not in cvm.vault.mrenclave (cvmctl: --mrenclave)",
            "ee".repeat(32)
        )),
        Err(format!("{second}: key not found; the node says: \"key not found\"")),
        Ok(2),
    ];
    assert_eq!(message, want);
}

#[test]
fn a_policy_under_another_owner_is_refused() {
    let world = World::new();
    provision(&world.request()).unwrap();
    let mut request = world.promotion(&[NEW_IMAGE]);
    request.policy["principals"]["owner"]["Oidc"]["sub"] = json!("owner-2");
    let outcomes = promote(&request).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|failure| failure.to_string().contains("denied"))));
}

#[test]
fn a_register_that_the_node_drops_is_an_error_that_names_it() {
    let world = World::new();
    let node = Scripted::start(&world.pki, |_, _, honest| honest);
    let mut dealt = world.request();
    dealt.nodes.vaults = vec![world.vaults()[0].clone(), node.address.to_string()];
    provision(&dealt).unwrap();
    let mut request = world.promotion(&[NEW_IMAGE]);
    request.nodes.vaults = vec![node.address.to_string()];
    request.policy["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["rtmr0"] = json!("0f".repeat(48));

    let refused = promote(&request).unwrap_err();
    assert!(matches!(&refused, Error::Policy(problems) if problems.len() == 1), "{refused}");
    assert!(refused.to_string().contains("/Tdx/rtmr0: nodes silently drop this register"), "{refused}");
    assert_eq!(node.asked().iter().filter(|name| *name == "UpdatePolicy").count(), 0);

    request.facts.matched = vec!["rtmr0".to_owned()];
    let message = promote(&request).unwrap()[0].as_ref().unwrap_err().to_string();
    let place = "/principals/tees/0/Tee/measurements/0/Tdx/rtmr0: sent \"0f";
    assert!(message.contains(place), "{message}");
    assert!(node.has(HANDLE));
}

#[test]
fn a_policy_that_excludes_every_guest_reaches_no_vault() {
    let world = World::new();
    let mut request = world.promotion(&[NEW_IMAGE]);
    request.policy["principals"]["tees"][0]["Tee"]["attestation_servers"] = json!([]);
    let refused = promote(&request).unwrap_err().to_string();
    assert!(
        refused.starts_with("the key policy is refused before it is sent: /principals/tees/0/Tee/attestation_servers: empty"),
        "{refused}"
    );
    request.policy["principals"]["tees"] = json!([]);
    assert!(matches!(promote(&request).unwrap_err(), Error::NoGuest));
    assert!(world.nodes.iter().all(|node| node.served().connections == 0));
}
