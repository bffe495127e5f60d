//! Search for the measurement of the kernel command line: boot loaders and the kernel measure it in different encodings.

use super::{Kind, Log};
use crate::register::Hash;

/// An event that measures the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLineEvent {
    /// The number of the register in the log.
    pub register: u32,
    /// The program that measures the command line in this encoding.
    pub by: &'static str,
}

impl Log<'_> {
    /// Returns the events that measure `line`, in the registers for command lines (PCR 8 to 15; RTMR2). `line` is the content of
    /// `/proc/cmdline` without the newline. An event proves something only if the log replays to its register in this hash function.
    ///
    /// Only digests are compared: the data of an event is not what was measured.
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

/// The hashed bytes, and the program that hashes them.
fn forms(line: &str) -> [(&'static str, Vec<u8>); 6] {
    let wide =
        |text: &str, nuls: usize| text.encode_utf16().chain(std::iter::repeat_n(0, nuls)).flat_map(u16::to_le_bytes).collect();
    // GRUB passes the kernel `BOOT_IMAGE=` and the path first; it hashes the text without `BOOT_IMAGE=`.
    let of_grub = line.strip_prefix("BOOT_IMAGE=").unwrap_or(line).as_bytes();
    [
        // LOADED_IMAGE::LoadOptions with one NUL, with two (from systemd-stub), or without.
        ("the kernel's EFI stub", wide(line, 1)),
        ("the kernel's EFI stub", wide(line, 2)),
        ("the kernel's EFI stub", wide(line, 0)),
        // The section .cmdline with a NUL.
        ("systemd-stub", [line.as_bytes(), &[0]].concat()),
        // The prefix `kernel_cmdline: ` of its event is not hashed. Older versions hash the NUL as well.
        ("GRUB", of_grub.to_vec()),
        ("GRUB", [of_grub, &[0]].concat()),
    ]
}
