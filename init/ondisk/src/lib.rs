//! Parsers of what is on a disk, all of which the host may have written.
//!
//! Nothing here opens a file, asks a clock, keeps a secret or panics. Each parser is total (every input gives a value
//! or an error), strict (what it does not know, it refuses) and bounded (a length from outside is checked before
//! anything is allocated for it), so each can be fuzzed as it stands.

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
