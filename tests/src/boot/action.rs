//! What the machine must do after each failure: the README's table as the scenarios hold PID 1 to it, and not as PID 1 has it.

use machine::Exit;

/// What ends a boot that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Another try cannot help.
    PowerOff,
    /// Another try may help.
    Reboot,
}

impl Action {
    /// What the failure line ends with.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::PowerOff => "(powering off: another try cannot help)",
            Self::Reboot => "(rebooting: another try may help)",
        }
    }

    pub(crate) fn is(self, exit: &Exit) -> bool {
        matches!((self, exit), (Self::PowerOff, Exit::PoweredOff) | (Self::Reboot, Exit::Rebooted))
    }

    /// What may follow a code; of two the scenario must say which.
    pub(crate) const fn after(code: u8) -> &'static [Self] {
        match code {
            // The policy, the image or the disk is wrong, and stays so.
            10..=13 | 20..=29 | 31..=36 | 38 | 55 | 62 | 63 | 73..=75 | 78 | 79 | 84 | 85 | 89..=97 | 99 => &[Self::PowerOff],
            // Disks, links, vaults and quoting services come back, and addresses lead elsewhere.
            14 | 30 | 37 | 39 | 40..=45 | 50..=54 | 56 | 57 | 71 => &[Self::Reboot],
            // It depends on what the disk, the kernel or the clock did.
            60 | 61 | 64..=66 | 70 | 72 | 76 | 77 | 80..=83 | 86 | 87 | 98 => &[Self::PowerOff, Self::Reboot],
            _ => &[],
        }
    }
}
