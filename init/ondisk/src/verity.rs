//! The superblock of dm-verity, and the parameters of the kernel's target.
//!
//! The superblock is not trusted: the host can write it. It describes the layout of the hash tree only, and the measured root hash verifies
//! a tree with that layout.

use cmdline::{OnCorruption, RootHash};
use encoding::{fields, hex};
use std::fmt;
use uuid::Uuid;

/// Size of the superblock, in bytes.
pub const SUPERBLOCK_LEN: usize = 512;

/// The accepted size of data blocks and hash blocks, in bytes.
const BLOCK: u64 = 4096;

/// The number of SHA-256 hashes in one block.
const HASHES_PER_BLOCK: u64 = BLOCK / 32;

/// The number of sectors of 512 bytes in one block.
const SECTORS_PER_BLOCK: u64 = BLOCK / 512;

/// Why a superblock is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not 512 bytes.
    #[error("not {SUPERBLOCK_LEN} bytes")]
    Length,
    /// It does not start with `verity`.
    #[error("no verity signature")]
    Signature,
    /// Not version 1.
    #[error("version is not 1")]
    Version,
    /// Not hash type 1; type 0 is that of Chrome OS.
    #[error("hash type is not 1")]
    HashType,
    /// Not SHA-256.
    #[error("algorithm is not sha256")]
    Algorithm,
    /// Not 4096 bytes for data and hashes.
    #[error("a block size is not {BLOCK}")]
    BlockSize,
    /// The salt is longer than its field.
    #[error("salt is too long")]
    Salt,
    /// Padding that is not zero.
    #[error("padding is not zero")]
    Padding,
    /// No data, or more data than the partition has room for.
    #[error("data does not fit its partition")]
    Data,
    /// Another number of data blocks than the file system has.
    #[error("data of {seen} bytes, and the verified file system has {expected}")]
    Size {
        /// Size of the file system in bytes.
        expected: u64,
        /// Size of the data by the superblock in bytes.
        seen: u64,
    },
    /// More hashes than the partition has room for.
    #[error("hash tree does not fit its partition")]
    Hashes,
}

/// A block device by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The layout of a hash tree with SHA-256 and blocks of 4096 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    uuid: Uuid,
    data_blocks: u64,
    salt: Vec<u8>,
}

impl Superblock {
    /// Parses the first 512 bytes of the hash partition.
    ///
    /// # Errors
    /// Anything but version 1, hash type 1, sha256, blocks of 4096 bytes, at most 256 bytes of salt, and zeros.
    ///
    /// Source: `struct verity_sb` in cryptsetup's lib/verity/verity.c; little-endian.
    pub fn parse(superblock: &[u8]) -> Result<Self, Error> {
        let block: &[u8; SUPERBLOCK_LEN] = superblock.try_into().map_err(|_| Error::Length)?;
        let number = |at| fields::le_u32(block, at).ok_or(Error::Length);
        if !block.starts_with(b"verity\0\0") {
            return Err(Error::Signature);
        }
        if number(8)? != 1 {
            return Err(Error::Version);
        }
        if number(12)? != 1 {
            return Err(Error::HashType);
        }
        if fields::array(block, 32) != Some(algorithm()) {
            return Err(Error::Algorithm);
        }
        if [u64::from(number(64)?), u64::from(number(68)?)] != [BLOCK; 2] {
            return Err(Error::BlockSize);
        }
        Ok(Self {
            uuid: Uuid::from_bytes(fields::array(block, 16).ok_or(Error::Length)?),
            data_blocks: fields::le_u64(block, 72).ok_or(Error::Length)?,
            salt: salt(block)?,
        })
    }

    /// Returns the identifier of the tree. It is not trusted, and no decision depends on it.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Returns the length of the mapped device, in sectors of 512 bytes; 0 on overflow, which [`Superblock::check_fits`] refuses.
    #[must_use]
    pub fn mapped_sectors(&self) -> u64 {
        self.data_blocks.checked_mul(SECTORS_PER_BLOCK).unwrap_or(0)
    }

    /// Checks that data and hash tree fit their partitions, whose sizes are in bytes.
    ///
    /// # Errors
    /// [`Error::Data`] or [`Error::Hashes`] for the partition that is too small.
    pub fn check_fits(&self, data_bytes: u64, hash_bytes: u64) -> Result<(), Error> {
        if self.data_blocks == 0 || self.data_blocks > data_bytes / BLOCK {
            return Err(Error::Data);
        }
        // The superblock uses the first block. No overflow: there are more data blocks than hash blocks.
        if self.hash_blocks() >= hash_bytes / BLOCK {
            return Err(Error::Hashes);
        }
        Ok(())
    }

    /// Compares the data size with the size of the file system in bytes, which the root hash authenticates. The root hash does not
    /// authenticate the number of data blocks: a smaller number can have a tree of the same shape. Reads of the missing blocks would then
    /// fail with EIO and not count as corruption.
    ///
    /// # Errors
    /// [`Error::Size`] with both sizes.
    pub fn check_size(&self, bytes: u64) -> Result<(), Error> {
        let seen = self.data_blocks.saturating_mul(BLOCK);
        if seen == bytes { Ok(()) } else { Err(Error::Size { expected: bytes, seen }) }
    }

    /// Returns the parameters of the `verity` target, version 1 of the format, with [`options`].
    ///
    /// Source: Documentation/admin-guide/device-mapper/verity.rst, "Construction Parameters".
    #[must_use]
    pub fn table_params(&self, data: Device, hashes: Device, root: &RootHash, options: &str) -> String {
        let blocks = self.data_blocks;
        let root = hex::encode(&root.0);
        let salt = if self.salt.is_empty() { "-".to_owned() } else { hex::encode(&self.salt) };
        // The tree starts in block 1, after the superblock.
        format!("1 {data} {hashes} {BLOCK} {BLOCK} {blocks} 1 sha256 {root} {salt}{options}")
    }

    /// Returns the number of blocks of the tree: each level has one hash for each block of the level below; the last level has one block.
    fn hash_blocks(&self) -> u64 {
        let mut level = self.data_blocks;
        let mut blocks = 0;
        while level > 1 {
            level = level.div_ceil(HASHES_PER_BLOCK);
            blocks += level;
        }
        blocks
    }
}

/// Returns the target options for a corrupt block and, with `errors`, for a block that the disk cannot read: kernels before 6.12 do not
/// have options for that.
///
/// Source: Documentation/admin-guide/device-mapper/verity.rst, "Optional parameters".
#[must_use]
pub const fn options(on_corruption: OnCorruption, errors: bool) -> &'static str {
    match (on_corruption, errors) {
        (OnCorruption::Panic, true) => " 2 panic_on_corruption panic_on_error",
        (OnCorruption::Panic, false) => " 1 panic_on_corruption",
        (OnCorruption::Restart, true) => " 2 restart_on_corruption restart_on_error",
        (OnCorruption::Restart, false) => " 1 restart_on_corruption",
        // The default of dm-verity.
        (OnCorruption::Eio, _) => "",
    }
}

/// Whether a target of this version has options for read errors (`errors` of [`options`]): Linux 6.12 has version 1.10.0, and the
/// long-term kernels before it have 1.9.0 and lower.
///
/// Source: `verity_target` in drivers/md/dm-verity-target.c.
#[must_use]
pub fn supports_error_options(version: Option<(u32, u32, u32)>) -> bool {
    version >= Some((1, 10, 0))
}

/// Whether the status of a mapped device reports a corrupt block.
///
/// Source: `verity_status` in drivers/md/dm-verity-target.c: `V` or `C`, then the number of corrected blocks with forward error correction.
#[must_use]
pub fn is_corrupt(status: &str) -> bool {
    status.starts_with('C')
}

fn salt(block: &[u8; SUPERBLOCK_LEN]) -> Result<Vec<u8>, Error> {
    let length = usize::from(fields::le_u16(block, 80).ok_or(Error::Length)?);
    let (field, after) = block.get(88..).and_then(|rest| rest.split_at_checked(256)).ok_or(Error::Length)?;
    let (salt, unused) = field.split_at_checked(length).ok_or(Error::Salt)?;
    let before: [u8; 6] = fields::array(block, 82).ok_or(Error::Length)?;
    if ![before.as_slice(), unused, after].into_iter().all(fields::is_zero) {
        return Err(Error::Padding);
    }
    Ok(salt.to_vec())
}

/// Returns the algorithm field of the superblock for `sha256`.
fn algorithm() -> [u8; 32] {
    let mut field = [0; 32];
    field.iter_mut().zip(b"sha256").for_each(|(to, from)| *to = *from);
    field
}

#[cfg(test)]
mod tests {
    use super::{Device, Error, OnCorruption, RootHash, Superblock};
    use encoding::hex;
    use proptest::prelude::*;

    const DATA: Device = Device { major: 254, minor: 1 };
    const HASHES: Device = Device { major: 254, minor: 2 };

    /// `veritysetup format --salt=abab..ab --uuid 6b3f1c0e-0000-4000-8000-000000000003 v.img h.img`, 40 MiB of zeros,
    /// veritysetup 2.7.5 (Debian trixie): the first 128 bytes; the other bytes of the 512 are zero. Its output was
    /// `Hash blocks: 81` and `Hash device size: 335872`.
    const SUPERBLOCK: &str = "7665726974790000010000000100000\
        06b3f1c0e0000400080000000000000037368613235360000000000000000000000000000000000000000000000000000\
        00100000001000000028000000000000200000000000000\
        0abababababababababababababababababababababababababababababababab0000000000000000";

    fn golden() -> [u8; 512] {
        let mut block = [0; 512];
        block[..128].copy_from_slice(&hex::decode::<128>(SUPERBLOCK).unwrap());
        block
    }

    fn with(at: usize, value: u8) -> [u8; 512] {
        let mut block = golden();
        block[at] = value;
        block
    }

    fn blocks(data_blocks: u64) -> Superblock {
        Superblock { data_blocks, ..Superblock::parse(&golden()).unwrap() }
    }

    #[test]
    fn superblock_of_veritysetup_is_read() {
        let superblock = Superblock::parse(&golden()).unwrap();
        assert_eq!(superblock.uuid().to_string(), "6b3f1c0e-0000-4000-8000-000000000003");
        assert_eq!(superblock.mapped_sectors(), 81920);
        assert_eq!(superblock.hash_blocks(), 81);
        assert_eq!(superblock.check_fits(41_943_040, 335_872), Ok(()));
    }

    #[test]
    fn superblock_of_any_other_kind_is_refused() {
        let cases = [
            ("signature", with(0, b'V'), Error::Signature),
            ("signature's end", with(7, 1), Error::Signature),
            ("version 2", with(8, 2), Error::Version),
            ("hash type 0", with(12, 0), Error::HashType),
            ("sha1", with(35, b'1'), Error::Algorithm),
            ("sha256 and more", with(38, b'x'), Error::Algorithm),
            ("behind the algorithm's nul", with(63, 1), Error::Algorithm),
            ("data blocks of 8192", with(65, 0x20), Error::BlockSize),
            ("hash blocks of 512", with(69, 0x02), Error::BlockSize),
            ("salt of 288 bytes", with(81, 1), Error::Salt),
            ("padding before the salt", with(82, 1), Error::Padding),
            ("behind the salt", with(88 + 32, 1), Error::Padding),
            ("last byte", with(511, 1), Error::Padding),
        ];
        for (name, block, want) in cases {
            assert_eq!(Superblock::parse(&block), Err(want), "{name}");
        }
        assert_eq!(Superblock::parse(&golden()[..511]), Err(Error::Length));
        assert_eq!(Superblock::parse(&[0; 4096]), Err(Error::Length));
    }

    #[test]
    fn salt_may_be_absent_or_fill_its_field() {
        let mut block = golden();
        block[80..82].copy_from_slice(&[0, 1]);
        block[88..344].fill(7);
        assert_eq!(Superblock::parse(&block).unwrap().salt, [7; 256]);
        block[80..344].fill(0);
        let params = Superblock::parse(&block).unwrap().table_params(DATA, HASHES, &RootHash([0; 32]), "");
        assert!(params.ends_with(" -"), "{params}");
    }

    #[test]
    fn tree_and_data_fit_their_partitions() {
        let cases = [
            ("no data", 0, 4096, 8192, Err(Error::Data)),
            ("one block needs no tree", 1, 4096, 8192, Ok(())),
            ("no block for the tree", 2, 8192, 4096, Err(Error::Hashes)),
            ("exact", 10240, 41_943_040, 335_872, Ok(())),
            ("data one byte short", 10240, 41_943_039, 335_872, Err(Error::Data)),
            ("tree one byte short", 10240, 41_943_040, 335_871, Err(Error::Hashes)),
            ("more than there is", u64::MAX, u64::MAX, u64::MAX, Err(Error::Data)),
        ];
        for (name, count, data, hashes, want) in cases {
            assert_eq!(blocks(count).check_fits(data, hashes), want, "{name}");
        }
    }

    #[test]
    fn size_is_exactly_that_of_the_file_system() {
        // Trees of 34,611 and of 34,561 blocks have the same shape.
        assert_eq!(blocks(34_561).hash_blocks(), blocks(34_611).hash_blocks());
        let of = |count| blocks(count).check_size(34_611 * 4096);
        assert_eq!(of(34_611), Ok(()));
        for count in [34_561, 34_610, 34_612, 0, u64::MAX] {
            assert!(matches!(of(count), Err(Error::Size { expected: 141_766_656, .. })), "{count}");
        }
    }

    #[test]
    fn tree_has_as_many_blocks_as_its_levels_add_up_to() {
        for (data, want) in [(0, 0), (1, 0), (2, 1), (128, 1), (129, 3), (16384, 129), (16385, 132)] {
            assert_eq!(blocks(data).hash_blocks(), want, "{data}");
        }
    }

    #[test]
    fn error_options_depend_on_the_version_and_corruption_is_in_the_status() {
        for (version, want) in [
            (None, false),
            (Some((1, 9, 0)), false),
            (Some((1, 9, 99)), false),
            (Some((1, 10, 0)), true),
            (Some((1, 13, 0)), true),
            (Some((2, 0, 0)), true),
        ] {
            assert_eq!(super::supports_error_options(version), want, "{version:?}");
        }
        for (status, want) in [("V", false), ("C", true), ("C 3", true), ("", false)] {
            assert_eq!(super::is_corrupt(status), want, "{status}");
        }
    }

    #[test]
    fn parameters_are_those_of_the_kernels_documentation() {
        // The example in Documentation/admin-guide/device-mapper/verity.rst (Linux 6.12), with its devices by number.
        let mut superblock = blocks(262_144);
        superblock.salt = hex::decode::<32>("1234000000000000000000000000000000000000000000000000000000000000").unwrap().to_vec();
        let root = hex::decode("4392712ba01368efdf14b05c76f9e4df0d53664630b5d48632ed17a137f39076").unwrap();
        assert_eq!(superblock.mapped_sectors(), 2_097_152);
        assert_eq!(
            superblock.table_params(DATA, HASHES, &RootHash(root), ""),
            "1 254:1 254:2 4096 4096 262144 1 sha256 4392712ba01368efdf14b05c76f9e4df0d53664630b5d48632ed17a137f39076 \
             1234000000000000000000000000000000000000000000000000000000000000"
        );
    }

    #[test]
    fn parameters_are_those_of_veritysetup() {
        // `dmsetup table` after `veritysetup open [--panic-on-corruption | --restart-on-corruption]` on 10 MiB of zeros;
        // veritysetup 2.7.5, Debian's kernel 6.12.117, 2026-11-23. The start and the length are not parameters.
        let line = "1 254:0 254:16 4096 4096 2560 1 sha256 626568aa6ba0d7d80da2fd4a63a613e8438b5f6e9c788dbcb9ebbf3720c84b39 \
                    abababababababababababababababababababababababababababababababab";
        let root = RootHash(hex::decode("626568aa6ba0d7d80da2fd4a63a613e8438b5f6e9c788dbcb9ebbf3720c84b39").unwrap());
        let cases = [
            (OnCorruption::Panic, " 1 panic_on_corruption"),
            (OnCorruption::Restart, " 1 restart_on_corruption"),
            (OnCorruption::Eio, ""),
        ];
        let [data, hashes] = [0, 16].map(|minor| Device { major: 254, minor });
        for (on_corruption, option) in cases {
            let options = super::options(on_corruption, false);
            assert_eq!(blocks(2560).table_params(data, hashes, &root, options), format!("{line}{option}"));
        }
        let both = [OnCorruption::Panic, OnCorruption::Restart, OnCorruption::Eio].map(|on| super::options(on, true));
        assert_eq!(both, [" 2 panic_on_corruption panic_on_error", " 2 restart_on_corruption restart_on_error", ""]);
        assert_eq!(blocks(2560).mapped_sectors(), 20480);
    }

    proptest! {
        #[test]
        fn parse_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), at in 0_usize..512, value: u8) {
            let _read = Superblock::parse(&bytes);
            if let Ok(superblock) = Superblock::parse(&with(at, value)) {
                let _read = superblock.check_fits(u64::MAX, u64::MAX);
                prop_assert!(superblock.salt.len() <= 256);
            }
        }

        #[test]
        fn what_fits_is_inside(count: u64, data: u64, hashes: u64) {
            let superblock = blocks(count);
            if superblock.check_fits(data, hashes).is_ok() {
                prop_assert!(superblock.mapped_sectors() <= data / 512 && superblock.hash_blocks() < hashes / 4096);
            }
        }
    }
}
