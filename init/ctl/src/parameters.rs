//! The parameters of a guest's command line for a key and its vaults.

use attest::TcbStatus;
use cmdline::Key;
use encoding::hex;

use crate::{Error, Nodes};

/// The guest's default for cvm.tcb.
const USUAL: [TcbStatus; 2] = [TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded];

/// The parameters, in the order in which `cvmctl provision` prints them.
pub(crate) fn guest(nodes: &Nodes, handle: &str, threshold: usize, commitment: &[u8; 32], app: Option<&[u8; 16]>) -> Vec<String> {
    let parameter = |key: Key, value: String| format!("{key}={value}");
    let mut parameters = vec![
        parameter(Key::Vault, nodes.vaults.join(",")),
        parameter(Key::VaultMrenclave, nodes.mrenclaves.iter().map(|bytes| hex::encode(bytes)).collect::<Vec<_>>().join(",")),
        parameter(Key::VaultHandle, handle.to_owned()),
        parameter(Key::VaultThreshold, threshold.to_string()),
        parameter(Key::VaultKeyCommitment, hex::encode(commitment)),
    ];
    if let Some(app) = app {
        parameters.insert(3, parameter(Key::VaultApp, uuid(app)));
    }
    if !nodes.platforms.is_empty() {
        parameters.push(parameter(
            Key::VaultPlatforms,
            nodes.platforms.iter().map(|bytes| hex::encode(bytes)).collect::<Vec<_>>().join(","),
        ));
    }
    // The guest needs cvm.tcb for each status beyond its default that this tool accepted.
    if nodes.statuses.iter().any(|status| !USUAL.contains(status)) {
        parameters.push(parameter(Key::Tcb, nodes.statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
    }
    parameters
}

/// Formats a UUID (RFC 9562).
fn uuid(id: &[u8; 16]) -> String {
    let mut text = hex::encode(id);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

/// Checks with the guest's parser, before anything is dealt, that the guest would accept the parameters.
pub(crate) fn check(nodes: &Nodes, handle: &str, threshold: usize) -> Result<(), Error> {
    let parameters = guest(nodes, handle, threshold, &[0; 32], Some(&[0; 16])).join(" ");
    // Other required parameters, with any value.
    let rest = format!("roothash={} cvm.data=serial=x", "0".repeat(64));
    let policy = cmdline::parse(&format!("{rest} {parameters}")).map_err(Error::Parameters)?;
    // A space or a comma in a value would split it.
    let vaults = policy.data.map(|data| data.vaults);
    if vaults.as_ref().is_none_or(|vaults| vaults.handle.as_str() != handle) {
        return Err(Error::Parameters(cmdline::Error::Malformed(Key::VaultHandle)));
    }
    if vaults.is_none_or(|vaults| vaults.addresses.len() != nodes.vaults.len()) {
        return Err(Error::Parameters(cmdline::Error::Malformed(Key::Vault)));
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
    fn tcb_is_a_parameter_only_when_it_differs_from_the_default() {
        let last = |statuses: &[TcbStatus]| guest(&nodes(&["a:1", "b:2"], statuses), "h", 2, &[0xcd; 32], None).pop().unwrap();
        let commit = format!("cvm.vault.key-commitment={}", "cd".repeat(32));
        assert_eq!(last(&USUAL), commit);
        assert_eq!(last(&[TcbStatus::UpToDate]), commit);
        assert_eq!(last(&[TcbStatus::UpToDate, TcbStatus::OutOfDate]), "cvm.tcb=UpToDate,OutOfDate");
    }

    #[test]
    fn parameters_that_no_guest_would_accept_are_refused() {
        let good = ["127.0.0.1:1", "[::1]:2", "vault.example:3"];
        let cases: [(&str, &[&str], &str, bool); 8] = [
            ("good", &good, "apps.example/0011/storage-kek/v1", true),
            ("handle of two parts", &good, "a b", false),
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
