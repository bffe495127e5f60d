//! A new policy lets a new image have the old key.

use cvmctl::promote::{Request, promote};
use cvmctl::provision::provision;
use serde_json::json;
use vault_node::Misbehaviour;

use cvmctl::policy::Image;

use crate::world::{HANDLE, NEW_IMAGE, OLD_IMAGE, World};

fn request(world: &World, images: &[Image]) -> Request {
    let dealt = world.request();
    Request { nodes: dealt.nodes, handle: HANDLE.to_owned(), policy: world.policy(images), issuer_key: dealt.issuer_key }
}

#[test]
fn a_promoted_image_gets_the_share_and_the_old_one_still_does() {
    let world = World::new();
    provision(&world.request()).unwrap();
    assert!(world.export(0, &NEW_IMAGE).is_err());
    let outcomes = promote(&request(&world, &[OLD_IMAGE, NEW_IMAGE])).unwrap();
    assert_eq!(outcomes.into_iter().map(|outcome| outcome.unwrap().version).collect::<Vec<_>>(), [2, 2, 2]);
    for index in 0..3 {
        let (old, new) = (world.export(index, &OLD_IMAGE).unwrap(), world.export(index, &NEW_IMAGE).unwrap());
        assert_eq!((old.x(), old.generation()), (new.x(), new.generation()));
    }
}

#[test]
fn each_vault_answers_for_itself() {
    let world = World::new();
    provision(&world.request()).unwrap();
    world.nodes[0].set_misbehaviour(Misbehaviour::WrongMrenclave);
    world.nodes[1].drop_key(HANDLE).unwrap();
    let outcomes = promote(&request(&world, &[NEW_IMAGE])).unwrap();
    let said: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(ToString::to_string).map(|done| done.version)).collect();
    let [first, second, _] = world.vaults().try_into().unwrap();
    let want = [
        Err(format!("{first}: challenge: node not believed: mrenclave is not on the list")),
        Err(format!("{second}: request: key not found")),
        Ok(2),
    ];
    assert_eq!(said, want);
}

#[test]
fn a_policy_under_another_owner_is_refused() {
    let world = World::new();
    provision(&world.request()).unwrap();
    let mut request = request(&world, &[NEW_IMAGE]);
    request.policy["principals"]["owner"]["Oidc"]["sub"] = json!("owner-2");
    let outcomes = promote(&request).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|failure| failure.to_string().contains("denied"))));
}
