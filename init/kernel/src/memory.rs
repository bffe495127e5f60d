//! Memory with a descriptor.

use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file that has no name in any filesystem and is gone with its last descriptor; `label` is only for `/proc`.
///
/// # Errors
/// As memfd_create(2).
pub fn anonymous_file(label: &str) -> std::io::Result<File> {
    Ok(File::from(memfd_create(label, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)?))
}
