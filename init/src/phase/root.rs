//! The root file system: erofs over dm-verity. Every block is checked against the measured root hash before it is used.

use std::path::Path;

use cmdline::{OnCorruption, RootHash, RootSelector};
use failure::ErrorCode;
use linux::block::{Access, DIRECT_ALIGN, Device};
use linux::dm::{self, MappedDevice, Target};
use linux::mount::{Attr, Detached, MountOption};
use ondisk::erofs;
use ondisk::verity::{self, SUPERBLOCK_LEN, Superblock};

use super::block_lookup::{self, BlockDevice, DeviceQuery};
use super::early::EarlyMounts;
use crate::boot_log::step;

/// Where the verified root is mounted until it becomes `/`.
pub(crate) const SYSROOT: &str = "/sysroot";
const NAME: &str = "root";

/// Proof that the root at [`SYSROOT`] is the one that the measured hash names. Only [`verify`] makes one.
pub(crate) struct Root {
    hash: RootHash,
    path: &'static Path,
}

impl Root {
    /// The measured root hash.
    pub(crate) fn hash(&self) -> &RootHash {
        &self.hash
    }

    /// Where the root is mounted.
    pub(crate) fn path(&self) -> &'static Path {
        self.path
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Disk(#[from] block_lookup::Error),
    #[error("reading the verity superblock")]
    Read(#[source] linux::Error),
    #[error("verity superblock")]
    Superblock(#[source] verity::Error),
    #[error("device number of {0} is malformed")]
    Number(String),
    #[error("activating dm-verity")]
    Activate(#[source] linux::Error),
    #[error("{0} does not match the measured root hash: the host changed the disk, or roothash= belongs to another image")]
    Hash(&'static str, #[source] linux::Error),
    #[error("the disk failed to read {0}")]
    Unread(&'static str, #[source] linux::Error),
    #[error("erofs superblock")]
    FileSystem(#[source] erofs::Error),
    #[error("mounting")]
    Mount(#[source] linux::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Disk(error) => match error {
                block_lookup::Error::Missing(..) => ErrorCode::RootMissing,
                block_lookup::Error::Damaged(..) | block_lookup::Error::Disagree(..) => ErrorCode::RootTable,
                block_lookup::Error::Ambiguous(_) => ErrorCode::RootAmbiguous,
                block_lookup::Error::Kernel(_) | block_lookup::Error::Unreadable(..) | block_lookup::Error::NotOpen(..) => {
                    ErrorCode::RootUnreadable
                }
                block_lookup::Error::SectorSize { .. } => ErrorCode::RootSectorSize,
            },
            Self::Superblock(_) => ErrorCode::VeritySuperblock,
            Self::Activate(_) | Self::Number(_) => ErrorCode::VerityActivation,
            Self::Hash(..) => ErrorCode::RootHash,
            Self::FileSystem(_) | Self::Mount(_) => ErrorCode::RootFileSystem,
            Self::Read(_) | Self::Unread(..) => ErrorCode::RootUnreadable,
        }
    }
}

/// Finds the data and the hash partition, activates dm-verity with the measured root hash, and mounts the erofs.
pub(crate) fn verify(_early: EarlyMounts, wanted: &cmdline::Root) -> Result<Root, Error> {
    let (data, hashes) = locate(wanted)?;
    let superblock = read_superblock(&hashes)?;
    superblock.check_fits(data.bytes, hashes.bytes).map_err(Error::Superblock)?;
    let (data, hashes) = (device(&data)?, device(&hashes)?);
    let target = |options| Target {
        kind: "verity",
        sectors: superblock.mapped_sectors(),
        params: superblock.table_params(data, hashes, &wanted.hash, options),
    };

    // First with read errors, so that a wrong root hash gets its own code; later with the policy's reaction, where a bad block is
    // fatal.
    let mapped = MappedDevice::read_only(NAME, &target("")).map_err(Error::Activate)?;
    let first = probe(&mapped).map_err(|error| failed_read(&mapped, "the first block", error))?;
    let bytes = erofs::size(&first).map_err(Error::FileSystem)?;
    superblock.check_size(bytes).map_err(Error::Superblock)?;
    make_fatal(&mapped, target, wanted.on_corruption).map_err(Error::Activate)?;
    step("root: verity active");

    let source = mapped.path().display().to_string();
    let options = [MountOption::Value("source", &source), MountOption::Flag("ro")];
    let attr = Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NODEV;
    let mount = || Detached::new("erofs", &options, attr)?.attach(Path::new(SYSROOT));
    mount().map_err(|error| {
        if error.is_io() { failed_read(&mapped, "a block of the file system", error) } else { Error::Mount(error) }
    })?;
    step("root: mounted");
    Ok(Root { hash: wanted.hash, path: Path::new(SYSROOT) })
}

/// Makes dm-verity react to a bad block as policy says, and also to a block that the disk fails to read: the host can cause such
/// a failure, and a boot that continues without a file is not the boot that was measured.
fn make_fatal(mapped: &MappedDevice, target: impl Fn(&'static str) -> Target, on: OnCorruption) -> Result<(), linux::Error> {
    let ends_at_errors = verity::supports_error_options(dm::target_version("verity")?);
    if !ends_at_errors {
        log::warn!("root: this kernel's dm-verity returns EIO when the disk fails to read, and does not end the machine");
    }
    mapped.replace(&target(verity::options(on, ends_at_errors)))
}

/// Tells a corrupt block from one that the disk failed to read. Both are EIO; dm-verity's status remembers the first kind.
fn failed_read(mapped: &MappedDevice, what: &'static str, error: linux::Error) -> Error {
    let is_corrupt = !error.is_timeout() && mapped.status().is_ok_and(|status| verity::is_corrupt(&status));
    if is_corrupt { Error::Hash(what, error) } else { Error::Unread(what, error) }
}

/// Reads the first block of the mapped device past the cache. dm-verity returns EIO unless the block matches the root hash.
fn probe(mapped: &MappedDevice) -> Result<Vec<u8>, linux::Error> {
    Device::open(&mapped.path(), Access::Read)?.read(0, DIRECT_ALIGN)
}

/// Finds the two partitions by the Discoverable Partitions Specification: their UUIDs are the first and the last 128 bits of the
/// root hash. A selector of the policy names the data partition only; the hash partition is still found by UUID.
fn locate(wanted: &cmdline::Root) -> Result<(BlockDevice, BlockDevice), Error> {
    let [data_uuid, hash_uuid] = wanted.hash.partitions();
    let data = match &wanted.selector {
        RootSelector::Discoverable => DeviceQuery::Uuid(data_uuid),
        RootSelector::Named(selector) => DeviceQuery::from(selector),
    };
    let deadline = block_lookup::deadline();
    let find = |query| block_lookup::locate(&query, deadline);
    Ok((find(data)?, find(DeviceQuery::Uuid(hash_uuid))?))
}

fn read_superblock(hashes: &BlockDevice) -> Result<Superblock, Error> {
    let device = Device::open(&hashes.path, Access::Read).map_err(Error::Read)?;
    let block = device.read(0, DIRECT_ALIGN).map_err(Error::Read)?;
    Superblock::parse(block.get(..SUPERBLOCK_LEN).unwrap_or_default()).map_err(Error::Superblock)
}

fn device(found: &BlockDevice) -> Result<verity::Device, Error> {
    let number = || -> Option<verity::Device> {
        let (major, minor) = found.number.split_once(':')?;
        Some(verity::Device { major: major.parse().ok()?, minor: minor.parse().ok()? })
    };
    number().ok_or_else(|| Error::Number(found.path.display().to_string()))
}
