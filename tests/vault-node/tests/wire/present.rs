//! The client's evidence: the meaning of 204, 400, 403 and 503, and what only `/data` checks.

use dcap::{SnpChip, SnpReport, TdLayout, TdQuote};
use serde_json::json;
use vault_node::texts::{self, HttpError};
use vault_node::{Extensions, Misbehaviour};

use crate::guest::{Guest, HANDLE, World};
use crate::link::{Link, material};

/// Changes one field of a guest's quote.
type Change = fn(&mut TdQuote);

/// Attribute bit MIGRATABLE. Source: Intel TDX module ABI 348551, ATTRIBUTES.
const MIGRATABLE: u64 = 1 << 29;

fn is(answer: &(u16, serde_json::Value), error: HttpError) -> bool {
    *answer == (error.status, json!({ "error": error.text }))
}

#[test]
fn a_bad_quote_with_the_right_binding_is_taken_and_then_denied() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let cases: [(&str, Change, bool); 9] = [
        ("as it is", |_| (), true),
        ("other RTMR0", |td| td.rtmr[0] = [9; 48], true),
        ("other RTMR3", |td| td.rtmr[3] = [9; 48], true),
        ("DEBUG", |td| td.td_attributes |= TdQuote::DEBUG, true),
        ("MIGRATABLE", |td| td.td_attributes |= MIGRATABLE, true),
        ("other MRTD", |td| td.mrtd = [9; 48], false),
        ("other RTMR1", |td| td.rtmr[1] = [9; 48], false),
        ("other RTMR2", |td| td.rtmr[2] = [9; 48], false),
        ("an older TDX module", |td| td.tee_tcb_svn = [0; 16], false),
    ];
    for (name, change, want) in cases {
        let mut guest = Guest::new(&world);
        change(&mut guest.td);
        let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
        assert_eq!(answer.get("KeyMaterial").is_some(), want, "{name}: {answer} {:?}", node.refusals());
        assert!(want || answer == json!({ "Error": texts::DENIED }), "{name}: {answer}");
    }
    // A quote under another root, and one with a changed byte.
    let stranger = Guest { td: Guest::new(&world).td, ..Guest::new(&World::new()) };
    let mut foreign = stranger.dial(node.addr()).unwrap();
    let context = challenged(&mut foreign);
    assert_eq!(foreign.present(&context, &foreign.quote(&context)).0, 204);
    assert_eq!(foreign.export(HANDLE), json!({ "Error": texts::DENIED }));
    let guest = Guest::new(&world);
    let mut link = guest.dial(node.addr()).unwrap();
    let context = link.attest_node().unwrap();
    let mut spoiled = link.quote(&context);
    spoiled[48 + 200] ^= 1;
    assert_eq!(link.present(&context, &spoiled).0, 204);
    assert_eq!(link.export(HANDLE), json!({ "Error": texts::DENIED }));
}

/// The context of the node's challenge, from a node that this guest does not verify.
fn challenged(link: &mut Link<'_>) -> [u8; 32] {
    use base64::Engine as _;
    let (_, evidence) = link.challenge(&[1; 32]).unwrap();
    let text = evidence["client_context"].as_str().unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap()
}

#[test]
fn only_another_binding_is_a_403() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    let guest = Guest::new(&world);
    let mut first = guest.dial(node.addr()).unwrap();
    let mut second = guest.dial(node.addr()).unwrap();
    let (context, other) = (first.attest_node().unwrap(), second.attest_node().unwrap());
    assert!(is(&second.present(&other, &first.quote(&context)), texts::REPORT_DATA), "a quote of another connection");
    let other = second.attest_node().unwrap();
    let mut quote = second.quote(&other);
    quote[48 + 520] ^= 1;
    assert!(is(&second.present(&other, &quote), texts::REPORT_DATA), "one bit of the report data");
}

#[test]
fn all_else_is_a_400_and_one_challenge_is_answered_once() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let guest = Guest::new(&world);
    let mut link = guest.dial(node.addr()).unwrap();
    assert!(is(&link.present(&[0; 32], &link.quote(&[0; 32])), texts::NOT_PENDING), "nothing was asked");
    link.attest_node().unwrap();
    assert!(is(&link.present(&[0; 32], &link.quote(&[0; 32])), texts::NOT_PENDING), "a context of its own choice");
    let context = link.attest_node().unwrap();
    assert_eq!(link.present(&context, &link.quote(&context)).0, 204);
    assert!(is(&link.present(&context, &link.quote(&context)), texts::NOT_PENDING), "a second answer");
    assert_eq!(material(&link.export(HANDLE)), [7; 49], "earlier evidence stays");
    link.attest_node().unwrap();
    assert_eq!(material(&link.export(HANDLE)), [7; 49], "while another challenge waits, too");

    let no_app = Guest::with_app(&world, None);
    let mut link = no_app.dial(node.addr()).unwrap();
    link.challenge(&[1; 32]).unwrap();
    assert!(is(&link.present(&[2; 32], &link.quote(&[2; 32])), texts::NOT_PENDING), "it is asked for nothing");
    assert_eq!(link.export(HANDLE), json!({ "Error": texts::DENIED }));
}

#[test]
fn quotes_of_other_versions_have_no_report_data_here() {
    let world = World::new();
    let guest = Guest::new(&world);
    let chip = SnpChip::generate().unwrap();
    let node = world.node(Misbehaviour::None);
    let extended = world.extended(Extensions { snp_chip: Some(chip.public()), ..Extensions::default() });
    for layout in [TdLayout::V5Td10, TdLayout::V5Td15] {
        let mut link = guest.dial(node.addr()).unwrap();
        let context = link.attest_node().unwrap();
        let td = TdQuote { layout, report_data: link.report_data(&context), ..guest.td.clone() };
        assert!(is(&link.present(&context, &td.sign(&guest.machine).unwrap()), texts::NO_REPORT_DATA), "{layout:?}");
    }
    for (node, status) in [(&node, 400), (&extended, 204)] {
        let mut link = guest.dial(node.addr()).unwrap();
        let context = link.attest_node().unwrap();
        let report = SnpReport::new(link.report_data(&context), [9; 48]).sign(&chip).unwrap();
        assert_eq!(link.present_as("sev-snp", &context, &report).0, status);
    }
    let mut link = guest.dial(node.addr()).unwrap();
    let context = link.attest_node().unwrap();
    assert!(is(&link.present(&context, b""), texts::NO_REPORT_DATA));
}

#[test]
fn evidence_must_say_the_nodes_time_and_a_node_without_one_takes_none() {
    let world = World::new();
    let guest = Guest::new(&world);
    let node = world.node(Misbehaviour::None);
    let present = |quote_time: Option<&str>| {
        let mut link = guest.dial(node.addr()).unwrap();
        let context = link.attest_node().unwrap();
        if let Some(quote_time) = quote_time {
            quote_time.clone_into(&mut link.quote_time);
        }
        let quote = link.quote(&context);
        link.present(&context, &quote)
    };
    assert_eq!(present(None).0, 204);
    for stale in ["2020-01-01T00:00Z", "2999-01-01T00:00Z", "", "yesterday"] {
        assert!(is(&present(Some(stale)), texts::STALE), "{stale}");
    }
    node.set_misbehaviour(Misbehaviour::WrongClock(-86_400 * 365));
    assert_eq!(present(None).0, 204, "its own time, whatever that is");
    node.set_misbehaviour(Misbehaviour::FrozenClock(-86_400 * 365));
    assert!(is(&present(None), texts::NO_TRUSTED_TIME));
    node.set_misbehaviour(Misbehaviour::PresentStatus(400));
    assert_eq!(present(None).0, 400, "a node that refuses all evidence");
}

#[test]
fn attributes_and_two_registers_are_checked_only_if_configured() {
    let world = World::new();
    let changes: [Change; 2] = [|td| td.td_attributes |= TdQuote::DEBUG, |td| td.rtmr[3] = [9; 48]];
    let strict = Extensions { refuse_debug: true, match_rtmr0_rtmr3: true, ..Extensions::default() };
    let mut policy = world.policy();
    policy["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["rtmr3"] = json!("00".repeat(48));
    for (extensions, want) in [(Extensions::default(), true), (strict, false)] {
        let node = world.extended(extensions);
        node.put_key(HANDLE, vec![7; 49], policy.clone()).unwrap();
        for change in changes {
            let mut guest = Guest::new(&world);
            assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
            change(&mut guest.td);
            let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
            assert_eq!(answer.get("KeyMaterial").is_some(), want, "{answer}");
        }
    }
}

/// PID 1 caps a register before the handoff: later requests with the same key, certificate and platform must get no share.
/// Today's nodes compare RTMR2 only.
#[test]
fn client_key_gets_a_share_before_the_cap_and_none_after_it() {
    let world = World::new();
    let mut policy = world.policy();
    policy["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["rtmr3"] = json!("00".repeat(48));
    let digest = ring::digest::digest(&ring::digest::SHA384, br#"{"cvm-init":"leave-initrd"}"#);
    let matching = Extensions { match_rtmr0_rtmr3: true, ..Extensions::default() };
    for (register, extensions) in [(2, Extensions::default()), (3, matching)] {
        let node = world.extended(extensions);
        node.put_key(HANDLE, vec![7; 49], policy.clone()).unwrap();
        let mut guest = Guest::new(&world);
        assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
        let before: &mut [u8; 48] = &mut guest.td.rtmr[register];
        let extended = ring::digest::digest(&ring::digest::SHA384, &[&before[..], digest.as_ref()].concat());
        *before = extended.as_ref().try_into().unwrap();
        let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
        assert_eq!(answer, json!({ "Error": texts::DENIED }), "RTMR{register}");
    }
}
