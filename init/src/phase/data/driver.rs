//! Loads the driver of the data disk's file system. The initrd contains ext4; other drivers are large and come from the verified
//! root.

use std::path::{Path, PathBuf};

use cmdline::FileSystem;
use linux::modules;

use crate::boot_log::step;
use crate::phase::root::Root;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading {0}")]
    Read(String, #[source] std::io::Error),
    #[error("the image contains no driver for {0}")]
    Missing(&'static str),
    #[error("loading the driver")]
    Load(#[source] linux::Error),
}

impl Error {
    /// Whether a read failed; false when the image lacks the driver.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Read(_, error) => linux::Error::io("read", "", error).is_io(),
            Self::Load(error) => error.is_io(),
            Self::Missing(_) => false,
        }
    }
}

/// Loads the driver of `kind` and its dependencies, unless the kernel has it.
pub(super) fn load(root: &Root, kind: FileSystem) -> Result<(), Error> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| Error::Read(path.display().to_string(), e));
    if is_registered(&read(Path::new("/proc/filesystems"))?, kind) {
        return Ok(());
    }
    let folder = root.path().join("usr/lib/modules").join(linux::modules::release());
    let order = load_order(&read(&folder.join("modules.dep"))?, kind).ok_or(Error::Missing(kind.as_str()))?;
    for file in order {
        modules::load(&folder.join(file), "").map_err(Error::Load)?;
    }
    step(format_args!("data: driver for {} loaded", kind.as_str()));
    Ok(())
}

/// Searches /proc/filesystems, whose lines are `nodev`, a tab and a name, or a tab and a name.
fn is_registered(filesystems: &str, kind: FileSystem) -> bool {
    filesystems.lines().any(|line| line.split('\t').nth(1) == Some(kind.as_str()))
}

/// The modules of the driver in load order, from modules.dep: a line names all dependencies of a module, the one to load first at
/// the end. The file is part of the verified root.
fn load_order(dependencies: &str, kind: FileSystem) -> Option<Vec<PathBuf>> {
    let is_driver = |file: &str| {
        let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split_once(".ko").is_some_and(|(stem, _)| stem == kind.as_str())
    };
    let (driver, needs) = dependencies.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| is_driver(file))?;
    Some(needs.split_whitespace().rev().chain([driver]).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_is_loaded_after_what_it_needs() {
        let text = "kernel/fs/btrfs/xfs-test.ko.xz:\nkernel/fs/xfs/xfs.ko.xz: kernel/lib/b.ko.xz kernel/lib/a.ko.xz\nkernel/lib/a.ko.xz:\n";
        let order = load_order(text, FileSystem::Xfs).unwrap();
        assert_eq!(order, ["kernel/lib/a.ko.xz", "kernel/lib/b.ko.xz", "kernel/fs/xfs/xfs.ko.xz"].map(PathBuf::from));
        assert_eq!((load_order(text, FileSystem::Btrfs), load_order("", FileSystem::Xfs)), (None, None));
    }

    #[test]
    fn driver_that_the_kernel_has_is_known_by_its_whole_name() {
        let text = "nodev\tsysfs\nnodev\text4x\n\text4\n";
        assert!(is_registered(text, FileSystem::Ext4));
        assert!(!is_registered(text, FileSystem::Xfs));
    }
}
