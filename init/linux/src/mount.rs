//! Mounts as descriptors (fsopen, fsmount, move_mount): a mount has no place in the tree until it is given one.

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

/// One option of a filesystem: a flag (`ro`), or a key with its value (`source`, `/dev/vda`).
#[derive(Debug, Clone, Copy)]
pub enum MountOption<'a> {
    /// Present or absent.
    Flag(&'a str),
    /// Key and value.
    Value(&'a str, &'a str),
}

/// A mounted filesystem that has no place in the tree yet. Dropping it unmounts it.
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl Detached {
    /// Makes an instance of `fstype` with `options`, mounted with `attr`.
    ///
    /// # Errors
    /// `ENODEV` when the kernel has no such filesystem; what the filesystem says of its options and device.
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

    /// Opens a file of it for reading, though it has no place.
    ///
    /// # Errors
    /// As openat(2).
    pub fn open(&self, path: &Path) -> Result<File, Error> {
        let file = openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        file.map(File::from).map_err(|e| Error::new("openat", path.display(), e))
    }

    /// Gives the mount a place.
    ///
    /// # Errors
    /// `ENOENT` when `target` does not exist.
    pub fn attach(self, target: &Path) -> Result<(), Error> {
        move_mount(&self.0, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|e| Error::new("move_mount", target.display(), e))
    }
}

/// Moves what is mounted at `from` to `to`, with everything below it.
///
/// # Errors
/// `EINVAL` when `from` is no mount point; `ENOENT` when `to` does not exist.
pub fn relocate(from: &Path, to: &Path) -> Result<(), Error> {
    mount_move(from, to).map_err(|e| Error::new("mount --move", to.display(), e))
}

/// Makes the mount at `root` the root of this process and of the machine: what was `/` is below it no more.
///
/// # Errors
/// `EINVAL` when `root` is no mount point.
pub fn switch_root(root: &Path) -> Result<(), Error> {
    rustix::process::chdir(root).map_err(|e| Error::new("chdir", root.display(), e))?;
    mount_move(".", "/").map_err(|e| Error::new("mount --move", "/", e))?;
    rustix::process::chroot(".").map_err(|e| Error::new("chroot", root.display(), e))?;
    rustix::process::chdir("/").map_err(|e| Error::new("chdir", "/", e))
}

/// Opens the file `path` of `root` that is to be executed once `root` has become `/`: links are followed as they will be then.
///
/// # Errors
/// As openat2(2); `EACCES` for anything but a file that may be executed, on a mount that lets it.
pub fn open_executable(root: &Path, path: &Path) -> Result<File, Error> {
    executable(root, path).map(File::from).map_err(|errno| Error::new("openat2", path.display(), errno))
}

fn executable(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let open = |flags| openat2(&root, relative, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
    // Not for reading yet: opening a device or a pipe does something.
    let found = open(OFlags::PATH)?;
    let (mode, is_noexec) = (fstat(&found)?.st_mode, fstatvfs(&found)?.f_flag.contains(StatVfsMountFlags::NOEXEC));
    if FileType::from_raw_mode(mode) != FileType::RegularFile || mode & 0o111 == 0 || is_noexec {
        return Err(Errno::ACCESS);
    }
    open(OFlags::RDONLY)
}

/// Finds the folder `path` (absolute) inside of `root`, and refuses a link anywhere in it: what a link means is another thing once
/// `root` has become `/`.
///
/// # Errors
/// `ENOENT`; `ENOTDIR`; `ELOOP` for a link.
pub fn directory_without_symlinks(root: &Path, path: &Path) -> Result<(), Error> {
    let failed = |e| Error::new("openat2", path.display(), e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty()).map_err(failed)?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    openat2(&root, relative, flags, Mode::empty(), resolve).map(drop).map_err(failed)
}

/// Makes a block device node: `number` is `major:minor` as sysfs has it.
///
/// # Errors
/// `EINVAL` when `number` is none; as mknod(2).
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

/// Takes a mount away; it must not be busy.
///
/// # Errors
/// `EBUSY` when something still uses it.
pub fn detach(target: &Path) -> Result<(), Error> {
    unmount(target, UnmountFlags::empty()).map_err(|e| Error::new("umount", target.display(), e))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Holds what `look` says of each path against what is wanted.
    fn each<T>(look: impl Fn(&Path) -> Result<T, Error>, cases: &[(&str, Result<(), Errno>)]) {
        for (path, want) in cases {
            assert_eq!(look(Path::new(path)).map(drop).map_err(|error| error.errno()), *want, "{path}");
        }
    }

    #[test]
    fn program_is_found_as_it_will_be_when_the_root_is_the_root() {
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
        // A mount on which nothing is executed, whatever the mode of a file says.
        each(|path| open_executable(Path::new("/"), path), &[("/proc/self/status", Err(Errno::ACCESS))]);
    }

    #[test]
    fn folder_is_found_inside_of_the_root_and_never_through_a_link() {
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
        // The last link of a path is no folder: the kernel may say so first.
        assert!([Errno::LOOP, Errno::NOTDIR].contains(&found(Path::new("/link")).unwrap_err().errno()));
        assert_eq!(make_block_node(&root.path().join("node"), "254").unwrap_err().errno(), Errno::INVAL);
    }
}
