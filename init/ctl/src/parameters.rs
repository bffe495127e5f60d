//! The arguments of a guest's command line for a key and its vaults.

use attest::TcbStatus;
use cmdline::Key;

use crate::{Error, Nodes};

/// The guest's default for cvm.tcb.
const USUAL: [TcbStatus; 2] = [TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded];

/// The arguments, in the order of the README's table.
pub(crate) fn guest(nodes: &Nodes, handle: &str, threshold: usize, commitment: &[u8; 32], app: Option<&[u8; 16]>) -> Vec<String> {
    let word = |key: Key, value: String| format!("{key}={value}");
    let mut words = vec![
        word(Key::Vault, nodes.vaults.join(",")),
        word(Key::VaultMrenclave, nodes.mrenclaves.iter().map(hex::encode).collect::<Vec<_>>().join(",")),
        word(Key::VaultHandle, handle.to_owned()),
        word(Key::VaultThreshold, threshold.to_string()),
        word(Key::VaultKeyCommitment, hex::encode(commitment)),
    ];
    if let Some(app) = app {
        words.insert(3, word(Key::VaultApp, uuid(app)));
    }
    if !nodes.platforms.is_empty() {
        words.push(word(Key::VaultPlatforms, nodes.platforms.iter().map(hex::encode).collect::<Vec<_>>().join(",")));
    }
    // The guest needs cvm.tcb for each status beyond its default that this tool accepted.
    if nodes.statuses.iter().any(|status| !USUAL.contains(status)) {
        words.push(word(Key::Tcb, nodes.statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
    }
    words
}

/// Formats a UUID (RFC 9562).
fn uuid(id: &[u8; 16]) -> String {
    let mut text = hex::encode(id);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

/// Checks with the guest's parser, before anything is dealt, that the guest would accept the arguments.
pub(crate) fn check(nodes: &Nodes, handle: &str, threshold: usize) -> Result<(), Error> {
    let words = guest(nodes, handle, threshold, &[0; 32], Some(&[0; 16])).join(" ");
    // Other required arguments, with any value.
    let rest = format!("roothash={} cvm.data=serial=x", "0".repeat(64));
    let policy = cmdline::parse(&format!("{rest} {words}")).map_err(Error::Words)?;
    // A space or a comma in a value would split it.
    let vaults = policy.data.map(|data| data.vaults);
    if vaults.as_ref().is_none_or(|vaults| vaults.handle.as_str() != handle) {
        return Err(Error::Words(cmdline::Error::Malformed(Key::VaultHandle)));
    }
    if vaults.is_none_or(|vaults| vaults.addresses.len() != nodes.vaults.len()) {
        return Err(Error::Words(cmdline::Error::Malformed(Key::Vault)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use attest::Floors;

    use super::*;

    fn nodes(vaults: &[&str], statuses: &[TcbStatus]) -> Nodes {
        Nodes {
            vaults: vaults.iter().map(ToString::to_string).collect(),
            anchor: Vec::new(),
            mrenclaves: vec![[0x11; 32]],
            node_ca: Vec::new(),
            platforms: Vec::new(),
            statuses: statuses.to_vec(),
            floors: Floors::default(),
            at: 0,
            collateral: Arc::default(),
        }
    }

    #[test]
    fn tcb_is_a_word_only_when_the_guest_must_be_told() {
        let last = |statuses: &[TcbStatus]| guest(&nodes(&["a:1", "b:2"], statuses), "h", 2, &[0xcd; 32], None).pop().unwrap();
        let commit = format!("cvm.vault.key-commitment={}", "cd".repeat(32));
        assert_eq!(last(&USUAL), commit);
        assert_eq!(last(&[TcbStatus::UpToDate]), commit);
        assert_eq!(last(&[TcbStatus::UpToDate, TcbStatus::OutOfDate]), "cvm.tcb=UpToDate,OutOfDate");
    }

    #[test]
    fn words_that_no_guest_would_take_are_refused() {
        let good = ["127.0.0.1:1", "[::1]:2", "vault.example:3"];
        let cases: [(&str, &[&str], &str, bool); 8] = [
            ("good", &good, "apps.example/0011/storage-kek/v1", true),
            ("handle of two words", &good, "a b", false),
            ("handle that configures", &good, "a cvm.debug=timeline", false),
            ("empty handle", &good, "", false),
            ("address without a port", &["127.0.0.1", "[::1]:2"], "h", false),
            ("address twice", &["127.0.0.1:1", "127.0.0.1:1"], "h", false),
            ("two addresses in one", &["127.0.0.1:1,127.0.0.1:2", "[::1]:2"], "h", false),
            ("one vault", &["127.0.0.1:1"], "h", false),
        ];
        for (name, vaults, handle, want) in cases {
            assert_eq!(check(&nodes(vaults, &USUAL), handle, 2).is_ok(), want, "{name}");
        }
    }
}
