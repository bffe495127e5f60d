//! Dealing of a key: a guest gets it, and no share is sent if one vault is not ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ctl::collateral::Sources;
use ctl::keys;
use ctl::provision::{Request, provision};
use ctl::{Cause, Credentials, Error};
use quorum::{Action, Collector, KeyProof, ShareStatus, Threshold};
use serde_json::json;
use vault_node::{Issuer, Misbehaviour};

use crate::world::{HANDLE, MRENCLAVE, NEW_IMAGE, OLD_IMAGE, World, now};

#[test]
fn any_two_shares_make_the_key_that_the_parameters_commit_to() {
    let world = World::new();
    let done = provision(&world.request()).unwrap();
    for (first, second) in [(0, 1), (0, 2), (2, 1)] {
        let mut collector = Collector::new(Threshold::new(2, 3).unwrap(), KeyProof::Commitment(done.commitment));
        let mut give = |index| collector.received(index, world.export(index, &OLD_IMAGE).unwrap(), |_| false);
        assert!(!matches!(give(first), Action::Done(_)));
        let Action::Done(quorum) = give(second) else { panic!("{first} and {second} make no key") };
        assert_eq!(quorum.dek.commitment(), done.commitment);
        assert_eq!(quorum.share_set_id, done.share_set_id);
        assert_eq!((collector.statuses()[first], collector.statuses()[second]), (ShareStatus::Served, ShareStatus::Served));
    }
    let other = world.export(0, &NEW_IMAGE).map(drop).unwrap_err();
    assert!(matches!(other, vault::Error::Refused(vault::Refused::Denied)), "{other}");

    assert!((now() + 86_000..=now() + 86_400).contains(&done.expires_at()));
    assert!(done.shared_platforms().is_empty());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let want = [
        format!("cvm.vault={}", world.vaults().join(",")),
        format!("cvm.vault.mrenclave={}", hex(&MRENCLAVE)),
        format!("cvm.vault.handle={HANDLE}"),
        "cvm.vault.threshold=2".to_owned(),
        format!("cvm.vault.key-commitment={}", hex(&done.commitment.0)),
    ];
    assert_eq!(done.parameters, want);
}

#[test]
fn one_vault_that_is_not_ready_keeps_every_share_at_home() {
    type Check = fn(&Cause) -> bool;
    let cases: [(Misbehaviour, Check); 5] = [
        (Misbehaviour::WrongMrenclave, |c| matches!(c, Cause::Vault(ratls::Error::Node(attest::VerifyError::Mrenclave(_))))),
        (Misbehaviour::DebugEnclave, |c| matches!(c, Cause::Vault(ratls::Error::Node(_)))),
        (Misbehaviour::ForeignRoot, |c| matches!(c, Cause::Vault(ratls::Error::Node(attest::VerifyError::Anchor)))),
        (Misbehaviour::Down, |c| matches!(c, Cause::Vault(ratls::Error::Stream(..) | ratls::Error::Tls(_)))),
        (Misbehaviour::Echo, |c| matches!(c, Cause::Server(vault::operator::Error::Echo))),
    ];
    let world = World::new();
    for (misbehaviour, check) in cases {
        world.nodes[1].set_misbehaviour(misbehaviour);
        let error = provision(&world.request()).unwrap_err();
        world.nodes[1].set_misbehaviour(Misbehaviour::None);
        let Error::NotReady(failures) = &error else { panic!("{misbehaviour:?}: {error}") };
        assert!(matches!(failures.as_slice(), [one] if one.vault == world.vaults()[1] && check(&one.cause)), "{error}");
        assert!(world.is_empty(), "{misbehaviour:?}");
    }
}

#[test]
fn a_vault_whose_platform_falls_short_is_refused_with_what_would_accept_it() {
    let world = World::new();
    let mut collateral = dcap::Collateral::sgx(&world.pki.platform("a").unwrap(), now());
    collateral.tcb_info.tcb_levels.iter_mut().for_each(|level| level.tcb_status.replace_range(.., "OutOfDate"));
    let json = serde_json::to_vec(&collateral.sign(&world.pki).unwrap()).unwrap();
    let sources = |json: &[u8]| Arc::new(Sources::of(vec![attest::Collateral::from_json(json).unwrap()]));
    let mut request = world.request();
    request.nodes.collateral = sources(&json);
    let message = provision(&request).unwrap_err().to_string();
    assert_eq!(message.matches("; --tcb OutOfDate would accept it").count(), 3, "{message}");
    request.nodes.collateral = Arc::default();
    let message = provision(&request).unwrap_err().to_string();
    assert_eq!(message.matches("the node sent none, as is usual; give --collateral").count(), 3, "{message}");
    request.nodes.statuses.push(ctl::TcbStatus::OutOfDate);
    request.nodes.collateral = sources(&json);
    assert!(provision(&request).unwrap().parameters[5].starts_with("cvm.tcb=UpToDate,OutOfDate"));
}

/// An attacker can run a genuine vault of the same build on another machine.
#[test]
fn a_vault_on_another_platform_or_of_another_authority_gets_no_share() {
    let world = World::new();
    let nodes = keys::list(&world.as_owner()).unwrap().into_iter().map(|answer| answer.unwrap().0);
    let platforms: Vec<_> = nodes.map(|node| node.platform).collect();
    let node_ca = || world.nodes.iter().map(vault_node::NodeHandle::ca_der);
    let refused = |request: &Request| {
        let Error::NotReady(failures) = provision(request).unwrap_err() else { panic!("shares were sent") };
        assert!(world.is_empty());
        failures.into_iter().map(|failure| failure.vault).collect::<Vec<_>>()
    };
    let mut request = world.request();
    request.nodes.platforms = platforms[..2].to_vec();
    assert_eq!(refused(&request), world.vaults()[2..]);
    request.nodes.platforms = Vec::new();
    request.nodes.node_ca = node_ca().skip(1).collect();
    assert_eq!(refused(&request), world.vaults()[..1]);

    request.nodes.platforms = platforms.clone();
    request.nodes.node_ca = node_ca().collect();
    let want = platforms.iter().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()).collect::<Vec<_>>();
    assert_eq!(provision(&request).unwrap().parameters[5], format!("cvm.vault.platforms={}", want.join(",")));
}

/// Tokens are signed for each node by its own clock, so a node whose clock is a day off accepts them.
#[test]
fn nodes_whose_clocks_are_off_take_their_tokens() {
    let world = World::with(|config, index| config.clock_offset = [-80_000, 0, 86_400][index]);
    let done = provision(&world.request()).unwrap();
    let expiry = |index: usize| done.vaults[index].expires_at.abs_diff(now());
    assert!(expiry(0).abs_diff(6_400) < 600 && expiry(2).abs_diff(2 * 86_400) < 600, "{done:?}");
    let ends = done.vaults.iter().map(|holder| holder.end_despite_clock().map(|end| end.abs_diff(now() + 86_400) < 600));
    assert_eq!(ends.collect::<Vec<_>>(), [Some(true), None, Some(true)], "{done:?}");
    assert!(keys::info(&world.as_owner(), HANDLE).unwrap().iter().all(Result::is_ok));
}

#[test]
fn the_app_id_that_was_given_is_a_word() {
    let world = World::new();
    let facts = ctl::policy::Facts { app: Some([0xab; 16]), ..Default::default() };
    let done = provision(&Request { facts, ..world.request() }).unwrap();
    assert_eq!((done.parameters.len(), done.parameters[3].as_str()), (6, "cvm.vault.app=abababab-abab-abab-abab-abababababab"));
}

#[test]
fn a_vault_whose_clock_ends_a_share_before_it_is_sent_gets_none() {
    let world = World::new();
    let late = Request { now: now() + 86_400 + 120, ..world.request() };
    let message = provision(&late).unwrap_err().to_string();
    assert!(message.starts_with("no share was sent to any vault: "), "{message}");
    assert_eq!(
        message.matches("and the share expires after 86400 s by that clock, so it would already be expired").count(),
        3,
        "{message}"
    );
    assert!(world.is_empty());
    let in_time = Request { now: now() + 86_400 - 600, ..world.request() };
    assert!(provision(&in_time).unwrap().vaults.iter().all(|holder| holder.end_despite_clock().is_some()));
}

#[test]
fn a_vault_that_says_nothing_is_given_up_within_a_step() {
    let world = World::new();
    world.nodes[0].set_misbehaviour(Misbehaviour::HangAfterAccept);
    let start = Instant::now();
    let error = provision(&world.request()).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(error.to_string(), format!("no share was sent to any vault: {}: handshake: deadline passed", world.vaults()[0]));
}

#[test]
fn a_handle_that_exists_is_not_overwritten_and_nothing_is_dealt() {
    let world = World::new();
    world.nodes[2].put_key(HANDLE, vec![7; 49], world.policy(&[OLD_IMAGE])).unwrap();
    let error = provision(&world.request()).unwrap_err();
    assert_eq!(error.to_string(), format!("no share was sent to any vault: {}: key already exists", world.vaults()[2]));
    assert_eq!(world.export(2, &OLD_IMAGE).unwrap().share_set_id().0, [7; 16]);
    for index in [0, 1] {
        assert!(matches!(world.export(index, &OLD_IMAGE), Err(vault::Error::Refused(vault::Refused::Absent))));
    }
}

/// One vault with two names passes every check before its second share.
#[test]
fn a_dealing_that_ends_halfway_is_undone() {
    let world = World::new();
    let mut request = world.request();
    let port = world.nodes[1].addr().port();
    request.nodes.vaults[2] = format!("localhost:{port}");
    let Error::Unfinished { failure, deleted, left, .. } = provision(&request).unwrap_err() else { panic!("it was finished") };
    assert_eq!(
        (failure.vault.as_str(), deleted, left.len()),
        (request.nodes.vaults[2].as_str(), world.vaults()[..2].to_vec(), 0)
    );
    assert!(matches!(failure.cause, Cause::Exists));
    assert!(world.is_empty());
}

#[test]
fn a_foreign_issuers_tokens_create_nothing() {
    let world = World::new();
    let key = Issuer::generate().unwrap().key.pkcs8();
    let request = Request { credentials: Credentials::of_issuer(&key, None, None).unwrap(), ..world.request() };
    let message = provision(&request).unwrap_err().to_string();
    assert!(message.starts_with("no share was sent to any vault: "), "{message}");
    assert_eq!(message.matches(", and sign with the key of the node's issuer)").count(), 3, "{message}");
    assert!(world.is_empty());
}

/// The issuer has two keys, and the node another audience than the default.
#[test]
fn key_id_and_audience_are_the_operators_to_say() {
    let world = World::with(|config, _| {
        config.issuer.keys_before = vec![("older".to_owned(), dcap::Key::generate().unwrap())];
        config.bearer_audience = "vaults-eu".to_owned();
    });
    let with = |kid: Option<&str>, audience: Option<&str>| {
        let (kid, audience) = (kid.map(str::to_owned), audience.map(str::to_owned));
        let credentials = Credentials::of_issuer(&world.issuer.key.pkcs8(), kid, audience).unwrap();
        provision(&Request { credentials, ..world.request() }).map(|done| done.vaults.len()).map_err(|error| error.to_string())
    };
    for (kid, audience) in [(None, Some("vaults-eu")), (Some("key-1"), None)] {
        let message = with(kid, audience).unwrap_err();
        assert!(
            message.starts_with("no share was sent")
                && message.contains("got 401 (the bearer: compare its issuer, audience, key id"),
            "{message}"
        );
    }
    assert_eq!(with(Some("key-1"), Some("vaults-eu")), Ok(3));
}

#[test]
fn a_key_may_be_dealt_before_any_image_is_known() {
    let world = World::new();
    let mut request = world.request();
    request.policy["principals"]["tees"] = json!([]);
    assert_eq!(provision(&request).unwrap().vaults.len(), 3);
}

#[test]
fn invalid_requests_reach_no_vault() {
    type Change = fn(&mut Request);
    let cases: [(&str, Change, &str); 8] = [
        ("one of three", |r| r.threshold = 1, "threshold 1 of 3 vaults: expected 2 <= t <= n"),
        ("four of three", |r| r.threshold = 4, "threshold 4 of 3 vaults"),
        ("handle", |r| r.handle = "a b".to_owned(), "the guest's command line"),
        (
            "owner",
            |r| r.policy["principals"]["owner"] = json!(null),
            "the key policy names no owner: expected principals.owner.Oidc",
        ),
        (
            "ttl",
            |r| r.policy["lifecycle"]["ttl_seconds"] = json!(90 * 86_400 + 1),
            "the key policy is refused before it is sent: /lifecycle/ttl_seconds: 7776001 is more than 7776000 (90 days)",
        ),
        (
            "upper case",
            |r| r.policy["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["mrtd"] = json!("AA".repeat(48)),
            "the key policy is refused before it is sent: /principals/tees/0/Tee/measurements/0/Tdx/mrtd: expected 96 lower-case",
        ),
        (
            "required OID",
            |r| r.policy["principals"]["tees"][0]["Tee"]["required_oids"] = json!([{ "oid": "1.2.3", "value": "00" }]),
            "the key policy is refused before it is sent: /principals/tees/0/Tee/required_oids/0/oid: expected 1.3.6.1.4.1.65230.4.1",
        ),
        ("no grant", |r| r.credentials = Credentials::default(), "no grant: give --issuer-key, or a JWT"),
    ];
    let world = World::new();
    for (name, change, want) in cases {
        let mut request = world.request();
        change(&mut request);
        let message = provision(&request).unwrap_err().to_string();
        assert!(message.starts_with(want), "{name}: {message}");
    }
    assert!(world.nodes.iter().all(|node| node.served().connections == 0));
}
