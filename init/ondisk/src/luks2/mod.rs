//! The LUKS2 header of the data disk, parsed from a private copy of the first bytes of the disk.
//!
//! The host controls the disk, so the header is not trusted: [`Header::parse`] checks its form only, and [`check`] compares it with an
//! allow-list. The caller has the key and verifies the MAC over [`auth_message`].
//!
//! The disk must be opened with the same bytes that were parsed: other readers of LUKS2 are less strict, and may prefer the other copy
//! when the two differ.
//!
//! Source: LUKS2 On-Disk Format Specification 1.1.3; cryptsetup 2.7.5 and 2.8.8, lib/luks2.

mod allowlist;
mod binary;
mod excerpt;
mod fields;
mod header_auth;
mod json;
mod restore;
#[cfg(test)]
mod tests;
mod write;

pub use allowlist::{AcceptedLayout, DATA_OFFSET, Expect, Kdf, PARTS, Slot, Violation, check, check_parts};
pub use binary::{Copy, repair};
pub use excerpt::Excerpt;
pub use header_auth::{AUTH_TOKEN, AuthToken, FormatState, auth_message};
pub use restore::{RestorePlan, SoundCopy, has_other_volume_key, identifiers, plan_restore, sound_copies};
pub use write::{Area, clear_unused, writes};

use encoding::strict_json;
use json::Metadata;
use serde_json::Value;
use uuid::Uuid;

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside of the headers.
    #[error("image ends inside the header")]
    Truncated,
    /// No magic at the offset of this copy.
    #[error("no {0} header")]
    Magic(Copy),
    /// Not version 2.
    #[error("{0} header is not version 2")]
    Version(Copy),
    /// Not a power of two from 16 KiB to 4 MiB.
    #[error("{0} header has no allowed size")]
    Size(Copy),
    /// The header contains another offset than its own.
    #[error("{0} header contains another offset than its own")]
    Offset(Copy),
    /// Not SHA-256.
    #[error("checksum of the {0} header is not sha256")]
    Algorithm(Copy),
    /// The header was changed or damaged.
    #[error("checksum of the {0} header does not match")]
    Checksum(Copy),
    /// A label or UUID that is malformed, or followed by bytes that are not zero.
    #[error("text field of the {0} header is malformed")]
    Text(Copy),
    /// Padding that is not zero.
    #[error("padding of the {0} header is not zero")]
    Padding(Copy),
    /// Not one JSON object, or no NUL after it, or other bytes after that.
    #[error("json area of the {0} header is malformed")]
    JsonArea(Copy),
    /// The copies differ, as after a power cut during a write: see [`repair`].
    #[error("the two headers differ")]
    CopiesDiffer,
    /// Not JSON.
    #[error("json is malformed")]
    Json,
    /// A repeated key in an object, a number with a fraction, or a NUL in a string: readers differ about these.
    #[error("json is ambiguous")]
    Ambiguous,
    /// An unknown field: its path.
    #[error("json has the field {0}, which this version does not know")]
    UnknownField(Excerpt),
    /// An unknown field in a header with a mandatory requirement: the name of the requirement.
    #[error("the header requires {0}, which this version does not support")]
    Requirement(Excerpt),
    /// A field is missing, has another type or an invalid form.
    #[error("json is not luks2 metadata: a field is missing or of another type")]
    Model,
}

/// A well-formed LUKS2 header: equal copies, valid checksums, and only known fields in the metadata.
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
    /// Parses both copies of the header from the first bytes of a disk; 8 MiB always contain both.
    ///
    /// # Errors
    /// For a copy that does not have the form in which cryptsetup writes it.
    pub fn parse(image: &[u8]) -> Result<Self, Error> {
        let primary = binary::Binary::parse(image, 0, Copy::Primary)?;
        let secondary = binary::Binary::parse(image, primary.size, Copy::Secondary)?;
        if primary != secondary {
            return Err(Error::CopiesDiffer);
        }
        let json = strict_json::parse(primary.json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Error::Ambiguous,
            _ => Error::Json,
        })?;
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

    /// Returns the size of one copy, in bytes: a power of two from 16 KiB to 4 MiB.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the sequence number, which each write of the header increases.
    #[must_use]
    pub const fn seqid(&self) -> u64 {
        self.seqid
    }

    /// Returns the label: at most 47 bytes.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the subsystem: at most 47 bytes.
    #[must_use]
    pub fn subsystem(&self) -> &str {
        &self.subsystem
    }

    /// Returns the UUID of the disk.
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
