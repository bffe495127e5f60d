//! Interfaces of Linux that cvm-init uses: mounts, modules, block devices, swap, device mapper, configfs-tsm, rtnetlink, power.
//!
//! It is the only crate of the workspace with unsafe code; each file with unsafe code starts with a line `// UNSAFETY:` that says why.
//! The crate contains no policy: the caller decides, and every error names the call, the object and the errno.

#![deny(unreachable_pub)]

pub mod block;
pub mod clock;
pub mod console;
pub mod crash;
pub mod dm;
mod error;
pub mod firmware_log;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod kmsg;
pub mod link;
pub mod memfd;
pub mod meminfo;
pub mod modules;
pub mod mount;
mod netlink;
pub mod packet;
pub mod poll;
pub mod power;
pub mod process;
pub mod resize;
pub mod rtmr;
mod rtnetlink;
pub mod stream;
pub mod swap;
pub mod sysctl;
pub mod tasks;
pub mod tdx;
pub mod threads;
pub mod tsm;
pub mod uevent;
pub mod watchdog;

pub use error::Error;
