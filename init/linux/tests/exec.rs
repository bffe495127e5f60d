//! The state of a process that an exec passes on. A test binary of its own, since it changes signals and descriptors of the process.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs::{self, File};

use linux::process::PreparedExec;
use rustix::io::{FdFlags, dup, fcntl_getfd};

/// Whether this process ignores SIGPIPE, signal 13.
fn ignores_sigpipe() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 << 12 != 0
}

/// A C library opens descriptors without CLOEXEC, as dup(2) makes one, and Rust's runtime has SIGPIPE ignored.
#[test]
fn no_descriptor_and_no_ignored_signal_outlives_the_exec() {
    let left = dup(File::open("/dev/null").unwrap()).unwrap();
    assert_eq!((fcntl_getfd(&left).unwrap(), ignores_sigpipe()), (FdFlags::empty(), true));
    let error = PreparedExec::new("/no/such/program", &["init".to_owned()]).unwrap().exec();
    assert_eq!(error.errno(), rustix::io::Errno::NOENT);
    assert_eq!((fcntl_getfd(&left).unwrap(), ignores_sigpipe()), (FdFlags::CLOEXEC, false));
    assert_eq!(fcntl_getfd(std::io::stdout()).unwrap(), FdFlags::empty(), "the standard ones are handed over");
}
