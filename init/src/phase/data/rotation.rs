//! From the previous key to the current one: the volume key stays, its keyslot changes, no data is written.
//!
//! A power cut anywhere leaves a header that one of the two keys answers to. At first the previous key does; then both open it
//! and the seal is the current key's; then the current one alone does.

use std::path::Path;

use cmdline::Data;
use ondisk::luks2::SealState;
use quorum::Dek;

use super::Error;
use super::header::{self, Judged};
use super::luks::HeaderFile;
use crate::journal::step;

/// Gives the disk a keyslot for `current` and takes the one of `previous` away.
pub(super) fn rotate(judged: Judged, (current, previous): (&Dek, &Dek), disk: &Path, wanted: &Data) -> Result<Judged, Error> {
    // A cut in the middle of an earlier rotation leaves a keyslot of a key before the previous one. It goes first, in a write of
    // its own: the new keyslot may get its place, and a header that names both must never be on the disk beside that.
    let judged = if judged.checked().slots().len() > 1 { finish(judged, previous, disk, wanted)? } else { judged };
    let file = judged.file().map_err(Error::Open)?;
    file.add_keyslot(previous, current, disk).map_err(Error::Open)?;
    let image = header::seal(&file, SealState::Ready, current, disk, wanted)?;
    let judged = judged.replace(image, disk, wanted)?;
    step("data: keyslot of the current key written");
    finish(judged, current, disk, wanted)
}

/// Takes every keyslot away but that of `current`, and seals what stays: what a rotation ends with.
pub(super) fn finish(judged: Judged, current: &Dek, disk: &Path, wanted: &Data) -> Result<Judged, Error> {
    let file = judged.file().map_err(Error::Open)?;
    keep_only(&file, &judged, current, disk)?;
    let image = header::seal(&file, SealState::Ready, current, disk, wanted)?;
    let judged = judged.replace(image, disk, wanted)?;
    step("data: other keyslots removed");
    Ok(judged)
}

/// Takes every keyslot away that `dek` does not open. At least one is left: a key that opens none is refused before.
fn keep_only(file: &HeaderFile, judged: &Judged, dek: &Dek, disk: &Path) -> Result<(), Error> {
    let slots = judged.checked().slots();
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
