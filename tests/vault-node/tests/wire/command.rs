//! The program `vault-node`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use dcap::Pki;
use serde_json::json;
use vault_node::Issuer;

use crate::guest::{Guest, World, now};

/// Starts the program with the files in `dir`; it ends when dropped.
struct Program(Child);

impl Program {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_vault-node"))
            .current_dir(dir)
            .args(["--listen", "127.0.0.1:0", "--mrenclave", &"e1".repeat(32), "--pki", "pki", "--issuer", "issuer.pem"])
            .args(["--state", "state"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// The address that it prints.
    fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().strip_prefix("listening ").unwrap().parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn program_prints_its_address_and_serves_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let mut plain = Program::start(dir.path(), &[]);
    let address = plain.address();
    let at = |name: &str| dir.path().join(name);
    let pki = Arc::new(Pki::load_or_mint(&at("pki"), now()).unwrap());
    let world = World { pki, issuer: Issuer::load_or_make(&at("issuer.pem")).unwrap() };
    let operator = Guest::with_app(&world, None);
    Guest::new(&world).unlock(address).unwrap();
    let evidence = |address| operator.dial(address).unwrap().challenge(&[1; 32]).unwrap().1;
    let output = evidence(address);
    assert_eq!((&output["client_evidence"], output.get("collateral")), (&json!("none"), None));

    let mut other = Program::start(dir.path(), &["--first-build", "--staple", "--audience", "here", "--idle", "60"]);
    let address = other.address();
    let output = evidence(address);
    assert!(output["client_evidence"] == "required" && output.get("collateral").is_some());
    let refused = operator.dial(address).unwrap().data(&json!("ListKeys"), Some(&world.bearer()));
    assert_eq!(refused, json!(401), "another audience");
}

#[test]
fn unknown_arguments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    // An unknown name is answered with all known ones.
    let usage = "vault-node --pki DIR";
    let cases = [
        (&["--no-staple"][..], usage),
        (&["--idle", "soon"], usage),
        (&["--misbehave", "kindly"], "expected one of: none, down,"),
        (&["--audience"], usage),
    ];
    for (more, want) in cases {
        let mut program = Program::start(dir.path(), more);
        let mut output = String::new();
        program.0.stderr.take().unwrap().read_to_string(&mut output).unwrap();
        assert!(!program.0.wait().unwrap().success() && output.contains(want), "{more:?}: {output}");
    }
}
