//! Parsers of on-disk formats. The host may have written all bytes of a disk.
//!
//! The crate opens no file, reads no clock, keeps no secret and does not panic. Each parser is total (every input gives a value or an
//! error), strict (unknown values are refused) and bounded (lengths are checked before memory is allocated).

pub mod blank;
pub mod btrfs;
pub mod erofs;
pub mod ext4;
pub mod gpt;
pub mod integrity;
pub mod intent;
pub mod luks2;
pub mod program;
pub mod scratch;
pub mod verity;
pub mod xfs;
