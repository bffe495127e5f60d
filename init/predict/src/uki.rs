//! Prediction for a unified kernel image with systemd-stub: the events of its sections, and of command line and initrd that it passes on.
//!
//! Source: systemd 257, `src/boot/stub.c` and `src/boot/cpio.c`; checked against the log of OVMF (tests/src/scenarios).

use std::io::{Read, Seek};

use eventlog::pe::Section;

use crate::disk::FIRST;
use crate::esp::Esp;
use crate::{Error, Event, SecureBoot, direct, wide};

/// The sections that the stub measures, in its order.
const MEASURED: [&str; 8] = [".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".uname", ".sbat"];
/// The section that is measured after [`MEASURED`].
const PUBLIC_KEY: &str = ".pcrpkey";
/// Sections that change the order, or that the machine selects.
const NOT_PREDICTED: [&str; 6] = [".profile", ".dtb", ".dtbauto", ".hwids", ".efifw", ".pcrsig"];
/// Directories whose files the stub adds to the initrd or the command line.
const DROP_INS: [&str; 3] = ["loader/credentials", "loader/addons", "loader/extensions"];

pub(crate) fn events<D: Read + Seek>(
    sections: &[Section<'_>],
    esp: &Esp<D>,
    secure_boot: SecureBoot,
) -> Result<Vec<Event>, Error> {
    let find = |name: &str| sections.iter().find(|section| section.name == name.as_bytes());
    if let Some(name) = NOT_PREDICTED.into_iter().find(|name| find(name).is_some()) {
        return Err(Error::Section(name));
    }
    for directory in DROP_INS.into_iter().map(str::to_owned).chain([format!("{FIRST}.extra.d")]) {
        if let Some(name) = esp.names(&directory)?.first() {
            return Err(Error::UnexpectedFile(format!("{directory}/{name}")));
        }
    }
    let memory = |name: &'static str| find(name).map(|section| loaded(name, section)).transpose();
    let mut events = Vec::new();
    for name in MEASURED.into_iter().chain([PUBLIC_KEY]) {
        if let Some(data) = memory(name)? {
            events.push(Event::new(11, format!("systemd-stub: name of section {name}"), format!("{name}\0")));
            events.push(Event::new(11, format!("systemd-stub: section {name}"), data));
        }
    }
    if let (SecureBoot::Off, Some(kernel)) = (secure_boot, find(".linux")) {
        events.push(Event::program(4, "the kernel in section .linux", kernel.data)?);
    }
    let needed = |name: &'static str| memory(name)?.ok_or(Error::NoSection(name));
    let mut initrds = vec![memory(".ucode")?.unwrap_or_default(), needed(".initrd")?];
    for (name, file) in [(PUBLIC_KEY, "tpm2-pcr-public-key.pem"), (".osrel", "os-release")] {
        initrds.extend(memory(name)?.map(|data| archive(file, &data)));
    }
    let initrd: Vec<u8> = initrds.into_iter().flat_map(padded).collect();
    events.extend(direct::stub(&wide(&command_line(&needed(".cmdline")?)?, 1), &initrd));
    Ok(events)
}

/// Returns a section as it is in memory. In the last block, file or memory may have padding.
fn loaded(name: &'static str, section: &Section<'_>) -> Result<Vec<u8>, Error> {
    if section.bytes > section.data.len().next_multiple_of(4096) {
        return Err(Error::Memory(name));
    }
    let mut data = section.data.to_vec();
    data.resize(section.bytes, 0);
    Ok(data)
}

/// Returns the text of the section without white space at its ends. Characters that the stub would change are refused.
fn command_line(section: &[u8]) -> Result<String, Error> {
    let text = section.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    let printable = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if printable { Ok(text.iter().map(|byte| char::from(*byte)).collect()) } else { Err(Error::CommandLine) }
}

/// Pads an initrd to a multiple of four bytes, at which the next one starts.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Encodes a cpio archive with the directory `/.extra` and one file.
fn archive(file: &str, content: &[u8]) -> Vec<u8> {
    let directory = record(1, 0o040_555, ".extra", &[]);
    let file = record(2, 0o100_444, &format!(".extra/{file}"), content);
    // In upper case, unlike the other records, since the stub contains it as a constant.
    let trailer = format!("070701{:024}{:08}{:08}{:048}0000000B{:08}TRAILER!!!\0\0\0\0", 0, 0, 1, 0, 0);
    [directory, file, trailer.into_bytes()].concat()
}

fn record(inode: u32, mode: u32, name: &str, content: &[u8]) -> Vec<u8> {
    let header = format!(
        "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:032x}{:08x}{:08x}{name}\0",
        0,
        0,
        1,
        0,
        content.len(),
        0,
        name.len() + 1,
        0
    );
    [padded(header.into_bytes()), padded(content.to_vec())].concat()
}
