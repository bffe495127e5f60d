//! The metadata: every field that LUKS2 has for data disks of cvm-init, and no other.

use super::{Error, fields};
use encoding::text;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) keyslots: BTreeMap<Id, Keyslot>,
    pub(super) tokens: BTreeMap<Id, Value>,
    pub(super) segments: BTreeMap<Id, Segment>,
    pub(super) digests: BTreeMap<Id, Digest>,
    pub(super) config: Config,
}

impl Metadata {
    pub(super) fn read(json: &Value) -> Result<Self, Error> {
        if let Some(field) = fields::unknown(json) {
            // New features have new fields; the name of the feature is the better message.
            return Err(fields::requirement(json).map_or(Error::UnknownField(field), Error::Requirement));
        }
        Self::deserialize(json).map_err(|_| Error::Model)
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyslot {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) key_size: u32,
    pub(super) af: AntiForensic,
    pub(super) area: Area,
    pub(super) kdf: Kdf,
    #[serde(default, deserialize_with = "present")]
    pub(super) priority: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AntiForensic {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) stripes: u32,
    pub(super) hash: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Area {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Number,
    pub(super) size: Number,
    pub(super) encryption: String,
    pub(super) key_size: u32,
}

/// Memory is in KiB.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Kdf {
    Pbkdf2 { hash: String, iterations: u32, salt: String },
    Argon2i { time: u32, memory: u32, cpus: u32, salt: String },
    Argon2id { time: u32, memory: u32, cpus: u32, salt: String },
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Number,
    pub(super) size: Size,
    pub(super) iv_tweak: Number,
    pub(super) encryption: String,
    pub(super) sector_size: u32,
    #[serde(default, deserialize_with = "present")]
    pub(super) integrity: Option<Integrity>,
    #[serde(default, deserialize_with = "present")]
    pub(super) flags: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Integrity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(rename = "journal_encryption")]
    pub(super) journal_cipher: String,
    #[serde(rename = "journal_integrity")]
    pub(super) journal_mac: String,
    /// How many bytes of the volume key are the integrity key. cryptsetup writes it since 2.8, and only when
    /// `--integrity-key-size` was given.
    #[serde(default, deserialize_with = "present")]
    pub(super) key_size: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) keyslots: Vec<Id>,
    pub(super) segments: Vec<Id>,
    pub(super) hash: String,
    pub(super) iterations: u32,
    pub(super) salt: String,
    #[serde(rename = "digest")]
    pub(super) value: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) json_size: Number,
    pub(super) keyslots_size: Number,
    #[serde(default, deserialize_with = "present")]
    pub(super) flags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) requirements: Option<Value>,
}

/// The name of an object, which is a decimal number in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Id(pub(super) u32);

/// A number of 64 bits, in a string since numbers of JSON may be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Number(pub(super) u64);

/// The length of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Size {
    Dynamic,
    Fixed,
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text::decimal(&text).map(Self).ok_or("not a name of an object")
    }
}

impl TryFrom<String> for Number {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text::decimal(&text).map(Self).ok_or("not a number in a string")
    }
}

impl TryFrom<String> for Size {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "dynamic" { Ok(Self::Dynamic) } else { Number::try_from(text).map(|_| Self::Fixed) }
    }
}

/// Deserializes an optional field, which must not be `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
