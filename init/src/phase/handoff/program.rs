//! Checks whether the kernel will be able to start the real init, before a disk is formatted and before mounts move: later, an
//! error cannot be undone.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use linux::mount;
use ondisk::program::{self, HEAD, Program};

/// How many interpreters the kernel follows before it returns `ELOOP` (`exec_binprm` in fs/exec.c).
const INTERPRETERS_MAX: usize = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Open(#[from] linux::Error),
    #[error("reading")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Refused(#[from] program::Error),
    #[error("{0}, its interpreter")]
    Needs(String, #[source] Box<Self>),
    #[error("a chain of more than {INTERPRETERS_MAX} scripts as interpreters")]
    Endless,
}

impl Error {
    /// Whether reading the file failed; false when its content is wrong.
    pub(super) fn is_io(&self) -> bool {
        match self {
            Self::Open(error) => error.is_io(),
            Self::Read(error) => linux::Error::io("read", "", error).is_io(),
            Self::Needs(_, error) => error.is_io(),
            Self::Refused(_) | Self::Endless => false,
        }
    }
}

/// Checks that `path` (absolute) is a program inside of `root`, and that the same holds for each file that the kernel opens to
/// start it: the interpreters of scripts, the loader of an ELF file. Shared libraries are not checked.
pub(super) fn check(root: &Path, path: &Path) -> Result<(), Error> {
    follow(root, path, INTERPRETERS_MAX)
}

fn follow(root: &Path, path: &Path, interpreters_left: usize) -> Result<(), Error> {
    let file = mount::open_executable(root, path)?;
    let needs = |path: &str, error| Error::Needs(path.to_owned(), Box::new(error));
    match Program::parse(&read(&file, &HEAD)?)? {
        Program::Script(interpreter) => {
            let left = interpreters_left.checked_sub(1).ok_or(Error::Endless)?;
            follow(root, Path::new(&interpreter), left).map_err(|error| needs(&interpreter, error))
        }
        Program::Elf(headers) => {
            let Some(at) = program::loader(&read(&file, &headers)?, &headers)? else { return Ok(()) };
            let bytes = read(&file, &at)?;
            let loader = program::loader_path(&bytes)?;
            is_elf(root, Path::new(loader)).map_err(|error| needs(loader, error))
        }
    }
}

/// A loader must be an ELF file; the kernel does not look for a loader of the loader.
fn is_elf(root: &Path, path: &Path) -> Result<(), Error> {
    let file = mount::open_executable(root, path)?;
    match Program::parse(&read(&file, &HEAD)?)? {
        Program::Elf(_) => Ok(()),
        Program::Script(_) => Err(program::Error::Unknown.into()),
    }
}

/// The bytes of the file in this range; fewer where the file ends earlier. The parser bounds the range.
fn read(file: &File, range: &Range<u64>) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0)];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, range.start.saturating_add(u64::try_from(done).unwrap_or(u64::MAX))).map_err(Error::Read)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// An ELF file, which names this loader if there is one.
    fn elf(machine: u8, loader: Option<&str>) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        for (at, value) in [(16, 3), (18, machine), (32, 64), (54, 56), (56, 1), (64, if loader.is_some() { 3 } else { 1 })] {
            file[at] = value;
        }
        let path = format!("{}\0", loader.unwrap_or_default());
        file[64 + 8] = 120;
        file[64 + 32] = u8::try_from(path.len()).unwrap();
        [file, path.into_bytes()].concat()
    }

    #[test]
    fn program_starts_only_with_all_that_the_kernel_opens_for_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        symlink("usr/lib", root.path().join("lib")).unwrap();
        // The test machine's own loader is not part of this root.
        symlink("/lib64", root.path().join("lib64")).unwrap();
        let script = |interpreter: &str| format!("#!{interpreter}\n").into_bytes();
        for (path, content, mode) in [
            ("usr/lib/ld.so", elf(62, None), 0o755),
            ("usr/lib/ld-arm.so", elf(183, None), 0o755),
            ("usr/lib/ld.sh", script("/static"), 0o755),
            ("usr/lib/ld-closed.so", elf(62, None), 0o644),
            ("static", elf(62, None), 0o755),
            ("dynamic", elf(62, Some("/lib/ld.so")), 0o755),
            ("no-loader", elf(62, Some("/lib64/ld-linux-x86-64.so.2")), 0o755),
            ("other-loader", elf(62, Some("/lib/ld-arm.so")), 0o755),
            ("closed-loader", elf(62, Some("/lib/ld-closed.so")), 0o755),
            ("script-loader", elf(62, Some("/lib/ld.sh")), 0o755),
            ("arm", elf(183, None), 0o755),
            ("cut", elf(62, Some("/lib/ld.so"))[..100].to_vec(), 0o755),
            ("script", script("/dynamic"), 0o755),
            ("relative", script("dynamic -x"), 0o755),
            ("no-interpreter", script("/usr/bin/python3"), 0o755),
            ("needs-loader", script("/no-loader"), 0o755),
            ("itself", script("/itself"), 0o755),
            ("text", b"text".to_vec(), 0o755),
            ("script-1", script("/static"), 0o755),
            ("script-2", script("/script-1"), 0o755),
            ("script-3", script("/script-2"), 0o755),
            ("script-4", script("/script-3"), 0o755),
            ("script-5", script("/script-4"), 0o755),
            ("script-6", script("/script-5"), 0o755),
        ] {
            fs::write(root.path().join(path), content).unwrap();
            fs::set_permissions(root.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        for path in ["static", "dynamic", "script", "relative", "script-5"] {
            assert!(check(root.path(), &Path::new("/").join(path)).is_ok(), "{path}");
        }
        for (path, want) in [
            ("no-loader", "/lib64/ld-linux-x86-64.so.2, its interpreter: openat2 /lib64/ld-linux-x86-64.so.2: "),
            ("other-loader", "/lib/ld-arm.so, its interpreter: an ELF file for machine 183"),
            ("closed-loader", "/lib/ld-closed.so, its interpreter: openat2 /lib/ld-closed.so: Permission denied"),
            ("script-loader", "/lib/ld.sh, its interpreter: neither"),
            ("arm", "an ELF file for machine 183"),
            ("cut", "an ELF file with program headers that are damaged"),
            ("no-interpreter", "/usr/bin/python3, its interpreter: openat2 /usr/bin/python3: No such file"),
            ("needs-loader", "/no-loader, its interpreter: /lib64/ld-linux-x86-64.so.2, its interpreter: openat2"),
            ("itself", "/itself, its interpreter: a chain of more than 5 scripts as interpreters"),
            ("text", "neither an ELF file nor a script"),
            ("script-6", "/script-5, its interpreter: /script-4, "),
        ] {
            let error = check(root.path(), &Path::new("/").join(path)).unwrap_err();
            assert!(!error.is_io());
            let message = failure::chain(&error);
            assert!(message.starts_with(want), "{path}: {message}");
        }
    }
}
