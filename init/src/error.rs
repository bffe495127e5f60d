//! A chain for people, a number for machines, a verdict for what comes next.

use std::error::Error as _;

use cmdline::FailVerdict;
use linux::power::Power;

use crate::phase::{api, data, handoff, measure, net, policy, quiesce, root, scratch, unlock};

/// Why the boot ended. One variant a phase.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("api")]
    Api(#[from] api::Error),
    #[error("policy")]
    Policy(#[from] policy::Error),
    #[error("root")]
    Root(#[from] root::Error),
    #[error("net")]
    Net(#[from] net::Error),
    #[error("unlock")]
    Unlock(#[from] unlock::Error),
    #[error("data")]
    Data(#[from] data::Error),
    #[error("scratch")]
    Scratch(#[from] scratch::Error),
    #[error("quiesce")]
    Quiesce(#[from] quiesce::Error),
    #[error("measure")]
    Measure(#[from] measure::Error),
    #[error("handoff")]
    Handoff(#[from] handoff::Error),
    #[error("internal: a defect of cvm-init{0}")]
    Internal(String),
}

/// What happens next. PID 1 never exits: the kernel would panic with a worse message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The image, its policy or the disk is wrong, or tampered with: trying again cannot help.
    PowerOff,
    /// Vaults or network may come back.
    Reboot,
    /// Stay, with the console readable: only when policy says so.
    Park,
}

impl Verdict {
    pub(crate) fn power(self) -> Power {
        match self {
            Self::PowerOff => Power::Off,
            Self::Reboot => Power::Restart,
            Self::Park => Power::Park,
        }
    }

    /// What the failure line ends with, so that its reader knows whether to wait.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::PowerOff => "powering off: another try cannot help",
            Self::Reboot => "rebooting: another try may help",
            Self::Park => "parked",
        }
    }
}

impl From<FailVerdict> for Verdict {
    fn from(word: FailVerdict) -> Self {
        match word {
            FailVerdict::Reboot => Self::Reboot,
            FailVerdict::PowerOff => Self::PowerOff,
            FailVerdict::Park => Self::Park,
        }
    }
}

impl BootError {
    /// A stable number, printed as `E<n>`: never reuse one. The README has the table.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Api(e) => e.code(),
            Self::Policy(e) => e.code(),
            Self::Root(e) => e.code(),
            Self::Net(e) => e.code(),
            Self::Unlock(e) => e.code(),
            Self::Data(e) => e.code(),
            Self::Scratch(e) => e.code(),
            Self::Quiesce(e) => e.code(),
            Self::Measure(e) => e.code(),
            Self::Handoff(e) => e.code(),
            Self::Internal(_) => 99,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let may_pass = match self {
            Self::Api(e) => e.may_pass(),
            Self::Policy(e) => e.may_pass(),
            Self::Net(e) => e.may_pass(),
            Self::Unlock(e) => e.may_pass(),
            Self::Data(e) => e.may_pass(),
            Self::Root(e) => e.may_pass(),
            Self::Scratch(e) => e.may_pass(),
            Self::Quiesce(e) => e.may_pass(),
            Self::Handoff(e) => e.may_pass(),
            Self::Measure(_) | Self::Internal(_) => false,
        };
        if may_pass { Verdict::Reboot } else { Verdict::PowerOff }
    }

    /// `E42 net: cause: cause`.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("E{} {self}", self.code());
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_code_phase_and_the_chain_of_causes() {
        let error = BootError::from(policy::Error::Line(cmdline::Error::Repeated(cmdline::Key::RootHash)));
        assert_eq!(error.line(), "E22 policy: command line: roothash is repeated");
        assert_eq!(error.verdict(), Verdict::PowerOff);
    }
}
