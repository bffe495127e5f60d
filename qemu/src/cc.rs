//! Firmware that measures as that of a TD: the driver in `qemu/cc-firmware`, and the host's record of what it measured.
//!
//! A program of the guest with access to I/O ports can write to the driver's port as well, until boot services end. No scenario
//! does; on hardware a register can only be extended.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    arguments::{Arguments, escaped},
    measurement::{Register, TdInfo},
};

/// The driver's I/O port for the host (`qemu/cc-firmware/port.c`).
const PORT: &str = "0x403";
/// The length of the driver's log area in bytes, and so the longest log.
const LOG_BYTES: usize = 64 << 10;
/// The event after which no program of the firmware runs.
const EXIT: &[u8] = b"Exit Boot Services Returned with Success";

/// The driver for one machine.
#[derive(Debug, Clone)]
pub struct CcDriver {
    /// The option ROM (`target/firmware/cc.rom`).
    pub rom: PathBuf,
    /// The socket of the host's record ([`CcRecorder::socket`]).
    pub record: PathBuf,
}

impl CcDriver {
    pub(crate) fn add(&self, arguments: &mut Arguments) {
        let with = |text: &str, path: &Path| -> OsString {
            let mut argument = OsString::from(text);
            argument.push(escaped(path));
            argument
        };
        arguments.pair("-device", with("pci-testdev,romfile=", &self.rom));
        arguments.pair("-chardev", with("socket,id=cc,path=", &self.record));
        arguments.pair("-device", format!("isa-debugcon,iobase={PORT},chardev=cc"));
    }
}

/// The host's record of one machine's event log and registers. It ends, and its socket is deleted, when dropped.
pub struct CcRecorder {
    dir: tempfile::TempDir,
    measured: Measured,
    reader: Option<JoinHandle<()>>,
}

impl CcRecorder {
    /// Listens for one machine.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("cvm-cc-").tempdir_in("/tmp")?;
        let listener = UnixListener::bind(socket_in(dir.path()))?;
        let measured = Measured::default();
        let record = measured.clone();
        let reader = std::thread::Builder::new().name("cc".into()).spawn(move || record.serve(&listener))?;
        Ok(Self { dir, measured, reader: Some(reader) })
    }

    /// The socket that QEMU connects to the driver's port.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    /// What was measured so far; the value follows the machine.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.measured.clone()
    }
}

impl Drop for CcRecorder {
    fn drop(&mut self) {
        // Ends an accept that waits for a machine; a machine that runs on keeps its connection until it ends.
        self.measured.lock().ended = true;
        drop(UnixStream::connect(self.socket()));
        if let Some(guest) = self.measured.lock().guest.take() {
            // Ends a read. Fails if the machine has ended, which is fine.
            drop(guest.shutdown(std::net::Shutdown::Both));
        }
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("cc.sock")
}

/// Log and registers of one machine, as its driver wrote them.
#[derive(Clone, Default)]
pub struct Measured(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    log: Vec<u8>,
    registers: Option<[Register; 4]>,
    guest: Option<UnixStream>,
    /// Boot services ended: what comes after is not from firmware.
    exited: bool,
    ended: bool,
}

impl Measured {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event log, without padding.
    #[must_use]
    pub fn log(&self) -> Vec<u8> {
        self.lock().log.clone()
    }

    /// RTMR0 to RTMR3; `None` before the driver started.
    #[must_use]
    pub fn registers(&self) -> Option<[Register; 4]> {
        self.lock().registers
    }

    /// Waits until boot services ended; returns RTMR0 to RTMR3 then, `None` if the machine or the time ended before.
    #[must_use]
    pub fn registers_at_exit(&self, within: Duration) -> Option<[Register; 4]> {
        let waits = |state: &mut State| !state.exited && !state.ended;
        let state = self.0.1.wait_timeout_while(self.lock(), within, waits).unwrap_or_else(PoisonError::into_inner).0;
        state.registers.filter(|_| state.exited)
    }

    /// The TD with these registers once boot services ended; everything else is that of `td`.
    #[must_use]
    pub fn td_info(&self, td: &TdInfo, within: Duration) -> Option<TdInfo> {
        self.registers_at_exit(within).map(|rtmrs| TdInfo { rtmrs, ..td.clone() })
    }

    fn serve(&self, listener: &UnixListener) {
        if let Ok((guest, _)) = listener.accept() {
            self.lock().guest = guest.try_clone().ok();
            // An error means that the machine ended, or that the bytes are no records.
            drop(self.read_records(guest));
        }
        self.lock().ended = true;
        self.0.1.notify_all();
    }

    fn read_records(&self, mut guest: impl Read) -> io::Result<()> {
        while !self.lock().ended {
            let mut head = [0; 5];
            guest.read_exact(&mut head)?;
            let [kind, length @ ..] = head;
            let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if length > LOG_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut content = vec![0; length];
            guest.read_exact(&mut content)?;
            self.add(kind, &content)?;
        }
        Ok(())
    }

    fn add(&self, kind: u8, content: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        match (kind, content) {
            _ if state.exited => {}
            (b'L', bytes) if state.log.len() + bytes.len() <= LOG_BYTES => {
                state.log.extend_from_slice(bytes);
                state.exited = bytes.ends_with(EXIT);
                self.0.1.notify_all();
            }
            (b'R', [number, value @ ..]) => {
                let value = Register(value.try_into().map_err(|_| io::ErrorKind::InvalidData)?);
                let registers = state.registers.get_or_insert([Register::ZERO; 4]);
                *registers.get_mut(usize::from(*number)).ok_or(io::ErrorKind::InvalidData)? = value;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LATE: Duration = Duration::from_secs(10);

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[kind][..], &u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
    }

    fn register(number: u8, byte: u8) -> Vec<u8> {
        record(b'R', &[&[number][..], &[byte; 48]].concat())
    }

    #[test]
    fn records_become_log_and_registers_until_boot_services_end() {
        let recorder = CcRecorder::start().unwrap();
        let measured = recorder.measured();
        assert_eq!(measured.registers(), None);
        let mut guest = UnixStream::connect(recorder.socket()).unwrap();
        let after = [register(2, 0xff), record(b'L', b"late")].concat();
        guest.write_all(&[register(1, 7), record(b'L', b"first "), register(2, 9), record(b'L', EXIT), after].concat()).unwrap();
        let registers = measured.registers_at_exit(LATE).unwrap();
        assert_eq!(registers, [Register::ZERO, Register([7; 48]), Register([9; 48]), Register::ZERO]);
        assert_eq!(measured.log(), [b"first ", EXIT].concat());
        let td = TdInfo { mrtd: Register([3; 48]), ..TdInfo::default() };
        assert_eq!(measured.td_info(&td, LATE).unwrap(), TdInfo { rtmrs: registers, ..td });
    }

    #[test]
    fn a_machine_that_ends_before_has_no_registers_at_exit() {
        let recorder = CcRecorder::start().unwrap();
        let measured = recorder.measured();
        let mut guest = UnixStream::connect(recorder.socket()).unwrap();
        guest.write_all(&register(1, 7)).unwrap();
        drop(guest);
        assert_eq!(measured.registers_at_exit(LATE), None);
    }

    #[test]
    fn what_is_no_record_ends_the_record() {
        let long = [&[b'L'][..], &0x0001_0001u32.to_le_bytes()].concat();
        let full = [record(b'L', &vec![1; LOG_BYTES]), record(b'L', b"1")].concat();
        for (name, bytes) in [
            ("long", long),
            ("full", full),
            ("kind", record(b'X', b"")),
            ("register 4", register(4, 1)),
            ("short register", record(b'R', &[1; 48])),
            ("empty register", record(b'R', b"")),
        ] {
            let error = Measured::default().read_records(bytes.as_slice()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}");
        }
    }
}
