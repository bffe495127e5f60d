//! The LUKS2 header of the data disk, read from a private copy of its first bytes.
//!
//! The host owns the disk, so a header is only ever a claim: [`Header::parse`] takes it apart without believing it,
//! [`check`] holds it against an allow-list. Nothing here has a key: the caller, who has one, verifies the MAC over [`auth_message`].
//!
//! What passes must be opened from the very bytes that were parsed. Other readers of LUKS2 are more forgiving, and where
//! two copies differ they may prefer the other one.
//!
//! Source: LUKS2 On-Disk Format Specification 1.1.3; cryptsetup 2.7.5 and 2.8.8, lib/luks2.

mod allowlist;
mod binary;
mod excerpt;
mod fields;
mod header_auth;
mod json;
mod restore;
mod strict_json;
#[cfg(test)]
mod tests;
mod write;

pub use allowlist::{AcceptedLayout, DATA_OFFSET, Expect, Kdf, PARTS, Slot, Violation, check, check_parts};
pub use binary::{Copy, repair};
pub use excerpt::Excerpt;
pub use header_auth::{AUTH_TOKEN, AuthToken, FormatState, auth_message};
pub use restore::{RestorePlan, SoundCopy, has_other_volume_key, identifiers, plan_restore, sound_copies};
pub use write::{Area, clear_unused, writes};

use json::Metadata;
use serde_json::Value;
use uuid::Uuid;

/// Why bytes are not a LUKS2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than both headers have.
    #[error("image ends inside the header")]
    Truncated,
    /// No magic where this copy should be.
    #[error("no {0} header")]
    Magic(Copy),
    /// Not version 2.
    #[error("{0} header is not version 2")]
    Version(Copy),
    /// Not a power of two from 16 KiB to 4 MiB.
    #[error("{0} header has no allowed size")]
    Size(Copy),
    /// The header was written for another place.
    #[error("{0} header is not where it says")]
    Offset(Copy),
    /// Not SHA-256.
    #[error("checksum of the {0} header is not sha256")]
    Algorithm(Copy),
    /// The header is not what was written.
    #[error("checksum of the {0} header")]
    Checksum(Copy),
    /// A label that is not text, a UUID that is none, or something behind the end of either.
    #[error("text field of the {0} header")]
    Text(Copy),
    /// Something where nothing belongs.
    #[error("padding of the {0} header is not zero")]
    Padding(Copy),
    /// No JSON object, no NUL behind it, or something behind that.
    #[error("json area of the {0} header")]
    JsonArea(Copy),
    /// The copies do not say the same. A power cut during a write leaves them so: see [`repair`].
    #[error("the two headers differ")]
    CopiesDiffer,
    /// Not JSON.
    #[error("json is malformed")]
    Json,
    /// A key twice in one object, a number with a fraction, or a NUL in a string: readers differ about these.
    #[error("json is ambiguous")]
    Ambiguous,
    /// A field that is not known, by its path.
    #[error("json has the field {0}, which this version does not know")]
    UnknownField(Excerpt),
    /// A field that is not known, in a header that demands a feature of its readers: the name of that.
    #[error("the header requires {0}, which this version does not support")]
    Requirement(Excerpt),
    /// A field is missing, of another type, or has no allowed form.
    #[error("json is not luks2 metadata: a field is missing or of another type")]
    Model,
}

/// A LUKS2 header that is well formed: both copies, their checksums, and metadata of known fields only.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    size: u64,
    seqid: u64,
    label: String,
    subsystem: String,
    uuid: Uuid,
    metadata: Metadata,
    json: Value,
}

impl Header {
    /// Reads both copies of the header from the first bytes of a disk: at most 16 MiB are of use, 8 MiB always hold both.
    ///
    /// # Errors
    /// Whatever is not exactly as cryptsetup writes it, in either copy.
    pub fn parse(image: &[u8]) -> Result<Self, Error> {
        let primary = binary::Binary::parse(image, 0, Copy::Primary)?;
        let secondary = binary::Binary::parse(image, primary.size, Copy::Secondary)?;
        if primary != secondary {
            return Err(Error::CopiesDiffer);
        }
        let json = strict_json::parse(primary.json)?;
        Ok(Self {
            size: primary.size,
            seqid: primary.seqid,
            label: primary.label.to_owned(),
            subsystem: primary.subsystem.to_owned(),
            uuid: primary.uuid,
            metadata: Metadata::read(&json)?,
            json,
        })
    }

    /// The size of one copy, in bytes: a power of two from 16 KiB to 4 MiB.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How often the header was written.
    #[must_use]
    pub const fn seqid(&self) -> u64 {
        self.seqid
    }

    /// The label: at most 47 bytes.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The subsystem: at most 47 bytes.
    #[must_use]
    pub fn subsystem(&self) -> &str {
        &self.subsystem
    }

    /// The identifier of the disk.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The metadata without the authentication token, as it goes into the MAC: keys sorted by bytes, no white space.
    #[must_use]
    pub fn json_without_auth_token(&self) -> String {
        header_auth::json_without_auth_token(&self.json)
    }
}
