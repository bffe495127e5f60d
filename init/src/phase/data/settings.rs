//! Settings of a file system on an open disk.

use cmdline::{Data, FileSystem, FsOption, OnError};

/// The settings that policy gives.
#[derive(Clone, Copy)]
pub(in crate::phase) struct FsSettings<'a> {
    pub(in crate::phase) kind: FileSystem,
    /// Its label, which also begins messages.
    pub(in crate::phase) label: &'static str,
    pub(in crate::phase) on_error: OnError,
    pub(in crate::phase) options: &'a [FsOption],
    /// Whether the kernel's own thread initialises inode tables of ext4, only needed where some are not marked as written.
    pub(in crate::phase) lazy_tables: bool,
}

impl<'a> From<&'a Data> for FsSettings<'a> {
    fn from(data: &'a Data) -> Self {
        Self { kind: data.fstype, label: "data", on_error: data.on_error, options: &data.options, lazy_tables: false }
    }
}
