//! Search for the digest of the kernel command line: boot loaders and the kernel measure it in different encodings.
//!
//! A log does not say who extended a digest: the kernel of a TD, and root with Linux 6.16 and later, can extend RTMR2 and write a log to
//! it. That the boot chain measured a command line follows only from a register that equals a prediction.

use super::{Kind, Log};
use crate::register::Hash;

/// An event with the digest of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLineEvent {
    /// The number of the register in the log.
    pub register: u32,
    /// The program that measures the command line in this encoding; other programs can extend the same digest.
    pub by: &'static str,
}

impl Log<'_> {
    /// Returns the events with the digest of `line`, in the registers for command lines (PCR 8 to 15; RTMR2). `line` is the content of
    /// `/proc/cmdline` without the newline. An event proves something only if the log replays to its register in this hash function.
    ///
    /// Only digests are compared: the data of an event is not what was measured.
    #[must_use]
    pub fn command_line_events(&self, kind: Kind, hash: Hash, line: &str) -> Vec<CommandLineEvent> {
        let forms = digests(hash, line);
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

/// Returns the program whose encoding of `line` has this digest.
#[must_use]
pub fn command_line_in(hash: Hash, digest: &[u8], line: &str) -> Option<&'static str> {
    digests(hash, line).into_iter().find(|(_, form)| form == digest).map(|(by, _)| by)
}

fn digests(hash: Hash, line: &str) -> [(&'static str, Vec<u8>); 6] {
    forms(line).map(|(by, bytes)| (by, hash.digest(&bytes)))
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
