//! The order of writes for a changed header: a power cut at any time leaves the old header or the new one complete.

use super::AcceptedLayout;
use std::ops::Range;

/// The unit of comparison and writing, in bytes.
const BLOCK: usize = 4096;

/// A range of the header area in bytes, aligned to 4,096.
pub type Area = Range<usize>;

/// Returns the writes that change `before` on the disk to `after`: ranges in groups, with a flush after each group.
///
/// New key material comes first, since no header refers to it yet. Then comes the primary header, then the secondary: if a power cut tears
/// one of them, the other is complete. Bytes that neither header needs, such as old key material, come last. `size` is the size of one
/// header copy in bytes; `checked` is the layout of `after`.
///
/// Both images have the same length, a multiple of 4,096 bytes.
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

/// Zeroes the bytes of a header area that are neither in a header copy (`size` bytes each) nor key material of a keyslot: cryptsetup fills
/// them with random data, which is slow to write, or leaves old key material there.
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
