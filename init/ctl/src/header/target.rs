//! Decides whether a saved header belongs on a disk, from the present contents of the disk.

use cmdline::Data;
use ondisk::luks2::{self, DATA_OFFSET, Expect, Header};
use ondisk::{blank, intent};

use super::accept::has_record;
use super::report::Report;

/// The first bytes of a LUKS1 header. It has no checksum, so it cannot be checked.
const LUKS1: &[u8; 8] = b"LUKS\xba\xbe\x00\x01";

/// The first bytes of image formats other than raw. Writing a header to such a file would destroy the image.
const FORMATS: [(&str, &[u8]); 3] = [("qcow2", b"QFI\xfb"), ("VMDK", b"KDMV"), ("VHDX", b"vhdxfile")];

/// Offset of the signature of an MBR, also of the protective one of a GPT.
const MBR: std::ops::Range<usize> = 510..512;

/// The option to replace a damaged header.
const FLAG: &str = "--replace-damaged";

/// Compares the disk with the saved header and reports each reason not to write.
pub(super) fn examine(report: &mut Report, found: &[u8], saved: &Header, replace_damaged: bool) {
    let (rule, uuid) = ("disk", saved.uuid());
    if has_record(found) {
        report.refuse("record of a begun format", record());
    }
    if let Some((format, _)) = FORMATS.iter().find(|(_, magic)| found.starts_with(magic)) {
        return report
            .refuse(rule, format_args!("expected a raw disk, found a {format} image: attach it with qemu-nbd, give that"));
    }
    if let Some(other) = luks2::sound_copies(found).iter().find(|copy| copy.uuid != uuid) {
        let what = "give the right disk; if it is this one, erase that header first";
        return report.refuse(rule, format_args!("expected LUKS UUID {uuid}, found a whole header of {}: {what}", other.uuid));
    }
    if found.starts_with(LUKS1) {
        return report.refuse(rule, "expected LUKS2, found a header of LUKS1: it is another disk");
    }
    let left = luks2::identifiers(found);
    let doubt = if let Some(other) = left.iter().find(|other| **other != uuid) {
        format!("expected LUKS UUID {uuid}, found a damaged header of {other}")
    } else if luks2::has_other_volume_key(found, saved) {
        "the disk's header is for another volume key: the disk was formatted again with the same UUID, and the saved header does not \
         open what was written since"
            .to_owned()
    } else if left.is_empty() {
        format!("expected LUKS UUID {uuid}, found no LUKS header: {}", content(found))
    } else {
        return report.line(true, rule, format_args!("it has, or had, a header of LUKS UUID {uuid}"));
    };
    if replace_damaged {
        report.warn(rule, format_args!("{doubt}. It is replaced, as {FLAG} says"));
    } else {
        report.refuse(rule, format_args!("{doubt}. If it is the right disk all the same, give {FLAG}"));
    }
}

/// Whether the disk has a header with an authentication token, which is not verified.
pub(super) fn has_token(found: &[u8], wanted: &Data) -> bool {
    let mut image = found.to_vec();
    let header = luks2::repair(&mut image).and_then(|()| Header::parse(&image));
    let expect = Expect { cipher: wanted.cipher, data_offset: DATA_OFFSET, rotation: true };
    header.is_ok_and(|header| luks2::check(&header, &expect).is_ok_and(|checked| checked.auth_token().is_some()))
}

fn content(found: &[u8]) -> &'static str {
    if blank::is_blank(found) {
        "the header area is blank"
    } else if found.get(MBR) == Some(&[0x55, 0xaa]) {
        "a partition table (the data disk may be one of its partitions)"
    } else {
        "other data"
    }
}

fn record() -> String {
    let block = u64::try_from(intent::BLOCK).map_or(0, |block| intent::OFFSET / block);
    format!(
        "the disk has one, and a guest with cvm.data.format=if-blank would format it. If the disk held data, copy it, erase the record with \
         dd if=/dev/zero of=DISK bs={} seek={block} count=1 conv=notrunc,fsync and run the same restore again",
        intent::BLOCK
    )
}
