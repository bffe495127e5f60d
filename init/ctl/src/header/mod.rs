//! `cvmctl header`: checks a data disk's header by the guest's rules, saves it to a file, and writes it back.

mod accept;
mod check;
mod disk;
mod report;
mod restore;
mod save;
mod target;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use cmdline::{Data, DataDisk, KeyCommitment};
use ondisk::luks2::DATA_OFFSET;
use quorum::Dek;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::Zeroizing;

use crate::args::Expected;
use crate::run::Error;

pub(crate) use check::check;
pub(crate) use restore::restore;
pub(crate) use save::save;

/// What a command line must contain besides the parameters about the disk.
const REST: [(&str, &str); 7] = [
    ("roothash", "0000000000000000000000000000000000000000000000000000000000000000"),
    ("cvm.data", "serial=data"),
    ("cvm.vault", "192.0.2.1:8443,192.0.2.2:8443"),
    ("cvm.vault.mrenclave", "0000000000000000000000000000000000000000000000000000000000000000"),
    ("cvm.vault.handle", "any"),
    ("cvm.vault.app", "00000000-0000-4000-8000-000000000000"),
    (COMMITMENT, "0000000000000000000000000000000000000000000000000000000000000000"),
];
const COMMITMENT: &str = "cvm.vault.key-commitment";

/// The policy of the given parameters and [`REST`]; of its disks only the one that is checked.
fn policy(expected: &Expected) -> Result<Data, Error> {
    let (given, name) = (expected.cmdline.as_str(), expected.disk_name.as_deref());
    let is_given =
        |key: &str| given.split_whitespace().any(|parameter| parameter.split_once('=').is_some_and(|(name, _)| name == key));
    let rest = REST.iter().filter(|(key, _)| !is_given(key)).map(|(key, value)| match name {
        Some(name) if *key == "cvm.data" => format!("{key}={name}:{value}"),
        _ => format!("{key}={value}"),
    });
    let line = std::iter::once(given.to_owned()).chain(rest).collect::<Vec<_>>().join(" ");
    let policy = cmdline::parse(&line).map_err(Error::Cmdline)?;
    let mut data = policy.data.ok_or(Error::Cmdline(cmdline::Error::Missing(cmdline::Key::Data)))?;
    if !is_given(COMMITMENT) {
        data.vaults.commitment = KeyCommitment::None; // no commitment was given: then none is compared
    }
    let of = |disk: &DataDisk| disk.name.as_ref().map(|name| name.as_str().to_owned());
    let names: Vec<_> = data.disks.iter().map(|disk| of(disk).unwrap_or_else(|| "(no name)".to_owned())).collect();
    data.disks.retain(|disk| of(disk).as_deref() == name);
    if data.disks.is_empty() {
        return Err(Error::DiskName { wanted: name.unwrap_or("(no name)").to_owned(), listed: names.join(", ") });
    }
    Ok(data)
}

/// Calls `with` with the key of the selected disk: `dek` itself, or the key derived from it for a named disk.
fn with_disk_key<T>(dek: &Dek, wanted: &Data, with: impl FnOnce(&Dek) -> T) -> T {
    match wanted.disks.iter().find_map(|disk| disk.name.as_ref()) {
        None => with(dek),
        Some(name) => with(&dek.of_disk(name.as_str())),
    }
}

/// The size of the header area, in bytes.
fn area_length() -> usize {
    usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)
}

/// Reads the passphrase into memory that is wiped and not in core dumps.
pub(crate) fn passphrase(descriptor: u32) -> Result<Dek, Error> {
    let path = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
    let failed = |source| Error::File { path: path.clone(), source };
    // Opened before the process becomes not dumpable: after that, /proc/self belongs to root.
    let mut file = File::open(&path).map_err(failed)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::Core)?;
    let mut text = Zeroizing::new([0_u8; 64]);
    file.read_exact(text.as_mut()).map_err(failed)?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(Error::Passphrase),
    };
    Dek::fill_with(|key| {
        for (byte, pair) in key.iter_mut().zip(text.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(())
    })
}
