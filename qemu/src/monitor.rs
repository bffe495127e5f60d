//! QEMU's monitor (QMP): reports why the guest stopped; changes links, the power button, and the size and speed of disks.
//!
//! QEMU's exit code is 0 for a power-off and for a reset.
//!
//! Source: QEMU docs/interop/qmp-spec.rst; event `SHUTDOWN` in qapi/run-state.json, commands `set_link` in qapi/net.json,
//! `block_resize` and `block_set_io_throttle` in qapi/block-core.json.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use rustix::event::{PollFd, PollFlags, poll};

/// Longest line that is read from QEMU, in bytes; its events have a few hundred.
const LINE_MAX: u64 = 64 * 1024;

/// A thread that reads the events of one QEMU.
pub(crate) struct Monitor {
    thread: JoinHandle<Option<String>>,
    /// The connection for commands, once QEMU has connected.
    commands: Arc<Mutex<Option<UnixStream>>>,
}

impl Monitor {
    /// Waits in a thread until QEMU, the process `qemu`, connects to `listener`.
    pub(crate) fn start(listener: UnixListener, qemu: OwnedFd) -> io::Result<Self> {
        let commands = Arc::new(Mutex::new(None));
        let connected = Arc::clone(&commands);
        let thread = std::thread::Builder::new().name("qmp".into()).spawn(move || {
            // QEMU has ended; the caller treats an error like a missing reason.
            accept(&listener, &qemu).and_then(|stream| listen(stream, &connected)).unwrap_or(None)
        })?;
        Ok(Self { thread, commands })
    }

    /// Waits for QEMU's end; returns the reason that QEMU gave (`guest-shutdown`, `guest-reset`, ...).
    pub(crate) fn reason(self) -> Option<String> {
        self.thread.join().unwrap_or(None)
    }

    /// Plugs or unplugs the cable of the network device or back end `id`.
    pub(crate) fn set_link(&self, id: &str, up: bool) -> io::Result<()> {
        self.send(&serde_json::json!({ "execute": "set_link", "arguments": { "name": id, "up": up } }))
    }

    /// Presses the machine's power button.
    pub(crate) fn press_power_button(&self) -> io::Result<()> {
        self.send(&serde_json::json!({ "execute": "system_powerdown" }))
    }

    /// Changes the size of the disk `id`, in bytes.
    pub(crate) fn resize_disk(&self, id: &str, bytes: u64) -> io::Result<()> {
        self.send(&serde_json::json!({ "execute": "block_resize", "arguments": { "device": id, "size": bytes } }))
    }

    /// Stops the disk `id` from answering: throttles it to one byte per second, and reads so much that the next request waits for
    /// a day.
    pub(crate) fn stall_disk(&self, id: &str) -> io::Result<()> {
        let limits =
            serde_json::json!({ "device": id, "bps": 1, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
        self.send(&serde_json::json!({ "execute": "block_set_io_throttle", "arguments": limits }))?;
        let read = serde_json::json!({ "command-line": format!("qemu-io {id} \"read 0 128k\"") });
        self.send(&serde_json::json!({ "execute": "human-monitor-command", "arguments": read }))
    }

    fn send(&self, command: &serde_json::Value) -> io::Result<()> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.as_mut().ok_or(io::ErrorKind::NotConnected)?.write_all(format!("{command}\n").as_bytes())
    }
}

/// Accepts QEMU's connection, unless QEMU ends before it connects.
pub(crate) fn accept(listener: &UnixListener, qemu: &OwnedFd) -> io::Result<UnixStream> {
    let mut either = [PollFd::new(listener, PollFlags::IN), PollFd::new(qemu, PollFlags::IN)];
    poll(&mut either, None)?;
    listener.set_nonblocking(true)?;
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn listen(mut stream: UnixStream, commands: &Mutex<Option<UnixStream>>) -> io::Result<Option<String>> {
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
    *commands.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.try_clone()?);
    let mut reader = BufReader::new(stream);
    let mut reason = None;
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LINE_MAX).read_line(&mut line)? == 0 {
            return Ok(reason);
        }
        reason = shutdown_reason(&line).or(reason);
    }
}

fn shutdown_reason(line: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message.get("event")? != "SHUTDOWN" {
        return None;
    }
    Some(message.get("data")?.get("reason")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As printed by QEMU 10.0.2.
    const SHUTDOWN: &str = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;

    #[test]
    fn only_shutdown_events_contain_a_reason() {
        assert_eq!(shutdown_reason(SHUTDOWN).as_deref(), Some("guest-reset"));
        for line in [r#"{"return": {}}"#, &SHUTDOWN.replace("SHUTDOWN", "RESET"), "", "{"] {
            assert_eq!(shutdown_reason(line), None, "{line}");
        }
    }
}
