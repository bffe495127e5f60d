//! Prediction of MRTD: the TDX module's measurement of the firmware pages that the hypervisor adds to a new domain.

use eventlog::register::Hash;

/// The sizes of a page and of a chunk of `TDH.MR.EXTEND`, in bytes.
const PAGE: usize = 4096;
const CHUNK: usize = 256;
/// The most sections; edk2's firmware has six.
const SECTIONS_MAX: u32 = 64;
/// The largest section in memory, in bytes.
const SECTION_MAX: u64 = 256 << 20;
/// The most memory of all sections whose pages are added, in bytes; edk2's firmware has less than 20 MiB. What is hashed for a page is half
/// as long again.
const ADDED_MAX: u64 = 128 << 20;
const ATTRIBUTE_EXTEND: u32 = 1;
/// Pages that the domain accepts later: they are not measured.
const ATTRIBUTE_AUGMENT: u32 = 2;

/// `96b582de-1fb2-45f7-baea-a366c55a082d`: the footer of the table before the reset vector.
pub(crate) const TABLE_FOOTER: [u8; 16] =
    [0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d];
/// `e47a6535-984a-4798-865e-4685a7bf8ec2`: the entry with the offset of the TDVF descriptor.
pub(crate) const TDX_METADATA: [u8; 16] =
    [0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2];
/// The distance of the table's end from the end of the file, in bytes.
const RESET_VECTOR: usize = 32;

/// Why no MRTD is predicted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file has no entry for a TDVF descriptor.
    #[error("the firmware has no TDVF descriptor: use firmware that is built for trust domains")]
    NoDescriptor,
    /// The descriptor is malformed.
    #[error("TDVF descriptor: {0}")]
    Descriptor(&'static str),
    /// The bytes of a section are not in the file.
    #[error("section {0} of the TDVF descriptor is not in the file: use one file with code and variables")]
    Outside(u32),
}

/// The order in which the hypervisor adds the pages of a section to the domain and has the TDX module measure them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageOrder {
    /// Each page is measured right after it was added: upstream KVM since Linux 6.16.
    ///
    /// Source: Linux `arch/x86/kvm/vmx/tdx.c`, `tdx_gmem_post_populate`.
    #[default]
    Interleaved,
    /// All pages of a section are added, then all of them are measured: KVM of the patch series before, for example with QEMU 8.2 of Ubuntu
    /// 24.04.
    ///
    /// Source: dstack `dstack-mr/src/tdvf.rs`, `PageAddOrder::TwoPass`, which its authors compared with quotes.
    TwoPass,
}

impl PageOrder {
    /// Both orders.
    pub const ALL: [Self; 2] = [Self::Interleaved, Self::TwoPass];

    /// Returns the name in arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interleaved => "interleaved",
            Self::TwoPass => "two-pass",
        }
    }
}

/// Computes the MRTD of a domain with this firmware: 48 bytes.
///
/// The hash covers, for each page of each section in the descriptor's order, `"MEM.PAGE.ADD"` and the address; in measured sections it
/// covers, for each 256 bytes of a page, `"MR.EXTEND"`, their address, and the bytes.
///
/// # Errors
/// When the file is not a complete TDVF.
///
/// Source: Intel TDX Module ABI 1.5, `TDH.MEM.PAGE.ADD` and `TDH.MR.EXTEND`; edk2 `OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm`.
pub fn mrtd(firmware: &[u8], order: PageOrder) -> Result<Vec<u8>, Error> {
    let mut measured = Vec::new();
    for section in sections(firmware)?.iter().filter(|section| section.attributes & ATTRIBUTE_AUGMENT == 0) {
        let pages = 0..section.memory / 4096;
        match order {
            PageOrder::Interleaved => {
                for page in pages {
                    section.add(page, &mut measured);
                    section.extend(page, &mut measured)?;
                }
            }
            PageOrder::TwoPass => {
                pages.clone().for_each(|page| section.add(page, &mut measured));
                for page in pages {
                    section.extend(page, &mut measured)?;
                }
            }
        }
    }
    Ok(Hash::Sha384.digest(&measured))
}

impl Section<'_> {
    /// What the TDX module hashes when it adds a page.
    fn add(&self, page: u64, measured: &mut Vec<u8>) {
        measured.extend(block(b"MEM.PAGE.ADD", self.address + page * 4096));
    }

    /// What the TDX module hashes when it measures a page; nothing in a section that is not measured.
    fn extend(&self, page: u64, measured: &mut Vec<u8>) -> Result<(), Error> {
        if self.attributes & ATTRIBUTE_EXTEND == 0 {
            return Ok(());
        }
        let outside = || Error::Outside(self.number);
        let start = usize::try_from(page * 4096).map_err(|_| outside())?;
        let bytes = self.data.and_then(|data| data.get(start..start + PAGE)).ok_or_else(outside)?;
        for (number, chunk) in (0_u64..).zip(bytes.chunks(CHUNK)) {
            measured.extend(block(b"MR.EXTEND", self.address + page * 4096 + number * 256));
            measured.extend(chunk);
        }
        Ok(())
    }
}

/// The block that the TDX module hashes for an instruction: its name, and the address at offset 16.
fn block(name: &[u8], address: u64) -> [u8; 128] {
    let mut block = [0; 128];
    block.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    block.iter_mut().skip(16).zip(address.to_le_bytes()).for_each(|(to, from)| *to = from);
    block
}

/// A section of the TDVF descriptor.
pub(crate) struct Section<'a> {
    number: u32,
    /// The address and the length in memory, in bytes: whole pages.
    pub(crate) address: u64,
    pub(crate) memory: u64,
    /// 0: firmware (BFV), 1: its variables (CFV), 2: TD HOB, 3: temporary memory.
    pub(crate) kind: u32,
    attributes: u32,
    /// The bytes in the file; `None` for a section without any.
    pub(crate) data: Option<&'a [u8]>,
}

/// Reads the sections of the TDVF descriptor.
pub(crate) fn sections(firmware: &[u8]) -> Result<Vec<Section<'_>>, Error> {
    let at = descriptor(firmware).ok_or(Error::NoDescriptor)?;
    let word = |offset: usize| u32_at(firmware, at + offset).ok_or(Error::Descriptor("it ends too soon"));
    if firmware.get(at..at + 4) != Some(b"TDVF") || word(8)? != 1 {
        return Err(Error::Descriptor("not version 1"));
    }
    let count = word(12)?;
    if count == 0 || count > SECTIONS_MAX {
        return Err(Error::Descriptor("number of sections"));
    }
    let section = |number: u32| {
        let start = at + 16 + 32 * usize::try_from(number).unwrap_or(usize::MAX / 64);
        let field = |offset: usize| u32_at(firmware, start + offset).ok_or(Error::Descriptor("it ends too soon"));
        let long = |offset: usize| Ok(u64::from(field(offset)?) | u64::from(field(offset + 4)?) << 32);
        let (offset, size, kind, attributes) = (field(0)?, field(4)?, field(24)?, field(28)?);
        let (address, memory) = (long(8)?, long(16)?);
        if memory > SECTION_MAX || address.checked_add(memory).is_none() || memory % 4096 != 0 || address % 4096 != 0 {
            return Err(Error::Descriptor("a section is not of whole pages"));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let data = firmware.get(start..).and_then(|rest| rest.get(..size)).filter(|data| !data.is_empty());
        if size > 0 && data.is_none() {
            return Err(Error::Outside(number));
        }
        Ok(Section { number, address, memory, kind, attributes, data })
    };
    let sections: Vec<Section<'_>> = (0..count).map(section).collect::<Result<_, _>>()?;
    let added = sections.iter().filter(|section| section.attributes & ATTRIBUTE_AUGMENT == 0);
    if added.map(|section| section.memory).sum::<u64>() > ADDED_MAX {
        return Err(Error::Descriptor("the sections are too large"));
    }
    Ok(sections)
}

/// Finds the offset of the descriptor. The table before the reset vector is read backwards, since GUID and length follow the data of each
/// entry.
fn descriptor(firmware: &[u8]) -> Option<usize> {
    let end = firmware.len().checked_sub(RESET_VECTOR)?;
    let (footer, table) = (firmware.get(end.checked_sub(16)?..end)?, u16_at(firmware, end.checked_sub(18)?)?);
    if footer != TABLE_FOOTER {
        return None;
    }
    let start = end.checked_sub(usize::from(table))?;
    let mut at = end.checked_sub(18)?;
    while at > start {
        let guid = firmware.get(at.checked_sub(16)?..at)?;
        let length = usize::from(u16_at(firmware, at.checked_sub(18)?)?);
        if guid == TDX_METADATA {
            let offset = u32_at(firmware, at.checked_sub(length)?)?;
            return firmware.len().checked_sub(usize::try_from(offset).ok()?);
        }
        at = at.checked_sub(length.max(18))?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}
