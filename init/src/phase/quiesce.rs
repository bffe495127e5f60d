//! Waits until PID 1 has one thread and no pending quote request, before anything is measured.
//!
//! A thread that asks a vault while RTMR3 is extended could get a share that no verifier knows of, or could leave a quote to the
//! running system. Network and unlock signal all threads to stop when the key is proved; this phase waits for their end.

use std::time::{Duration, Instant};

use failure::ErrorCode;
use linux::{block::unanswered, tasks, tsm::Tsm};

use crate::watchdog;

/// How long threads may take to end. A quote request cannot be interrupted, and the kernel gives the host 30 s for it.
const LONGEST: Duration = Duration::from_secs(40);
/// How often the console reports the wait.
const REPORT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two checks: the kernel does not announce the end of a thread.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Proof that PID 1 has one thread and no request for a quote. Only [`wait`] makes one.
pub(crate) struct Quiescent(());

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("threads of PID 1 did not end within {seconds} s: {0}", seconds = LONGEST.as_secs())]
    Threads(String),
    #[error("a quote request was not removed: {0}")]
    Request(String),
    #[error(
        "a disk did not answer and still does not after {seconds} s: {0}: the real init cannot start while a thread of PID 1 waits for it; \
         detach the disk if it is not needed",
        seconds = LONGEST.as_secs()
    )]
    Disks(String),
    #[error("counting threads and quote requests")]
    Kernel(#[source] linux::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Disks(_) => ErrorCode::DiskSilent,
            Self::Threads(_) | Self::Request(_) | Self::Kernel(_) => ErrorCode::Unfinished,
        }
    }

    /// The host delays these threads, and may answer after the next start.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Disks(_) | Self::Threads(_))
    }
}

/// Waits until the first thread is the only one, and checks that no quote request is left.
pub(crate) fn wait() -> Result<Quiescent, Error> {
    wait_for(tasks::others, &Tsm::system(), Instant::now() + LONGEST)
}

/// Waits until no disk owes an answer, including disks that policy does not name. A lookup skips a disk that does not answer, but
/// its thread keeps waiting, no signal ends it, and the exec of the real init would wait for it. So the boot ends here, before a
/// disk is written to.
pub(crate) fn wait_for_disks() -> Result<(), Error> {
    wait_until_empty(&|| Ok(unanswered(None)), Instant::now() + LONGEST, Error::Disks)
}

fn wait_for(others: impl Fn() -> Result<String, linux::Error>, tsm: &Tsm, deadline: Instant) -> Result<Quiescent, Error> {
    wait_until_empty(&others, deadline, Error::Threads)?;
    match tsm.left().map_err(Error::Kernel)? {
        None => Ok(Quiescent(())),
        Some(request) => Err(Error::Request(request)),
    }
}

/// Waits until `left` returns an empty text; at `deadline`, `late` makes an error of the text.
fn wait_until_empty(
    left: &dyn Fn() -> Result<String, linux::Error>,
    deadline: Instant,
    late: fn(String) -> Error,
) -> Result<(), Error> {
    let (mut pause, mut report) = (PAUSES.0, Instant::now() + REPORT);
    loop {
        let left = left().map_err(Error::Kernel)?;
        if left.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(late(left));
        }
        watchdog::keepalive(); // this wait has a deadline of its own
        if now >= report {
            let seconds = deadline.saturating_duration_since(now).as_secs();
            log::info!("quiesce: waiting for {left}; {seconds} s left");
            report = now + REPORT;
        }
        std::thread::park_timeout(pause.min(deadline.saturating_duration_since(now)));
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn outcome(threads: impl Fn() -> String, tsm: &Tsm) -> Result<(), (u8, bool, String)> {
        let soon = Instant::now() + Duration::from_millis(20);
        let waited = wait_for(|| Ok(threads()), tsm, soon);
        waited.map(drop).map_err(|error| (error.code().number(), error.is_transient(), error.to_string()))
    }

    #[test]
    fn disk_that_owes_an_answer_is_named_and_may_answer_the_next_time() {
        let soon = Instant::now() + Duration::from_millis(5);
        let error = wait_until_empty(&|| Ok("/dev/vdc".to_owned()), soon, Error::Disks).unwrap_err();
        assert_eq!((error.code().number(), error.is_transient()), (39, true));
        assert!(error.to_string().contains("still does not after 40 s: /dev/vdc: "), "{error}");
        assert!(wait_for_disks().is_ok());
    }

    #[test]
    fn one_thread_and_no_request_are_the_proof() {
        let reports = tempfile::tempdir().unwrap();
        let (tsm, looks) = (Tsm::at(reports.path()), Cell::new(0));
        let ends_later = || {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { "net".to_owned() } else { String::new() }
        };
        assert_eq!((outcome(ends_later, &tsm), looks.get()), (Ok(()), 3));
        let stays = || "net, vault 2".to_owned();
        let text = "threads of PID 1 did not end within 40 s: net, vault 2".to_owned();
        assert_eq!(outcome(stays, &tsm), Err((98, true, text)));
        std::fs::create_dir(reports.path().join("cvm-init-7")).unwrap();
        let text = "a quote request was not removed: cvm-init-7".to_owned();
        assert_eq!(outcome(String::new, &tsm), Err((98, false, text)));
    }
}
