//! The state of the network, shared between its thread and those that wait for a link.

use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use crate::watchdog;

/// A link that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// The kernel's index of the link: the scope of link-local addresses.
    pub(super) index: u32,
    pub(super) name: String,
    /// Name servers: at most three of each family.
    pub(super) resolvers: Vec<IpAddr>,
}

/// Why a link is not usable yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkProblem {
    #[default]
    #[error("no ethernet link")]
    NoLink,
    #[error("{0} has no carrier")]
    NoCarrier(String),
    #[error("{link}: no lease after {requests} requests{}", .solicitations.map_or_else(String::new, |n| format!(", and no router after {n} solicitations")))]
    NoLease { link: String, requests: u32, solicitations: Option<u32> },
    #[error("{link}: no router after {solicitations} solicitations")]
    NoRouter { link: String, solicitations: u32 },
    #[error("{link}: another host on the link uses {address}")]
    Duplicate { link: String, address: IpAddr },
    #[error("{link}: waiting for duplicate address detection")]
    Unproved { link: String },
    #[error("{link}: {error}")]
    Kernel { link: String, error: linux::Error },
}

#[derive(Default)]
struct State {
    up: Option<LinkInfo>,
    problem: LinkProblem,
    /// Set when the thread has ended: the state does not change any more.
    broken: Option<linux::Error>,
}

#[derive(Default)]
pub(super) struct Status {
    state: Mutex<State>,
    changed: Condvar,
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, up: Option<LinkInfo>, problem: LinkProblem) {
        let mut state = self.lock();
        state.up = up;
        state.problem = problem;
        self.changed.notify_all();
    }

    pub(super) fn fail_with(&self, error: linux::Error) {
        let mut state = self.lock();
        (state.up, state.broken) = (None, Some(error));
        self.changed.notify_all();
    }

    /// The usable link, if there is one.
    pub(super) fn up(&self) -> Option<LinkInfo> {
        self.lock().up.clone()
    }

    /// Waits for a usable link until `until`.
    pub(super) fn ready(&self, until: Instant) -> Option<LinkInfo> {
        let wait = |state: &mut State| state.up.is_none() && state.broken.is_none();
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.lock(), left, wait);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.up.clone()
    }

    /// Waits for a usable link; reports on the console every `report`, and fails at `deadline`.
    pub(super) fn wait_ready(&self, report: Duration, deadline: Instant) -> Result<LinkInfo, Error> {
        loop {
            watchdog::keepalive();
            if let Some(up) = self.ready(deadline.min(Instant::now() + report)) {
                return Ok(up);
            }
            let state = self.lock();
            if let Some(error) = state.broken.clone() {
                return Err(Error::Kernel(error));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::of(state.problem.clone()));
            }
            log::info!("net: {}; {} s left", state.problem, left.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_ends_with_the_link_or_with_what_was_missing_last() {
        let status = Status::default();
        let soon = || Instant::now() + Duration::from_millis(20);
        assert!(status.ready(soon()).is_none());
        status.set(None, LinkProblem::NoCarrier("eth0".to_owned()));
        let error = status.wait_ready(Duration::from_millis(5), soon()).unwrap_err();
        assert_eq!((error.code().number(), error.to_string().as_str()), (41, "eth0 has no carrier"));
        let up = LinkInfo { index: 2, name: "eth0".to_owned(), resolvers: Vec::new() };
        status.set(Some(up.clone()), LinkProblem::NoLink);
        assert_eq!(status.wait_ready(Duration::from_secs(9), soon()).ok(), Some(up));
        status.fail_with(linux::Error::io("socket", "rtnetlink", &std::io::ErrorKind::OutOfMemory.into()));
        assert_eq!(status.wait_ready(Duration::from_secs(9), soon()).unwrap_err().code().number(), 43);
    }

    #[test]
    fn trouble_says_who_was_asked_and_how_often() {
        let link = || "eth0".to_owned();
        let cases = [
            (LinkProblem::NoLease { link: link(), requests: 3, solicitations: None }, "eth0: no lease after 3 requests"),
            (
                LinkProblem::NoLease { link: link(), requests: 3, solicitations: Some(2) },
                "eth0: no lease after 3 requests, and no router after 2 solicitations",
            ),
            (LinkProblem::NoRouter { link: link(), solicitations: 1 }, "eth0: no router after 1 solicitations"),
        ];
        for (problem, want) in cases {
            assert_eq!(problem.to_string(), want);
        }
    }
}
