//! Child processes, each in a process group of its own, and the signals that end them.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Set for an xtask that an xtask runs: its children stay in its process group, so that a signal to the group ends them too.
pub(crate) const IN_GROUP: &str = "CVM_XTASK_IN_GROUP";
/// Runs a command inside the tools tree.
pub(crate) const IN_TOOLS_TREE: &str = "initrd/run-in-tools-tree";
/// Runs cargo inside the tools tree.
pub(crate) const CARGO: &str = "initrd/cargo-in-tools-tree";

/// A command of a step: program, arguments and what it adds to the environment. A program with a slash in its name is in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Run {
    pub(crate) fn new<A: Into<String>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self { program: program.to_owned(), arguments: arguments.into_iter().map(Into::into).collect(), environment: Vec::new() }
    }

    /// A command inside the tools tree.
    pub(crate) fn in_tools_tree<A: Into<String>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::new(IN_TOOLS_TREE, arguments)
    }

    /// cargo inside the tools tree.
    pub(crate) fn cargo<A: Into<String>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::new(CARGO, arguments)
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The command as the standard library runs it, in the project at `top`.
    pub(crate) fn command(&self, top: &Path) -> Command {
        let program = if self.program.contains('/') { top.join(&self.program) } else { PathBuf::from(&self.program) };
        let mut command = Command::new(program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(top);
        command
    }
}

/// The process groups of running children.
#[derive(Debug, Default)]
pub(crate) struct Children {
    groups: Mutex<BTreeSet<i32>>,
    stopped: AtomicBool,
    /// Whether children stay in this process's group, which another xtask ends as a whole.
    in_group: bool,
}

impl Children {
    /// Those of this process, which another xtask may have started.
    pub(crate) fn of_this_process() -> Self {
        Self { in_group: env::var_os(IN_GROUP).is_some(), ..Self::default() }
    }

    /// Runs a command with its output in `log`; `live` also copies its standard output to this process's.
    pub(crate) fn run(&self, mut command: Command, log: &File, live: bool) -> io::Result<ExitStatus> {
        command.stderr(log.try_clone()?);
        command.stdout(if live { Stdio::piped() } else { Stdio::from(log.try_clone()?) });
        let mut child = self.spawn(&mut command)?;
        let copied = child.stdout.take().map_or(Ok(()), |output| copy_lines(BufReader::new(output), log.try_clone()?));
        let status = child.wait();
        self.ended(child.id());
        copied.and(status)
    }

    /// Runs a command with its output on this process's console.
    pub(crate) fn status(&self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = self.spawn(command)?;
        let status = child.wait();
        self.ended(child.id());
        status
    }

    /// Runs a command and returns its standard output; its standard error goes to this process's console.
    pub(crate) fn output(&self, command: &mut Command) -> io::Result<Output> {
        let child = self.spawn(command.stdout(Stdio::piped()))?;
        let id = child.id();
        let output = child.wait_with_output();
        self.ended(id);
        output
    }

    /// Forgets the group of a child that ended. What a stopped child leaves behind in its group ends too: nothing waits for it any more.
    fn ended(&self, child: u32) {
        if let (Ok(mut groups), Ok(group)) = (self.groups.lock(), i32::try_from(child)) {
            if self.is_stopped() {
                killpg(Pid::from_raw(group), Signal::SIGKILL).unwrap_or_default();
            }
            groups.remove(&group);
        }
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut groups = self.groups.lock().map_err(|_| io::Error::other("a thread panicked"))?;
        if self.is_stopped() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        command.stdin(Stdio::null());
        if !self.in_group {
            command.process_group(0);
        }
        let child = command.spawn()?;
        groups.extend(i32::try_from(child.id()));
        Ok(child)
    }

    /// Whether a child runs.
    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        !self.groups.lock().unwrap().is_empty()
    }

    /// Whether the run ends early: no new child starts.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Ends the run: SIGTERM to every child's group, SIGKILL when called again.
    pub(crate) fn stop(&self) {
        let signal = if self.stopped.swap(true, Ordering::SeqCst) { Signal::SIGKILL } else { Signal::SIGTERM };
        let groups = self.groups.lock().map(|groups| groups.clone()).unwrap_or_default();
        for group in groups {
            // A group that has just ended is no error.
            killpg(Pid::from_raw(group), signal).unwrap_or_default();
        }
    }

    /// Calls [`Children::stop`] at SIGINT, SIGTERM and SIGHUP. Children get the default action of these signals back when they are executed.
    /// A signal that is ignored stays so: nohup ignores SIGHUP for its command.
    pub(crate) fn stop_at_signals(&'static self) -> io::Result<()> {
        let status = fs::read_to_string("/proc/self/status")?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(&status, *signal)))?;
        std::thread::spawn(move || signals.forever().for_each(|_| self.stop()));
        Ok(())
    }
}

/// Whether a process with this `/proc/PID/status` ignores a signal. Bit 0 of the mask is signal 1.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| (1..=64).contains(&signal) && mask >> (signal - 1) & 1 == 1)
}

fn copy_lines(mut from: impl BufRead, mut log: File) -> io::Result<()> {
    let (mut line, mut output) = (Vec::new(), io::stdout());
    while from.read_until(b'\n', &mut line)? > 0 {
        log.write_all(&line)?;
        output.write_all(&line)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use super::*;

    /// Runs `script` until it has written a line, then stops it `times` times. Returns when no process of it is left.
    fn stop(script: &str, live: bool, times: usize) -> Duration {
        let (children, start) = (Children::default(), Instant::now());
        let (read, write) = io::pipe().unwrap();
        let (mut read, log) = (BufReader::new(read), File::from(OwnedFd::from(write)));
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let mut command = Command::new("sh");
                command.args(["-c", script]);
                let status = children.run(command, &log, live);
                (status, log)
            });
            read.read_line(&mut String::new()).unwrap();
            (0..times).for_each(|_| children.stop());
            let (status, log) = running.join().unwrap();
            assert!(!status.unwrap().success());
            assert_eq!(children.run(Command::new("true"), &log, false).unwrap_err().kind(), io::ErrorKind::Interrupted);
        });
        // The end of the file comes when the last process that holds the pipe has ended.
        read.read_to_end(&mut Vec::new()).unwrap();
        start.elapsed()
    }

    #[test]
    fn stop_ends_a_child_with_its_own_children_and_starts_no_more() {
        for (script, live, times) in [
            ("sleep 60 & echo ready; wait", true, 1),
            ("sleep 60 & echo ready; wait", false, 1),
            ("(trap '' TERM; echo ready; sleep 60; true) & wait", false, 1),
            ("(trap '' TERM; echo ready; sleep 60; true) & wait", true, 2),
            ("trap '' TERM; echo ready; sleep 60; true", false, 2),
        ] {
            assert!(stop(script, live, times) < Duration::from_secs(30), "{script}: a process was left");
        }
    }

    #[test]
    fn children_of_an_xtask_that_an_xtask_runs_stay_in_its_group() {
        let group = |stat: &str| stat.split(' ').nth(4).unwrap().to_owned();
        let own = group(&fs::read_to_string("/proc/self/stat").unwrap());
        for in_group in [true, false] {
            let output = Children { in_group, ..Children::default() }.output(Command::new("cat").arg("/proc/self/stat")).unwrap();
            assert_eq!(group(&String::from_utf8(output.stdout).unwrap()) == own, in_group);
        }
    }

    #[test]
    fn ignored_signals_are_known_by_their_bit() {
        for (mask, want) in [("0000000000000001", [true, false]), ("0000000000004000", [false, true]), ("0", [false, false])] {
            let status = format!("Name:\txtask\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
            assert_eq!([SIGHUP, SIGTERM].map(|signal| is_ignored(&status, signal)), want, "{mask}");
        }
        // The standard library ignores SIGPIPE.
        assert!(is_ignored(&fs::read_to_string("/proc/self/status").unwrap(), signal_hook::consts::SIGPIPE));
    }
}
