//! Child processes, each in a process group of its own, and the signals that end them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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
}

impl Children {
    /// Runs a command with its output in `log`; `live` also copies its standard output to this process's.
    pub(crate) fn run(&self, mut command: Command, log: &File, live: bool) -> io::Result<ExitStatus> {
        command.stdin(Stdio::null()).stderr(log.try_clone()?).process_group(0);
        command.stdout(if live { Stdio::piped() } else { Stdio::from(log.try_clone()?) });
        let mut child = self.spawn(&mut command)?;
        let copied = child.stdout.take().map_or(Ok(()), |output| copy_lines(BufReader::new(output), log.try_clone()?));
        let status = child.wait();
        if let (Ok(mut groups), Ok(group)) = (self.groups.lock(), i32::try_from(child.id())) {
            groups.remove(&group);
        }
        copied.and(status)
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut groups = self.groups.lock().map_err(|_| io::Error::other("a thread panicked"))?;
        if self.is_stopped() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let child = command.spawn()?;
        groups.extend(i32::try_from(child.id()));
        Ok(child)
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
    pub(crate) fn stop_at_signals(&'static self) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        std::thread::spawn(move || signals.forever().for_each(|_| self.stop()));
        Ok(())
    }
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
    use super::*;

    #[test]
    fn stop_ends_a_child_with_its_own_children_and_starts_no_more() {
        let children = Children::default();
        let log = tempfile::tempfile().unwrap();
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let mut command = Command::new("sh");
                command.args(["-c", "sleep 60 & wait"]);
                children.run(command, &log, true)
            });
            while children.groups.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            children.stop();
            assert!(!running.join().unwrap().unwrap().success());
        });
        assert!(start.elapsed().as_secs() < 30, "the grandchild held the pipe");
        assert_eq!(children.run(Command::new("true"), &log, false).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}
