//! The kernel's log as a log target: our lines stand among the kernel's own, in order.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::Error;

/// Bytes of one record that surely fit: the kernel cuts user records at about 1,000.
const LINE_MAX: usize = 900;

/// An open `/dev/kmsg`.
#[derive(Debug)]
pub struct Kmsg(File);

impl Kmsg {
    /// Opens the log and lifts the kernel's limit of ten user lines in five seconds, so that no verdict is lost.
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

    /// Writes one line at `level`, as syslog numbers them: 2 critical, 3 error, 4 warning, 6 information, 7 debug.
    ///
    /// A log that does not take the line loses it: there is nobody left to tell.
    pub fn line(&self, level: u8, text: &str) {
        let mut record = format!("<{level}>");
        record.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
        let mut end = record.len().min(LINE_MAX);
        while !record.is_char_boundary(end) {
            end -= 1;
        }
        record.truncate(end);
        // Without it the kernel waits for the rest of the line, and shows this one only when another record comes.
        record.push('\n');
        drop((&self.0).write_all(record.as_bytes()));
    }
}
