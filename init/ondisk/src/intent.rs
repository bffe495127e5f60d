//! The intent record: one block that says a first format was begun, before anything else of it is on the disk.
//!
//! A LUKS2 header is larger than what a disk writes whole, and its keyslots are elsewhere: a power cut in the middle of the
//! first one would leave a disk that is neither blank nor anything. So the first write of a format is this record, which fits
//! in one sector of 512 bytes. It is authenticated by the disk's key: where we left it, what else is on the disk was never used,
//! since it is erased before the disk is mounted for the first time. A host that kept a copy and puts it back, over a header that
//! it spoils, has the disk formatted: what it also has by zeroing the disk.

use crate::luks2::DATA_OFFSET;
use encoding::fields;
use uuid::Uuid;

/// The size of the block that the record is in, in bytes; all behind the record is zero.
pub const BLOCK: usize = 4096;

/// Where the block is: the last one in front of the data, in LUKS2's keyslot area, where no keyslot of ours reaches.
pub const OFFSET: u64 = DATA_OFFSET - 4096;

/// The first bytes of a record, its version among them.
const MAGIC: &[u8; 20] = b"cvm-init format v1\n\0";

// Where fields are, in bytes.
const UUID: usize = MAGIC.len();
const MAC: usize = UUID + 16;
const END: usize = MAC + 32;

/// A record as found: its MAC is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The identifier of the disk to be.
    pub uuid: Uuid,
    /// HMAC-SHA256 over [`message`], 32 bytes.
    pub mac: [u8; 32],
}

impl Intent {
    /// Reads the record in `block`, [`BLOCK`] bytes; `None` unless it is exactly as [`Intent::block`] writes it.
    #[must_use]
    pub fn parse(block: &[u8]) -> Option<Self> {
        let block: &[u8; BLOCK] = block.try_into().ok()?;
        let rest = block.get(END..)?;
        if !block.starts_with(MAGIC) || !fields::is_zero(rest) {
            return None;
        }
        Some(Self { uuid: Uuid::from_bytes(fields::array(block, UUID)?), mac: fields::array(block, MAC)? })
    }

    /// The record in the block that belongs at [`OFFSET`].
    #[must_use]
    pub fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let fields = message(self.uuid).into_iter().chain(self.mac);
        block.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        block
    }
}

/// The bytes that the MAC of a record for the disk `uuid` is over.
#[must_use]
pub fn message(uuid: Uuid) -> Vec<u8> {
    [MAGIC.as_slice(), uuid.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Intent, OFFSET, message};
    use crate::blank;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn record() -> Intent {
        Intent { uuid: Uuid::from_bytes([0x11; 16]), mac: [0x22; 32] }
    }

    #[test]
    fn record_fits_in_one_sector_of_what_must_be_blank() {
        let block = record().block();
        assert_eq!(block.iter().rposition(|byte| *byte != 0), Some(67));
        assert!(blank::ranges(64 << 20).unwrap()[0].contains(&(OFFSET + 67)));
    }

    #[test]
    fn record_is_read_exactly_as_it_is_written() {
        let block = record().block();
        assert_eq!(Intent::parse(&block), Some(record()));
        assert!(block.starts_with(&message(record().uuid)));
        for at in [0, 12, 19, 68, 511, 512, BLOCK - 1] {
            let mut changed = block;
            changed[at] ^= 1;
            assert_eq!(Intent::parse(&changed), None, "byte {at}");
        }
        assert_eq!((Intent::parse(&[]), Intent::parse(&block[..BLOCK - 1]), Intent::parse(&[0; BLOCK])), (None, None, None));
    }

    proptest! {
        #[test]
        fn parse_is_total_and_gives_back_what_it_read(mut bytes in proptest::collection::vec(any::<u8>(), BLOCK), whole: bool) {
            if whole {
                bytes[..20].copy_from_slice(&record().block()[..20]);
                bytes[68..].fill(0);
            }
            if let Some(read) = Intent::parse(&bytes) {
                prop_assert_eq!(read.block().to_vec(), bytes.clone());
            }
            prop_assert_eq!(Intent::parse(&bytes).is_some(), whole);
        }
    }
}
