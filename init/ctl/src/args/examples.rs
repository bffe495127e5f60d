//! Examples for `--help` and the man pages. A test parses each of them with the real parser.

use clap::Command;

/// An example: what it does, and the command. A line that ends with `\` continues in the next one.
type Example = (&'static str, &'static str);

/// One row for each command that does something: its path, and its examples.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "provision",
        &[(
            "Make a key of three shares, of which any two restore it, for the image that was measured as $MRTD, $RTMR1 and $RTMR2",
            "cvmctl provision --vault v1.example:8443,v2.example:8443,v3.example:8443 --threshold 2 \\
      --anchor root.der --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --handle apps.example/web/data/v1 --app $UUID --mrtd $MRTD --rtmr1 $RTMR1 --rtmr2 $RTMR2 \\
      --attestation-server https://as.example --issuer https://id.example --owner-sub alice --issuer-key issuer.pem",
        )],
    ),
    (
        "policy",
        &[(
            "Write the policy of a key for one image to a file",
            "cvmctl policy --mrtd $MRTD --rtmr1 $RTMR1 --rtmr2 $RTMR2 --attestation-server https://as.example \\
      --issuer https://id.example --owner-sub alice > policy.json",
        )],
    ),
    (
        "promote",
        &[(
            "Put a new policy into force, so that a new image gets the key",
            "cvmctl promote --vault v1.example:8443,v2.example:8443,v3.example:8443 --anchor root.der \\
      --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --handle apps.example/web/data/v1 --policy policy.json --issuer-key issuer.pem",
        )],
    ),
    (
        "key list",
        &[(
            "List the keys of an owner",
            "cvmctl key list --vault v1.example:8443 --anchor root.der \\
      --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem",
        )],
    ),
    (
        "key info",
        &[(
            "Print when a key expires",
            "cvmctl key info --vault v1.example:8443 --anchor root.der \\
      --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem --handle apps.example/web/data/v1",
        )],
    ),
    (
        "key policy",
        &[(
            "Print the policy in force at two vaults",
            "cvmctl key policy --vault v1.example:8443,v2.example:8443 \\
      --anchor root.der \\
      --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem \\
      --handle apps.example/web/data/v1",
        )],
    ),
    (
        "key delete",
        &[(
            "Delete the rest of a dealing that ended halfway",
            "cvmctl key delete --vault v1.example:8443,v2.example:8443,v3.example:8443 \\
      --anchor root.der \\
      --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem \\
      --handle apps.example/web/data/v1",
        )],
    ),
    (
        "key audit",
        &[(
            "Print the first 20 requests for a key",
            "cvmctl key audit --vault v1.example:8443 --anchor root.der --collateral https://pccs.example:8081 \\
      --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem \\
      --handle apps.example/web/data/v1 --limit 20",
        )],
    ),
    (
        "key commitment",
        &[("Print the commitment of a passphrase in a file", "cvmctl key commitment --passphrase-fd 3 3< passphrase")],
    ),
    (
        "profile stage",
        &[(
            "Propose a profile",
            "cvmctl profile stage --vault v1.example:8443 --anchor root.der \\
      --collateral https://pccs.example:8081 --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem --handle apps.example/web/data/v1 \\
      --profile profile.json",
        )],
    ),
    (
        "profile list",
        &[(
            "List the staged profiles of a key",
            "cvmctl profile list --vault v1.example:8443 --anchor root.der --collateral https://pccs.example:8081 \\
      --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem \\
      --handle apps.example/web/data/v1",
        )],
    ),
    (
        "profile promote",
        &[(
            "Promote a staged profile",
            "cvmctl profile promote --vault v1.example:8443 --anchor root.der --collateral https://pccs.example:8081 \\
      --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem \\
      --handle apps.example/web/data/v1 --profile profile.json",
        )],
    ),
    (
        "profile revoke",
        &[(
            "Drop staged profile 7 of one vault",
            "cvmctl profile revoke --vault v1.example:8443 --anchor root.der --collateral https://pccs.example:8081 \\
      --mrenclave $MRENCLAVE \\
      --issuer https://id.example --owner-sub alice --issuer-key issuer.pem \\
      --handle apps.example/web/data/v1 --id 7",
        )],
    ),
    ("client-key", &[("Make a client key, and print its hash", "cvmctl client-key client.pem")]),
    (
        "cmdline check",
        &[
            ("Check a command line", "cvmctl cmdline check \"roothash=$ROOTHASH cvm.net=dhcp\""),
            ("Check that of the running machine", "cvmctl cmdline check \"$(cat /proc/cmdline)\""),
        ],
    ),
    (
        "cmdline explain",
        &[
            ("Print every key with its default", "cvmctl cmdline explain"),
            ("Print what holds with a command line", "cvmctl cmdline explain roothash=$ROOTHASH cvm.log=debug"),
            ("Regenerate the reference of this repository", "cvmctl cmdline explain --markdown > init/docs/command-line.md"),
        ],
    ),
    (
        "header check",
        &[
            ("Check a disk by the defaults of the guest", "cvmctl header check /dev/vg/data"),
            (
                "Also authenticate the header",
                "cvmctl header check /dev/vg/data --cmdline cvm.data.header-auth=require --passphrase-fd 3 3< passphrase",
            ),
        ],
    ),
    (
        "header save",
        &[("Save the header area of a disk", "cvmctl header save /dev/vg/data data.header --passphrase-fd 3 3< passphrase")],
    ),
    (
        "header restore",
        &[(
            "Write a saved header area back to its disk",
            "cvmctl header restore data.header /dev/vg/data --passphrase-fd 3 3< passphrase",
        )],
    ),
    (
        "quote verify",
        &[(
            "Verify a quote of a trust domain, with collateral from a PCCS",
            "cvmctl quote verify quote.bin --anchor root.der --collateral https://pccs.example:8081 --mrtd $MRTD",
        )],
    ),
    ("quote show", &[("Print the fields of a quote on stdin", "cvmctl quote show - < quote.bin")]),
    (
        "measure",
        &[
            (
                "Print the policy for a unified kernel image that QEMU gives a TDVF without keys (-kernel)",
                "cvmctl measure --kernel cvm.efi --secure-boot off --firmware TDVF.fd --issuer https://id.example \\
      --owner-sub alice --attestation-server https://as.example",
            ),
            (
                "The same for a disk image on GCP, whose firmware Google publishes",
                "cvmctl measure image.raw --secure-boot off --fold td-with-tpm --firmware OVMF.fd --issuer https://id.example \\
      --owner-sub alice --attestation-server https://as.example",
            ),
            (
                "Print what a TD with a TPM measures, event by event, without a policy",
                "cvmctl measure image.raw --fold td-with-tpm --registers-only --verbose",
            ),
            (
                "Write what the image measures to a file that can be signed",
                "cvmctl measure image.raw --bundle image.measurements.json",
            ),
        ],
    ),
    (
        "measure explain",
        &[(
            "Find out why the registers of a machine differ from the prediction",
            "cvmctl measure explain image.raw --log ccel.bin --log rtmr-measure.log --quote quote.bin",
        )],
    ),
    (
        "measure rtmr0",
        &[
            (
                "Explain RTMR0 of a boot that you trust, with the firmware file of that machine",
                "cvmctl measure rtmr0 --log ccel.bin --quote quote.bin --firmware OVMF.fd",
            ),
            (
                "Predict RTMR0 of a machine of 16 GiB that QEMU boots directly",
                "cvmctl measure rtmr0 --firmware OVMF.fd --memory 16G --acpi fw_cfg --direct-boot",
            ),
        ],
    ),
    (
        "measure verify",
        &[
            (
                "Compare a published bundle with an image that was rebuilt from source",
                "cvmctl measure verify image.measurements.json image.raw",
            ),
            (
                "Also compare the MRTD of a firmware, and accept other bytes where nothing is measured",
                "cvmctl measure verify image.sigstore.json image.raw --firmware OVMF.fd --without-file-digests",
            ),
        ],
    ),
    (
        "log verify",
        &[(
            "Compare the logs of a machine with its quote",
            "cvmctl log verify ccel.bin rtmr-measure.log --quote quote.bin --cmdline \"$(cat cmdline)\"",
        )],
    ),
    ("log show", &[("Print the events of a firmware's log", "cvmctl log show ccel.bin")]),
    ("explain", &[("Explain a code of the failure line", "cvmctl explain E53"), ("List every code", "cvmctl explain")]),
    (
        "completions",
        &[("Install completions for bash", "cvmctl completions bash > ~/.local/share/bash-completion/completions/cvmctl")],
    ),
    ("man", &[("Write the man pages to a folder", "cvmctl man ~/.local/share/man/man1")]),
];

/// Adds the examples to the help of each command.
pub(super) fn attach(mut root: Command) -> Command {
    for (path, examples) in EXAMPLES {
        let text = examples.iter().map(|(does, command)| format!("  # {does}\n  {command}")).collect::<Vec<_>>().join("\n");
        let add = |command: Command| command.after_help(format!("Examples:\n{text}"));
        root = match path.split_once(' ') {
            None => root.mut_subcommand(path, add),
            Some((outer, inner)) => root.mut_subcommand(outer, |command| command.mut_subcommand(inner, add)),
        };
    }
    root
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::super::{Cli, command};
    use super::EXAMPLES;

    /// Splits as a shell does: at white space outside of double quotes, up to a redirection; with values for the variables.
    fn arguments(command: &str) -> Vec<String> {
        let digits = |byte: &str, count| byte.repeat(count);
        let text = command
            .replace("\\\n", " ")
            .replace("$MRENCLAVE", &digits("11", 32))
            .replace("$ROOTHASH", &digits("22", 32))
            .replace("$MRTD", &digits("33", 48))
            .replace("$RTMR1", &digits("44", 48))
            .replace("$RTMR2", &digits("55", 48))
            .replace("$UUID", "00112233-4455-6677-8899-aabbccddeeff");
        let mut arguments = Vec::new();
        for (index, part) in text.split('"').enumerate() {
            if index % 2 == 1 {
                arguments.push(part.to_owned());
                continue;
            }
            for argument in part.split_whitespace() {
                if argument.ends_with(['<', '>']) {
                    return arguments;
                }
                arguments.push(argument.to_owned());
            }
        }
        arguments
    }

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let inner: Vec<_> = command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
        if inner.is_empty() || !(path.is_empty() || command.is_subcommand_required_set()) {
            found.push(path.to_owned());
        }
        for inner in inner {
            leaves(inner, format!("{path} {}", inner.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_command_has_examples() {
        let mut found = Vec::new();
        leaves(&command(), "", &mut found);
        assert_eq!(
            found,
            EXAMPLES.iter().map(|(path, _)| *path).collect::<Vec<_>>(),
            "args/examples.rs: one row a command, in its order"
        );
    }

    #[test]
    fn examples_parse() {
        for (path, examples) in EXAMPLES {
            for (_, example) in *examples {
                assert!(example.starts_with(&format!("cvmctl {path}")), "{example}");
                assert!(example.lines().all(|line| line.len() <= 130), "{example}");
                let parsed = command().try_get_matches_from(arguments(example)).and_then(|found| Cli::from_arg_matches(&found));
                assert!(parsed.is_ok(), "{example}\n{}", parsed.err().unwrap());
            }
        }
    }

    #[test]
    fn help_contains_the_examples() {
        let mut root = command();
        let help =
            root.find_subcommand_mut("header").unwrap().find_subcommand_mut("save").unwrap().render_long_help().to_string();
        assert!(help.contains("Examples:\n  # Save the header area of a disk\n  cvmctl header save /dev/vg/data"), "{help}");
    }
}
