//! The names of all known fields of the metadata, to name an unknown field by its path.
//!
//! serde refuses unknown fields as well ([`super::json`]), but does not report their path.

use super::excerpt::Excerpt;
use serde_json::Value;

/// The allowed content of an object.
enum Shape {
    /// Not checked here: not an object, or one with other rules.
    Any,
    /// Objects of one shape, under any name.
    Each(&'static Self),
    /// An object with these fields.
    Fields(&'static [(&'static str, Self)]),
    /// An object whose shape depends on its `type`; other types are not checked.
    Types(&'static [(&'static str, &'static Self)]),
}

const METADATA: Shape = Shape::Fields(&[
    ("keyslots", Shape::Each(&KEYSLOT)),
    ("tokens", Shape::Any),
    ("segments", Shape::Each(&SEGMENT)),
    ("digests", Shape::Each(&DIGEST)),
    ("config", CONFIG),
]);

const KEYSLOT: Shape = Shape::Fields(&[
    ("type", Shape::Any),
    ("key_size", Shape::Any),
    ("af", Shape::Fields(&[("type", Shape::Any), ("stripes", Shape::Any), ("hash", Shape::Any)])),
    ("area", AREA),
    ("kdf", Shape::Types(&[("pbkdf2", &PBKDF2), ("argon2i", &ARGON2), ("argon2id", &ARGON2)])),
    ("priority", Shape::Any),
]);

const AREA: Shape = Shape::Fields(&[
    ("type", Shape::Any),
    ("offset", Shape::Any),
    ("size", Shape::Any),
    ("encryption", Shape::Any),
    ("key_size", Shape::Any),
]);

const PBKDF2: Shape =
    Shape::Fields(&[("type", Shape::Any), ("hash", Shape::Any), ("iterations", Shape::Any), ("salt", Shape::Any)]);

const ARGON2: Shape = Shape::Fields(&[
    ("type", Shape::Any),
    ("time", Shape::Any),
    ("memory", Shape::Any),
    ("cpus", Shape::Any),
    ("salt", Shape::Any),
]);

const SEGMENT: Shape = Shape::Fields(&[
    ("type", Shape::Any),
    ("offset", Shape::Any),
    ("size", Shape::Any),
    ("iv_tweak", Shape::Any),
    ("encryption", Shape::Any),
    ("sector_size", Shape::Any),
    ("integrity", INTEGRITY),
    ("flags", Shape::Any),
]);

const INTEGRITY: Shape = Shape::Fields(&[
    ("type", Shape::Any),
    ("journal_encryption", Shape::Any),
    ("journal_integrity", Shape::Any),
    ("key_size", Shape::Any),
]);

const DIGEST: Shape = Shape::Fields(&[
    ("type", Shape::Any),
    ("keyslots", Shape::Any),
    ("segments", Shape::Any),
    ("hash", Shape::Any),
    ("iterations", Shape::Any),
    ("salt", Shape::Any),
    ("digest", Shape::Any),
]);

const CONFIG: Shape = Shape::Fields(&[
    ("json_size", Shape::Any),
    ("keyslots_size", Shape::Any),
    ("flags", Shape::Any),
    ("requirements", Shape::Any),
]);

/// Returns the path of the first unknown field.
pub(super) fn unknown(json: &Value) -> Option<Excerpt> {
    find(json, &METADATA, &mut Vec::new())
}

fn find<'a>(value: &'a Value, shape: &Shape, path: &mut Vec<&'a str>) -> Option<Excerpt> {
    let object = value.as_object()?;
    if let Shape::Types(types) = shape {
        let kind = object.get("type")?.as_str()?;
        let (_, shape) = types.iter().find(|(name, _)| *name == kind)?;
        return find(value, shape, path);
    }
    for (key, value) in object {
        let inner = match shape {
            Shape::Any | Shape::Types(_) => return None,
            Shape::Each(shape) => Some(*shape),
            Shape::Fields(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, shape)| shape),
        };
        path.push(key);
        let Some(inner) = inner else { return Some(Excerpt::of(path.iter().copied())) };
        if let Some(found) = find(value, inner, path) {
            return Some(found);
        }
        path.pop();
    }
    None
}

/// Returns the first mandatory requirement of the configuration. A reader without support for it must not use the disk.
pub(super) fn requirement(json: &Value) -> Option<Excerpt> {
    json.pointer("/config/requirements/mandatory")?.get(0)?.as_str().map(Excerpt::new)
}
