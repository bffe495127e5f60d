//! How much memory is free: `/proc/meminfo`.

use std::fs::File;
use std::io::Read as _;

use rustix::io::Errno;

use crate::Error;

/// Bytes that are read of the file: it has some 60 lines of 28 bytes, and `MemAvailable` is in the third.
const MEMINFO_MAX: u64 = 4096;

/// Returns `MemAvailable` of `/proc/meminfo` in KiB: the kernel's estimate of how much memory programs can use without swapping.
///
/// # Errors
/// As reading the file; `EINVAL` when it does not contain the line.
pub fn available_kib() -> Result<u64, Error> {
    const PATH: &str = "/proc/meminfo";
    let mut text = String::new();
    let read = File::open(PATH).and_then(|file| file.take(MEMINFO_MAX).read_to_string(&mut text));
    read.map_err(|e| Error::io("read", PATH, &e))?;
    parse_available(&text).ok_or_else(|| Error::new("parse", PATH, Errno::INVAL))
}

/// Source: Documentation/filesystems/proc.rst, "meminfo". The unit kB is 1,024 bytes there.
fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let number = line.strip_suffix(" kB")?.trim_start();
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_one_line_of_many() {
        let cases = [
            ("MemTotal:        2013604 kB\nMemFree:          998336 kB\nMemAvailable:    1713120 kB\n", Some(1_713_120)),
            ("MemAvailable:          0 kB\n", Some(0)),
            ("MemAvailable: 18446744073709551615 kB", Some(u64::MAX)),
            ("MemAvailable: 18446744073709551616 kB", None),
            ("MemAvailable: -1 kB", None),
            ("MemAvailable: +1 kB", None),
            ("MemAvailable:  kB", None),
            ("MemAvailable: 1713120", None),
            ("MemAvailable: 1 MB", None),
            ("MemAvailable: 17131", None),
            ("MemTotal: 1 kB\nNotMemAvailable: 2 kB\n", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_available(text), want, "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available_kib().unwrap() > 0);
    }
}
