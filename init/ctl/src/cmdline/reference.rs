//! `init/docs/command-line.md`, generated from the table of keys.

use std::fmt::Write as _;

use ::cmdline::{About, Absent, Group, Key, Needs, SetBy};

const INTRODUCTION: &str = "\
# The command line

<!-- Generated from the table of keys. Do not edit: run `cvmctl cmdline explain --markdown > init/docs/command-line.md`. -->

All security-relevant configuration is on the measured kernel command line.

- `roothash`, `init` and every key that starts with `cvm.` belong to this init. It ignores the parameters of the kernel and of systemd.
- A key that is unknown, repeated or malformed is refused, since the host may try to append one. So is a key without `=`, a key after `--`,
  and `cvm` in other letters than lower case.
- The command line contains at most 2046 bytes (the kernel truncates a longer one), printable ASCII and white space only, and no double quote
  (the kernel joins quoted parameters).
- `cvm.data.*` and `cvm.vault*` are refused without `cvm.data`: a typo there must not drop the disk in silence.
- A key of an earlier version is refused with its new name.
- A refused command line ends the boot with a code from E21 to E26, and powers the machine off.
- No value contains white space.

`cvmctl cmdline check` parses a command line as the guest does. `cvmctl cmdline explain` prints what holds with it.

This version reads no signed configuration. *Set by: command line or configuration* marks the keys that such a configuration will be
allowed to set. The other keys decide what is trusted, and stay on the measured command line.
";

const TRUST_FILES: &str = "
## Trust files in the initrd

These files are measured with the initrd.

| file | content |
|---|---|
| `/etc/cvm-init/anchors/root.der` | the root certificate of the vaults' quotes; exactly one |
| `/etc/cvm-init/anchors/node-ca-*.der` | optional: certificate authorities of the vaults. One of them must have signed a vault's certificate, which must be valid at the time that the vaults agree on |
| `/etc/cvm-init/floors.json` | build time, lowest collateral numbers, and denied advisories and platform properties: `initrd/floors/README.md` |
| `/etc/cvm-init/collateral/` | optional: collateral for vaults that send none |
| `/etc/cvm-init/modules` | kernel modules, in the order in which they are loaded |

`CVM_NODE_CA` and `CVM_COLLATERAL` in the environment of `initrd/build` add the optional ones.
";

/// The reference of all keys, in Markdown.
pub(crate) fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n## All keys\n\n| key | default | decides |\n|---|---|---|\n");
    for key in Key::ALL {
        let About { decides, .. } = key.about();
        let anchor = key.as_str().replace('.', "");
        writeln!(text, "| [`{key}`](#{anchor}) | {} | {decides} |", default(*key)).ok();
    }
    for group in Group::ALL {
        writeln!(text, "\n## {}", group.title()).ok();
        Key::ALL.iter().filter(|key| key.about().group == group).for_each(|key| section(&mut text, *key));
    }
    text.push_str(TRUST_FILES);
    text
}

fn section(text: &mut String, key: Key) {
    let About { needs, set_by, value, decides, notes, .. } = key.about();
    let needs = match needs {
        Needs::Nothing => "",
        Needs::DataDisk => "\n- Needs: `cvm.data`",
    };
    let set_by = match set_by {
        SetBy::CommandLine => "command line",
        SetBy::Configuration => "command line or configuration",
    };
    let default = default(key);
    writeln!(text, "\n### `{key}`\n\nDecides {decides}.\n\n- Value: {value}\n- Default: {default}{needs}\n- Set by: {set_by}")
        .ok();
    for note in notes {
        writeln!(text, "- {note}").ok();
    }
}

/// What holds where the key is absent, in Markdown.
pub(super) fn default(key: Key) -> String {
    match key.about() {
        About { absent: Absent::Refused, needs: Needs::Nothing, .. } => "none (required)".to_owned(),
        About { absent: Absent::Refused, .. } => "none (required with `cvm.data`)".to_owned(),
        About { absent: Absent::Value(text), .. } => format!("`{text}`"),
        About { absent: Absent::Means(text), .. } => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_in_the_repository_is_that_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/command-line.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == reference(),
            "init/docs/command-line.md is not what the table of keys says. Regenerate it: \
             initrd/cargo-in-tools-tree run -q -p ctl -- cmdline explain --markdown > init/docs/command-line.md"
        );
    }

    #[test]
    fn reference_has_a_section_and_a_row_for_each_key() {
        let text = reference();
        for key in Key::ALL {
            assert_eq!(text.matches(&format!("\n### `{key}`\n")).count(), 1, "{key}");
            assert_eq!(text.matches(&format!("\n| [`{key}`](")).count(), 1, "{key}");
        }
        let rows = text.lines().filter(|line| line.starts_with("| [`"));
        assert!(rows.into_iter().all(|row| row.matches('|').count() == 4), "expected three cells in each row: a text contains |");
    }
}
