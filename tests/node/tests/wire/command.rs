//! The program around the node.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sim_dcap::Pki;
use vault_node::Issuer;

use crate::guest::{Guest, World, now};

#[test]
fn program_says_where_it_listens_and_serves() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut program = Command::new(env!("CARGO_BIN_EXE_vault-node"))
        .args(["--listen", "127.0.0.1:0", "--mrenclave", &"e1".repeat(32)])
        .args([std::ffi::OsString::from("--pki"), at("pki").into(), "--issuer".into(), at("issuer.pem").into()])
        .args([std::ffi::OsString::from("--state"), at("state").into()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
    let world = World {
        pki: Arc::new(Pki::load_or_mint(&at("pki"), now()).unwrap()),
        issuer: Issuer::load_or_make(&at("issuer.pem")).unwrap(),
    };
    let result = Guest::new(&world).unlock(address).map(|_| ());
    program.kill().unwrap();
    program.wait().unwrap();
    result.unwrap();
}
