//! Mounts the kernel's file systems, opens the kernel log and loads the listed modules.

use std::path::Path;

use failure::ErrorCode;
use linux::modules::{self, LoadResult};
use linux::mount::{Attr, Detached, MountOption};

use crate::boot_log::{self, step};

/// Proof that `/proc`, `/sys`, `/dev` and `/run` are mounted and the listed modules are loaded. Only [`mount`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct EarlyMounts(());

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("mount")]
    Mount(#[source] linux::Error),
    #[error("opening the kernel log")]
    Log(#[source] linux::Error),
    #[error("reading the module list")]
    List(#[source] std::io::Error),
    #[error("module list: line {0} is malformed: expected [GROUP: ][?]NAME.ko")]
    Line(usize),
    #[error("module")]
    Module(#[source] linux::Error),
    #[error("module {0} found no device")]
    NoDevice(String),
    #[error("module {0} waits for disks that do not answer: {1}")]
    Silent(String, String, #[source] linux::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Mount(_) => ErrorCode::KernelFileSystem,
            Self::Log(_) => ErrorCode::KernelLog,
            Self::List(_) | Self::Line(_) => ErrorCode::ModuleList,
            Self::Module(_) | Self::NoDevice(_) => ErrorCode::Module,
            Self::Silent(..) => ErrorCode::ModuleSilent,
        }
    }

    /// A disk may answer its driver after the next start.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Silent(..))
    }
}

struct EarlyMount {
    fstype: &'static str,
    target: &'static str,
    attr: Attr,
    options: &'static [MountOption<'static>],
}

const CLOSED: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV).union(Attr::MOUNT_ATTR_NOEXEC);

/// With the options of systemd, which keeps what it finds mounted.
const TABLE: &[EarlyMount] = &[
    EarlyMount { fstype: "proc", target: "/proc", attr: CLOSED, options: &[] },
    EarlyMount { fstype: "sysfs", target: "/sys", attr: CLOSED, options: &[] },
    // The kernel makes the device nodes; there is no udev.
    EarlyMount {
        fstype: "devtmpfs",
        target: "/dev",
        attr: Attr::MOUNT_ATTR_NOSUID,
        options: &[MountOption::Value("mode", "0755")],
    },
    // The boot report is written here, and moves to the real system with the mount.
    EarlyMount {
        fstype: "tmpfs",
        target: "/run",
        attr: Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV),
        options: &[MountOption::Value("mode", "0755"), MountOption::Value("size", "20%")],
    },
];

/// Mounted after the modules, since configfs is one of them.
const CONFIGFS: EarlyMount = EarlyMount { fstype: "configfs", target: "/sys/kernel/config", attr: CLOSED, options: &[] };

/// One module a line, in load order, relative to [`MODULE_FOLDER`]. A `?` before the name: its hardware may be missing. A `GROUP:
/// ` before both: it is loaded only when policy needs the group, as in `gcm: gcm.ko`.
const MODULES: &str = "/etc/cvm-init/modules";
const MODULE_FOLDER: &str = "/lib/modules";

/// Mounts the table and loads the modules without a group.
pub(crate) fn mount() -> Result<EarlyMounts, Error> {
    TABLE.iter().try_for_each(attach)?;
    boot_log::open(linux::kmsg::Kmsg::open().map_err(Error::Log)?);
    step("early: mounted");
    load_group(None)?;
    attach(&CONFIGFS)?;
    step("early: modules loaded");
    Ok(EarlyMounts(()))
}

/// Loads the modules of `group`: a cipher as the policy spells it, `vsock` or `watchdog`.
pub(crate) fn load(_early: EarlyMounts, group: &str) -> Result<(), Error> {
    load_group(Some(group))?;
    step(format_args!("modules for {group} loaded"));
    Ok(())
}

fn load_group(group: Option<&str>) -> Result<(), Error> {
    let list = std::fs::read_to_string(MODULES).map_err(Error::List)?;
    for Module { name, required, .. } in parse_modules(&list)?.into_iter().filter(|module| module.group == group) {
        let outcome = modules::load(&Path::new(MODULE_FOLDER).join(name), "");
        let outcome = outcome.map_err(|error| {
            if error.is_timeout() { Error::Silent(name.to_owned(), linux::block::busy(), error) } else { Error::Module(error) }
        })?;
        if outcome == LoadResult::NoDevice && required {
            return Err(Error::NoDevice(name.to_owned()));
        }
    }
    Ok(())
}

fn attach(entry: &EarlyMount) -> Result<(), Error> {
    let attach = || Detached::new(entry.fstype, entry.options, entry.attr)?.attach(Path::new(entry.target));
    attach().map_err(Error::Mount)
}

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Module<'a> {
    name: &'a str,
    required: bool,
    group: Option<&'a str>,
}

/// Parses the list, which is measured, so a malformed line is a mistake of the image's builder: a name is a plain file name, a
/// group a plain text.
fn parse_modules(list: &str) -> Result<Vec<Module<'_>>, Error> {
    let lines = list.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    lines
        .map(|(number, line)| {
            let (group, rest) = line.split_once(": ").map_or((None, line), |(group, rest)| (Some(group), rest));
            let name = rest.strip_prefix('?').unwrap_or(rest);
            let plain = name.strip_suffix(".ko").is_some()
                && is_plain(name)
                && group.is_none_or(|group| !group.is_empty() && is_plain(group));
            if plain { Ok(Module { name, required: name == rest, group }) } else { Err(Error::Line(number + 1)) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_list_is_read_in_order_with_its_optional_ones_and_groups() {
        let list = "# reason\nconfigfs.ko\n\n?tdx-guest.ko\nxts-hmac: authenc.ko\nxfs: ?xfs.ko\n";
        let module = |name, required, group| Module { name, required, group };
        let want = [
            module("configfs.ko", true, None),
            module("tdx-guest.ko", false, None),
            module("authenc.ko", true, Some("xts-hmac")),
            module("xfs.ko", false, Some("xfs")),
        ];
        assert_eq!(parse_modules(list).unwrap(), want);
    }

    #[test]
    fn module_list_with_a_path_or_a_parameter_is_refused() {
        for line in ["../x.ko", "x.ko debug=1", "x", "?", ": x.ko", "a/b: x.ko", "xfs:x.ko", "a: b: x.ko"] {
            assert_eq!(
                parse_modules(line).unwrap_err().to_string(),
                "module list: line 1 is malformed: expected [GROUP: ][?]NAME.ko",
                "{line}"
            );
        }
    }
}
