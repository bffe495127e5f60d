//! Partition tables of sfdisk, and malformed ones.

use super::*;
use encoding::hex::decode;
use proptest::prelude::*;

/// `sfdisk --sector-size 512` (util-linux 2.41.5, Debian trixie) on a file of 64 MiB: two partitions with given
/// identifiers and names. The header's 92 bytes and the used bytes of both entries; all that is not here is zero.
const HEADER_512: &str = "4546492050415254000001005c0000004e6f43c0000000000100000000000000ffff0100000000000008000000000000\
    deff0100000000001111111122223333444455555555555502000000000000008000000080000000eba915a3";
const ENTRIES_512: [&str; 2] = [
    "e3bc684fcde8b14d96e7fbcaf984b709030201000504070608090a0b0c0d0e0f0010000000000000ff2f0000000000000000000000000000\
     72006f006f0074002d007800380036002d0036003400",
    "ed57732cd2ebd946aec123d437ec2bf5131211101514171618191a1b1c1d1e1f0030000000000000ff330000000000000000000000000000\
     72006f006f0074002d00760065007200690074007900",
];

/// The same with `--sector-size 4096`.
const HEADER_4096: &str = "4546492050415254000001005c0000001975e63e000000000100000000000000ff3f0000000000000001000000000000\
    fa3f0000000000001111111122223333444455555555555502000000000000008000000080000000aefcfc04";
const ENTRIES_4096: [&str; 2] = [
    "e3bc684fcde8b14d96e7fbcaf984b709030201000504070608090a0b0c0d0e0f0002000000000000ff210000000000000000000000000000\
     72006f006f0074002d007800380036002d0036003400",
    "ed57732cd2ebd946aec123d437ec2bf5131211101514171618191a1b1c1d1e1f0022000000000000ff250000000000000000000000000000\
     72006f006f0074002d00760065007200690074007900",
];

/// Sectors of the disk of 64 MiB.
const SECTORS_512: u64 = 131_072;
const SECTORS_4096: u64 = 16_384;

fn bytes_of(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| decode::<1>(std::str::from_utf8(pair).unwrap()).unwrap()[0]).collect()
}

fn sector(header: &str, size: usize) -> Vec<u8> {
    let mut sector = bytes_of(header);
    sector.resize(size, 0);
    sector
}

fn entries(used: [&str; 2]) -> Vec<u8> {
    let mut table = vec![0; 128 * 128];
    for (entry, text) in table.chunks_mut(128).zip(used) {
        let bytes = bytes_of(text);
        entry[..bytes.len()].copy_from_slice(&bytes);
    }
    table
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The golden header with one changed field and a new checksum.
fn header_with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut sector = sector(HEADER_512, 512);
    put(&mut sector, at, value);
    put(&mut sector, 16, &[0; 4]);
    let size = u32::from_le_bytes(sector[12..16].try_into().unwrap());
    let covered = &sector[..usize::try_from(size).unwrap().min(512)];
    let crc = crc::crc32([covered]);
    put(&mut sector, 16, &crc.to_le_bytes());
    sector
}

/// Parses the golden entries with one changed field and a new checksum.
fn partitions_with(at: usize, value: &[u8]) -> Result<Vec<Partition>, Error> {
    let mut table = entries(ENTRIES_512);
    put(&mut table, at, value);
    let header = header_with(88, &crc::crc32([&table]).to_le_bytes());
    Header::parse(&header, SECTORS_512).unwrap().partitions(&table)
}

#[test]
fn table_of_sfdisk_is_read_with_both_sector_sizes() {
    let cases = [
        (HEADER_512, ENTRIES_512, 512, SECTORS_512, 4096..=12287, 12288..=13311),
        (HEADER_4096, ENTRIES_4096, 4096, SECTORS_4096, 512..=8703, 8704..=9727),
    ];
    for (header, used, size, sectors, root, verity) in cases {
        let header = Header::parse(&sector(header, size), sectors).unwrap();
        assert_eq!(header.sector_size(), u32::try_from(size).unwrap());
        assert_eq!(header.disk().to_string(), "11111111-2222-3333-4444-555555555555");
        assert_eq!(header.entries_range(), (2 * u64::from(header.sector_size()), 128 * 128));
        let guid = |text| encoding::text::uuid(text).unwrap();
        let want = [
            Partition {
                number: 1,
                kind: guid("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
                uuid: guid("00010203-0405-0607-0809-0a0b0c0d0e0f"),
                first: *root.start(),
                last: *root.end(),
                label: "root-x86-64".to_owned(),
            },
            Partition {
                number: 2,
                kind: guid("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
                uuid: guid("10111213-1415-1617-1819-1a1b1c1d1e1f"),
                first: *verity.start(),
                last: *verity.end(),
                label: "root-verity".to_owned(),
            },
        ];
        let read = header.partitions(&entries(used)).unwrap();
        assert_eq!(read.iter().map(Partition::sectors).collect::<Vec<_>>(), [8192, 1024]);
        assert_eq!(read, want);
    }
}

#[test]
fn header_is_refused_when_one_field_is_wrong() {
    let number = u64::to_le_bytes;
    let cases: [(&str, usize, &[u8], Error); 21] = [
        ("signature", 0, b"EFI PARt", Error::Signature),
        ("revision 2.0", 8, &[0, 0, 2, 0], Error::Revision),
        ("size 91", 12, &[91, 0, 0, 0], Error::HeaderSize),
        ("size 513", 12, &[1, 2, 0, 0], Error::HeaderSize),
        ("size 2^32 - 1", 12, &[0xff; 4], Error::HeaderSize),
        ("reserved", 20, &[1], Error::HeaderLba),
        ("header of the end", 24, &number(131_071), Error::HeaderLba),
        ("second table inside", 32, &number(131_038), Error::UsableRange),
        ("second table outside", 32, &number(SECTORS_512), Error::UsableRange),
        ("first behind last", 40, &number(131_039), Error::UsableRange),
        ("last at the second table", 48, &number(131_071), Error::UsableRange),
        ("last is no sector", 48, &number(u64::MAX), Error::UsableRange),
        ("entries on the header", 72, &number(1), Error::EntriesLba),
        ("entries among data", 72, &number(2017), Error::EntriesLba),
        ("entries at 2^64 - 1", 72, &number(u64::MAX), Error::EntriesLba),
        ("no entry", 80, &[0, 0, 0, 0], Error::EntryCount),
        ("257 entries", 80, &[1, 1, 0, 0], Error::EntryCount),
        ("65536 + 128 entries", 80, &[128, 0, 1, 0], Error::EntryCount),
        ("entries of 64", 84, &[64, 0, 0, 0], Error::EntrySize),
        ("entries of 256", 84, &[0, 1, 0, 0], Error::EntrySize),
        ("entries of 0", 84, &[0, 0, 0, 0], Error::EntrySize),
    ];
    for (name, at, value, want) in cases {
        assert_eq!(Header::parse(&header_with(at, value), SECTORS_512), Err(want), "{name}");
    }
}

#[test]
fn header_is_held_against_its_bytes_and_its_disk() {
    let good = sector(HEADER_512, 512);
    let mut bad = good.clone();
    bad[91] ^= 1;
    assert_eq!(Header::parse(&bad, SECTORS_512), Err(Error::HeaderChecksum));
    assert_eq!(Header::parse(&good, SECTORS_512 - 1), Err(Error::UsableRange), "disk has shrunk");
    assert!(Header::parse(&good, SECTORS_512 * 2).is_ok(), "disk has grown");
    for length in [0, 92, 511, 513, 8192] {
        assert_eq!(Header::parse(&vec![0; length], SECTORS_512), Err(Error::SectorSize), "{length}");
    }
    assert!(Header::parse(&header_with(80, &[0, 1, 0, 0]), SECTORS_512).is_ok(), "256 entries");
    assert!(Header::parse(&header_with(12, &[0, 2, 0, 0]), SECTORS_512).is_ok(), "header of 512 bytes");
    assert!(Header::parse(&header_with(72, &u64::to_le_bytes(2016)), SECTORS_512).is_ok(), "entries up to the data");
}

#[test]
fn partitions_are_refused_when_one_field_is_wrong() {
    let number = u64::to_le_bytes;
    let second = 128;
    let cases: [(&str, usize, &[u8], Error); 12] = [
        ("no identifier", 16, &[0; 16], Error::Identifier(1)),
        ("same identifier twice", second + 16, &bytes_of(ENTRIES_512[0])[16..32], Error::Identifier(2)),
        ("before the usable sectors", 32, &number(2047), Error::Outside(1)),
        ("behind the usable sectors", second + 40, &number(131_039), Error::Outside(2)),
        ("to the end of numbers", second + 40, &number(u64::MAX), Error::Outside(2)),
        ("end before start", 40, &number(4095), Error::Outside(1)),
        ("one sector shared", 40, &number(12288), Error::Overlap(1, 2)),
        ("one inside the other", second + 32, &number(5000), Error::Overlap(1, 2)),
        ("same start", second + 32, &number(4096), Error::Overlap(1, 2)),
        ("half a surrogate pair", 56, &[0x00, 0xd8], Error::Label(1)),
        ("something behind the label's end", 56 + 70, &[b'x', 0], Error::Label(1)),
        ("label of nothing but a tail", second + 56, &[0, 0], Error::Label(2)),
    ];
    for (name, at, value, want) in cases {
        assert_eq!(partitions_with(at, value), Err(want), "{name}");
    }
}

#[test]
fn entries_are_held_against_their_header() {
    let header = Header::parse(&sector(HEADER_512, 512), SECTORS_512).unwrap();
    let mut table = entries(ENTRIES_512);
    assert_eq!(header.partitions(&table[..table.len() - 1]), Err(Error::EntriesLength));
    assert_eq!(header.partitions(&[]), Err(Error::EntriesLength));
    table[128 * 128 - 1] = 1;
    assert_eq!(header.partitions(&table), Err(Error::EntriesChecksum));
}

#[test]
fn numbers_are_those_of_the_table_where_entries_are_unused() {
    let numbers: Vec<_> = partitions_with(0, &[0; 16]).unwrap().iter().map(|partition| partition.number).collect();
    assert_eq!(numbers, [2]);
    let full = "x\0".repeat(36);
    assert_eq!(partitions_with(56, full.as_bytes()).unwrap()[0].label, "x".repeat(36));
}

proptest! {
    #[test]
    fn parse_never_panics(mut sector in proptest::collection::vec(any::<u8>(), 512), sectors: u64) {
        let _read = Header::parse(&sector, sectors);
        sector.truncate(100);
        let _read = Header::parse(&sector, sectors);
    }

    #[test]
    fn header_with_any_field_is_refused_or_sound(at in 20_usize..84, value: [u8; 8], sectors in SECTORS_512..) {
        if let Ok(header) = Header::parse(&header_with(at, &value), sectors) {
            let (offset, length) = header.entries_range();
            prop_assert!(offset >= 1024 && length <= 256 * 128);
            let _read = header.partitions(&vec![0; length]);
        }
    }

    #[test]
    fn partitions_with_any_field_are_refused_or_apart(at in 0_usize..248, value: [u8; 8]) {
        if let Ok(partitions) = partitions_with(at, &value) {
            let inside = partitions.iter().all(|one| one.first >= 2048 && one.first <= one.last && one.last <= 131_038);
            prop_assert!(inside && partitions.len() <= 128);
        }
    }
}
