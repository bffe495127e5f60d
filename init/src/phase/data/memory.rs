//! Checks that the machine has the memory for a keyslot's key derivation.
//!
//! Argon2 takes as much memory as the header demands. Without this check, too little memory would end in a kernel panic, since
//! the kernel cannot kill PID 1 to free memory.

use linux::meminfo::available_kib;
use ondisk::luks2::Slot;

/// A keyslot that needs more memory than is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "keyslot {slot} needs {} MiB of memory for {}, the machine has {} MiB available",
    .needed_kib.div_ceil(1024), .kdf.as_str(), .available_kib / 1024
)]
pub(crate) struct TooLittle {
    slot: u32,
    kdf: ondisk::luks2::Kdf,
    needed_kib: u64,
    available_kib: u64,
}

/// Compares the demand of `slot` with the memory that the kernel reports as available.
pub(super) fn check(slot: &Slot) -> Result<(), TooLittle> {
    if slot.memory_kib == 0 {
        return Ok(());
    }
    match available_kib() {
        Ok(available) => compare(slot, available),
        Err(error) => {
            log::warn!("data: available memory is unknown, keyslot {} may need more: {error}", slot.id);
            Ok(())
        }
    }
}

fn compare(slot: &Slot, available_kib: u64) -> Result<(), TooLittle> {
    let needed_kib = u64::from(slot.memory_kib);
    if needed_kib <= available_kib {
        return Ok(());
    }
    Err(TooLittle { slot: slot.id, kdf: slot.kdf, needed_kib, available_kib })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ondisk::luks2::Kdf;

    #[test]
    fn derivation_that_needs_more_than_there_is_is_refused_with_both_numbers() {
        let slot = |id, kdf, memory_kib| Slot { id, kdf, memory_kib, area: 0..0 };
        let gib = slot(0, Kdf::Argon2id, 1 << 20);
        let cases = [
            (&gib, 512 << 10, Some("keyslot 0 needs 1024 MiB of memory for argon2id, the machine has 512 MiB available")),
            (&gib, (1 << 20) - 1, Some("keyslot 0 needs 1024 MiB of memory for argon2id, the machine has 1023 MiB available")),
            (&gib, 1 << 20, None),
            (&gib, u64::MAX, None),
            (&slot(7, Kdf::Argon2i, 8), 0, Some("keyslot 7 needs 1 MiB of memory for argon2i, the machine has 0 MiB available")),
            (&slot(0, Kdf::Pbkdf2, 0), 0, None),
        ];
        for (slot, available, want) in cases {
            let found = compare(slot, available).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), want, "{slot:?} of {available}");
        }
    }
}
