//! A list of arguments for QEMU.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// Arguments for QEMU.
#[derive(Default)]
pub(crate) struct Arguments(pub(crate) Vec<OsString>);

impl Arguments {
    pub(crate) fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    pub(crate) fn pair(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        self.0.extend([OsString::from(flag), value.as_ref().to_owned()]);
    }
}

/// A file name in QEMU's option lists, where a comma is doubled.
pub(crate) fn escaped(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes();
    OsString::from_vec(bytes.iter().flat_map(|byte| [*byte].repeat(1 + usize::from(*byte == b','))).collect())
}
