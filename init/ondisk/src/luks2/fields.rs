//! The names of all fields that the metadata may have, to say which one is not known.
//!
//! serde refuses the same fields ([`super::json`]) but does not say where they are.

use super::excerpt::Excerpt;
use serde_json::Value;

/// What an object may contain.
enum Shape {
    /// Not looked into here: no object, or one that has rules of its own.
    Any,
    /// Objects of one shape, under any name.
    Each(&'static Self),
    /// These fields.
    Fields(&'static [(&'static str, Self)]),
    /// The fields that stand beside this `type`; nothing is known of other types.
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

/// The path of a field that the metadata must not have, if there is one.
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

/// The first requirement that the configuration names. A reader that does not know one must not use the disk.
pub(super) fn requirement(json: &Value) -> Option<Excerpt> {
    json.pointer("/config/requirements/mandatory")?.get(0)?.as_str().map(Excerpt::new)
}
