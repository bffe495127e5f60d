//! How a saved header area is written over what is on a disk, so that a power cut leaves a whole header wherever one was.

use super::binary::{self, Binary};
use super::write::{Area, writes};
use super::{AcceptedLayout, Copy, Error, Header};
use uuid::Uuid;

/// What to write, and in which order.
#[derive(Debug)]
pub struct RestorePlan {
    /// The header area as it is on the disk at the end.
    pub image: Vec<u8>,
    /// The areas in which the disk differs, in groups, with a flush behind each group.
    pub groups: [Vec<Area>; 4],
    /// Whether key material of the disk's header is overwritten by key material of the saved one. Both need the same bytes, so while
    /// those are written neither header is usable.
    pub shares_key_material: bool,
}

/// Plans to make `found` on the disk into `saved`, of which `header` and `checked` say what is in it. Both images are the whole
/// header area.
///
/// Where the disk has another header that was written later, the saved one gets the next sequence number: of two copies that differ,
/// readers take the one with the larger number, and after a power cut that must be decided. What an earlier restore wrote under such
/// a number keeps it, so that a second restore finds nothing to write.
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
    // The copy that readers would take is written last.
    let is_primary_better = match copies.as_slice() {
        [(Copy::Primary, _)] => true,
        [(Copy::Primary, one), (Copy::Secondary, other)] => one.seqid > other.seqid,
        _ => false,
    };
    let groups = if is_primary_better { [keys, secondary, primary, rest] } else { [keys, primary, secondary, rest] };
    Ok(RestorePlan { image, groups, shares_key_material })
}

/// Whether a whole copy in `found`, of `found_size` bytes, is byte for byte the one in `image`, where copies have `size` bytes.
fn is_same_copy(found: &[u8], image: &[u8], copy: Copy, found_size: u64, size: u64) -> bool {
    let Ok(length) = usize::try_from(size) else { return false };
    let place = match copy {
        Copy::Primary => 0..length,
        Copy::Secondary => length..length.saturating_mul(2),
    };
    found_size == size && found.get(place.clone()).is_some_and(|bytes| image.get(place) == Some(bytes))
}

/// The header that readers would take.
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

/// A copy of a LUKS2 header that is sound by itself: magic, sizes and checksum. Its metadata is not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundCopy {
    /// Which of the two.
    pub copy: Copy,
    /// The identifier of the disk.
    pub uuid: Uuid,
    /// How often the header was written.
    pub seqid: u64,
}

/// The copies in `image` that are sound by themselves, the primary first.
#[must_use]
pub fn sound_copies(image: &[u8]) -> Vec<SoundCopy> {
    let copies = binary::whole_copies(image);
    copies.into_iter().map(|(copy, binary)| SoundCopy { copy, uuid: binary.uuid, seqid: binary.seqid }).collect()
}

/// Whether the header that readers would take from `found` is for another volume key than `header` is: then `header` does not open what
/// is encrypted behind `found`. The digest of the volume key tells: it is written once, when the disk is formatted. `false` when no
/// header can be read from `found`.
#[must_use]
pub fn has_other_volume_key(found: &[u8], header: &Header) -> bool {
    let values = |header: &Header| -> Vec<_> {
        header.metadata.digests.values().map(|digest| (digest.salt.clone(), digest.value.clone())).collect()
    };
    newest_header(found).is_some_and(|current| values(&current) != values(header))
}

/// The identifiers of LUKS headers of which something is left in `image`, also of broken ones and of version 1. They say whose
/// header it may have been, and nothing else.
#[must_use]
pub fn identifiers(image: &[u8]) -> Vec<Uuid> {
    binary::places().filter_map(|at| Binary::identifier(image, at)).collect()
}
