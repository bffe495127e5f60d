//! The error of a boot: a chain of causes for people, a code for machines, and the action that follows.

use failure::{ErrorCode, FailureAction};

use crate::phase::{data, early, handoff, measure, net, policy, quiesce, root, scratch, unlock};

/// Why the boot ended: one variant for each phase.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("early")]
    Early(#[from] early::Error),
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
    #[error("internal: a defect of cvm-init, please report it{0}")]
    Internal(String),
}

impl BootError {
    /// The row of the table of error codes (`init/docs/error-codes.md`).
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Early(e) => e.code(),
            Self::Policy(e) => e.code(),
            Self::Root(e) => e.code(),
            Self::Net(e) => e.code(),
            Self::Unlock(e) => e.code(),
            Self::Data(e) => e.code(),
            Self::Scratch(e) => e.code(),
            Self::Quiesce(e) => e.code(),
            Self::Measure(e) => e.code(),
            Self::Handoff(e) => e.code(),
            Self::Internal(_) => ErrorCode::Defect,
        }
    }

    /// What the machine does next, unless the command line decides it (`cvm.fail`).
    pub(crate) fn action(&self) -> FailureAction {
        self.code().action().unwrap_or(if self.is_transient() { FailureAction::Reboot } else { FailureAction::PowerOff })
    }

    /// Whether another try may help, for codes of which the table does not say it.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unlock(e) => e.is_transient(),
            Self::Data(e) => e.is_transient(),
            Self::Scratch(e) => e.is_transient(),
            Self::Quiesce(e) => e.is_transient(),
            Self::Handoff(e) => e.is_transient(),
            Self::Early(_) | Self::Policy(_) | Self::Root(_) | Self::Net(_) | Self::Measure(_) | Self::Internal(_) => false,
        }
    }

    /// The failure line: `E53 phase: cause: cause (what happens next)`.
    pub(crate) fn line(&self, action: FailureAction) -> String {
        format!("{} {} ({})", self.code(), failure::chain(self), action.announcement())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_code_phase_and_the_chain_of_causes() {
        let error = BootError::from(policy::Error::Line(cmdline::Error::Repeated(cmdline::Key::RootHash)));
        assert_eq!(error.action(), FailureAction::PowerOff);
        assert_eq!(
            error.line(error.action()),
            "E22 policy: command line: roothash is repeated (powering off: another try cannot help)"
        );
    }
}
