//! Encodings that several formats share: hexadecimal, numbers and names in text, canonical JSON, JSON without
//! ambiguity, fixed-width fields of binary structures.
//!
//! Every function is total: it returns a value, `None` or an error for any input, and does not panic.

pub mod fields;
pub mod hex;
pub mod json;
pub mod strict_json;
pub mod text;
