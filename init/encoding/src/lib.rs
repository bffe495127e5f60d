//! Encodings that several formats share: hexadecimal, numbers and names in text, canonical JSON, fixed-width
//! fields of binary structures.
//!
//! Every function is total: it returns a value or `None` for any input, and does not panic.

pub mod fields;
pub mod hex;
pub mod json;
pub mod text;
