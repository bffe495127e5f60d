//! `cvmctl header restore` after a restore that was interrupted anywhere.

use ondisk::luks2::{self, RestorePlan};

use crate::restore::{cleared, restore};
use crate::world::{KEY_BYTE, SIZE, World, area, front, numbered, parsed, spoiled};

/// The disk's contents if power fails after each area of the plan, or within it.
fn cuts(found: &[u8], plan: &RestorePlan) -> Vec<Vec<u8>> {
    let (mut disk, mut cuts) = (found.to_vec(), Vec::new());
    for area in plan.groups.iter().flatten() {
        // A header is cut after its binary part, key material within a block.
        let middle = area.start + (area.len() / 2).clamp(512, 4096);
        for range in [area.start..middle, middle..area.end] {
            disk[range.clone()].copy_from_slice(&plan.image[range]);
            cuts.push(disk.clone());
        }
    }
    cuts
}

#[test]
fn interrupted_restore_is_ended_by_the_same_restore() {
    let saved = area(5, 0, 0xaa);
    let (header, checked) = parsed(&saved);
    let cases = [
        ("older, elsewhere", area(4, 1, 0xbb), ""),
        ("newer, elsewhere", area(9, 1, 0xbb), ""),
        ("newer, same place", area(9, 0, 0xbb), ""),
        ("primary torn", spoiled(area(9, 1, 0xbb), &[5000]), ""),
        ("both zeroed", cleared(saved.clone(), 0..2 * SIZE), "--replace-damaged"),
        ("foreign", vec![0x5a; saved.len()], "--replace-damaged"),
    ];
    for (name, found, more) in cases {
        let plan = luks2::plan_restore(&found, &saved, &header, &checked).unwrap();
        let cuts = cuts(&found, &plan);
        assert!(cuts.len() >= 4 && cuts.last() == Some(&plan.image), "{name}: {}", cuts.len());
        for (number, on_disk) in cuts.iter().enumerate() {
            let world = World::new();
            let disk = world.disk(on_disk);
            let (code, text) = restore(&world, &saved, &disk, more, Some(KEY_BYTE));
            assert_eq!(code, Some(0), "{name}, cut {number}: {text}");
            let (end, seqid) = (front(&disk), parsed(&front(&disk)).0.seqid());
            assert!(end == numbered(saved.clone(), seqid), "{name}, cut {number}");
            assert!((5..=11).contains(&seqid), "{name}, cut {number}: {seqid}");
        }
    }
}
