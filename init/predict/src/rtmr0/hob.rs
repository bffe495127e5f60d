//! The TD HOB: the memory map that QEMU gives a TDVF, and the first event of RTMR0.
//!
//! Source: QEMU 10.1 `hw/i386/tdvf-hob.c`, `target/i386/kvm/tdx.c` (`tdx_accept_ram_range`), `hw/i386/pc_q35.c` (`pc_q35_init`); edk2
//! `OvmfPkg/IntelTdx/TdxHelperLib`, `TdxHelperMeasureTdHob`; PI 1.8, volume 3, chapter 5.

use eventlog::register::Hash;

use super::Error;
use crate::mrtd::{Section, sections};

/// Types of sections in the TDVF descriptor.
const TD_HOB: u32 = 2;
const TEMPORARY_MEMORY: u32 = 3;
/// Types of resources: memory that was added at the start, and memory that firmware must accept first.
const SYSTEM_MEMORY: u32 = 0;
const UNACCEPTED_MEMORY: u32 = 7;
/// Present, initialized and tested.
const ATTRIBUTES: u32 = 7;
const FOUR_GIB: u64 = 1 << 32;
/// The largest memory, in bytes: 64 TiB.
const MEMORY_MAX: u64 = 1 << 46;
/// Machine q35: a machine of this size or more has 2 GiB of memory below 4 GiB, a smaller one has all of it there.
const SPLIT_FROM: u64 = 0xb000_0000;
const BELOW_SPLIT: u64 = 0x8000_0000;

/// The memory of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it, in bytes: QEMU's `-m`.
    pub bytes: u64,
    /// The memory below 4 GiB, in bytes, where it is not that of machine q35: QEMU's `max-ram-below-4g`.
    pub below_4g: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    start: u64,
    bytes: u64,
    kind: u32,
}

impl Memory {
    /// Returns the ranges of memory before firmware is added.
    fn ranges(self) -> Result<Vec<Range>, Error> {
        let below = match self.below_4g {
            Some(below) => below.min(self.bytes),
            None if self.bytes >= SPLIT_FROM => BELOW_SPLIT,
            None => self.bytes,
        };
        let is_paged = self.bytes.is_multiple_of(4096) && below.is_multiple_of(4096);
        if !is_paged || self.bytes == 0 || self.bytes > MEMORY_MAX || below > FOUR_GIB {
            return Err(Error::Memory);
        }
        let range = |start: u64, bytes: u64| Range { start, bytes, kind: UNACCEPTED_MEMORY };
        let above = self.bytes - below;
        Ok(std::iter::once(range(0, below)).chain((above > 0).then(|| range(FOUR_GIB, above))).collect())
    }
}

/// Computes the TD HOB, whose bytes are hashed, without its last entry.
///
/// # Errors
/// When the firmware has no TDVF descriptor with a place for the TD HOB, or the memory does not contain the firmware's sections.
pub fn td_hob(firmware: &[u8], memory: Memory) -> Result<Vec<u8>, Error> {
    encode(&sections(firmware)?, memory)
}

/// Finds the memory of machine q35 whose TD HOB has this SHA-384 digest: tries multiples of 256 MiB up to 16 GiB and whole GiB up to 4 TiB.
///
/// # Errors
/// When the firmware has no TDVF descriptor.
pub fn memory_of(firmware: &[u8], digest: &[u8]) -> Result<Option<Memory>, Error> {
    let sections = sections(firmware)?;
    let sizes = (1..=64_u64).map(|count| count << 28).chain((17..=4096_u64).map(|count| count << 30));
    let mut memories = sizes.map(|bytes| Memory { bytes, below_4g: None });
    // A section may lie outside of a small memory: this size is not the one.
    let fits = |memory: &Memory| encode(&sections, *memory).is_ok_and(|hob| Hash::Sha384.digest(&hob) == digest);
    Ok(memories.find(fits))
}

fn encode(sections: &[Section<'_>], memory: Memory) -> Result<Vec<u8>, Error> {
    let mut ranges = memory.ranges()?;
    let hob = sections.iter().find(|section| section.kind == TD_HOB).ok_or(Error::NoHob)?;
    for section in sections.iter().filter(|section| matches!(section.kind, TD_HOB | TEMPORARY_MEMORY)) {
        accept(&mut ranges, section.address, section.memory)?;
    }
    ranges.sort_unstable();
    let entries: Vec<u8> = ranges.iter().flat_map(resource).collect();
    let length = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    // The end of the list is after its last entry, of 8 bytes, which is not hashed.
    let end = hob.address.saturating_add(HANDOFF_LEN).saturating_add(length).saturating_add(8);
    Ok([handoff(end), entries].concat())
}

/// Marks a section as memory that was added; the range that contains it is divided.
fn accept(ranges: &mut Vec<Range>, start: u64, bytes: u64) -> Result<(), Error> {
    let end = start.checked_add(bytes).ok_or(Error::Memory)?;
    let contains = |range: &&mut Range| range.start <= start && end <= range.start + range.bytes;
    let range = ranges.iter_mut().find(contains).ok_or(Error::Outside(start))?;
    if range.kind == SYSTEM_MEMORY || bytes == 0 {
        return Ok(());
    }
    let whole = std::mem::replace(range, Range { start, bytes, kind: SYSTEM_MEMORY });
    let parts = [(whole.start, start), (end, whole.start + whole.bytes)];
    ranges.extend(parts.into_iter().filter(|(from, to)| from < to).map(|(from, to)| Range {
        start: from,
        bytes: to - from,
        kind: UNACCEPTED_MEMORY,
    }));
    Ok(())
}

/// The length of `EFI_HOB_HANDOFF_INFO_TABLE` in bytes.
const HANDOFF_LEN: u64 = 56;

/// `EFI_HOB_HANDOFF_INFO_TABLE`: type 1, length, version 9, and the end of the list; QEMU leaves the other fields zero.
fn handoff(end: u64) -> Vec<u8> {
    [&[1, 0, 56, 0, 0, 0, 0, 0, 9, 0, 0, 0][..], &[0; 36], &end.to_le_bytes()].concat()
}

/// `EFI_HOB_RESOURCE_DESCRIPTOR`: type 3, length, no owner.
fn resource(range: &Range) -> Vec<u8> {
    let words = [range.kind, ATTRIBUTES].map(u32::to_le_bytes);
    let longs = [range.start, range.bytes].map(u64::to_le_bytes);
    [&[3, 0, 48, 0, 0, 0, 0, 0][..], &[0; 16], words.as_flattened(), longs.as_flattened()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtmr0::golden::{firmware, sha384};

    const GIB: u64 = 1 << 30;
    /// The sections of memory in Debian's OVMF.fd 2025.02-8+deb13u1, as in the firmware of dstack in 2024: TD HOB, and the others.
    pub(crate) const STACK_OF_15_PAGES: [(u32, u64, u64); 4] =
        [(3, 0x81_1000, 0xf000), (3, 0x80_b000, 0x2000), (2, 0x80_9000, 0x2000), (3, 0x80_0000, 0x6000)];
    /// The sections of dstack 0.6.0, from `vm_config.tdx_measurement` of its fixture `tdx-lite-getquote.json`.
    pub(crate) const STACK_OF_16_PAGES: [(u32, u64, u64); 4] =
        [(3, 0x81_0000, 0x1_0000), (3, 0x80_b000, 0x2000), (2, 0x80_9000, 0x2000), (3, 0x80_0000, 0x6000)];

    fn whole(bytes: u64) -> Memory {
        Memory { bytes, below_4g: None }
    }

    /// Digests of `EV_EFI_HANDOFF_TABLES2` in public logs of trust domains on QEMU. The size of memory is stated beside the log for 2 GiB
    /// and 64 GiB (`vm_config`); for the others it is the one of all multiples of 256 MiB whose digest this is.
    #[test]
    fn digests_are_those_of_public_logs() {
        let cases = [
            // Dstack-TEE/dstack, commit 312dc605, Apache-2.0: dstack/cc-eventlog/samples/ccel.bin
            (
                STACK_OF_15_PAGES,
                1,
                "2b630fa1d8fa9b6e8c6507d2256803ed227888f7d1f62ca5cfbddfe495338b1c6a0fc339ea64700f0835c0897a662789",
            ),
            // rfdlp/tee-solver, commit 93406972, contracts/solver-registry/src/collateral.rs: the event log of a dstack machine
            (
                STACK_OF_15_PAGES,
                2,
                "0e35f1b315ba6c912cf791e5c79dd9d3a2b8704516aa27d4e5aa78fb09ede04aef2bbd02ac7a8734c48562b9c26ba35d",
            ),
            // dstack/verifier/fixtures/tdx-lite-getquote.json (memory_size 2147483648); trustee CCEL_data_ovmf has it too
            (
                STACK_OF_16_PAGES,
                2,
                "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749",
            ),
            // google/go-eventlog, commit b9c4e7a1, Apache-2.0: testdata/eventlogs/ccel/CCEL_unpadded.data.bin
            (
                STACK_OF_16_PAGES,
                8,
                "2e070cda358b5aa00f27cca25c47381bb564f4be3a84d059805a73cbbde764ed8341f7e09915b5e7b370f9c08a743fbd",
            ),
            // confidential-containers/trustee, commit 78962cd4, Apache-2.0: deps/eventlog/test_data/CCEL_data_grub
            (
                STACK_OF_16_PAGES,
                10,
                "05dc148f05a035080b22372d049c35ef80260050516606b4d9d4eaa2e4d1e06c556374b00217496a235235d1e3d0e026",
            ),
            // dstack/verifier/fixtures/quote-report.json (memory_size 68719476736)
            (STACK_OF_16_PAGES, 64, "8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2a"),
        ];
        for (sections, gib, want) in cases {
            let hob = td_hob(&firmware(&sections), whole(gib * GIB)).unwrap();
            assert!(sha384(&hob).starts_with(want), "{gib} GiB: {}", sha384(&hob));
            let found = memory_of(&firmware(&sections), &Hash::Sha384.digest(&hob)).unwrap();
            assert_eq!(found, Some(whole(gib * GIB)));
        }
        assert_eq!(memory_of(&firmware(&STACK_OF_16_PAGES), &[0; 48]).unwrap(), None);
    }

    #[test]
    fn q35_splits_memory_from_2816_mib_on() {
        let ranges = |memory: Memory| memory.ranges().unwrap().iter().map(|range| (range.start, range.bytes)).collect::<Vec<_>>();
        let mib = |count: u64| count << 20;
        assert_eq!(ranges(whole(mib(2815))), [(0, mib(2815))]);
        assert_eq!(ranges(whole(mib(2816))), [(0, 2 * GIB), (FOUR_GIB, mib(768))]);
        assert_eq!(ranges(Memory { bytes: 8 * GIB, below_4g: Some(GIB) }), [(0, GIB), (FOUR_GIB, 7 * GIB)]);
        assert_eq!(ranges(Memory { bytes: GIB, below_4g: Some(3 * GIB) }), [(0, GIB)]);
        for (bytes, below_4g) in [(0, None), (4097, None), (!4095, None), (GIB, Some(1)), (8 * GIB, Some(5 * GIB))] {
            assert_eq!(
                Memory { bytes, below_4g }.ranges().unwrap_err().to_string(),
                Error::Memory.to_string(),
                "{bytes} {below_4g:?}"
            );
        }
    }

    #[test]
    fn firmware_outside_of_memory_is_refused() {
        let failure =
            |sections: &[(u32, u64, u64)], bytes: u64| td_hob(&firmware(sections), whole(bytes)).unwrap_err().to_string();
        assert_eq!(failure(&STACK_OF_16_PAGES, 8 << 20), Error::Outside(0x81_0000).to_string());
        assert_eq!(failure(&[(3, 0x80_0000, 0x1000)], GIB), Error::NoHob.to_string());
        // A section that only partly overlaps one before it: QEMU ends.
        assert_eq!(failure(&[(2, 0x80_0000, 0x2000), (3, 0x80_1000, 0x2000)], GIB), Error::Outside(0x80_1000).to_string());
        assert!(td_hob(b"no firmware", whole(GIB)).is_err());
    }

    proptest! {
        #[test]
        fn ranges_cover_the_memory_once(places in proptest::collection::vec((0_u64..64, 1_u64..16), 0..8), gib in 1_u64..64) {
            let mut ranges = whole(gib * GIB).ranges().unwrap();
            for (page, pages) in places {
                drop(accept(&mut ranges, page * 4096, pages * 4096));
            }
            ranges.sort_unstable();
            prop_assert_eq!(ranges.iter().map(|range| range.bytes).sum::<u64>(), gib * GIB);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].start + pair[0].bytes <= pair[1].start);
            }
        }
    }
}
