//! How a saved header area is written over what is on a disk, so that a power cut leaves a whole header wherever one was.

use super::binary::{self, Binary};
use super::write::{Area, writes};
use super::{Checked, Copy, Error, Header};

/// What to write, and in which order.
#[derive(Debug)]
pub struct Restore {
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
/// Where the disk has a header that was written later, the saved one gets the next sequence number: of two copies that differ,
/// readers take the one with the larger number, and after a power cut that must be decided.
///
/// # Errors
/// [`Error::Truncated`] when `saved` is shorter than its header.
pub fn restore(found: &[u8], saved: &[u8], header: &Header, checked: &Checked) -> Result<Restore, Error> {
    let mut image = saved.to_vec();
    let copies = binary::whole_copies(found);
    let newest = copies.iter().map(|(_, copy)| copy.seqid).max();
    let headers = 0..usize::try_from(header.size().saturating_mul(2)).unwrap_or(usize::MAX);
    let is_there = found.get(headers.clone()) == saved.get(headers);
    if let Some(newest) = newest.filter(|newest| header.seqid() <= *newest && !is_there) {
        binary::set_seqid(&mut image, header.size(), newest.saturating_add(1))?;
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
    Ok(Restore { image, groups, shares_key_material })
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

/// The identifiers of LUKS headers of which something is left in `image`, also of broken ones and of version 1. They say whose
/// header it may have been, and nothing else.
#[must_use]
pub fn identifiers(image: &[u8]) -> Vec<crate::Guid> {
    binary::places().filter_map(|at| Binary::identifier(image, at)).collect()
}
