//! `cvmctl quote`, run as a program: genuine and simulated quotes in the usual encodings.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "runs the program under test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use dcap::{Collateral, Pki, SgxQuote, SignedCollateral, TdQuote};
use encoding::hex;
use serde_json::Value;

const ROOT: &str = "../../initrd/anchors/intel-sgx-root.der";
const REAL: &str = "../../tests/vectors/dcap-qvl/sgx_quote";
const REAL_COLLATERAL: &str = "../../tests/vectors/dcap-qvl/sgx_quote_collateral.json";
const REAL_TIME: &str = "2025-06-25T00:00:00Z";
/// 2026-11-23T00:00:00Z, when the simulated root is created.
const NOW: u64 = 1_795_392_000;

fn cvmctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cvmctl")).arg("quote").args(arguments).output().unwrap()
}

/// The last line on stdout, and the exit code.
fn cvmctl_quote(arguments: &[&str]) -> (Option<i32>, String) {
    let output = cvmctl(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().map_or_else(|| String::from_utf8(output.stderr).unwrap(), str::to_owned);
    (output.status.code(), last)
}

fn real<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = ["verify", REAL, "--anchor", ROOT, "--tcb", "ConfigurationAndSWHardeningNeeded"];
    [&usual, more].concat()
}

/// Quotes and collateral of a simulated platform, in a directory.
struct Desk {
    folder: tempfile::TempDir,
    collateral: SignedCollateral,
}

impl Desk {
    fn new(quote: &[u8], pki: &Pki, collateral: SignedCollateral) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("quote"), quote).unwrap();
        fs::write(folder.path().join("root.der"), pki.root_der()).unwrap();
        Self { folder, collateral }
    }

    fn sgx() -> Self {
        let pki = Pki::mint(NOW).unwrap();
        let platform = pki.platform("node").unwrap();
        let quote = SgxQuote::new([0xc1; 32], [0x5a; 64]).sign(&platform).unwrap();
        Self::new(&quote, &pki, Collateral::sgx(&platform, NOW).sign(&pki).unwrap())
    }

    fn tdx() -> Self {
        let pki = Pki::mint(NOW).unwrap();
        let platform = pki.platform("host").unwrap();
        let quote = TdQuote { mrtd: [0xd1; 48], ..TdQuote::new([0x5a; 64]) }.sign(&platform).unwrap();
        Self::new(&quote, &pki, Collateral::tdx(&platform, NOW).sign(&pki).unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn verify(&self, more: &[&str]) -> (Option<i32>, String) {
        let (quote, root, now) = (self.path("quote"), self.path("root.der"), NOW.to_string());
        cvmctl_quote(&[&["verify", &quote, "--anchor", &root, "--at", &now], more].concat())
    }

    /// The body of a document, as a PCS serves it.
    fn signed(name: &str, document: &str, signature: &[u8]) -> String {
        let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{\"{name}\":{document},\"signature\":\"{signature}\"}}")
    }

    fn tcb_info(&self) -> String {
        Self::signed("tcbInfo", &self.collateral.tcb_info, &self.collateral.tcb_info_signature)
    }

    fn qe_identity(&self) -> String {
        Self::signed("enclaveIdentity", &self.collateral.qe_identity, &self.collateral.qe_identity_signature)
    }
}

#[test]
fn genuine_quote_verifies_at_its_time_and_not_later() {
    let verified = (Some(0), "verified".to_owned());
    assert_eq!(cvmctl_quote(&real(&["--collateral", REAL_COLLATERAL, "--at", REAL_TIME])), verified);
    let late = cvmctl_quote(&real(&["--collateral", REAL_COLLATERAL, "--at", "2026-06-25T00:00:00Z"]));
    assert_eq!(late, (Some(1), "REFUSED root CRL: expired".to_owned()));
    assert_eq!(cvmctl_quote(&real(&["--at", REAL_TIME])), (Some(1), "REFUSED no collateral".to_owned()));
    let strict = ["verify", REAL, "--anchor", ROOT, "--collateral", REAL_COLLATERAL, "--at", REAL_TIME];
    let (code, message) = cvmctl_quote(&strict);
    assert_eq!(code, Some(1));
    let want = "REFUSED TCB status ConfigurationAndSWHardeningNeeded is not accepted (to accept it, \
        add ConfigurationAndSWHardeningNeeded to the list); TCB evaluation set 17; below an accepted level: CPUSVN[6] 0 of 12; \
        advisories: INTEL-SA-00289 INTEL-SA-00615";
    assert_eq!(message, want);
    assert_eq!(cvmctl_quote(&["verify", REAL, "--anchor", ROOT, "--tcb", "signature", "--at", REAL_TIME]), verified);
    let (other, real_build) = ("ab".repeat(32), hex::encode(&std::fs::read(REAL).unwrap()[112..144]));
    let build = cvmctl_quote(&real(&["--collateral", REAL_COLLATERAL, "--at", REAL_TIME, "--mrenclave", &other]));
    assert_eq!(build, (Some(1), format!("REFUSED mrenclave {real_build} is not in cvm.vault.mrenclave (cvmctl: --mrenclave)")));
    assert_eq!(cvmctl_quote(&["verify", "/nonexistent", "--anchor", ROOT]).0, Some(1));
}

#[test]
fn text_encodings_of_a_quote_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(REAL).unwrap();
    let file = folder.path().join("quote.hex");
    fs::write(&file, bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").unwrap();
    let shown = String::from_utf8(cvmctl(&["show", file.to_str().unwrap()]).stdout).unwrap();
    assert!(shown.starts_with("not verified: "), "{shown}");
    for part in ["version: 3", "tee: sgx", "body.attributes: 0x5 INIT MODE64BIT", "platform.fmspc: 00a067110000"] {
        assert!(shown.lines().any(|line| line == part), "{part} is not in {shown}");
    }
    fs::write(&file, "no quote at all").unwrap();
    assert_eq!(cvmctl(&["show", file.to_str().unwrap()]).status.code(), Some(1));
}

#[test]
fn checks_and_evidence_are_told_as_json() {
    let output = cvmctl(&real(&["--collateral", REAL_COLLATERAL, "--at", REAL_TIME, "--json"]));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["verified"], &json["error"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(json["appraisal"]["tcb"]["status"], "ConfigurationAndSWHardeningNeeded");
    assert_eq!(json["appraisal"]["quote"]["platform"]["authority"], "processor");
    let checks = json["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "FMSPC" && check["value"] == "00a067110000" && check["compared"] == true));
    assert!(checks.iter().any(|check| check["name"] == "MRENCLAVE" && check["compared"] == false));
    let output = cvmctl(&real(&["--at", REAL_TIME, "--json"]));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["verified"], json["error"].as_str()), (&Value::Bool(false), Some("no collateral")));
}

#[test]
fn trust_domain_is_held_against_every_register_that_is_named() {
    let desk = Desk::tdx();
    fs::create_dir(desk.path("pcs")).unwrap();
    let part = |name: &str, bytes: &[u8]| fs::write(desk.folder.path().join("pcs").join(name), bytes).unwrap();
    part("tcb_info.json", desk.tcb_info().as_bytes());
    part("qe_identity.json", desk.qe_identity().as_bytes());
    part("tcb_info_issuer_chain.pem", desk.collateral.tcb_info_issuer_chain.as_bytes());
    part("pck_crl.der", &desk.collateral.pck_crl);
    part("root_ca_crl.der", &desk.collateral.root_ca_crl);
    let pcs = desk.path("pcs");
    let (mrtd, zero, data) = ("d1".repeat(48), "00".repeat(48), "5a".repeat(64));
    let usual = ["--collateral", &pcs, "--mrtd", &mrtd, "--rtmr3", &zero, "--report-data", &data];
    assert_eq!(desk.verify(&usual), (Some(0), "verified".to_owned()));
    let refused = |what: &str| (Some(1), format!("REFUSED {what}"));
    assert_eq!(desk.verify(&["--collateral", &pcs, "--mrtd", &zero]), refused(&format!("mrtd: expected {zero}, found {mrtd}")));
    assert_eq!(desk.verify(&["--collateral", &pcs, "--rtmr2", &mrtd]), refused(&format!("rtmr2: expected {mrtd}, found {zero}")));
    let other = "5b".repeat(64);
    assert_eq!(
        desk.verify(&["--collateral", &pcs, "--report-data", &other]),
        refused("report data differs: the quote was made for another connection or request")
    );
    let platform = "00".repeat(16);
    let (code, message) = desk.verify(&["--collateral", &pcs, "--platform", &platform]);
    assert!(code == Some(1) && message.ends_with("is not in cvm.vault.platforms (cvmctl: --platform)"), "{message}");
}

#[test]
fn collateral_comes_from_a_cache() {
    let desk = Desk::sgx();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let encoded = |pem: &str| pem.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let (info, identity) = (desk.tcb_info(), desk.qe_identity());
    let (chain, lists) = (encoded(&desk.collateral.tcb_info_issuer_chain), desk.collateral.clone());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let request = BufReader::new(client.try_clone().unwrap()).lines().next().unwrap().unwrap();
            let (header, body) = match request.split(['?', ' ']).nth(1).unwrap() {
                "/sgx/certification/v4/tcb" => (format!("TCB-Info-Issuer-Chain: {chain}\r\n"), info.clone().into_bytes()),
                "/sgx/certification/v4/qe/identity" => {
                    (format!("SGX-Enclave-Identity-Issuer-Chain: {chain}\r\n"), identity.clone().into_bytes())
                }
                "/sgx/certification/v4/pckcrl" => (format!("SGX-PCK-CRL-Issuer-Chain: {chain}\r\n"), lists.pck_crl.clone()),
                _ => (String::new(), lists.root_ca_crl.clone()),
            };
            client.write_all(format!("HTTP/1.0 200 OK\r\n{header}\r\n").as_bytes()).unwrap();
            client.write_all(&body).unwrap();
        }
    });
    let build = "c1".repeat(32);
    assert_eq!(desk.verify(&["--collateral", &url, "--mrenclave", &build]), (Some(0), "verified".to_owned()));
}

#[test]
fn signatures_alone_are_enough_only_when_asked_for() {
    let desk = Desk::sgx();
    assert_eq!(desk.verify(&["--tcb", "signature"]), (Some(0), "verified".to_owned()));
    assert_eq!(desk.verify(&[]), (Some(1), "REFUSED no collateral".to_owned()));
    let floors = desk.path("floors.json");
    let signer = "ab".repeat(32);
    fs::write(&floors, format!(r#"{{"built":0,"tcb_evaluation":0,"root_crl":0,"pck_crl":0,"qe_signers":["{signer}"]}}"#))
        .unwrap();
    let foreign = desk.verify(&["--tcb", "signature", "--floors", &floors]);
    assert_eq!(foreign, (Some(1), "REFUSED quoting enclave: another signer".to_owned()));
}
