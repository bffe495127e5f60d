//! A small generated firmware file, for the tests of this crate and of `cvmctl`.

/// A firmware file with three sections: a measured page, two pages that are added and not measured, a page that the domain accepts itself.
pub(crate) fn firmware(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
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
