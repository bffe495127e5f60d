//! Untrusted bytes to values: everything this machine reads that its host may have written.
//!
//! Nothing here opens a file, asks a clock, keeps a secret or panics. Each parser is total (every input gives a value
//! or an error), strict (what it does not know, it refuses) and bounded (a length from outside is checked before
//! anything is allocated for it), so each can be fuzzed as it stands.

pub mod blank;
pub mod btrfs;
mod bytes;
pub mod cel;
pub mod cmdline;
pub mod erofs;
pub mod eventlog;
pub mod ext4;
pub mod gpt;
mod guid;
pub mod integrity;
pub mod intent;
pub mod luks2;
pub mod pe;
pub mod program;
pub mod register;
pub mod scratch;
mod text;
mod time;
pub mod verity;
pub mod xfs;

pub use guid::Guid;
