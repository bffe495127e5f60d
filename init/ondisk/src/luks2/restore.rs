//! The plan for writing a saved header area to a disk. A power cut leaves a complete header if the disk had one.

use super::binary::{self, Binary};
use super::write::{Area, writes};
use super::{AcceptedLayout, Copy, Error, Header};
use uuid::Uuid;

/// The writes of a restore, in order.
#[derive(Debug)]
pub struct RestorePlan {
    /// The header area after the restore.
    pub image: Vec<u8>,
    /// The areas in which the disk differs, in groups, with a flush after each group.
    pub groups: [Vec<Area>; 4],
    /// Whether key material of the saved header overwrites that of the disk's header. Neither header is usable during that write.
    pub shares_key_material: bool,
}

/// Plans the writes that change `found` on the disk to `saved`, which parses to `header` and `checked`. Both images are the whole header
/// area.
///
/// If the disk has another header with the same or a larger sequence number, the saved header gets the next number: after a power cut,
/// readers use the copy with the larger number. A header that an earlier restore wrote with a raised number keeps it, so that a second
/// restore has nothing to write.
///
/// # Errors
/// [`Error::Truncated`] when `saved` is shorter than its header.
pub fn plan_restore(found: &[u8], saved: &[u8], header: &Header, checked: &AcceptedLayout) -> Result<RestorePlan, Error> {
    let mut image = saved.to_vec();
    let copies = binary::whole_copies(found);
    let newest = copies.iter().map(|(_, copy)| copy.seqid).max();
    if let Some(newest) = newest.filter(|newest| header.seqid() <= *newest) {
        binary::set_seqid(&mut image, header.size(), newest)?;
        if !copies.iter().all(|(copy, binary)| is_same_copy(found, &image, *copy, binary.size, header.size())) {
            binary::set_seqid(&mut image, header.size(), newest.saturating_add(1))?;
        }
    }
    let [keys, primary, secondary, rest] = writes(found, &image, header.size(), checked);
    let shares_key_material = newest_header(found).is_some_and(|current| overlaps(&current, &keys));
    // The copy that readers would use is written last.
    let is_primary_better = match copies.as_slice() {
        [(Copy::Primary, _)] => true,
        [(Copy::Primary, one), (Copy::Secondary, other)] => one.seqid > other.seqid,
        _ => false,
    };
    let groups = if is_primary_better { [keys, secondary, primary, rest] } else { [keys, primary, secondary, rest] };
    Ok(RestorePlan { image, groups, shares_key_material })
}

/// Whether a valid copy in `found`, of `found_size` bytes, equals the one in `image`, where copies have `size` bytes.
fn is_same_copy(found: &[u8], image: &[u8], copy: Copy, found_size: u64, size: u64) -> bool {
    let Ok(length) = usize::try_from(size) else { return false };
    let place = match copy {
        Copy::Primary => 0..length,
        Copy::Secondary => length..length.saturating_mul(2),
    };
    found_size == size && found.get(place.clone()).is_some_and(|bytes| image.get(place) == Some(bytes))
}

/// Returns the header that readers would use.
fn newest_header(found: &[u8]) -> Option<Header> {
    Header::parse(found).ok().or_else(|| {
        let mut image = found.to_vec();
        binary::repair(&mut image).ok()?;
        Header::parse(&image).ok()
    })
}

fn overlaps(current: &Header, areas: &[Area]) -> bool {
    let number = |place: usize| u64::try_from(place).unwrap_or(u64::MAX);
    current.metadata.keyslots.values().any(|keyslot| {
        let (start, end) = (keyslot.area.offset.0, keyslot.area.offset.0.saturating_add(keyslot.area.size.0));
        areas.iter().any(|area| number(area.start) < end && start < number(area.end))
    })
}

/// A copy of a LUKS2 header with valid magic, sizes and checksum. Its metadata is not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundCopy {
    /// Primary or secondary.
    pub copy: Copy,
    /// The UUID of the disk.
    pub uuid: Uuid,
    /// The sequence number.
    pub seqid: u64,
}

/// Returns the valid copies in `image`, the primary first.
#[must_use]
pub fn sound_copies(image: &[u8]) -> Vec<SoundCopy> {
    let copies = binary::whole_copies(image);
    copies.into_iter().map(|(copy, binary)| SoundCopy { copy, uuid: binary.uuid, seqid: binary.seqid }).collect()
}

/// Whether the header that readers would use from `found` has another volume key than `header`; then `header` cannot decrypt the data of
/// that disk. It compares the digests of the volume keys, which are written once, at the format. `false` when `found` contains no readable
/// header.
#[must_use]
pub fn has_other_volume_key(found: &[u8], header: &Header) -> bool {
    let values = |header: &Header| -> Vec<_> {
        header.metadata.digests.values().map(|digest| (digest.salt.clone(), digest.value.clone())).collect()
    };
    newest_header(found).is_some_and(|current| values(&current) != values(header))
}

/// Returns the UUIDs of all LUKS headers in `image`, including damaged ones and version 1. A UUID only hints at the disk of the header.
#[must_use]
pub fn identifiers(image: &[u8]) -> Vec<Uuid> {
    binary::places().filter_map(|at| Binary::identifier(image, at)).collect()
}
