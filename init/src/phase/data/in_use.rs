//! Whether another machine has the disk open: two that write to one file system destroy it.
//!
//! Every write of an open disk goes through dm-integrity's journal. The journal is read when the disk is found and again before it is
//! opened, seconds later: whoever writes to the disk meanwhile is seen. A machine that has it open and writes nothing is not.

use std::path::Path;

use linux::block::{Access, Device};
use ondisk::integrity;
use ondisk::luks2::DATA_OFFSET;
use ring::digest::{Context, SHA256};

use super::Error;

/// The most that is read, in bytes: no journal that the kernel makes by itself is larger.
const BYTES_MAX: u64 = (64 << 20) + 4096;

/// SHA-256 of dm-integrity's superblock and journal.
#[derive(PartialEq, Eq)]
pub(super) struct JournalDigest([u8; 32]);

impl JournalDigest {
    /// Reads them from `disk`; where there are none, what stands in their place.
    pub(super) fn read(disk: &Path) -> Result<Self, Error> {
        let device = Device::open(disk, Access::Read).map_err(Error::Read)?;
        let first = device.read(DATA_OFFSET, integrity::SUPERBLOCK_BYTES).map_err(Error::Read)?;
        let end = integrity::Superblock::parse(&first).map_or(0, |superblock| superblock.journal_end());
        let there = device.bytes().map_err(Error::Read)?.saturating_sub(DATA_OFFSET);
        let length = end.min(BYTES_MAX).min(there) & !4095;
        let mut context = Context::new(&SHA256);
        context.update(&first);
        let length = usize::try_from(length).unwrap_or(0);
        device.for_each_piece(DATA_OFFSET, length, |piece| context.update(piece)).map_err(Error::Read)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(Self(hash))
    }
}
