//! Clocks: the one that nobody can step, and the one that the host chose.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Time since the kernel started, from the monotonic clock.
#[must_use]
pub fn since_kernel_start() -> Duration {
    read(ClockId::Monotonic)
}

/// Unix time in seconds as the host set it: a hint, never a fact.
#[must_use]
pub fn host_unix_seconds() -> u64 {
    read(ClockId::Realtime).as_secs()
}

/// Bytes from the kernel's random number generator; waits until it is seeded.
///
/// # Errors
/// As getrandom(2).
pub fn random(buffer: &mut [u8]) -> Result<(), crate::Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = buffer.get_mut(filled..).unwrap_or_default();
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(crate::Error::new("getrandom", "", errno)),
        }
    }
    Ok(())
}
