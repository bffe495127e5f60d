//! The program as a shell sees it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::world::{ATTESTATION_SERVER, HANDLE, MRENCLAVE, NEW_IMAGE, OLD_IMAGE, World, now};

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A world, and the files that an operator of it has.
struct Desk {
    world: World,
    dir: TempDir,
    vaults: String,
}

impl Desk {
    fn new() -> Self {
        let (world, dir) = (World::new(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("anchor.der"), world.pki.root_der()).unwrap();
        fs::write(dir.path().join("issuer.pem"), sim_dcap::pem("PRIVATE KEY", &world.issuer.key.pkcs8())).unwrap();
        let vaults = world.vaults().join(",");
        Self { world, dir, vaults }
    }

    fn path(&self, name: &str) -> String {
        Path::to_str(&self.dir.path().join(name)).unwrap().to_owned()
    }

    /// Runs `command` with what every command that dials is given, and `more`.
    fn run(&self, command: &str, more: &[&str]) -> Output {
        let (anchor, key, mrenclave) = (self.path("anchor.der"), self.path("issuer.pem"), hex(&MRENCLAVE));
        let common = [
            command,
            "--vault",
            &self.vaults,
            "--handle",
            HANDLE,
            "--anchor",
            &anchor,
            "--issuer-key",
            &key,
            "--mrenclave",
            &mrenclave,
        ];
        cvmctl(&[&common, more].concat())
    }

    fn policy(&self, rtmr2: &str) -> Output {
        let (mrtd, rtmr1) = (hex(&OLD_IMAGE.mrtd), hex(&OLD_IMAGE.rtmr1));
        let issuer = self.world.issuer.url.as_str();
        cvmctl(&[
            "policy",
            "--mrtd",
            &mrtd,
            "--rtmr1",
            &rtmr1,
            "--rtmr2",
            rtmr2,
            "--issuer",
            issuer,
            "--owner-sub",
            "owner-1",
            "--ttl",
            "86400",
            "--attestation-server",
            ATTESTATION_SERVER,
        ])
    }
}

#[test]
fn policy_provision_and_promote_work_hand_in_hand() {
    let desk = Desk::new();
    let policy = desk.policy(&hex(&OLD_IMAGE.rtmr2));
    assert_eq!(serde_json::from_slice::<Value>(&policy.stdout).unwrap(), desk.world.policy(&[OLD_IMAGE]));
    fs::write(desk.path("policy.json"), policy.stdout).unwrap();
    let file = desk.path("policy.json");

    let output = desk.run("provision", &["--threshold", "2", "--policy", &file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let words = text(&output.stdout);
    let line = words.replace('\n', " ");
    let guest =
        format!("roothash={} cvm.data=serial=d cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff {line}", "ab".repeat(32));
    let policy = ondisk::cmdline::parse(&guest).unwrap();
    assert_eq!(policy.data.unwrap().vaults.handle.as_str(), HANDLE);
    assert_eq!(words.lines().count(), 5);
    for vault in desk.world.vaults() {
        assert!(text(&output.stderr).contains(&format!("{vault}: tcb UpToDate, share until 20")), "{}", text(&output.stderr));
    }

    let again = desk.run("provision", &["--threshold", "2", "--policy", &file]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(1), 0));
    assert_eq!(text(&again.stderr).matches("key already exists").count(), 3, "{}", text(&again.stderr));

    fs::write(&file, desk.policy(&hex(&NEW_IMAGE.rtmr2)).stdout).unwrap();
    let promoted = desk.run("promote", &["--policy", &file]);
    assert_eq!(text(&promoted.stdout).matches(": policy version 2\n").count(), 3, "{}", text(&promoted.stderr));
    assert!(desk.world.export(1, &NEW_IMAGE).is_ok() && desk.world.export(1, &OLD_IMAGE).is_err());
}

#[test]
fn json_says_what_the_words_say_and_no_output_holds_a_share() {
    let desk = Desk::new();
    let file = desk.path("policy.json");
    fs::write(&file, desk.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
    let output = desk.run("provision", &["--threshold", "2", "--policy", &file, "--json", "--at", &now().to_string()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["handle"].as_str(), json["vaults"].as_array().map(Vec::len)), (Some(HANDLE), Some(3)));
    assert_eq!(json["cmdline"][4], format!("cvm.vault.commit={}", json["commit"].as_str().unwrap()));
    assert_eq!(json["vaults"][0]["expires_at"], json["expires_at"]);
    for index in 0..3 {
        let share = desk.world.export(index, &OLD_IMAGE).unwrap();
        assert_eq!(json["generation"], hex(&share.generation().0));
        let data = hex(&share.expose_material()[17..]);
        assert!(!text(&output.stdout).contains(&data) && !text(&output.stderr).contains(&data));
    }
}

#[test]
fn a_policy_of_another_owner_than_named_is_not_sent() {
    let desk = Desk::new();
    let file = desk.path("policy.json");
    fs::write(&file, desk.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
    let named = ["--threshold", "2", "--policy", &file, "--issuer", desk.world.issuer.url.as_str(), "--owner-sub", "owner-2"];
    let output = desk.run("provision", &named);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not the owner whom the policy names"), "{}", text(&output.stderr));
    assert!(desk.world.is_empty());
}

#[test]
fn floors_of_the_initrd_hold_here_too() {
    let desk = Desk::new();
    let (policy, floors) = (desk.path("policy.json"), desk.path("floors.json"));
    fs::write(&policy, desk.world.policy(&[OLD_IMAGE]).to_string()).unwrap();
    let with = |json: &str| {
        fs::write(&floors, json).unwrap();
        let output = desk.run("provision", &["--threshold", "2", "--policy", &policy, "--floors", &floors]);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (code, said) = with(r#"{"built":1,"tcb_evaluation":4000000000,"root_crl":0,"pck_crl":0}"#);
    assert_eq!((code, said.matches("tcb evaluation number below the image's floor").count()), (Some(1), 3), "{said}");
    let (code, said) = with(r#"{"built":1,"tcb_evaluation":4294967296,"root_crl":0,"pck_crl":0}"#);
    assert!(code == Some(1) && said.contains("expected u32"), "{said}");
    assert_eq!(with(r#"{"built":1,"tcb_evaluation":0,"root_crl":0,"pck_crl":0}"#).0, Some(0));
}

#[test]
fn measurements_come_in_threes() {
    let (one, two) = ("ab".repeat(48), format!("{0},{0}", "cd".repeat(48)));
    let output = cvmctl(&["policy", "--mrtd", &one, "--rtmr1", &two, "--rtmr2", &two]);
    assert_eq!(output.status.code(), Some(1));
    let output = cvmctl(&["policy", "--mrtd", &two, "--rtmr1", &two, "--rtmr2", &two]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json.pointer("/principals/tees/0/Tee/measurements").and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(json.pointer("/principals/owner"), Some(&Value::Null));
}

#[test]
fn command_lines_are_checked_as_the_guest_reads_them() {
    let roothash = format!("roothash={}", "ab".repeat(32));
    let good = cvmctl(&["cmdline", "check", &format!("quiet init=/x {roothash}")]);
    assert_eq!((good.status.code(), text(&good.stdout)), (Some(0), format!("ok\ninit=/x {roothash}\n").as_str()));
    let bad = cvmctl(&["cmdline", "check", &roothash, "cvm.dta=serial=x"]);
    let said = text(&bad.stderr);
    assert!(bad.status.code() == Some(2) && said.starts_with("command line: unknown key cvm.dta\n"), "{said}");
    assert!(said.contains("did you mean cvm.data?"), "{said}");
    let explained = cvmctl(&["cmdline", "explain", &roothash, "cvm.log=warn"]);
    assert!(text(&explained.stdout).contains("cvm.log = warn\n"), "{}", text(&explained.stdout));
}
