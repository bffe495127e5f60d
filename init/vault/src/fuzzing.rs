//! The parsers of what vaults send, for `tests/fuzz`. Not built otherwise.

use crate::{ShareMaterial, answer};

/// Parses a vault's answer to ExportKey, and the same bytes as a share.
pub fn answer(bytes: &[u8]) {
    drop(answer::parse(bytes));
    drop(ShareMaterial::parse(bytes));
}
