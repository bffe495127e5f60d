//! How QEMU is started and stopped, and with which accelerator.

use std::{
    ffi::OsString,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::accel::{self, Accel};

/// How long QEMU may take to end after SIGTERM: it writes what disk formats keep in memory.
const GRACE: Duration = Duration::from_secs(3);

/// The command for QEMU, and the accelerator.
#[derive(Debug, Clone)]
pub struct Qemu {
    command: Vec<OsString>,
    accel: Accel,
}

impl Default for Qemu {
    fn default() -> Self {
        Self::of_tools_tree()
    }
}

impl Qemu {
    /// The QEMU of the tools tree.
    #[must_use]
    pub fn of_tools_tree() -> Self {
        let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("initrd").join("run-in-tools-tree");
        Self::command(vec![launcher.into(), "qemu-system-x86_64".into()])
    }

    /// QEMU as this command starts it; the machine's arguments follow.
    #[must_use]
    pub fn command(command: Vec<OsString>) -> Self {
        Self { command, accel: Accel::Auto }
    }

    /// Chooses the accelerator instead of probing for one.
    #[must_use]
    pub fn accel(self, accel: Accel) -> Self {
        Self { accel, ..self }
    }

    /// The accelerator that machines get: never `Auto`.
    #[must_use]
    pub fn resolved_accel(&self) -> Accel {
        match self.accel {
            Accel::Auto => accel::probe(self),
            chosen => chosen,
        }
    }

    pub(crate) fn start(&self, arguments: &[OsString]) -> Result<Command, Error> {
        let (program, first) = self.command.split_first().ok_or(Error::NoCommand)?;
        let mut command = Command::new(program);
        command.args(first).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// Why a machine could not be started, or its end not be awaited.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command for QEMU is empty.
    #[error("empty command for QEMU")]
    NoCommand,
    /// The machine cannot be described to QEMU.
    #[error("{0}")]
    Spec(#[from] crate::machine::Error),
    /// The operating system refused something that QEMU needs.
    #[error("{what}")]
    System {
        /// What failed.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn system(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Waits for the end of a child process; `None` after a timeout.
pub(crate) fn wait_for_child(child: &mut Child, within: Duration) -> std::io::Result<Option<ExitStatus>> {
    let exited = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let timeout = Timespec::try_from(within).map_err(std::io::Error::other)?;
    poll(&mut [PollFd::new(&exited, PollFlags::IN)], Some(&timeout))?;
    child.try_wait()
}

/// Ends a child process that may have ended: SIGTERM, a wait, SIGKILL.
pub(crate) fn end_child(child: &mut Child) {
    let asked =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).and_then(|process| pidfd_send_signal(process, Signal::TERM));
    if asked.is_err() || !matches!(wait_for_child(child, GRACE), Ok(Some(_))) {
        // Both fail only after the process has ended.
        drop(child.kill());
        drop(child.wait());
    }
}
