//! Input from the console, for the measured debug keys only.

use std::fs::File;
use std::io::Read;

use crate::Error;

/// Waits until a line arrives on `/dev/console`, and discards it.
///
/// # Errors
/// `ENXIO` when there is no console; `EIO` when it hangs up.
pub fn wait_for_line() -> Result<(), Error> {
    let mut console = File::open("/dev/console").map_err(|e| Error::io("open", "/dev/console", &e))?;
    let mut byte = [0_u8; 1];
    loop {
        match console.read(&mut byte) {
            Ok(0) => return Err(Error::new("read", "/dev/console", rustix::io::Errno::IO)),
            Ok(_) if matches!(byte, [b'\n' | b'\r']) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", "/dev/console", &error)),
        }
    }
}
