//! Files in memory: memfd_create(2).

use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};

/// Creates a file that has no name in any file system and is freed with its last descriptor. `label` is shown in `/proc/self/fd` only.
///
/// # Errors
/// As memfd_create(2).
pub fn anonymous_file(label: &str) -> std::io::Result<File> {
    Ok(File::from(memfd_create(label, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)?))
}
