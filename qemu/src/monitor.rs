//! QEMU's monitor (QMP), of which this crate needs: why the guest stopped, its links' cables, its power button, the size and the speed of its disks.
//!
//! QEMU's exit code is 0 for a power-off and for a reset alike.
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

/// Longest line taken from QEMU, in bytes; its events have a few hundred.
const LINE_MAX: u64 = 64 * 1024;

/// A thread that listens to one QEMU.
pub(crate) struct Monitor {
    thread: JoinHandle<Option<String>>,
    /// The way to QEMU, once it has connected.
    orders: Arc<Mutex<Option<UnixStream>>>,
}

impl Monitor {
    /// Begins to wait for QEMU, the process `qemu`, to connect to `listener`.
    pub(crate) fn attend(listener: UnixListener, qemu: OwnedFd) -> io::Result<Self> {
        let orders = Arc::new(Mutex::new(None));
        let connected = Arc::clone(&orders);
        let thread = std::thread::Builder::new().name("qmp".into()).spawn(move || {
            // QEMU's end is the end of the story: an error tells no more than no reason does.
            accept(&listener, &qemu).and_then(|stream| listen(stream, &connected)).unwrap_or(None)
        })?;
        Ok(Self { thread, orders })
    }

    /// Why the guest stopped, in QEMU's words (`guest-shutdown`, `guest-reset`, ...), once QEMU has ended.
    pub(crate) fn reason(self) -> Option<String> {
        self.thread.join().unwrap_or(None)
    }

    /// Plugs or unplugs the cable of the network device or back end `id`.
    pub(crate) fn set_link(&self, id: &str, up: bool) -> io::Result<()> {
        self.order(&serde_json::json!({ "execute": "set_link", "arguments": { "name": id, "up": up } }))
    }

    /// Presses the machine's power button.
    pub(crate) fn press_power_button(&self) -> io::Result<()> {
        self.order(&serde_json::json!({ "execute": "system_powerdown" }))
    }

    /// Gives the disk `id` another size, in bytes.
    pub(crate) fn resize_disk(&self, id: &str, bytes: u64) -> io::Result<()> {
        self.order(&serde_json::json!({ "execute": "block_resize", "arguments": { "device": id, "size": bytes } }))
    }

    /// Lets the disk `id` answer nothing any more: it may move a byte a second, and a read of QEMU's own used up what it may for a day.
    pub(crate) fn silence_disk(&self, id: &str) -> io::Result<()> {
        let limits =
            serde_json::json!({ "device": id, "bps": 1, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
        self.order(&serde_json::json!({ "execute": "block_set_io_throttle", "arguments": limits }))?;
        let read = serde_json::json!({ "command-line": format!("qemu-io {id} \"read 0 128k\"") });
        self.order(&serde_json::json!({ "execute": "human-monitor-command", "arguments": read }))
    }

    fn order(&self, order: &serde_json::Value) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.as_mut().ok_or(io::ErrorKind::NotConnected)?.write_all(format!("{order}\n").as_bytes())
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

fn listen(mut stream: UnixStream, orders: &Mutex<Option<UnixStream>>) -> io::Result<Option<String>> {
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
    *orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.try_clone()?);
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

    /// As QEMU 10.0.2 prints it.
    const SHUTDOWN: &str = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;

    #[test]
    fn a_shutdown_tells_its_reason_and_other_lines_do_not() {
        assert_eq!(shutdown_reason(SHUTDOWN).as_deref(), Some("guest-reset"));
        for line in [r#"{"return": {}}"#, &SHUTDOWN.replace("SHUTDOWN", "RESET"), "", "{"] {
            assert_eq!(shutdown_reason(line), None, "{line}");
        }
    }
}
