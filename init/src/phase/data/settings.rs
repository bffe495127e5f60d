//! A file system of an open disk: which, under which name, and what an error in it does.

use cmdline::{Data, FileSystem, FsOption, OnError};

/// What policy says of it.
#[derive(Clone, Copy)]
pub(in crate::phase) struct FsSettings<'a> {
    pub(in crate::phase) kind: FileSystem,
    /// Its label, which messages begin with.
    pub(in crate::phase) label: &'static str,
    pub(in crate::phase) on_error: OnError,
    pub(in crate::phase) options: &'a [FsOption],
    /// Whether inode tables of ext4 are left to the kernel's own thread, which marks each as written: only where some are not marked.
    pub(in crate::phase) lazy_tables: bool,
}

impl<'a> From<&'a Data> for FsSettings<'a> {
    fn from(data: &'a Data) -> Self {
        Self { kind: data.fstype, label: "data", on_error: data.on_error, options: &data.options, lazy_tables: false }
    }
}
