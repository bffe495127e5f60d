//! The parser of a PCCS's answers, for `tests/fuzz`. Not built otherwise.

/// Parses an answer.
pub fn answer(bytes: &[u8]) {
    drop(crate::served("part", bytes, &["TCB-Info-Issuer-Chain"]));
}
