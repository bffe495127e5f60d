//! Inputs and digests for the tests of this module. `init/predict/tests/rtmr0/README.md` says where the files are from.

use encoding::hex;
use eventlog::register::Hash;

/// SHA-384 in hexadecimal digits.
pub(crate) fn sha384(bytes: &[u8]) -> String {
    hex::encode(&Hash::Sha384.digest(bytes))
}

/// A firmware file with a TDVF descriptor of these sections (type, address, length) and nothing else. Its CFV is empty.
pub(crate) fn firmware(sections: &[(u32, u64, u64)]) -> Vec<u8> {
    firmware_with(sections, &[])
}

/// The same with a configuration volume.
pub(crate) fn firmware_with(sections: &[(u32, u64, u64)], cfv: &[u8]) -> Vec<u8> {
    let mut file = cfv.to_vec();
    let descriptor = file.len();
    let count = u32::try_from(sections.len() + usize::from(!cfv.is_empty())).unwrap();
    file.extend(b"TDVF");
    file.extend([16 + 32 * count, 1, count].map(u32::to_le_bytes).as_flattened());
    let mut section = |offset: u32, size: u32, address: u64, memory: u64, kind: u32| {
        file.extend([offset, size].map(u32::to_le_bytes).as_flattened());
        file.extend([address, memory].map(u64::to_le_bytes).as_flattened());
        file.extend([kind, 0].map(u32::to_le_bytes).as_flattened());
    };
    if !cfv.is_empty() {
        section(0, u32::try_from(cfv.len()).unwrap(), 0xffc0_0000, u64::try_from(cfv.len()).unwrap(), 1);
    }
    for (kind, address, memory) in sections {
        section(0, 0, *address, *memory, *kind);
    }
    // The table before the reset vector: one entry (offset of the descriptor from the end, length, GUID), then its own length and GUID.
    let entry = [&[0; 4][..], &22_u16.to_le_bytes(), &crate::mrtd::TDX_METADATA].concat();
    let table = [&entry[..], &40_u16.to_le_bytes(), &crate::mrtd::TABLE_FOOTER].concat();
    file.extend(table);
    file.extend([0; 32]);
    let offset = u32::try_from(file.len() - descriptor).unwrap().to_le_bytes();
    let at = file.len() - 32 - 40;
    file[at..at + 4].copy_from_slice(&offset);
    file
}

/// A file of `init/predict/tests/rtmr0`, filled up to its original length.
pub(crate) fn file(name: &str, length: usize, fill: u8) -> Vec<u8> {
    let path = format!("{}/tests/rtmr0/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    bytes.resize(length.max(bytes.len()), fill);
    bytes
}

/// A variable store of Debian (540,672 bytes): its variables are in a file, then it is erased but for the header of the working block.
pub(crate) fn varstore(name: &str) -> Vec<u8> {
    const WORKING_BLOCK: &str = "2b29589e687c7d49a0ce6500fd9f1b952caf2c64feffffffe00f000000000000";
    let mut bytes = file(name, 0x84000, 0xff);
    bytes[0x41000..0x41020].copy_from_slice(&hex::decode::<32>(WORKING_BLOCK).unwrap());
    bytes
}

/// The files of fw_cfg with ACPI tables.
pub(crate) fn acpi() -> [(String, Vec<u8>); 3] {
    [
        ("etc/table-loader", "acpi-table-loader", 4096),
        ("etc/acpi/rsdp", "acpi-rsdp", 20),
        ("etc/acpi/tables", "acpi-tables", 131_072),
    ]
    .map(|(name, path, length)| (name.to_owned(), file(path, length, 0)))
}
