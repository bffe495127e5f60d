//! A running machine: its console, its monitor, and how it ended.

use std::{
    ffi::OsString,
    io::Write,
    os::unix::net::UnixListener,
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{
    arguments::{Arguments, escaped},
    command::{Error, Qemu, end_child, wait_for_child},
    console::Console,
    machine::{Keyboard, Machine},
    monitor::{Monitor, accept},
    quoting::QuotingService,
};

/// The longest time from the console's end to QEMU's: QEMU closes disks in between.
const END: Duration = Duration::from_secs(10);
/// How long the ports of a machine whose kernel panicked are read.
const DRAIN: Duration = Duration::from_secs(2);

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The guest powered off.
    PoweredOff,
    /// The guest reset itself; the machine does not start again.
    Rebooted,
    /// The guest's kernel panicked, with this line.
    Panicked(String),
    /// The machine still runs.
    TimedOut,
    /// QEMU itself ended with this code (`None`: by a signal), and these lines on its standard error.
    Died(Option<i32>, Vec<String>),
}

/// A running machine. Killed when dropped.
pub struct Vm {
    child: Child,
    console: Console,
    stderr: Console,
    monitor: Option<Monitor>,
    exit: Option<Exit>,
    /// The folder of sockets and overlays; deleted after QEMU's end.
    _dir: tempfile::TempDir,
}

impl Vm {
    /// Starts a machine; connects `quotes` to its COM2.
    pub fn boot(qemu: &Qemu, machine: &Machine, quotes: Option<&QuotingService>) -> Result<Self, Error> {
        Self::boot_with_copy(qemu, machine, quotes, None)
    }

    /// Like [`Vm::boot`]; copies the console to `copy`.
    pub fn boot_with_copy(
        qemu: &Qemu,
        machine: &Machine,
        quotes: Option<&QuotingService>,
        copy: Option<Box<dyn Write + Send>>,
    ) -> Result<Self, Error> {
        // The tools tree shares /tmp with the host, and a socket's path must be short.
        let dir = tempfile::Builder::new()
            .prefix("cvm-vm-")
            .tempdir_in("/tmp")
            .map_err(Error::system("making a folder for the machine"))?;
        let monitor_path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&monitor_path).map_err(Error::system("listening for QEMU's monitor"))?;

        let mut arguments = Arguments(machine.to_arguments()?);
        arguments.pair("-accel", qemu.resolved_accel().argument());
        arguments.pair(
            "-chardev",
            match machine.keyboard {
                Keyboard::Console => "stdio,id=console,signal=off",
                Keyboard::Terminal => "stdio,id=console,signal=off,mux=on",
            },
        );
        arguments.pair("-serial", "chardev:console");
        if machine.keyboard == Keyboard::Terminal {
            arguments.pair("-mon", "chardev=console");
        }
        if let Some(quotes) = quotes {
            arguments.pair("-chardev", unix_chardev("quotes", &quotes.socket()));
            arguments.pair("-serial", "chardev:quotes");
        }
        arguments.pair("-chardev", unix_chardev("qmp", &monitor_path));
        arguments.pair("-mon", "chardev=qmp,mode=control");

        let reports_path = dir.path().join("reports.sock");
        let reports = machine.reports.then(|| UnixListener::bind(&reports_path)).transpose();
        let reports = reports.map_err(Error::system("listening for the machine's reports"))?;
        if reports.is_some() {
            arguments.pair("-chardev", unix_chardev("reports", &reports_path));
            // QEMU gives COM3 the interrupt of COM1, and two edge-triggered devices at one ISA interrupt lose some.
            arguments.pair("-device", "isa-serial,chardev=reports,index=2,irq=5");
        }

        let mut command = qemu.start(&arguments.0)?;
        // QEMU creates overlays in TMPDIR, by default in /var/tmp, which the tools tree lacks.
        command.env("TMPDIR", dir.path()).stdout(Stdio::piped()).stdin(match machine.keyboard {
            Keyboard::Console => Stdio::piped(),
            Keyboard::Terminal => Stdio::inherit(),
        });
        let child = command.spawn().map_err(Error::system("starting QEMU"))?;
        Self::watch(child, listener, reports, copy, dir)
    }

    fn watch(
        mut child: Child,
        listener: UnixListener,
        reports: Option<UnixListener>,
        copy: Option<Box<dyn Write + Send>>,
        dir: tempfile::TempDir,
    ) -> Result<Self, Error> {
        let attach = |child: &mut Child| {
            let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
            let input = child.stdin.take().map(|input| -> Box<dyn Write + Send> { Box::new(input) });
            let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
                return Err(std::io::ErrorKind::NotConnected.into());
            };
            let console = Console::open(output, input, copy)?;
            if let Some(reports) = reports {
                let process = process.try_clone()?;
                console.add(move || accept(&reports, &process))?;
            }
            Ok((console, Console::open(errors, None, None)?, Monitor::start(listener, process)?))
        };
        match attach(&mut child) {
            Ok((console, stderr, monitor)) => Ok(Self { child, console, stderr, monitor: Some(monitor), exit: None, _dir: dir }),
            Err(error) => {
                end_child(&mut child);
                Err(Error::system("watching QEMU")(error))
            }
        }
    }

    /// Plugs or unplugs the cable of the network device or back end `id` (`link` for [`crate::Network::User`]).
    ///
    /// # Errors
    /// QEMU is not connected.
    pub fn set_link(&self, id: &str, up: bool) -> Result<(), Error> {
        let monitor = self.monitor.as_ref().ok_or(std::io::ErrorKind::NotConnected);
        let set = monitor.map_err(std::io::Error::from).and_then(|monitor| monitor.set_link(id, up));
        set.map_err(Error::system("setting a link"))
    }

    /// Presses the power button, which asks the guest to shut down.
    ///
    /// # Errors
    /// QEMU is not connected.
    pub fn press_power_button(&self) -> Result<(), Error> {
        let monitor = self.monitor.as_ref().ok_or(std::io::ErrorKind::NotConnected);
        let pressed = monitor.map_err(std::io::Error::from).and_then(Monitor::press_power_button);
        pressed.map_err(Error::system("pressing the power button"))
    }

    /// Changes the size of disk `number`, counted from 0, while the guest uses it.
    ///
    /// # Errors
    /// QEMU is not connected.
    pub fn resize_disk(&self, number: usize, bytes: u64) -> Result<(), Error> {
        self.with_disk(number, |monitor, id| monitor.resize_disk(id, bytes), "resizing a disk")
    }

    /// Stops disk `number` from answering until the machine ends.
    ///
    /// # Errors
    /// QEMU is not connected.
    pub fn stall_disk(&self, number: usize) -> Result<(), Error> {
        self.with_disk(number, Monitor::stall_disk, "stopping a disk from answering")
    }

    fn with_disk(
        &self,
        number: usize,
        command: impl FnOnce(&Monitor, &str) -> std::io::Result<()>,
        what: &'static str,
    ) -> Result<(), Error> {
        let monitor = self.monitor.as_ref().ok_or(std::io::ErrorKind::NotConnected);
        let done = monitor.map_err(std::io::Error::from).and_then(|monitor| command(monitor, &format!("disk{number}")));
        done.map_err(Error::system(what))
    }

    /// The console on COM1.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Waits for the machine's end, or for a panic, after which the guest may hang. On [`Exit::TimedOut`] it runs on.
    ///
    /// # Errors
    /// QEMU's process cannot be waited for.
    pub fn wait(&mut self, within: Duration) -> Result<Exit, Error> {
        if let Some(exit) = &self.exit {
            return Ok(exit.clone());
        }
        let exit = match self.console.wait_for_end(within) {
            Err(_) => return Ok(Exit::TimedOut),
            Ok(Some(panic)) => {
                // What the guest printed before on another port is read until the machine ends, or for so long if it hangs.
                self.console.wait_for_sources(DRAIN);
                Exit::Panicked(panic.text)
            }
            Ok(None) => self.ended()?,
        };
        self.exit = Some(exit.clone());
        Ok(exit)
    }

    /// How the machine ended; called after the console's end.
    fn ended(&mut self) -> Result<Exit, Error> {
        let status = wait_for_child(&mut self.child, END).map_err(Error::system("waiting for QEMU"))?;
        if status.is_none() {
            end_child(&mut self.child);
        }
        let reason = self.monitor.take().and_then(Monitor::reason);
        Ok(match reason.as_deref() {
            Some("guest-shutdown") => Exit::PoweredOff,
            Some("guest-reset") => Exit::Rebooted,
            Some("guest-panic") => Exit::Panicked("guest-panic".into()),
            _ => {
                // The pipe ends with QEMU: this waits for the thread that reads it.
                drop(self.stderr.wait_for_end(END));
                let lines = self.stderr.lines().into_iter().map(|line| line.text).collect();
                Exit::Died(status.and_then(|status| status.code()), lines)
            }
        })
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        end_child(&mut self.child);
    }
}

fn unix_chardev(id: &str, path: &std::path::Path) -> OsString {
    let mut chardev = OsString::from(format!("socket,id={id},path="));
    chardev.push(escaped(path));
    chardev
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accel;

    const LATE: Duration = Duration::from_secs(10);

    /// A machine whose QEMU is a shell script; the arguments are its `$@`.
    fn boot(script: &str) -> Vm {
        let qemu = Qemu::command(["sh", "-c", script, "qemu"].map(OsString::from).to_vec()).accel(Accel::Tcg);
        Vm::boot(&qemu, &Machine::default(), None).unwrap()
    }

    #[test]
    fn failed_qemu_reports_its_stderr() {
        let mut vm = boot("echo half a boot; echo 'qemu: bad option' >&2; exit 3");
        assert_eq!(vm.wait(LATE).unwrap(), Exit::Died(Some(3), vec!["qemu: bad option".into()]));
        assert_eq!(vm.console().lines()[0].text, "half a boot");
    }

    #[test]
    fn a_panic_ends_a_machine_that_hangs() {
        let line = "[    1.0] Kernel panic - not syncing: Attempted to kill init!";
        let mut vm = boot(&format!("echo '{line}'; exec sleep 600"));
        assert_eq!(vm.wait(LATE).unwrap(), Exit::Panicked(line.into()));
    }

    #[test]
    fn running_machine_times_out_and_is_killed_when_dropped() {
        let mut vm = boot("echo $$; exec sleep 600");
        let pid = vm.console().wait_for("", LATE).unwrap().text;
        assert_eq!(vm.wait(Duration::from_millis(50)).unwrap(), Exit::TimedOut);
        drop(vm);
        assert!(!std::path::Path::new("/proc").join(pid).exists());
    }

    #[test]
    fn machine_reads_the_console_input() {
        let vm = boot("read line; echo got $line; exec sleep 600");
        vm.console().send("hello\n").unwrap();
        assert_eq!(vm.console().wait_for("got", LATE).unwrap().text, "got hello");
    }

    #[test]
    fn a_machine_reaches_its_quoting_service_on_com2() {
        let source = |_: &[u8; 1024]| crate::QuoteAnswer::Silent;
        let quotes = QuotingService::start(|| None, None, source).unwrap();
        let qemu = Qemu::command(["echo".into()].to_vec()).accel(Accel::Tcg);
        let mut vm = Vm::boot(&qemu, &Machine::default(), Some(&quotes)).unwrap();
        assert_eq!(vm.wait(LATE).unwrap(), Exit::Died(Some(0), Vec::new()));
        let arguments = &vm.console().lines()[0].text;
        let com1 = arguments.find("-serial chardev:console").unwrap();
        assert!(com1 < arguments.find("-serial chardev:quotes").unwrap(), "{arguments}");
    }
}
