//! Rotates a disk from the previous key to the current one: the volume key stays, its keyslot changes, and no data is written.
//!
//! A power cut at any point leaves a header that opens with one of the two keys: at first with the previous key; then with both,
//! with the token under the current key; then with the current key only.

use std::path::Path;

use cmdline::Data;
use ondisk::luks2::FormatState;
use quorum::Dek;

use super::Error;
use super::header::{self, ValidatedHeader};
use super::luks::HeaderFile;
use crate::boot_log::step;

/// Adds a keyslot for `current` and removes that of `previous`.
pub(super) fn rotate(
    validated: ValidatedHeader,
    (current, previous): (&Dek, &Dek),
    disk: &Path,
    wanted: &Data,
) -> Result<ValidatedHeader, Error> {
    // An earlier rotation that was interrupted leaves the keyslot of an older key. It is removed first, in a write of its own:
    // the new keyslot may take its place, and the disk must never have a header that names both beside that.
    let validated = if validated.layout().slots().len() > 1 { finish(validated, previous, disk, wanted)? } else { validated };
    let file = validated.file().map_err(Error::Open)?;
    file.add_keyslot(previous, current, disk).map_err(Error::Open)?;
    let image = header::authenticate(&file, FormatState::Ready, current, disk, wanted)?;
    let validated = validated.replace(image, disk, wanted)?;
    step("data: keyslot of the current key written");
    finish(validated, current, disk, wanted)
}

/// Removes every keyslot except that of `current`, and authenticates the header: the end of a rotation.
pub(super) fn finish(validated: ValidatedHeader, current: &Dek, disk: &Path, wanted: &Data) -> Result<ValidatedHeader, Error> {
    let file = validated.file().map_err(Error::Open)?;
    keep_only(&file, &validated, current, disk)?;
    let image = header::authenticate(&file, FormatState::Ready, current, disk, wanted)?;
    let validated = validated.replace(image, disk, wanted)?;
    step("data: other keyslots removed");
    Ok(validated)
}

/// Removes every keyslot that `dek` does not open. One stays, since a key that opens none was refused before.
fn keep_only(file: &HeaderFile, validated: &ValidatedHeader, dek: &Dek, disk: &Path) -> Result<(), Error> {
    let slots = validated.layout().slots();
    if slots.len() == 1 {
        return Ok(());
    }
    let own = file.slot_of(dek, disk).map_err(Error::Open)?;
    let own = own.ok_or(Error::Open(super::luks::Error::Key))?;
    for slot in slots.iter().filter(|slot| slot.id != own) {
        file.remove_keyslot(slot.id, disk).map_err(Error::Open)?;
    }
    Ok(())
}
