//! Mounts through descriptors (fsopen, fsmount, move_mount): a mount is detached until it is attached to a mount point.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, fstatvfs, makedev, mknodat, openat, openat2,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount_move, move_mount, unmount,
};

pub use rustix::mount::MountAttrFlags as Attr;

use crate::Error;

/// One option of a file system: a flag (`ro`), or a key with a value (`source`, `/dev/vda`).
#[derive(Debug, Clone, Copy)]
pub enum MountOption<'a> {
    /// A key without a value.
    Flag(&'a str),
    /// Key and value.
    Value(&'a str, &'a str),
}

/// A mounted file system without a mount point. Dropping it unmounts it.
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl Detached {
    /// Creates an instance of `fstype` with `options`, mounted with `attr`.
    ///
    /// # Errors
    /// `ENODEV` when the kernel has no such file system; the error of the file system about its options and device.
    pub fn new(fstype: &str, options: &[MountOption<'_>], attr: Attr) -> Result<Self, Error> {
        let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| Error::new("fsopen", fstype, e))?;
        for option in options {
            match *option {
                MountOption::Flag(key) => fsconfig_set_flag(&context, key).map_err(|e| Error::new("fsconfig", key, e))?,
                MountOption::Value(key, value) => {
                    fsconfig_set_string(&context, key, value).map_err(|e| Error::new("fsconfig", key, e))?;
                }
            }
        }
        fsconfig_create(&context).map_err(|e| Error::new("fsconfig create", fstype, e))?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr).map(Self).map_err(|e| Error::new("fsmount", fstype, e))
    }

    /// Opens one of its files for reading.
    ///
    /// # Errors
    /// As openat(2).
    pub fn open(&self, path: &Path) -> Result<File, Error> {
        let file = openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        file.map(File::from).map_err(|e| Error::new("openat", path.display(), e))
    }

    /// Attaches the mount to the mount point `target`.
    ///
    /// # Errors
    /// `ENOENT` when `target` does not exist.
    pub fn attach(self, target: &Path) -> Result<(), Error> {
        move_mount(&self.0, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|e| Error::new("move_mount", target.display(), e))
    }
}

/// Moves the mount at `from`, with the mounts below it, to `to`.
///
/// # Errors
/// `EINVAL` when `from` is not a mount point; `ENOENT` when `to` does not exist.
pub fn relocate(from: &Path, to: &Path) -> Result<(), Error> {
    mount_move(from, to).map_err(|e| Error::new("mount --move", to.display(), e))
}

/// Makes the mount at `root` the root directory of this process, over the former `/`.
///
/// # Errors
/// `EINVAL` when `root` is not a mount point.
pub fn switch_root(root: &Path) -> Result<(), Error> {
    rustix::process::chdir(root).map_err(|e| Error::new("chdir", root.display(), e))?;
    mount_move(".", "/").map_err(|e| Error::new("mount --move", "/", e))?;
    rustix::process::chroot(".").map_err(|e| Error::new("chroot", root.display(), e))?;
    rustix::process::chdir("/").map_err(|e| Error::new("chdir", "/", e))
}

/// Opens the executable `path` of `root`. Symlinks are resolved as if `root` was `/` already.
///
/// # Errors
/// As openat2(2); `EACCES` unless it is a regular file with an execute bit on a mount without `noexec`.
pub fn open_executable(root: &Path, path: &Path) -> Result<File, Error> {
    executable(root, path).map(File::from).map_err(|errno| Error::new("openat2", path.display(), errno))
}

fn executable(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let open = |flags| openat2(&root, relative, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
    // With O_PATH first: opening a device or a pipe for reading has side effects.
    let found = open(OFlags::PATH)?;
    let (mode, is_noexec) = (fstat(&found)?.st_mode, fstatvfs(&found)?.f_flag.contains(StatVfsMountFlags::NOEXEC));
    if FileType::from_raw_mode(mode) != FileType::RegularFile || mode & 0o111 == 0 || is_noexec {
        return Err(Errno::ACCESS);
    }
    open(OFlags::RDONLY)
}

/// Checks that the directory `path` (absolute) exists inside of `root` without a symlink in the path: a symlink resolves to another
/// target once `root` has become `/`.
///
/// # Errors
/// `ENOENT`; `ENOTDIR`; `ELOOP` for a symlink.
pub fn directory_without_symlinks(root: &Path, path: &Path) -> Result<(), Error> {
    let failed = |e| Error::new("openat2", path.display(), e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty()).map_err(failed)?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    openat2(&root, relative, flags, Mode::empty(), resolve).map(drop).map_err(failed)
}

/// Creates a block device node; `number` is `major:minor` in the form of sysfs.
///
/// # Errors
/// `EINVAL` when `number` has another form; as mknod(2).
pub fn make_block_node(path: &Path, number: &str) -> Result<(), Error> {
    let part = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u32>().ok());
    let mut parts = number.split(':');
    let (major, minor) = (part(parts.next()), part(parts.next()));
    let (Some(major), Some(minor)) = (major, minor) else {
        return Err(Error::new("mknod", path.display(), Errno::INVAL));
    };
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::BlockDevice, mode, makedev(major, minor)).map_err(|e| Error::new("mknod", path.display(), e))
}

/// Unmounts `target`, which must not be busy.
///
/// # Errors
/// `EBUSY` when a process still uses it.
pub fn detach(target: &Path) -> Result<(), Error> {
    unmount(target, UnmountFlags::empty()).map_err(|e| Error::new("umount", target.display(), e))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Compares the result of `look` for each path with the expected one.
    fn each<T>(look: impl Fn(&Path) -> Result<T, Error>, cases: &[(&str, Result<(), Errno>)]) {
        for (path, want) in cases {
            assert_eq!(look(Path::new(path)).map(drop).map_err(|error| error.errno()), *want, "{path}");
        }
    }

    #[test]
    fn symlinks_of_an_executable_are_resolved_as_if_the_root_was_mounted() {
        let root = tempfile::tempdir().unwrap();
        let inside = |path: &str| root.path().join(path);
        fs::create_dir_all(inside("usr/sbin")).unwrap();
        symlink("usr/sbin", inside("sbin")).unwrap();
        for (path, mode) in [("usr/init", 0o755), ("usr/script", 0o500), ("usr/data", 0o644)] {
            fs::write(inside(path), "").unwrap();
            fs::set_permissions(inside(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("/usr/init", inside("usr/sbin/init")).unwrap();
        symlink("../../../../usr/script", inside("usr/sbin/above")).unwrap();
        symlink("/bin/sh", inside("usr/sbin/of-the-initrd")).unwrap();
        let cases = [
            ("/sbin/init", Ok(())),
            ("/sbin/above", Ok(())),
            ("usr/script", Ok(())),
            ("/sbin/none", Err(Errno::NOENT)),
            ("/sbin/of-the-initrd", Err(Errno::NOENT)),
            ("/usr/data", Err(Errno::ACCESS)),
            ("/usr/sbin", Err(Errno::ACCESS)),
        ];
        each(|path| open_executable(root.path(), path), &cases);
        // A noexec mount.
        each(|path| open_executable(Path::new("/"), path), &[("/proc/self/status", Err(Errno::ACCESS))]);
    }

    #[test]
    fn directory_is_found_inside_of_the_root_and_never_through_a_symlink() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("srv/data")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        symlink("srv/data", root.path().join("link")).unwrap();
        symlink("/srv", root.path().join("outside")).unwrap();
        let found = |path: &Path| directory_without_symlinks(root.path(), path);
        let cases = [
            ("/srv/data", Ok(())),
            ("/srv", Ok(())),
            ("/none", Err(Errno::NOENT)),
            ("/file", Err(Errno::NOTDIR)),
            ("/outside/data", Err(Errno::LOOP)),
            ("/../srv", Err(Errno::XDEV)),
        ];
        each(found, &cases);
        // For a symlink as last component, the kernel may report ENOTDIR first.
        assert!([Errno::LOOP, Errno::NOTDIR].contains(&found(Path::new("/link")).unwrap_err().errno()));
        assert_eq!(make_block_node(&root.path().join("node"), "254").unwrap_err().errno(), Errno::INVAL);
    }
}
