//! The host's quoting service: answers the guest's driver on a unix socket that QEMU connects to COM2.
//!
//! Quotes come from a [`QuoteSource`], which may misbehave in every way that a host can.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    measurement::TdInfo,
    qgs::{self, Request, TD_REPORT_LEN},
};

/// The longest time between two parts of one message, and for the guest to read an answer.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an invalid message the service skips bytes until the line is quiet for this time. Shorter than the driver's own pause.
const RESYNC_QUIET: Duration = Duration::from_millis(20);

/// A source of quotes.
pub trait QuoteSource: Send {
    /// Answers a request for a quote over this TDREPORT, whose MAC is zero because no hardware made it.
    fn quote(&mut self, td_report: &[u8; TD_REPORT_LEN]) -> QuoteAnswer;
}

impl<F: FnMut(&[u8; TD_REPORT_LEN]) -> QuoteAnswer + Send> QuoteSource for F {
    fn quote(&mut self, td_report: &[u8; TD_REPORT_LEN]) -> QuoteAnswer {
        self(td_report)
    }
}

/// The host's answer to a request for a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteAnswer {
    /// Sends this as the quote.
    Quote(Vec<u8>),
    /// Refuses with one of Intel's error codes, 0x12001 to 0x12007.
    Error(u32),
    /// Does not answer.
    Silent,
    /// Sends this quote after a delay.
    Delayed(Duration, Vec<u8>),
    /// Sends exactly these bytes, without a frame.
    Raw(Vec<u8>),
}

/// Where real drivers behave differently; the stand-in driver gets these settings with the TDINFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverQuirks {
    /// Polling interval in whole milliseconds; one second in the real driver. Zero: no pause.
    pub poll: Duration,
    /// The driver's timeout for a quote, in whole seconds; 30 in the real driver.
    pub timeout: Duration,
    /// Whether a failure is an empty quote without an error, as in Linux 6.12; later kernels return EIO.
    pub empty_on_error: bool,
}

impl Default for DriverQuirks {
    fn default() -> Self {
        Self { poll: Duration::ZERO, timeout: Duration::from_secs(30), empty_on_error: false }
    }
}

impl DriverQuirks {
    fn to_wire(self) -> [u32; 3] {
        let poll = u32::try_from(self.poll.as_millis()).unwrap_or(u32::MAX);
        let timeout = u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX);
        [poll, timeout, self.empty_on_error.into()]
    }
}

/// Forwards requests to another quoting service on a unix socket, one connection per request.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The other service's socket.
    pub socket: PathBuf,
    /// How long it may take for one quote.
    pub timeout: Duration,
}

impl Relay {
    fn ask(&self, td_report: &[u8; TD_REPORT_LEN]) -> io::Result<Vec<u8>> {
        let mut service = UnixStream::connect(&self.socket)?;
        service.set_write_timeout(Some(self.timeout))?;
        service.set_read_timeout(Some(self.timeout))?;
        service.write_all(&qgs::quote_request_frame(td_report))?;
        qgs::read_frame(&mut service)
    }
}

impl QuoteSource for Relay {
    fn quote(&mut self, td_report: &[u8; TD_REPORT_LEN]) -> QuoteAnswer {
        let Ok(message) = self.ask(td_report) else {
            return QuoteAnswer::Error(qgs::ERROR_UNEXPECTED);
        };
        match qgs::parse_quote_response(&message) {
            Ok(quote) => QuoteAnswer::Quote(quote),
            Err(qgs::Error::Service(code)) => QuoteAnswer::Error(code),
            Err(_) => QuoteAnswer::Error(qgs::ERROR_UNEXPECTED),
        }
    }
}

/// A running quoting service for one virtual machine. It ends, and its socket is deleted, when dropped.
pub struct QuotingService {
    dir: tempfile::TempDir,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl QuotingService {
    /// Starts a service that sends the guest's driver the TDINFO from `td_info`, and quotes from `source`.
    ///
    /// `td_info` is called each time the driver loads, after firmware measured. If it returns `None`, the driver gets no answer and
    /// gives up.
    pub fn start(
        td_info: impl FnMut() -> Option<TdInfo> + Send + 'static,
        quirks: Option<DriverQuirks>,
        source: impl QuoteSource + 'static,
    ) -> io::Result<Self> {
        // A socket's path has at most 107 bytes, and the tools tree shares /tmp with the host.
        let dir = tempfile::Builder::new().prefix("cvm-qgs-").tempdir_in("/tmp")?;
        let listener = UnixListener::bind(socket_in(dir.path()))?;
        let shared = Arc::new(Shared::default());
        let quirks = quirks.map(DriverQuirks::to_wire);
        let mut handler = Server { shared: Arc::clone(&shared), td_info: Box::new(td_info), quirks, source: Box::new(source) };
        let server = std::thread::Builder::new().name("qgs".into()).spawn(move || handler.serve(&listener))?;
        Ok(Self { dir, shared, server: Some(server) })
    }

    /// The socket that QEMU connects to the guest's COM2.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    /// The TDREPORTs of all requests for quotes, in order.
    #[must_use]
    pub fn td_reports(&self) -> Vec<[u8; TD_REPORT_LEN]> {
        self.shared.lock().td_reports.clone()
    }
}

impl Drop for QuotingService {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stop = true;
            if let Some(guest) = state.guest.take() {
                // Ends a read that waits for the guest. Fails if the guest has ended, which is fine.
                drop(guest.shutdown(std::net::Shutdown::Both));
            }
        }
        self.shared.stopped.notify_all();
        // Ends an accept that waits for a guest.
        drop(UnixStream::connect(self.socket()));
        if let Some(server) = self.server.take() {
            // A panic of the source was printed where it happened.
            drop(server.join());
        }
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("qgs.sock")
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    guest: Option<UnixStream>,
    td_reports: Vec<[u8; TD_REPORT_LEN]>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless the service stops; returns whether the service still runs.
    fn wait(&self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        let mut state = self.lock();
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.stopped.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

/// The state of the serving thread.
struct Server {
    shared: Arc<Shared>,
    td_info: Box<dyn FnMut() -> Option<TdInfo> + Send>,
    quirks: Option<[u32; 3]>,
    source: Box<dyn QuoteSource>,
}

impl Server {
    /// Serves one guest after another: a virtual machine has one COM2, and may be started again.
    fn serve(&mut self, listener: &UnixListener) {
        while let Ok((guest, _)) = listener.accept() {
            {
                let mut state = self.shared.lock();
                if state.stop {
                    return;
                }
                state.guest = guest.try_clone().ok();
            }
            // An error means that the guest ended.
            drop(self.talk(guest));
        }
    }

    fn talk(&mut self, mut guest: UnixStream) -> io::Result<()> {
        guest.set_write_timeout(Some(MESSAGE_TIMEOUT))?;
        loop {
            match next_message(&mut guest) {
                Ok(message) => self.answer(&message, &mut guest)?,
                Err(error) if is_framing(&error) => skip_until_quiet(&mut guest)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, message: &[u8], guest: &mut UnixStream) -> io::Result<()> {
        match qgs::parse_request(message) {
            Ok(Request::TdInfo) => match (self.td_info)() {
                Some(td_info) => guest.write_all(&qgs::td_info_frame(&td_info.to_bytes(), self.quirks)),
                None => Ok(()),
            },
            Ok(Request::Quote(report)) => {
                self.shared.lock().td_reports.push(*report);
                match self.source.quote(&report) {
                    QuoteAnswer::Quote(quote) => guest.write_all(&qgs::quote_frame(&quote)),
                    QuoteAnswer::Error(code) => guest.write_all(&qgs::error_frame(code)),
                    QuoteAnswer::Silent => Ok(()),
                    QuoteAnswer::Delayed(delay, quote) if self.shared.wait(delay) => guest.write_all(&qgs::quote_frame(&quote)),
                    QuoteAnswer::Delayed(..) => Err(io::ErrorKind::Interrupted.into()),
                    QuoteAnswer::Raw(bytes) => guest.write_all(&bytes),
                }
            }
            Ok(Request::Other(_)) | Err(_) => guest.write_all(&qgs::error_frame(qgs::ERROR_INVALID_TYPE)),
        }
    }
}

/// Waits for a message while the guest runs, then at most [`MESSAGE_TIMEOUT`] for each further part of it.
fn next_message(guest: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut first = [0];
    guest.set_read_timeout(None)?;
    guest.read_exact(&mut first)?;
    guest.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
    qgs::read_frame(&mut first.as_slice().chain(guest))
}

/// Whether the bytes were an invalid message; otherwise the guest ended.
fn is_framing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn skip_until_quiet(guest: &mut UnixStream) -> io::Result<()> {
    guest.set_read_timeout(Some(RESYNC_QUIET))?;
    loop {
        match guest.read(&mut [0; 4096]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if is_framing(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: [u8; TD_REPORT_LEN] = [3; TD_REPORT_LEN];

    fn service(answers: Vec<QuoteAnswer>) -> QuotingService {
        let mut answers = answers.into_iter();
        let source = move |_: &[u8; TD_REPORT_LEN]| answers.next().unwrap_or(QuoteAnswer::Silent);
        QuotingService::start(|| Some(TdInfo::default()), None, source).unwrap()
    }

    fn guest(service: &QuotingService) -> UnixStream {
        let guest = UnixStream::connect(service.socket()).unwrap();
        guest.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        guest
    }

    fn ask(guest: &mut UnixStream) -> Result<Vec<u8>, qgs::Error> {
        guest.write_all(&qgs::quote_request_frame(&REPORT)).unwrap();
        qgs::parse_quote_response(&qgs::read_frame(guest).unwrap())
    }

    #[test]
    fn service_answers_td_info_and_then_quotes() {
        let service = service(vec![QuoteAnswer::Quote(b"quote".to_vec())]);
        let mut guest = guest(&service);
        guest.write_all(b"\0\0\0\x10\x01\0\x01\0\x01\0\0\x80\x10\0\0\0\0\0\0\0").unwrap();
        let td_info = qgs::read_frame(&mut guest).unwrap();
        assert_eq!(td_info[16..], TdInfo::default().to_bytes());
        assert_eq!(ask(&mut guest), Ok(b"quote".to_vec()));
        assert_eq!(service.td_reports(), [REPORT]);
    }

    #[test]
    fn service_recovers_after_bytes_that_are_no_message() {
        let service = service(vec![QuoteAnswer::Quote(b"quote".to_vec())]);
        let mut guest = guest(&service);
        guest.write_all(b"\xff\xff\xff\xffnoise").unwrap();
        guest.write_all(b"\0\0\0\x10\x01\0\x01\0\x09\0\0\0\x10\0\0\0\0\0\0\0").unwrap();
        guest.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(qgs::read_frame(&mut guest).is_err(), "skipped with the noise");
        guest.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(ask(&mut guest), Ok(b"quote".to_vec()));
    }

    #[test]
    fn service_misbehaves_as_its_source_says() {
        let delayed = QuoteAnswer::Delayed(Duration::from_millis(50), b"late".to_vec());
        let service = service(vec![QuoteAnswer::Error(0x12001), delayed, QuoteAnswer::Raw(b"\xffraw".to_vec())]);
        let mut guest = guest(&service);
        assert_eq!(ask(&mut guest), Err(qgs::Error::Service(0x12001)));
        let started = Instant::now();
        assert_eq!(ask(&mut guest), Ok(b"late".to_vec()));
        assert!(started.elapsed() >= Duration::from_millis(50));
        guest.write_all(&qgs::quote_request_frame(&REPORT)).unwrap();
        let mut raw = [0; 4];
        guest.read_exact(&mut raw).unwrap();
        assert_eq!(&raw, b"\xffraw");
    }

    #[test]
    fn service_ends_at_once_while_an_answer_is_delayed() {
        let service = service(vec![QuoteAnswer::Delayed(Duration::from_secs(600), Vec::new())]);
        let mut guest = guest(&service);
        guest.write_all(&qgs::quote_request_frame(&REPORT)).unwrap();
        let started = Instant::now();
        drop(service);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn relay_passes_a_request_on_and_its_answer_back() {
        let far = service(vec![QuoteAnswer::Quote(b"far".to_vec()), QuoteAnswer::Error(0x12007)]);
        let mut relay = Relay { socket: far.socket(), timeout: Duration::from_secs(5) };
        assert_eq!(relay.quote(&REPORT), QuoteAnswer::Quote(b"far".to_vec()));
        assert_eq!(relay.quote(&REPORT), QuoteAnswer::Error(0x12007));
        assert_eq!(far.td_reports(), [REPORT, REPORT]);
        drop(far);
        assert_eq!(relay.quote(&REPORT), QuoteAnswer::Error(qgs::ERROR_UNEXPECTED));
    }
}
