//! The allow-list: what a data disk's header must say, all of it, exactly.
//!
//! Headers were rewritten to null ciphers, foreign slots and tokens in published attacks on eight products (October
//! 2025; CVE-2025-59054, CVE-2025-58356): whatever is not known to be good here is refused.

mod rules;

use super::{AuthToken, Excerpt, Header};
use cmdline::DataCipher;
use std::ops::Range;
use uuid::Uuid;

/// Where data starts on disks that cryptsetup formats, in bytes.
pub const DATA_OFFSET: u64 = 16 * 1024 * 1024;

/// What the policy of this boot expects of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// How it is encrypted; `None`: with any allowed cipher.
    pub cipher: Option<DataCipher>,
    /// Where its data starts, in bytes: [`DATA_OFFSET`] unless the policy pins another.
    pub data_offset: u64,
    /// Whether there may be two keyslots, as in the middle of a rotation.
    pub rotation: bool,
}

/// A header on which every rule holds. Only [`check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedLayout {
    uuid: Uuid,
    seqid: u64,
    cipher: DataCipher,
    sector_size: u32,
    slots: Vec<Slot>,
    auth_token: Option<AuthToken>,
}

/// A keyslot on which every rule holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub id: u32,
    /// How its key is derived.
    pub kdf: Kdf,
    /// How much memory the derivation takes, in KiB; 0 for PBKDF2.
    pub memory_kib: u32,
    /// Where its key material is, in bytes from the start of the disk.
    pub area: Range<u64>,
}

/// How a keyslot's key is derived.
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
    /// The name as it stands in the header.
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

    /// How the disk is encrypted.
    #[must_use]
    pub const fn cipher(&self) -> DataCipher {
        self.cipher
    }

    /// The size of an encrypted sector: 512 or 4096 bytes.
    #[must_use]
    pub const fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// The keyslots by name: one, or up to two where rotation is expected.
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

/// Which rule a header breaks. Numbers are names of keyslots and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No keyslot, or more than expected.
    #[error("number of keyslots")]
    Keyslots,
    /// Not an ordinary keyslot, or one with a priority.
    #[error("keyslot {0} is not an ordinary one")]
    KeyslotKind(u32),
    /// A volume key of another size than the cipher takes.
    #[error("keyslot {0} has a key of another size")]
    KeyslotKey(u32),
    /// Key material that is not under aes-xts-plain64 with a key of 64 bytes: a null cipher above all.
    #[error("keyslot {0} is under another cipher")]
    KeyslotCipher(u32),
    /// Not luks1 with 4000 stripes and sha256.
    #[error("keyslot {0} is split in another way")]
    KeyslotSplit(u32),
    /// A derivation that is unknown, too weak or too expensive, or without a salt of 32 bytes.
    #[error("keyslot {0} has a key derivation out of bounds")]
    KeyslotKdf(u32),
    /// Key material outside of the keyslot area, not on blocks, or of another length than its key has.
    #[error("keyslot {0} is out of place")]
    KeyslotArea(u32),
    /// Two keyslots share bytes.
    #[error("keyslots overlap")]
    KeyslotOverlap,
    /// Not exactly one segment with the name 0.
    #[error("number of segments")]
    Segments,
    /// Not `crypt`, or with flags: a backup segment, a linear one.
    #[error("segment is not an ordinary one")]
    SegmentKind,
    /// Data does not start where it is expected.
    #[error("segment starts elsewhere")]
    SegmentOffset,
    /// Data does not end with the disk.
    #[error("segment has a fixed size")]
    SegmentSize,
    /// The first sector has another number than 0.
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
    #[error("number of digests")]
    Digests,
    /// Not PBKDF2 with SHA-256 in bounds, with a salt and a digest of 32 bytes.
    #[error("digest is not an ordinary one")]
    DigestKind,
    /// The digest does not vouch for all keyslots and the segment.
    #[error("digest is not about this segment and these keyslots")]
    DigestScope,
    /// Sizes that do not fit the header and the data offset.
    #[error("configuration has other sizes")]
    ConfigSizes,
    /// Flags, which could change how the disk is activated.
    #[error("configuration has flags")]
    ConfigFlags,
    /// A feature that readers must have, such as inline tags or a re-encryption under way: its name.
    #[error("the header requires {0}, which this version does not support")]
    Requirement(Excerpt),
    /// Requirements that name nothing.
    #[error("configuration has requirements without a name")]
    Requirements,
    /// A token of unknown type.
    #[error("token {0} is unknown")]
    Token(u32),
    /// A token of ours that we did not write so, or a second one.
    #[error("token {0} is not a valid authentication token")]
    AuthToken(u32),
}

/// The parts of a header that [`check_parts`] speaks of, in its order.
pub const PARTS: [&str; 5] = ["configuration", "segment", "keyslots", "digest", "tokens"];

/// Holds each of the [`PARTS`] of a header against the allow-list by itself: what [`check`] ends with at the first broken rule, told
/// whole. The keyslots are judged within the bounds that the configuration gives, or none.
pub fn check_parts(header: &Header, expect: &Expect) -> [Result<(), Violation>; 5] {
    let metadata = &header.metadata;
    let configuration = rules::check_config(header, expect);
    let place = configuration.clone().unwrap_or(0..0);
    let cipher = rules::cipher_of(metadata, expect).ok_or(Violation::SegmentCipher);
    [
        configuration.map(drop),
        rules::check_segment(metadata, expect).map(drop),
        cipher.and_then(|cipher| rules::check_keyslots(metadata, expect.rotation, cipher, &place)).map(drop),
        rules::check_digest(metadata),
        rules::check_tokens(metadata).map(drop),
    ]
}

/// Holds a header against the allow-list.
///
/// # Errors
/// The first rule that is broken.
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
