//! The kernel log `/dev/kmsg`, written and read: messages of PID 1 appear in order among those of the kernel.

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

use crate::Error;

/// The longest record that is written, in bytes: the kernel truncates records of user space at about 1,000.
const LINE_MAX: usize = 900;

/// The most records that are read: more than the kernel's buffer contains.
const RECORDS_MAX: usize = 1 << 16;
/// The longest record that the kernel returns, in bytes (`PRINTKRB_RECORD_MAX` was 8 KiB, and is smaller today).
const RECORD_BYTES: usize = 8192;

/// Counts the records of the kernel log that contain `text`.
///
/// # Errors
/// As open(2) and read(2).
pub fn records_with(text: &str) -> Result<usize, Error> {
    let failed = |call| move |e: std::io::Error| Error::io(call, "/dev/kmsg", &e);
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let log = File::options().read(true).custom_flags(flags).open("/dev/kmsg").map_err(failed("open"))?;
    let (mut found, mut record) = (0, vec![0; RECORD_BYTES]);
    for _ in 0..RECORDS_MAX {
        match (&log).read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = record.get(..length).unwrap_or_default();
                found += usize::from(bytes.windows(text.len().max(1)).any(|part| part == text.as_bytes()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            // EPIPE: the kernel overwrote records that were not read yet. The next read continues after them.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe || error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read")(error)),
        }
    }
    Ok(found)
}

/// An open `/dev/kmsg`.
#[derive(Debug)]
pub struct Kmsg(File);

impl Kmsg {
    /// Opens the log and lifts the kernel's limit of ten records of user space in five seconds, so that no message is lost.
    ///
    /// # Errors
    /// `ENOENT` before `/dev` is mounted.
    pub fn open() -> Result<Self, Error> {
        let file = File::options()
            .write(true)
            .custom_flags(0o2_000_000) // O_CLOEXEC
            .open("/dev/kmsg")
            .map_err(|e| Error::io("open", "/dev/kmsg", &e))?;
        if let Err(error) = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n") {
            return Err(Error::io("write", "/proc/sys/kernel/printk_devkmsg", &error));
        }
        Ok(Self(file))
    }

    /// Writes one record at `level`, in syslog's numbers: 2 critical, 3 error, 4 warning, 6 information, 7 debug.
    ///
    /// A failed write is ignored: there is no other place to report it.
    pub fn write_record(&self, level: u8, text: &str) {
        let mut record = format!("<{level}>");
        record.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
        let mut end = record.len().min(LINE_MAX);
        while !record.is_char_boundary(end) {
            end -= 1;
        }
        record.truncate(end);
        // Without a newline the kernel expects a continuation, and shows the record only when another one follows.
        record.push('\n');
        drop((&self.0).write_all(record.as_bytes()));
    }
}
