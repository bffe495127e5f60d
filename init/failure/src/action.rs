//! What the machine does after a failure.

/// What the machine does after a failure: the error decides, unless the command line does (`cvm.fail`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureAction {
    /// The machine reboots: a disk, a link or a vault may be available after the next start.
    Reboot,
    /// The machine powers off: image, command line or disk must be changed first.
    PowerOff,
    /// The processors halt and the console stays readable. Only `cvm.fail=halt` asks for it.
    Halt,
}

impl FailureAction {
    /// Every action.
    pub const ALL: &[Self] = &[Self::Reboot, Self::PowerOff, Self::Halt];

    /// The action as `cvm.fail` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "poweroff",
            Self::Halt => "halt",
        }
    }

    /// The action that `cvm.fail` spells so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text)
    }

    /// What the failure line ends with, in parentheses.
    #[must_use]
    pub const fn announcement(self) -> &'static str {
        match self {
            Self::Reboot => "rebooting: another try may help",
            Self::PowerOff => "powering off: another try cannot help",
            Self::Halt => "halted",
        }
    }
}
