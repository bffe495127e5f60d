//! Linux as cvm-init needs it: mounts, modules, block devices, swap, the device mapper, configfs-tsm, links, power.
//!
//! The only crate with unsafe code. It decides nothing: policy is the caller's, and every error says call, object and errno.

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
