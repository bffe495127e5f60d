//! Our own quote. The host carries it, so it is checked before anybody else sees it.

use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use attest::{Frame, FrameError, Tee};
use kernel::tsm::{REPORT_DATA_BYTES, Tsm};
use vault::{OwnEvidence, QuoteTime};

/// The first pause after a failed request; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("quoting service: {0}")]
    Service(kernel::Error),
    #[error("answer of the quoting service: {0}")]
    Frame(FrameError),
    #[error("provider {0} is not known")]
    Provider(String),
    #[error("the quote is not for this request")]
    ReportData,
    #[error("other vaults' quotes took all the time")]
    Late,
    #[error("another thread ended while it made a quote")]
    Poisoned,
}

/// Asks the kernel for a quote over `report_data` and checks what comes: its shape, its padding, and that it is for us.
///
/// What may pass (a silent, busy or failing quoting service) is tried again until `until`.
///
/// # Errors
/// The last [`Error`].
pub(super) fn own(tsm: &Mutex<Tsm>, report_data: &[u8; REPORT_DATA_BYTES], until: Instant) -> Result<OwnEvidence, Error> {
    let tsm = tsm.lock().map_err(|_| Error::Poisoned)?;
    if Instant::now() >= until {
        return Err(Error::Late);
    }
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt(&tsm, report_data) {
            Ok(evidence) => return Ok(evidence),
            Err(error) => error,
        };
        if Instant::now() + pause >= until || !matches!(error, Error::Service(_) | Error::Frame(_) | Error::ReportData) {
            return Err(error);
        }
        log::warn!("quote: {error}; asking again");
        idle(pause);
        pause *= 2;
    }
}

fn attempt(tsm: &Tsm, report_data: &[u8; REPORT_DATA_BYTES]) -> Result<OwnEvidence, Error> {
    let report = tsm.report(report_data).map_err(Error::Service)?;
    if report.provider != "tdx_guest" {
        return Err(Error::Provider(report.provider));
    }
    let frame = Frame::parse(&report.blob).map_err(Error::Frame)?;
    if frame.tee() != Tee::Tdx || frame.report_data() != report_data {
        return Err(Error::ReportData);
    }
    let quote_time = QuoteTime::at(kernel::clock::host_unix_seconds()).to_string();
    Ok(OwnEvidence { quote: frame.bytes().to_vec(), tee: "tdx", quote_time })
}

/// The kernel announces nothing when a quoting service recovers, so there is only time to wait for.
fn idle(pause: Duration) {
    let (_open, never) = mpsc::channel::<()>();
    let waited = never.recv_timeout(pause);
    debug_assert_eq!(waited, Err(RecvTimeoutError::Timeout), "nobody sends");
}
