//! Which reason of failure an unlock reports, and what the boot report contains.

use cmdline::Policy;
use quorum::{Commitment, KeyProof};
use vault::Refused;

use super::*;
use crate::phase::net::ConnectError;

/// Three vaults with a threshold of two.
fn policy() -> Policy {
    let arguments = "cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2,10.0.2.2:3 cvm.vault.handle=h \
        cvm.vault.mrenclave=1111111111111111111111111111111111111111111111111111111111111111 \
        cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff cvm.vault.key-commitment=none";
    cmdline::parse(&format!("roothash={} {arguments}", "ab".repeat(32))).unwrap()
}

fn away() -> vault_client::Error {
    vault_client::Error::Connect(ConnectError::Connect(std::io::ErrorKind::ConnectionRefused))
}

fn denied() -> vault_client::Error {
    vault_client::Error::Vault(vault::Error::Refused(Refused::Denied))
}

fn expired() -> vault_client::Error {
    vault_client::Error::Vault(vault::Error::Refused(Refused::Expired))
}

fn untrusted() -> vault_client::Error {
    vault_client::Error::from(ratls::Error::Node(attest::VerifyError::Mrenclave([0xab; 32])))
}

fn bare() -> vault_client::Error {
    vault_client::Error::from(ratls::Error::Collateral(None))
}

fn no_quote() -> vault_client::Error {
    vault_client::Error::from(ratls::Error::OwnQuote("quoting service".to_owned()))
}

fn rejected() -> vault_client::Error {
    vault_client::Error::from(ratls::Error::EvidenceMalformed)
}

fn without_time() -> vault_client::Error {
    vault_client::Error::from(ratls::Error::Status(ratls::Step::Present, 503))
}

fn protocol_error() -> vault_client::Error {
    vault_client::Error::from(ratls::Error::Protocol(ratls::Step::Request, "unexpected answer"))
}

#[test]
fn reason_is_what_would_have_to_change() {
    type Lost = fn() -> vault_client::Error;
    let cases: [(&str, [Lost; 3], u8); 12] = [
        ("all away", [away, away, away], 50),
        ("one away, two denied", [away, denied, denied], 51),
        ("two away, one denied", [away, away, denied], 50),
        ("one away, two of another build", [away, untrusted, untrusted], 53),
        ("two away, one of another build", [away, away, untrusted], 50),
        ("two expired", [expired, expired, away], 56),
        ("two without collateral", [bare, bare, away], 57),
        ("one without collateral, two away", [bare, away, away], 50),
        ("no quote", [no_quote, no_quote, away], 54),
        ("two that violate the protocol", [protocol_error, protocol_error, away], 50),
        ("evidence is not accepted", [rejected, rejected, away], 54),
        ("no node has trusted time", [without_time, without_time, without_time], 50),
    ];
    for (name, errors, code) in cases {
        let (policy, proof) = (policy(), KeyProof::Commitment(Commitment([0; 32])));
        let vaults = &policy.data.as_ref().unwrap().vaults;
        let mut report = UnlockReport::new(vaults, &policy.tcb, proof);
        for (index, error) in errors.iter().enumerate() {
            let error = error();
            report.lost(index, &error, error.is_transient());
        }
        let error = report.failure(0, false);
        // Whatever was answered: another node may answer at that address next.
        assert_eq!((error.code().number(), error.is_transient()), (code, true), "{name}");
    }
}

/// Each vault was lost, or asked; the latter with or without this machine's quote.
#[test]
fn a_quote_that_is_not_made_in_time_is_the_reason() {
    let policy = policy();
    let vaults = &policy.data.as_ref().unwrap().vaults;
    for (denied_vaults, presented, code) in [(0, false, 54), (0, true, 50), (1, false, 54), (2, false, 51)] {
        let mut report = UnlockReport::new(vaults, &policy.tcb, KeyProof::Disk);
        (0..denied_vaults).for_each(|index| report.lost(index, &denied(), true));
        for index in denied_vaults..3 {
            report.asked(index);
            if presented {
                report.presented(index);
            }
        }
        let status = serde_json::to_value(&report).unwrap()["vaults"][2]["status"].clone();
        assert_eq!(status, if presented { "slow" } else { "no_quote" });
        let found = report.failure(0, false).code().number();
        assert_eq!(found, code, "{denied_vaults} denied, presented: {presented}");
    }
}

#[test]
fn only_an_impossible_key_is_final() {
    let (policy, proof) = (policy(), KeyProof::Commitment(Commitment([0; 32])));
    let vaults = &policy.data.as_ref().unwrap().vaults;
    for (shares, impossible, want) in [(0, false, (50, true)), (0, true, (50, false)), (2, false, (52, true))] {
        let report = UnlockReport::new(vaults, &policy.tcb, proof);
        let error = report.failure(shares, impossible);
        assert_eq!((error.code().number(), error.is_transient()), want, "{shares} {impossible}");
    }
}

/// A vault gave its share; then another node proved itself at its address.
#[test]
fn what_is_told_of_a_share_is_what_the_node_was_that_gave_it() {
    let policy = policy();
    let vaults = &policy.data.as_ref().unwrap().vaults;
    let mut report = UnlockReport::new(vaults, &policy.tcb, KeyProof::Disk);
    let platform = |report: &mut UnlockReport, index: usize, platform: &str| {
        report.vaults[index].platform = Some(platform.to_owned());
    };
    for (index, name) in ["aa", "bb", "cc"].into_iter().enumerate() {
        platform(&mut report, index, name);
    }
    report.served(0, 1_000);
    report.served(1, 2_000);
    report.lost(0, &away(), true);
    platform(&mut report, 0, "ff");
    report.proved(&[ShareStatus::Served, ShareStatus::Served, ShareStatus::Ready], ShareSetId([0; 16]), 0);
    let event = report.event();
    let vault = |index: usize| (event["vaults"][index]["status"].clone(), event["vaults"][index]["platform"].clone());
    assert_eq!(vault(0), ("served".into(), "aa".into()));
    assert_eq!(vault(1), ("served".into(), "bb".into()));
    assert_eq!((vault(2), report.key_expires), (("ready".into(), serde_json::Value::Null), Some(1_000)));
}

#[test]
fn report_contains_addresses_and_reasons_and_no_internal_state() {
    let policy = policy();
    let vaults = &policy.data.as_ref().unwrap().vaults;
    let mut report = UnlockReport::new(vaults, &policy.tcb, KeyProof::Disk);
    report.lost(1, &untrusted(), true);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["vaults"][1]["status"], "untrusted");
    assert_eq!(
        json["vaults"][1]["reason"],
        format!(
            "challenge: node not verified: mrenclave {} is not in cvm.vault.mrenclave (cvmctl: --mrenclave)",
            "ab".repeat(32)
        )
    );
    assert_eq!(json["vaults"][0]["status"], "slow");
    assert_eq!(json["key_proof"], "disk");
    let mut fields: Vec<&String> = json["vaults"][1].as_object().unwrap().keys().collect();
    fields.sort();
    let want = [
        "address",
        "advisories",
        "key_expires",
        "mrenclave",
        "platform",
        "quote_time",
        "reason",
        "status",
        "tcb_status",
        "valid_from",
        "valid_until",
    ];
    assert_eq!(fields, want);
}
