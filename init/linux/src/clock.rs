//! Clocks: the monotonic clock, and the wall clock, which the host sets before PID 1 runs.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the time since the kernel started, without suspend (`CLOCK_MONOTONIC`).
#[must_use]
pub fn since_kernel_start() -> Duration {
    read(ClockId::Monotonic)
}

/// Returns the time since the kernel started, with suspend (`CLOCK_BOOTTIME`): systemd's logs use it.
#[must_use]
pub fn since_boot() -> Duration {
    read(ClockId::Boottime)
}

/// Returns the boot ID: 32 random hexadecimal digits that the kernel generates at each boot.
///
/// # Errors
/// As read(2).
pub fn boot_id() -> Result<String, crate::Error> {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(FILE).map_err(|e| crate::Error::io("read", FILE, &e))?;
    Ok(text.chars().filter(char::is_ascii_hexdigit).collect())
}

/// Returns the wall clock in Unix seconds. The host sets it: it is not trusted.
#[must_use]
pub fn host_unix_seconds() -> u64 {
    read(ClockId::Realtime).as_secs()
}

/// Sets the wall clock.
///
/// # Errors
/// As clock_settime(2).
pub fn set_unix_seconds(seconds: u64) -> Result<(), crate::Error> {
    let seconds = i64::try_from(seconds).map_err(|_| crate::Error::new("clock_settime", seconds, rustix::io::Errno::INVAL))?;
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    clock_settime(ClockId::Realtime, time).map_err(|errno| crate::Error::new("clock_settime", seconds, errno))
}

/// Returns the kernel's clock source, for example `tsc`: the counter of the processor, which the host cannot change in a trust domain.
#[must_use]
pub fn source() -> Option<String> {
    let name = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok()?;
    Some(name.trim_end().to_owned())
}

/// Fills `buffer` from the kernel's random number generator; waits until that is seeded.
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
