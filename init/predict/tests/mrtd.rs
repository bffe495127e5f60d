//! MRTD of a generated firmware file, and refused files.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

#[path = "images/firmware.rs"]
mod images;

use predict::{MrtdError, PageOrder};

use images::firmware;

fn mrtd(firmware: &[u8]) -> Result<Vec<u8>, MrtdError> {
    predict::mrtd(firmware, PageOrder::Interleaved)
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
    let cases: [(&str, Change, MrtdError); 10] = [
        (
            "sections of 256 MiB that are added",
            |file| file[4096 + 16 + 32 + 16..][..4].copy_from_slice(&(256_u32 << 20).to_le_bytes()),
            MrtdError::Descriptor("the sections are too large"),
        ),
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
