//! The allow-list: the values that every field of a data disk's header may have.
//!
//! In published attacks on eight products (October 2025; CVE-2025-59054, CVE-2025-58356), the host changed headers to null ciphers, and
//! added keyslots and tokens. So every value that is not on this list is refused.

mod rules;

use super::{AuthToken, Excerpt, Header};
use cmdline::DataCipher;
use std::ops::Range;
use uuid::Uuid;

/// The offset of the data on disks that cryptsetup formats, in bytes.
pub const DATA_OFFSET: u64 = 16 * 1024 * 1024;

/// The values that the policy of this boot expects of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The cipher; `None`: any allowed cipher.
    pub cipher: Option<DataCipher>,
    /// The offset of the data in bytes: [`DATA_OFFSET`] unless the policy pins another.
    pub data_offset: u64,
    /// Whether two keyslots are allowed, as during a rotation.
    pub rotation: bool,
}

/// The layout of a header that fulfils every rule. Only [`check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedLayout {
    uuid: Uuid,
    seqid: u64,
    cipher: DataCipher,
    sector_size: u32,
    slots: Vec<Slot>,
    auth_token: Option<AuthToken>,
}

/// A keyslot that fulfils every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The number of the keyslot.
    pub id: u32,
    /// The key derivation function.
    pub kdf: Kdf,
    /// The memory for the key derivation, in KiB; 0 for PBKDF2.
    pub memory_kib: u32,
    /// The area of the key material, in bytes from the start of the disk.
    pub area: Range<u64>,
}

/// A key derivation function of keyslots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// PBKDF2 with HMAC-SHA256.
    Pbkdf2,
    /// Argon2i.
    Argon2i,
    /// Argon2id.
    Argon2id,
}

impl Kdf {
    /// Returns the name in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pbkdf2 => "pbkdf2",
            Self::Argon2i => "argon2i",
            Self::Argon2id => "argon2id",
        }
    }
}

impl AcceptedLayout {
    /// The identifier of the disk.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// How often the header was written.
    #[must_use]
    pub const fn seqid(&self) -> u64 {
        self.seqid
    }

    /// Returns the cipher.
    #[must_use]
    pub const fn cipher(&self) -> DataCipher {
        self.cipher
    }

    /// Returns the size of an encrypted sector: 512 or 4096 bytes.
    #[must_use]
    pub const fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Returns the keyslots by number: one, or up to two where a rotation is expected.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The authentication token as found; its MAC is not verified.
    #[must_use]
    pub const fn auth_token(&self) -> Option<&AuthToken> {
        self.auth_token.as_ref()
    }
}

/// The rule that a header breaks. Numbers are those of keyslots and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No keyslot, or more than expected.
    #[error("unexpected number of keyslots")]
    Keyslots,
    /// Not a keyslot of type luks2 with a raw area, or one with a priority.
    #[error("keyslot {0} is not an ordinary one")]
    KeyslotKind(u32),
    /// A volume key of another size than that of the cipher.
    #[error("keyslot {0} has a key of another size")]
    KeyslotKey(u32),
    /// Key material under another cipher than aes-xts-plain64 with a key of 64 bytes, for example a null cipher.
    #[error("keyslot {0} is under another cipher")]
    KeyslotCipher(u32),
    /// Not luks1 with 4000 stripes and sha256.
    #[error("keyslot {0} is split in another way")]
    KeyslotSplit(u32),
    /// A key derivation that is unknown, too weak or too expensive, or without a salt of 32 bytes.
    #[error("keyslot {0} has a key derivation out of bounds")]
    KeyslotKdf(u32),
    /// Key material outside of the keyslot area, not aligned to blocks, or with a wrong length.
    #[error("keyslot {0} is out of place")]
    KeyslotArea(u32),
    /// Two keyslots share bytes.
    #[error("keyslots overlap")]
    KeyslotOverlap,
    /// Not exactly one segment with the name 0.
    #[error("unexpected number of segments")]
    Segments,
    /// Not of type `crypt`, or with flags: for example a backup segment or a linear one.
    #[error("segment is not an ordinary one")]
    SegmentKind,
    /// The data has another offset than expected.
    #[error("segment starts elsewhere")]
    SegmentOffset,
    /// The size is not `dynamic`.
    #[error("segment has a fixed size")]
    SegmentSize,
    /// The IV of the first sector is not 0.
    #[error("segment has an iv tweak")]
    SegmentTweak,
    /// Neither 512 nor 4096 bytes.
    #[error("segment has another sector size")]
    SegmentSector,
    /// Not the cipher of the policy, or not an allowed one.
    #[error("segment is under another cipher")]
    SegmentCipher,
    /// Not the authentication that belongs to the cipher, or none.
    #[error("segment is authenticated in another way")]
    SegmentIntegrity,
    /// A key for integrity of another size than the cipher has: the size found, in bytes.
    #[error("segment has an integrity key of another size: {0} bytes")]
    IntegrityKey(u32),
    /// Not exactly one digest with the name 0.
    #[error("unexpected number of digests")]
    Digests,
    /// Not PBKDF2 with SHA-256 in bounds, with a salt and a digest of 32 bytes.
    #[error("digest is not an ordinary one")]
    DigestKind,
    /// The digest does not belong to all keyslots and the segment.
    #[error("digest is not about this segment and these keyslots")]
    DigestScope,
    /// Sizes that do not fit the header and the data offset.
    #[error("configuration has other sizes")]
    ConfigSizes,
    /// Flags, which could change the activation of the disk.
    #[error("configuration has flags")]
    ConfigFlags,
    /// A mandatory requirement, such as inline tags or an unfinished re-encryption: its name.
    #[error("the header requires {0}, which this version does not support")]
    Requirement(Excerpt),
    /// Requirements without a name.
    #[error("configuration has requirements without a name")]
    Requirements,
    /// A token of unknown type.
    #[error("token {0} is unknown")]
    Token(u32),
    /// An authentication token in another form than cvm-init writes it, or a second one.
    #[error("token {0} is not a valid authentication token")]
    AuthToken(u32),
}

/// The parts of a header in the order of [`check_parts`].
pub const PARTS: [&str; 5] = ["configuration", "segment", "keyslots", "digest", "tokens"];

/// Checks each of the [`PARTS`] of a header by itself; [`check`] ends at the first broken rule. Keyslots are checked within the keyslot
/// area of the configuration; without a valid configuration, the area is empty.
pub fn check_parts(header: &Header, expect: &Expect) -> [Result<(), Violation>; 5] {
    let metadata = &header.metadata;
    let configuration = rules::check_config(header, expect);
    let place = configuration.clone().unwrap_or(0..0);
    let keyslots = |cipher| rules::check_keyslots(metadata, expect.rotation, cipher, &place).map(drop);
    [
        configuration.map(drop),
        rules::check_segment(metadata, expect).map(drop),
        // The segment's own part reports an unknown cipher; the keyslots may be right for any.
        rules::cipher_of(metadata, expect).map_or_else(
            || {
                let each = DataCipher::ALL.iter().map(|cipher| keyslots(*cipher));
                each.reduce(|one, other| one.or_else(|error| other.map_err(|_| error))).unwrap_or(Ok(()))
            },
            keyslots,
        ),
        rules::check_digest(metadata),
        rules::check_tokens(metadata).map(drop),
    ]
}

/// Checks a header against the allow-list.
///
/// # Errors
/// The first broken rule.
pub fn check(header: &Header, expect: &Expect) -> Result<AcceptedLayout, Violation> {
    let metadata = &header.metadata;
    let keyslot_area = rules::check_config(header, expect)?;
    let (segment, cipher) = rules::check_segment(metadata, expect)?;
    let slots = rules::check_keyslots(metadata, expect.rotation, cipher, &keyslot_area)?;
    rules::check_digest(metadata)?;
    Ok(AcceptedLayout {
        uuid: header.uuid,
        seqid: header.seqid,
        cipher,
        sector_size: segment.sector_size,
        slots,
        auth_token: rules::check_tokens(metadata)?,
    })
}
