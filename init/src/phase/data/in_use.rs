//! Detects that another machine has the disk open: two machines that write to one file system destroy it.
//!
//! Every write to an open disk goes through dm-integrity's journal. PID 1 reads the journal when it finds the disk and again
//! before it opens it, seconds later; a write in between changes the digest. A machine that has the disk open and writes nothing
//! is not detected.

use std::path::Path;

use linux::block::{Access, Device};
use ondisk::integrity;
use ondisk::luks2::DATA_OFFSET;
use ring::digest::{Context, SHA256};

use super::Error;

/// The most bytes read: a journal that the kernel sizes by itself is not larger.
const BYTES_MAX: u64 = (64 << 20) + 4096;

/// SHA-256 of dm-integrity's superblock and journal.
#[derive(PartialEq, Eq)]
pub(super) struct JournalDigest([u8; 32]);

impl JournalDigest {
    /// Reads them from `disk`; where there are none, the bytes at their place.
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
