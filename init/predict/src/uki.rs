//! Prediction for a unified kernel image with systemd-stub: the events of its sections, and of command line and initrd that it passes on.
//!
//! Source: systemd 257, `src/boot/stub.c` and `src/boot/cpio.c`; checked against the log of OVMF (tests/src/scenarios).

use eventlog::pe::Section;

use crate::chain::FIRST;
use crate::esp::Files;
use crate::{Error, Event, Maker, Part, STUB_END, SecureBoot, direct, wide};

/// What the one file contains.
pub(crate) const PARTS: [Part; 4] = [Part::Loader, Part::Kernel, Part::Initrd, Part::CommandLine];

/// The sections that the stub measures, in its order.
const MEASURED: [&str; 8] = [".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".uname", ".sbat"];
/// The section that is measured after [`MEASURED`].
const PUBLIC_KEY: &str = ".pcrpkey";
/// Sections that change the order, or that the machine selects.
const NOT_PREDICTED: [&str; 6] = [".profile", ".dtb", ".dtbauto", ".hwids", ".efifw", ".pcrsig"];
/// Directories whose files the stub adds to the initrd or the command line.
const DROP_INS: [&str; 3] = ["loader/credentials", "loader/addons", "loader/extensions"];

/// Whether a program with these sections is a unified kernel image.
pub(crate) fn is_uki(sections: &[Section<'_>]) -> bool {
    sections.iter().any(|section| section.name == b".linux")
}

/// Refuses files of the EFI system partition that the stub adds to the initrd or the command line.
pub(crate) fn check_files(files: &impl Files) -> Result<(), Error> {
    for directory in DROP_INS.into_iter().map(str::to_owned).chain([format!("{FIRST}.extra.d")]) {
        if let Some(name) = files.names(&directory)?.first() {
            return Err(Error::UnexpectedFile(format!("{directory}/{name}")));
        }
    }
    Ok(())
}

/// The events of the stub, and of the kernel inside.
pub(crate) fn events(sections: &[Section<'_>], secure_boot: SecureBoot) -> Result<Vec<Event>, Error> {
    // The stub takes an empty section for none.
    let find = |name: &str| sections.iter().find(|section| section.name == name.as_bytes() && section.bytes > 0);
    if let Some(name) = NOT_PREDICTED.into_iter().find(|name| find(name).is_some()) {
        return Err(Error::Section(name));
    }
    if let Some(version) = find(".sdmagic").and_then(|section| stub_version(section.data)).filter(|version| *version >= STUB_END)
    {
        return Err(Error::Stub(version));
    }
    let memory = |name: &'static str| find(name).map(|section| loaded(name, section)).transpose();
    let mut events = Vec::new();
    for name in MEASURED.into_iter().chain([PUBLIC_KEY]) {
        if let Some(data) = memory(name)? {
            let of_stub = |what: String, hashed: Vec<u8>| Event::new(Maker::SystemdStub, 11, what, hashed);
            events.push(of_stub(format!("systemd-stub: name of section {name}"), format!("{name}\0").into_bytes()));
            events.push(of_stub(format!("systemd-stub: section {name}"), data).covering(part(name)));
        }
    }
    if let (SecureBoot::Off, Some(kernel)) = (secure_boot, find(".linux")) {
        events.push(Event::program(Maker::Firmware, "the kernel in section .linux", kernel.data)?.covering(&[Part::Kernel]));
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

/// The version of the stub in its section `.sdmagic`; `None` in one that does not say it.
fn stub_version(magic: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(magic).ok()?;
    let (_, version) = text.split_once("#### LoaderInfo: systemd-stub ")?;
    version.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

fn part(section: &str) -> &'static [Part] {
    match section {
        ".linux" => &[Part::Kernel],
        ".cmdline" => &[Part::CommandLine],
        // The stub makes one initrd of these.
        ".initrd" | ".ucode" | ".osrel" | PUBLIC_KEY => &[Part::Initrd],
        _ => &[],
    }
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
