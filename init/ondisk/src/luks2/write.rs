//! In which order a changed header goes to the disk, so that a power cut anywhere leaves the old one or the new one whole.

use super::AcceptedLayout;
use std::ops::Range;

/// Blocks are compared and written whole, in bytes.
const BLOCK: usize = 4096;

/// A stretch of the header area: offset and end in bytes, multiples of 4,096.
pub type Area = Range<usize>;

/// What must be written to make `before` on the disk into `after`: stretches in groups, with a flush behind each group.
///
/// New key material comes first: nothing refers to it yet. Then the primary header, and only when that is on the medium the
/// secondary: whichever of them a power cut tears, the other is whole. Last whatever neither header needs, such as key material
/// that was given up. `size` is that of one copy of the header, in bytes; `checked` is what `after` says.
///
/// Both images are of one length, a multiple of 4,096 bytes.
#[must_use]
pub fn writes(before: &[u8], after: &[u8], size: u64, checked: &AcceptedLayout) -> [Vec<Area>; 4] {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut groups: [Vec<Area>; 4] = Default::default();
    let [keys, primary, secondary, rest] = &mut groups;
    for (number, (old, new)) in before.chunks(BLOCK).zip(after.chunks(BLOCK)).enumerate() {
        if old == new {
            continue;
        }
        let start = number * BLOCK;
        let group = match start {
            start if start < size => &mut *primary,
            start if start < size.saturating_mul(2) => &mut *secondary,
            start if is_key(checked, start) => &mut *keys,
            _ => &mut *rest,
        };
        match group.last_mut() {
            Some(last) if last.end == start => last.end = start + new.len(),
            _ => group.push(start..start + new.len()),
        }
    }
    groups
}

/// Zeroes whatever of an image of the header area is in neither copy of the header (`size` bytes each) and no keyslot's key
/// material: cryptsetup fills it with noise, which is slow to write, and leaves there what it took out of use.
pub fn clear_unused(image: &mut [u8], size: u64, checked: &AcceptedLayout) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    for (number, block) in image.chunks_mut(BLOCK).enumerate() {
        let start = number * BLOCK;
        if start >= size.saturating_mul(2) && !is_key(checked, start) {
            block.fill(0);
        }
    }
}

fn is_key(checked: &AcceptedLayout, at: usize) -> bool {
    let at = u64::try_from(at).unwrap_or(u64::MAX);
    checked.slots().iter().any(|slot| slot.area.contains(&at))
}
