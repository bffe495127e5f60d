//! Layouts of file systems of mkfs.ext4, and of malformed ones.

use super::*;
use proptest::prelude::*;

const ZEROED: &[u8] = include_bytes!("golden/zeroed.bin");
const LAZY: &[u8] = include_bytes!("golden/lazy.bin");
const BYTES: u64 = 640 << 20;

fn read(image: &[u8]) -> (Superblock, Vec<Group>) {
    let superblock = Superblock::parse(&image[..SUPERBLOCK_BYTES], BYTES).unwrap();
    let groups = superblock.read_groups(&image[SUPERBLOCK_BYTES..]).unwrap();
    (superblock, groups)
}

fn one(range: Blocks) -> Vec<Blocks> {
    vec![range]
}

/// The golden superblock with `bytes` at the offset `at`.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = ZEROED[..SUPERBLOCK_BYTES].to_vec();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

#[test]
fn layout_is_what_dumpe2fs_prints() {
    let (superblock, groups) = read(ZEROED);
    assert_eq!((superblock.blocks(), superblock.groups(), superblock.table_blocks()), (163_840, 5, 500));
    assert_eq!(superblock.descriptor_blocks(), [1]);
    assert!(superblock.has_descriptor_checksums() && !superblock.needs_recovery() && !superblock.has_errors());
    let places: Vec<_> = groups.iter().map(|group| (group.block_bitmap, group.inode_bitmap, group.inode_table)).collect();
    assert_eq!(places, [(81, 86, 91), (82, 87, 591), (83, 88, 1091), (84, 89, 1591), (85, 90, 2091)]);
    // Superblock, descriptor, 79 reserved blocks, five of each bitmap and five tables are adjacent; the backups are in groups 1 and 3.
    assert_eq!(superblock.metadata(&groups), [0..2591, 32_768..32_849, 98_304..98_385]);
}

#[test]
fn table_is_written_with_the_flag_or_without_checksums() {
    for (image, want) in [(ZEROED, true), (LAZY, false)] {
        let (superblock, groups) = read(image);
        assert_eq!(groups.iter().map(|group| group.is_table_written(&superblock)).collect::<Vec<_>>(), [want; 5]);
    }
    let mut plain = changed(0x64, &0x1_u32.to_le_bytes()); // sparse_super alone
    plain.extend(&LAZY[SUPERBLOCK_BYTES..]);
    let (superblock, groups) = read(&plain);
    assert!(groups[0].is_table_written(&superblock), "without checksums mkfs writes every table");
}

#[test]
fn free_table_blocks_contain_no_inode_in_use() {
    let (superblock, groups) = read(LAZY);
    // Inodes 1 to 12 are in use, 16 of them in a block.
    let mut bitmap = vec![0; 4096];
    bitmap[..2].copy_from_slice(&[0xff, 0x0f]);
    assert_eq!(groups[0].inode_bitmap(), Some(86));
    assert_eq!(groups[0].free_table_blocks(&superblock, Some(&bitmap)), one(92..591));
    // A set bit after the last inode that was ever used has no meaning.
    bitmap[900] = 1;
    assert_eq!(groups[0].free_table_blocks(&superblock, Some(&bitmap)), one(92..591));
    // With a short bitmap, no block counts as free.
    assert_eq!(groups[0].free_table_blocks(&superblock, Some(&[])), one(92..591));
    assert_eq!(groups[1].inode_bitmap(), None);
    assert_eq!(groups[1].free_table_blocks(&superblock, None), one(591..1091));
}

#[test]
fn used_blocks_are_the_set_bits_of_the_group() {
    let (superblock, _) = read(ZEROED);
    let mut bitmap = vec![0; 4096];
    bitmap[0] = 0b0011_0001;
    bitmap[4095] = 0x80;
    assert_eq!(superblock.used_blocks(1, &bitmap), [32_768..32_769, 32_772..32_774, 65_535..65_536]);
    assert_eq!(superblock.used_blocks(4, &[0xff; 4096]), one(131_072..163_840));
    assert_eq!(superblock.used_blocks(9, &[0xff; 4096]), []);
}

#[test]
fn bitmaps_of_new_groups_are_in_their_heads() {
    let (superblock, _) = read(ZEROED);
    assert_eq!(superblock.new_group_heads(163_840), []);
    // A superblock, the descriptor, 79 reserved blocks, and both bitmaps of 16 groups, as seen after the kernel grew such a file system.
    // The last group is short.
    let heads = superblock.new_group_heads(229_376 + 20);
    assert_eq!(heads, [163_840..163_953, 196_608..196_641, 229_376..229_396]);
}

#[test]
fn descriptors_of_meta_groups_are_inside_of_the_groups() {
    // meta_bg from meta group 0 on: one descriptor block in the first, second and last group of 64.
    let mut image = changed(0x60, &0x2d2_u32.to_le_bytes());
    image[0x104..0x108].fill(0);
    let superblock = Superblock::parse(&image, BYTES).unwrap();
    assert_eq!(superblock.descriptor_blocks(), [1]);
    let (_, groups) = read(ZEROED);
    assert!(superblock.metadata(&groups).iter().any(|range| range.contains(&32_769)));
}

#[test]
fn superblock_is_refused_unless_it_is_supported_and_in_bounds() {
    let cases: [(&str, Vec<u8>, u64, Error); 14] = [
        ("nothing", Vec::new(), BYTES, Error::Truncated),
        ("truncated", ZEROED[..0x100].to_vec(), BYTES, Error::Truncated),
        ("no magic", changed(0x38, &[0, 0]), BYTES, Error::Magic),
        ("blocks of 1,024 bytes", changed(0x18, &[0]), BYTES, Error::BlockSize),
        ("a first block", changed(0x14, &[1]), BYTES, Error::BlockSize),
        ("bigalloc", changed(0x65, &[0x06]), BYTES, Error::Feature("bigalloc")),
        ("sparse_super2", changed(0x5d, &[0x02]), BYTES, Error::Feature("sparse_super2")),
        ("larger than the device", ZEROED.to_vec(), BYTES - 4096, Error::Bounds("block count")),
        ("no blocks in a group", changed(0x20, &[0; 4]), BYTES, Error::Bounds("blocks per group")),
        ("too many blocks in a group", changed(0x20, &[0xff; 4]), BYTES, Error::Bounds("blocks per group")),
        ("no inodes in a group", changed(0x28, &[0; 4]), BYTES, Error::Bounds("inodes per group")),
        ("inodes of 100 bytes", changed(0x58, &[100, 0]), BYTES, Error::Bounds("inode size")),
        ("descriptors of 16 bytes", changed(0xfe, &[16, 0]), BYTES, Error::Bounds("descriptor size")),
        ("too many reserved descriptors", changed(0xce, &[0xff; 2]), BYTES, Error::Bounds("reserved descriptors")),
    ];
    for (name, image, bytes, want) in cases {
        assert_eq!(Superblock::parse(&image, bytes), Err(want), "{name}");
    }
    let tiny_groups = changed(0x20, &[8, 0, 0, 0]);
    let mut huge = tiny_groups.clone();
    huge[0x4..0x8].fill(0xff);
    assert_eq!(Superblock::parse(&huge, u64::MAX), Err(Error::Bounds("number of groups")));
}

#[test]
fn descriptor_that_points_elsewhere_is_refused() {
    let (superblock, _) = read(ZEROED);
    for (at, value) in [(0, 0_u32), (0, 163_840), (4, u32::MAX), (8, 163_840 - 499), (0x20, 1)] {
        let mut descriptors = ZEROED[SUPERBLOCK_BYTES..].to_vec();
        descriptors[64 + at..64 + at + 4].copy_from_slice(&value.to_le_bytes());
        assert_eq!(superblock.read_groups(&descriptors), Err(Error::Group(1)), "{value} at {at}");
    }
    assert_eq!(superblock.read_groups(&ZEROED[SUPERBLOCK_BYTES..][..256]), Err(Error::Truncated));
}

#[test]
fn adjacent_ranges_are_merged() {
    assert_eq!(joined(vec![7..9, 1..3, 3..4, 5..5, 8..10, 2..3]), [1..4, 7..10]);
}

proptest! {
    #[test]
    fn hostile_bytes_give_a_layout_inside_of_the_device_or_an_error(
        mut image in proptest::collection::vec(any::<u8>(), SUPERBLOCK_BYTES), real: bool, at in 0_usize..0x160, value: u8,
        descriptors in proptest::collection::vec(any::<u8>(), 1024),
    ) {
        if real {
            image = changed(at, &[value]);
        }
        if let Ok(superblock) = Superblock::parse(&image, BYTES) {
            let blocks = BYTES / BLOCK_BYTES;
            prop_assert!(superblock.blocks() <= blocks);
            if let Ok(groups) = superblock.read_groups(&descriptors) {
                let free = groups.iter().flat_map(|group| group.free_table_blocks(&superblock, None));
                prop_assert!(superblock.metadata(&groups).into_iter().chain(free).all(|range| range.end <= blocks));
            }
        }
    }

    #[test]
    fn joined_ranges_hold_the_same_blocks(ranges in proptest::collection::vec((0_u64..60, 0_u64..8), 0..12)) {
        let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| start..start + length).collect();
        let out = joined(ranges.clone());
        prop_assert!(out.windows(2).all(|pair| pair[0].end < pair[1].start));
        for block in 0..80 {
            prop_assert_eq!(ranges.iter().any(|r| r.contains(&block)), out.iter().any(|r| r.contains(&block)));
        }
    }
}
