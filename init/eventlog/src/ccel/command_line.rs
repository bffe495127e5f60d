//! Our own command line, looked for in a log: those who hand it on measure it in different forms.

use super::{Kind, Log};
use crate::register::Hash;

/// An event that measures the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLineEvent {
    /// The register's number, as the log counts.
    pub register: u32,
    /// Who measures it so.
    pub by: &'static str,
}

impl Log<'_> {
    /// The events of registers for command lines (PCR 8 to 15; RTMR2) that measure `line`, which is as `/proc/cmdline` has it, without the
    /// newline. They mean something only if the log makes that register what it is, in this hash function.
    ///
    /// The digests are compared, never the words of the log: what an event says about itself is not what was measured.
    #[must_use]
    pub fn command_line_events(&self, kind: Kind, hash: Hash, line: &str) -> Vec<CommandLineEvent> {
        let forms = forms(line).map(|(by, bytes)| (by, hash.digest(&bytes)));
        let is_for_command_lines = |register: u32| match kind {
            Kind::Cc => register == 3,
            Kind::Tpm => (8..=15).contains(&register),
        };
        let events = self.events.iter().filter(|event| event.is_extended() && is_for_command_lines(event.register));
        let found = events.filter_map(|event| {
            let digest = event.digest(hash)?;
            let (by, _) = forms.iter().find(|(_, form)| form == digest)?;
            Some(CommandLineEvent { register: event.register, by })
        });
        found.collect()
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
