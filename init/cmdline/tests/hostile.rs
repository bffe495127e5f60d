//! Attacks of a malicious host on the command line, against the public functions of the crate.

use cmdline::{Conflict, Key};
use proptest::prelude::*;

/// The command line of an image with a data disk, as its builder measured it.
fn measured() -> String {
    format!(
        "console=ttyS0 roothash={root} cvm.data=serial=data cvm.data.format=if-blank cvm.vault=10.0.0.1:8443,10.0.0.2:8443,10.0.0.3:8443 \
         cvm.vault.mrenclave={build} cvm.vault.handle=apps.example/1/kek/v1 cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff \
         cvm.vault.key-commitment={commitment}",
        root = "ab".repeat(32),
        build = "cd".repeat(32),
        commitment = "0f".repeat(32),
    )
}

#[test]
fn host_that_appends_to_the_command_line_is_refused() {
    let root = format!("roothash={}", "ef".repeat(32));
    let build = format!("cvm.vault.mrenclave={}", "ef".repeat(32));
    let cases = [
        ("its own root", root.as_str(), cmdline::Error::Repeated(Key::RootHash)),
        ("its own init", "init=/bin/sh init=/bin/sh", cmdline::Error::Repeated(Key::Init)),
        ("its own vault build", &build, cmdline::Error::Repeated(Key::VaultMrenclave)),
        ("its own vault", "cvm.vault=192.0.2.1:8443", cmdline::Error::Repeated(Key::Vault)),
        ("its own key", "cvm.vault.key-commitment=none", cmdline::Error::Repeated(Key::VaultKeyCommitment)),
        ("another disk", "cvm.data=serial=mine", cmdline::Error::Repeated(Key::Data)),
        ("a quote that hides what follows", "\"x", cmdline::Error::Quoted),
        ("parameters behind dashes", "-- cvm.fail=halt", cmdline::Error::AfterDashes(Key::Fail)),
        ("revoked platforms", "cvm.tcb=uptodate,Revoked", cmdline::Error::Malformed(Key::Tcb)),
        ("one share", "cvm.vault.threshold=1", cmdline::Error::Malformed(Key::VaultThreshold)),
        ("a threshold above the number of vaults", "cvm.vault.threshold=255", too_few(255)),
        ("a key of a later release", "cvm.vault.trust=all", cmdline::Error::Unknown("cvm.vault.trust".to_owned())),
        ("a path out of the root", "cvm.data.mount=/data/../etc", cmdline::Error::Malformed(Key::DataMount)),
    ];
    assert!(cmdline::parse(&measured()).is_ok());
    for (name, parameters, want) in cases {
        assert_eq!(cmdline::parse(&format!("{} {parameters}\n", measured())), Err(want), "{name}");
    }
}

fn too_few(threshold: u8) -> cmdline::Error {
    Conflict::TooFewVaults { threshold, vaults: 3 }.into()
}

#[test]
fn parameter_that_the_host_drops_is_missed() {
    let line = measured();
    for parameter in
        line.split(' ').filter(|parameter| !parameter.starts_with("console=") && !parameter.starts_with("cvm.data.format="))
    {
        let without = line.replace(parameter, "");
        assert!(cmdline::parse(&without).is_err(), "{parameter}");
    }
}

#[test]
fn whatever_the_host_adds_shows_in_the_digested_text() {
    let before = cmdline::parse(&measured()).unwrap().canonical();
    for parameter in ["cvm.log=debug", "cvm.debug=timeline", "cvm.fail=halt", "init=/bin/sh", "cvm.net.keep=no"] {
        let after = cmdline::parse(&format!("{} {parameter}", measured())).unwrap();
        assert_ne!(after.canonical(), before, "{parameter}");
    }
    let padded = format!("  quiet\t{} splash", measured());
    assert_eq!(cmdline::parse(&padded).unwrap().canonical(), before, "parameters of the kernel do not");
}

proptest! {
    #[test]
    fn one_changed_byte_never_makes_the_parser_panic(at in 0_usize..32768, value: u8) {
        let mut line = measured().into_bytes();
        let place = at % line.len();
        line[place] = value;
        let _read = std::str::from_utf8(&line).map(cmdline::parse);
    }

    #[test]
    fn cut_bytes_never_make_the_parser_panic(length in 0_usize..32768) {
        let line = measured();
        let _read = cmdline::parse(&line[..length % line.len()]);
    }
}
