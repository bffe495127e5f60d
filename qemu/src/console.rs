//! A machine's console: what it prints, line by line with the time of each, and a way to wait for a line.
//!
//! Never sleeps: a waiter is woken by the reader, or by its own deadline.

use std::{
    fmt,
    io::{self, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is kept of a console, in bytes: a machine that prints for ever fills no memory.
const KEPT: usize = 16 << 20;
/// Lines a failed wait shows.
const SHOWN: usize = 20;

/// One line that was printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its last byte came, since the console was opened.
    pub at: Duration,
    /// Without line end, carriage returns and escape sequences; bytes that are no UTF-8 replaced.
    pub text: String,
    /// Its place among the lines, from 0.
    pub number: usize,
}

/// What was awaited did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Missing {
    /// What was awaited.
    pub pattern: String,
    /// How long it was awaited.
    pub waited: Duration,
    /// Whether the console ended; else the time was up.
    pub ended: bool,
    /// The last lines that did come, at most 20.
    pub last: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.ended { "the console ended" } else { "time was up" };
        write!(f, "no line with {:?} after {:.1?}: {why}; last lines:", self.pattern, self.waited)?;
        self.last.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

/// A console being read by a thread of its own until the other end closes.
pub struct Console {
    shared: Arc<Shared>,
    input: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Console {
    /// Begins to read `output`. What is read goes to `copy` too, byte for byte and at once; `input` takes what is typed.
    pub fn open(
        mut output: impl Read + Send + 'static,
        input: Option<Box<dyn Write + Send>>,
        mut copy: Option<Box<dyn Write + Send>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new());
        shared.read("console", move |print| {
            let mut chunk = [0; 4096];
            // Any error is the machine's end.
            while let Ok(len @ 1..) = output.read(&mut chunk) {
                let Some(bytes) = chunk.get(..len) else { break };
                print(bytes);
                // A reader that went away does not stop the machine.
                if copy.as_mut().is_some_and(|copy| write_through(copy, bytes).is_err()) {
                    copy = None;
                }
            }
        })?;
        Ok(Self { shared, input: Mutex::new(input) })
    }

    /// Also reads what `open` gives, on a thread of its own: its whole lines come between those of the console and are never cut by
    /// them. The console ends when both have ended.
    ///
    /// # Errors
    /// When no thread can be started.
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

    /// Waits for a whole line that contains `pattern`, printed before or after this call.
    ///
    /// # Errors
    /// [`Missing`] when none came within the time, or the console ended without one.
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

    /// Waits until the machine closes the console, or a line shows that its kernel panicked; gives that line.
    pub(crate) fn wait_for_end(&self, within: Duration) -> Result<Option<Line>, Missing> {
        const PANIC: &str = "Kernel panic - not syncing";
        let mut first = 0;
        self.wait("end of console", within, |state| {
            let panic = state.lines.iter().skip(first).find(|line| line.text.contains(PANIC)).cloned();
            first = state.lines.len();
            panic.map(Some).or_else(|| state.ended().then_some(None))
        })
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

    /// The whole lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lock().lines.clone()
    }

    /// Everything so far as it came, the console first; at most 16 MiB of each source, from the beginning.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.shared.lock().sources.iter().flat_map(|source| source.raw.iter().copied()).collect()
    }

    /// Types `text`.
    ///
    /// # Errors
    /// `NotConnected` when this console has no input; `BrokenPipe` when the machine is gone.
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
    /// The console, and what was added to it.
    sources: Vec<Source>,
    /// How many of them may still print.
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

    /// Runs `reader` on a thread, as one more source.
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

    /// The last line of the console itself, as far as it came.
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

/// Where in a terminal's escape sequence the bytes are (ECMA-48: CSI, OSC, and the short ones).
#[derive(Default, Clone, Copy)]
enum Escape {
    #[default]
    Outside,
    Begun,
    /// `ESC (` and its like: one byte more.
    Short,
    /// `ESC [`, up to a byte from `@` to `~`.
    Control,
    /// `ESC ]`, up to BEL or `ESC \`.
    Command,
}

impl Escape {
    fn swallows(&mut self, byte: u8) -> bool {
        let next = match (*self, byte) {
            (_, 0x1b) => Self::Begun,
            (Self::Begun, b'[') => Self::Control,
            (Self::Begun, b']') => Self::Command,
            (Self::Begun, 0x20..=0x2f) => Self::Short,
            (Self::Control, 0x20..=0x3f) | (Self::Command, 0x20..) => *self,
            _ => Self::Outside,
        };
        // A line end inside a sequence is a sequence cut short: the line matters more.
        let swallowed = byte == 0x1b || (!matches!(self, Self::Outside) && byte != b'\n');
        *self = next;
        swallowed
    }
}

fn write_through(copy: &mut (dyn Write + Send), bytes: &[u8]) -> io::Result<()> {
    copy.write_all(bytes)?;
    copy.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(10);

    fn console() -> (Console, UnixStream) {
        let (machine, reader) = UnixStream::pair().unwrap();
        let typing = reader.try_clone().unwrap();
        (Console::open(reader, Some(Box::new(typing)), None).unwrap(), machine)
    }

    fn texts(printed: &[u8]) -> Vec<String> {
        let console = Console::open(io::Cursor::new(printed.to_vec()), None, None).unwrap();
        assert_eq!(console.wait_for_end(LATE), Ok(None));
        assert_eq!(console.raw(), printed);
        console.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_lose_line_ends_and_escape_sequences() {
        let cases: [(&[u8], &[&str]); 6] = [
            (b"one\r\ntwo\n", &["one", "two"]),
            (b"\x1b[0;32m  OK  \x1b[0m done\n", &["  OK   done"]),
            (b"\x1b]0;title\x07a\x1b]1;b\x1b\\c\n", &["ac"]),
            (b"\x1bc\x1b(Bplain\n", &["plain"]),
            (b"cut \x1b[3\nnext\n", &["cut ", "next"]),
            (b"\xff\n", &["\u{fffd}"]),
        ];
        for (printed, want) in cases {
            assert_eq!(texts(printed), want, "{}", String::from_utf8_lossy(printed));
        }
    }

    #[test]
    fn wait_for_finds_a_line_printed_before_or_after() {
        let (console, mut machine) = console();
        machine.write_all(b"early\n").unwrap();
        assert_eq!(console.wait_for("arl", LATE).unwrap().text, "early");
        let printer = std::thread::spawn(move || machine.write_all(b"la").and_then(|()| machine.write_all(b"te\n")));
        let late = console.wait_for("late", LATE).unwrap();
        assert_eq!((late.text.as_str(), late.number), ("late", 1));
        printer.join().unwrap().unwrap();
    }

    #[test]
    fn wait_for_after_skips_what_came_before() {
        let (console, mut machine) = console();
        machine.write_all(b"same 1\nsame 2\n").unwrap();
        let first = console.wait_for("same", LATE).unwrap();
        assert_eq!(console.wait_for_after(&first, "same", LATE).unwrap().text, "same 2");
    }

    #[test]
    fn a_second_source_cuts_no_line_and_ends_with_the_console() {
        let (console, mut machine) = console();
        let (mut port, reader) = UnixStream::pair().unwrap();
        console.add(move || Ok(reader)).unwrap();
        machine.write_all(b"half a ").unwrap();
        console.wait_for_prompt("half a ", LATE).unwrap();
        port.write_all(b"report\n").unwrap();
        assert_eq!(console.wait_for("", LATE).unwrap().text, "report");
        machine.write_all(b"line\n").unwrap();
        drop(machine);
        assert_eq!(console.wait_for("half", LATE).unwrap().text, "half a line");
        assert!(!console.wait_for("late", SOON).unwrap_err().ended);
        port.write_all(b"late\n").unwrap();
        drop(port);
        assert_eq!(console.wait_for_end(LATE), Ok(None));
        assert_eq!(console.raw(), b"half a line\nreport\nlate\n");
    }

    #[test]
    fn wait_for_says_what_was_missing_and_what_came_last() {
        let (console, mut machine) = console();
        machine.write_all(b"booting\nhalf a li").unwrap();
        console.wait_for_prompt("half a li", LATE).unwrap();
        let missing = console.wait_for("login:", SOON).unwrap_err();
        assert_eq!((missing.ended, missing.pattern.as_str()), (false, "login:"));
        assert_eq!(missing.last, ["booting", "half a li"]);
        drop(machine);
        let missing = console.wait_for("login:", LATE).unwrap_err();
        assert!(missing.ended);
        assert!(missing.to_string().contains("the console ended; last lines:\n  | booting\n"));
    }

    #[test]
    fn a_kernel_panic_ends_the_wait_while_the_machine_hangs() {
        let (console, mut machine) = console();
        machine.write_all(b"[ 1.2] Kernel panic - not syncing: VFS\r\n").unwrap();
        assert_eq!(console.wait_for_end(LATE).unwrap().unwrap().text, "[ 1.2] Kernel panic - not syncing: VFS");
    }

    #[test]
    fn send_types_into_the_machine() {
        let (console, mut machine) = console();
        console.send("root\n").unwrap();
        let mut typed = [0; 5];
        machine.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"root\n");
    }
}
