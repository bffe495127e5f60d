//! MRTD of a generated firmware file, and refused files.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

use predict::{MrtdError, PageOrder};

fn mrtd(firmware: &[u8]) -> Result<Vec<u8>, MrtdError> {
    predict::mrtd(firmware, PageOrder::Interleaved)
}

/// A firmware file with three sections: a measured page, two pages that are added and not measured, a page that the domain accepts itself.
fn firmware(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = vec![1; 8192];
    let descriptor = 4096;
    let sections: [[u32; 8]; 3] = [
        // Offset and size in the file, address, size in memory (both 64 bits), type, attributes: 1 is measured, 2 added later.
        [0, 4096, 0xffff_f000, 0, 4096, 0, 0, 1],
        [0, 0, 0x80_0000, 0, 8192, 0, 2, 0],
        [0, 0, 0x100_0000, 0, 4096, 0, 4, 2],
    ];
    let head = [u32::from_le_bytes(*b"TDVF"), 16 + 96, 1, 3];
    let fields: Vec<u8> = head.into_iter().chain(sections.concat()).flat_map(u32::to_le_bytes).collect();
    file[descriptor..descriptor + fields.len()].copy_from_slice(&fields);
    // From the end: 32 bytes of reset vector, the table's GUID and length, then its one entry: GUID, length, offset from the end.
    let end = file.len() - 32;
    let guid = |text: &str| {
        let bytes: Vec<u8> =
            (0..32).step_by(2).map(|at| u8::from_str_radix(&text.replace('-', "")[at..at + 2], 16).unwrap()).collect();
        [&[bytes[3], bytes[2], bytes[1], bytes[0], bytes[5], bytes[4], bytes[7], bytes[6]], &bytes[8..]].concat()
    };
    file[end - 16..end].copy_from_slice(&guid("96b582de-1fb2-45f7-baea-a366c55a082d"));
    file[end - 18..end - 16].copy_from_slice(&40_u16.to_le_bytes());
    file[end - 34..end - 18].copy_from_slice(&guid("e47a6535-984a-4798-865e-4685a7bf8ec2"));
    file[end - 36..end - 34].copy_from_slice(&22_u16.to_le_bytes());
    file[end - 40..end - 36].copy_from_slice(&4096_u32.to_le_bytes());
    change(&mut file);
    file
}

#[test]
fn pages_are_added_in_order_and_measured_if_the_descriptor_marks_them() {
    let hex: String = mrtd(&firmware(|_| ())).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    // Python 3.11 hashlib, 2026-11-25, from the text of the ABI: b(n, a) = n.ljust(16, b"\0") + a.to_bytes(8, "little") + bytes(104);
    // sha384 of b("MEM.PAGE.ADD", 0xfffff000), then for each 256 bytes of the page b("MR.EXTEND", address) and the bytes, then
    // b("MEM.PAGE.ADD", 0x800000) and b("MEM.PAGE.ADD", 0x801000).
    assert_eq!(
        hex,
        "329e08ca8f7061b49a8399c7c3c5ae48dac872d2b8131c7d\
        6ef89d3c98e1b91176e8be257d97fde16f41903a0f3ac085"
    );
}

/// Two measured pages, as one section.
fn two_pages(file: &mut Vec<u8>) {
    file.splice(0..0, vec![2; 4096]);
    let section = 2 * 4096 - 4096 + 4096 + 16;
    for (at, value) in [(4, 8192_u32), (8, 0xffff_e000), (16, 8192)] {
        file[section + at..section + at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[test]
fn pages_of_a_section_are_added_before_they_are_measured_in_two_passes() {
    let hex =
        |order| predict::mrtd(&firmware(two_pages), order).unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // Python 3.11 hashlib, 2026-11-30, from the text of the ABI as above, with pages of twos and ones at 0xffffe000 and 0xfffff000: first
    // "MEM.PAGE.ADD", 16 times "MR.EXTEND" with its bytes, for one page and then the other; second both "MEM.PAGE.ADD", then 32 times
    // "MR.EXTEND". Then the two pages at 0x800000 as above. The two orders are those of dstack's dstack-mr (PageAddOrder).
    assert_eq!(hex(PageOrder::Interleaved), INTERLEAVED);
    assert_eq!(hex(PageOrder::TwoPass), TWO_PASS);
    // A section of one page is the same in both.
    let one = firmware(|_| ());
    assert_eq!(predict::mrtd(&one, PageOrder::TwoPass), predict::mrtd(&one, PageOrder::Interleaved));
}

const INTERLEAVED: &str = "1152130cf0fa307e21533dd50ce4c9aadf0f5d25b0c6c6b3f246fb325542355b3dc068c940323022ead80de33eb033d0";
const TWO_PASS: &str = "fccb3b5857262292fe59106769977f05d03a4316566c8a6c4b05342dfc96d7958926ff31cc205d095a2c4b99a00865c7";

#[test]
fn mrtd_depends_on_measured_pages_only() {
    let plain = mrtd(&firmware(|_| ()));
    assert_ne!(mrtd(&firmware(|file| file[100] ^= 1)), plain);
    assert_eq!(mrtd(&firmware(|file| file[4096 + 500] ^= 1)), plain);
}

#[test]
fn files_without_a_complete_descriptor_are_refused() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, MrtdError); 9] = [
        ("empty", |file| file.clear(), MrtdError::NoDescriptor),
        ("40 bytes", |file| file.truncate(40), MrtdError::NoDescriptor),
        ("a measured section without bytes in the file", |file| file[4096 + 16 + 32 + 28] = 1, MrtdError::Outside(1)),
        ("no table", |file| file[8192 - 40] ^= 1, MrtdError::NoDescriptor),
        ("another version", |file| file[4096 + 8] = 2, MrtdError::Descriptor("not version 1")),
        ("no sections", |file| file[4096 + 12] = 0, MrtdError::Descriptor("number of sections")),
        ("65 sections", |file| file[4096 + 12] = 65, MrtdError::Descriptor("number of sections")),
        ("half a page", |file| file[4096 + 16 + 17] = 8, MrtdError::Descriptor("a section is not of whole pages")),
        ("a section outside of the file", |file| file[4096 + 16 + 2] = 1, MrtdError::Outside(0)),
    ];
    for (name, change, want) in cases {
        assert_eq!(mrtd(&firmware(change)), Err(want), "{name}");
    }
}
