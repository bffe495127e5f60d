//! The intent record: the block that PID 1 writes before the first format of a data disk.
//!
//! A disk does not write a LUKS2 header atomically, and its keyslots are elsewhere: a power cut during the first format would leave a disk
//! that is neither blank nor formatted. So the first write of a format is this record, which fits in one sector of 512 bytes. The disk's
//! key authenticates it. PID 1 erases the record before the first mount, so a disk with a record contains no data. A host that restores a
//! copy of the record and damages the header can cause a new format, which it can also cause by zeroing the disk.

use crate::luks2::DATA_OFFSET;
use encoding::fields;
use uuid::Uuid;

/// The size of the block that contains the record, in bytes; the rest of the block is zero.
pub const BLOCK: usize = 4096;

/// The offset of the block: the last one before the data, in LUKS2's keyslot area, where cvm-init has no keyslot.
pub const OFFSET: u64 = DATA_OFFSET - 4096;

/// The first bytes of a record, with its version.
const MAGIC: &[u8; 20] = b"cvm-init format v1\n\0";

// Where fields are, in bytes.
const UUID: usize = MAGIC.len();
const MAC: usize = UUID + 16;
const END: usize = MAC + 32;

/// A record as found: its MAC is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The identifier that the LUKS2 header will have.
    pub uuid: Uuid,
    /// HMAC-SHA256 over [`message`], 32 bytes.
    pub mac: [u8; 32],
}

impl Intent {
    /// Parses the record in `block`, [`BLOCK`] bytes; `None` unless it has exactly the form of [`Intent::block`].
    #[must_use]
    pub fn parse(block: &[u8]) -> Option<Self> {
        let block: &[u8; BLOCK] = block.try_into().ok()?;
        let rest = block.get(END..)?;
        if !block.starts_with(MAGIC) || !fields::is_zero(rest) {
            return None;
        }
        Some(Self { uuid: Uuid::from_bytes(fields::array(block, UUID)?), mac: fields::array(block, MAC)? })
    }

    /// Encodes the block for [`OFFSET`].
    #[must_use]
    pub fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let fields = message(self.uuid).into_iter().chain(self.mac);
        block.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        block
    }
}

/// Returns the bytes that the MAC of a record for the disk `uuid` covers.
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
    fn record_fits_in_one_sector_of_the_blank_range() {
        let block = record().block();
        assert_eq!(block.iter().rposition(|byte| *byte != 0), Some(67));
        assert!(blank::ranges(64 << 20).unwrap()[0].contains(&(OFFSET + 67)));
    }

    #[test]
    fn only_the_written_form_of_a_record_is_read() {
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
