//! Our own command line, looked for in a log: those who hand it on measure it in different forms.

use super::{Kind, Log};
use crate::register::Hash;

impl Log<'_> {
    /// Whether an event of the register for command lines (PCR 8 to 15; RTMR2) measures `line`, and who measured it so. `line` is as
    /// `/proc/cmdline` has it, without the newline.
    ///
    /// The digests are compared, never the words of the log: what an event says about itself is not what was measured.
    #[must_use]
    pub fn measures_command_line(&self, kind: Kind, hash: Hash, line: &str) -> Option<&'static str> {
        let forms = forms(line).map(|(who, bytes)| (who, hash.digest(&bytes)));
        let is_for_command_lines = |register: u32| match kind {
            Kind::Cc => register == 3,
            Kind::Tpm => (8..=15).contains(&register),
        };
        let events = self.events.iter().filter(|event| event.is_extended() && is_for_command_lines(event.register));
        let digests: Vec<&[u8]> = events.filter_map(|event| event.digest(hash)).collect();
        forms.into_iter().find(|(_, form)| digests.contains(&form.as_slice())).map(|(who, _)| who)
    }
}

/// What is hashed, and by whom.
fn forms(line: &str) -> [(&'static str, Vec<u8>); 6] {
    let wide =
        |text: &str, nuls: usize| text.encode_utf16().chain(std::iter::repeat_n(0, nuls)).flat_map(u16::to_le_bytes).collect();
    // GRUB puts the path first, and the kernel sees it behind this word.
    let of_grub = line.strip_prefix("BOOT_IMAGE=").unwrap_or(line).as_bytes();
    [
        // LOADED_IMAGE::LoadOptions, with the NUL that the loader counted in, or two (systemd-stub's).
        ("the kernel's EFI stub", wide(line, 1)),
        ("the kernel's EFI stub", wide(line, 2)),
        ("the kernel's EFI stub", wide(line, 0)),
        // The section .cmdline with its NUL.
        ("systemd-stub", [line.as_bytes(), &[0]].concat()),
        // Its event says `kernel_cmdline: ` before it; that is not hashed. Older ones count the NUL in.
        ("GRUB", of_grub.to_vec()),
        ("GRUB", [of_grub, &[0]].concat()),
    ]
}
