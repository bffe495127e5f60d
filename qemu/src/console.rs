//! A machine's console: its lines with their times, and waits for a line.
//!
//! A wait ends when the reading thread wakes it, or at its deadline; nothing polls.

mod escape;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::escape::Escape;

/// The most that is kept of a console, in bytes.
const KEPT: usize = 16 << 20;
/// How many lines the error of a failed wait shows.
const SHOWN: usize = 20;

/// A line of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its last byte arrived, since the console was opened.
    pub at: Duration,
    /// The text without line end, carriage returns and escape sequences; invalid UTF-8 is replaced.
    pub text: String,
    /// Its index among the lines, from 0.
    pub number: usize,
}

/// An awaited text did not appear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Missing {
    /// The awaited text.
    pub pattern: String,
    /// The time waited.
    pub waited: Duration,
    /// Whether the console ended; otherwise the wait timed out.
    pub ended: bool,
    /// The last lines, at most 20.
    pub last: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.ended { "the console ended" } else { "time was up" };
        write!(f, "no line with {:?} after {:.1?}: {why}; last lines:", self.pattern, self.waited)?;
        self.last.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

/// A console that a thread reads until the machine closes it.
pub struct Console {
    shared: Arc<Shared>,
    input: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Console {
    /// Starts to read `output`, and copies each byte to `copy` at once; [`Console::send`] writes to `input`.
    pub fn open(
        mut output: impl Read + Send + 'static,
        input: Option<Box<dyn Write + Send>>,
        mut copy: Option<Box<dyn Write + Send>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new());
        shared.read("console", move |print| {
            let mut chunk = [0; 4096];
            // Any error means that the machine ended.
            while let Ok(len @ 1..) = output.read(&mut chunk) {
                let Some(bytes) = chunk.get(..len) else { break };
                print(bytes);
                // An error of the copy does not stop the machine.
                if copy.as_mut().is_some_and(|copy| write_through(copy, bytes).is_err()) {
                    copy = None;
                }
            }
        })?;
        Ok(Self { shared, input: Mutex::new(input) })
    }

    /// Also reads what `open` returns, in another thread: whole lines of it appear between those of the console. The console ends
    /// when both have ended.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn add<R: Read>(&self, open: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<()> {
        self.shared.read("reports", move |print| {
            let Ok(mut output) = open() else { return };
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut chunk) {
                let Some(bytes) = chunk.get(..len) else { break };
                print(bytes);
            }
        })
    }

    /// Waits for a whole line that contains `pattern`, from the start of the console.
    ///
    /// # Errors
    /// [`Missing`] after a timeout, or when the console ended without such a line.
    pub fn wait_for(&self, pattern: &str, within: Duration) -> Result<Line, Missing> {
        self.wait_from(0, pattern, within)
    }

    /// Waits for the next such line after `line`.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_for_after(&self, line: &Line, pattern: &str, within: Duration) -> Result<Line, Missing> {
        self.wait_from(line.number + 1, pattern, within)
    }

    /// Waits until the unfinished last line contains `pattern`: a prompt.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_for_prompt(&self, pattern: &str, within: Duration) -> Result<(), Missing> {
        self.wait(pattern, within, |state| state.unfinished().contains(pattern).then_some(()))
    }

    fn wait_from(&self, first: usize, pattern: &str, within: Duration) -> Result<Line, Missing> {
        let mut first = first;
        self.wait(pattern, within, |state| {
            let found = state.lines.iter().skip(first).find(|line| line.text.contains(pattern)).cloned();
            first = first.max(state.lines.len());
            found
        })
    }

    /// Waits until the machine closes the console or its kernel panics; returns the line of the panic.
    pub(crate) fn wait_for_end(&self, within: Duration) -> Result<Option<Line>, Missing> {
        const PANIC: &str = "Kernel panic - not syncing";
        let mut first = 0;
        self.wait("end of console", within, |state| {
            let panic = state.lines.iter().skip(first).find(|line| line.text.contains(PANIC)).cloned();
            first = state.lines.len();
            panic.map(Some).or_else(|| state.ended().then_some(None))
        })
    }

    /// Waits until all sources have ended, for `within` at most.
    pub(crate) fn wait_for_sources(&self, within: Duration) {
        // The time limit is a result too: a machine that hangs after a panic keeps its console open.
        self.wait("end of all sources", within, |state| state.ended().then_some(())).unwrap_or_default();
    }

    fn wait<T>(&self, pattern: &str, within: Duration, mut look: impl FnMut(&State) -> Option<T>) -> Result<T, Missing> {
        let started = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = look(&state) {
                return Ok(found);
            }
            let waited = started.elapsed();
            let left = within.saturating_sub(waited);
            if state.ended() || left.is_zero() {
                let last = state.lines.len().saturating_sub(SHOWN);
                let mut last: Vec<String> = state.lines.iter().skip(last).map(|line| line.text.clone()).collect();
                last.extend(Some(state.unfinished()).filter(|text| !text.is_empty()));
                return Err(Missing { pattern: pattern.into(), waited, ended: state.ended(), last });
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All whole lines.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lock().lines.clone()
    }

    /// All bytes, those of the console first; at most the first 16 MiB of each source.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.shared.lock().sources.iter().flat_map(|source| source.raw.iter().copied()).collect()
    }

    /// Sends `text` to the machine.
    ///
    /// # Errors
    /// `NotConnected` without an input; `BrokenPipe` when the machine has ended.
    pub fn send(&self, text: &str) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        input.write_all(text.as_bytes())?;
        input.flush()
    }
}

struct Shared {
    opened: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// The console, and the added sources.
    sources: Vec<Source>,
    /// How many sources have not ended.
    open: usize,
}

#[derive(Default)]
struct Source {
    raw: Vec<u8>,
    unfinished: Vec<u8>,
    escape: Escape,
}

impl Shared {
    fn new() -> Self {
        Self { opened: Instant::now(), state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `reader` in a thread, as one more source.
    fn read(self: &Arc<Self>, name: &str, reader: impl FnOnce(&mut dyn FnMut(&[u8])) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(self);
        let mut state = self.lock();
        let number = state.sources.len();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            reader(&mut |bytes| shared.print(number, bytes));
            shared.lock().open -= 1;
            shared.changed.notify_all();
        })?;
        state.sources.push(Source::default());
        state.open += 1;
        Ok(())
    }

    fn print(&self, source: usize, bytes: &[u8]) {
        let at = self.opened.elapsed();
        let mut state = self.lock();
        let State { lines, sources, .. } = &mut *state;
        if let Some(source) = sources.get_mut(source) {
            let room = KEPT.saturating_sub(source.raw.len());
            let kept = bytes.get(..room).unwrap_or(bytes);
            source.raw.extend_from_slice(kept);
            for byte in kept {
                source.take(*byte, at, lines);
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn ended(&self) -> bool {
        self.open == 0
    }

    /// The unfinished last line of the console itself.
    fn unfinished(&self) -> String {
        self.sources.first().map(Source::unfinished).unwrap_or_default()
    }
}

impl Source {
    fn take(&mut self, byte: u8, at: Duration, lines: &mut Vec<Line>) {
        if self.escape.swallows(byte) {
            return;
        }
        match byte {
            b'\n' => {
                lines.push(Line { at, text: self.unfinished(), number: lines.len() });
                self.unfinished.clear();
            }
            b'\r' => {}
            byte => self.unfinished.push(byte),
        }
    }

    fn unfinished(&self) -> String {
        String::from_utf8_lossy(&self.unfinished).into_owned()
    }
}

fn write_through(copy: &mut (dyn Write + Send), bytes: &[u8]) -> io::Result<()> {
    copy.write_all(bytes)?;
    copy.flush()
}
