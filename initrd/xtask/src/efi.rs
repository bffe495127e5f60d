//! The steps that make UEFI programs: the firmware driver of the simulation as an option ROM, and a host's forged kernel; and a forged first
//! program of an initrd.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::process::Run;
use crate::simulation::{BUILDER_CERTIFICATE, BUILDER_KEY};
use crate::step::{Action, Step};
use crate::steps::build;

/// The name of the step that makes the driver.
pub(crate) const DRIVER_STEP: &str = "firmware driver";
/// The driver's folder; its headers are those of the forged kernel.
const DRIVER: &str = "qemu/cc-firmware";
/// The subsystems of PE files: a program, and a driver of boot services.
const APPLICATION: u8 = 10;
const BOOT_DRIVER: u8 = 11;
/// Freestanding position-independent code with UEFI's calls. `-fno-ident`: edk2 refuses a program with a section `.comment` at address 0.
/// There are no absolute relocations, so the program needs no `.reloc`.
const FLAGS: &str = "-std=gnu23 -Wall -Wextra -Werror -O2 -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fpie \
                     -fvisibility=hidden -mabi=ms -mno-red-zone -mgeneral-regs-only -fcf-protection=none -fno-ident -Iqemu/cc-firmware";
/// Image version 1: GRUB then offers the initrd as a file to load, as to a kernel.
const LINK: &str = "-m i386pep --entry efi_main --image-base 0 --section-alignment 4096 --file-alignment 512 --no-insert-timestamp \
                    --major-image-version 1 --strip-all";

/// Adds the commands that compile these sources and link them to `output`.
fn program(step: Step, subsystem: u8, sources: &[&str], output: &str) -> Step {
    let object = |source: &str| format!("{output}.{}.o", source.rsplit('/').next().unwrap_or(source));
    let step = sources.iter().fold(step, |step, source| {
        let gcc = Run::in_tools_tree(["gcc"].into_iter().chain(FLAGS.split_whitespace()));
        step.runs(gcc.arg("-c").arg("-o").arg(object(source)).arg(*source))
    });
    let ld = Run::in_tools_tree(["ld"].into_iter().chain(LINK.split_whitespace()));
    let ld = ld.arg("--subsystem").arg(subsystem.to_string()).arg("-o").arg(output);
    step.runs(sources.iter().fold(ld, |ld, source| ld.arg(object(source))))
}

/// The driver that gives OVMF the measurement protocol of a TD, signed by the tests' builder, as an option ROM.
pub(crate) fn cc_firmware(own: &Run) -> Step {
    let (folder, rom) = ("target/firmware/cc", "target/firmware/cc.rom");
    let (plain, signed) = (format!("{folder}/driver.efi"), format!("{folder}/signed.efi"));
    let sources =
        ["authenticode", "driver", "events", "log", "memory", "port", "sha384"].map(|name| format!("{DRIVER}/{name}.c"));
    let sbsign = ["/usr/lib/systemd/systemd-sbsign", "sign", "--private-key", BUILDER_KEY, "--certificate", BUILDER_CERTIFICATE];
    let step = build(DRIVER_STEP).reads([DRIVER, "initrd/xtask/src/efi.rs", BUILDER_KEY, BUILDER_CERTIFICATE]);
    program(step.does(Action::Empty(folder.into())), BOOT_DRIVER, &sources.each_ref().map(String::as_str), &plain)
        .runs(Run::in_tools_tree(sbsign).arg("--output").arg(&signed).arg(&plain))
        .runs(own.clone().arg("rom").arg(signed).arg(rom))
        .makes([rom])
}

/// What a host could boot in place of kernel and PID 1 (tests/forge).
pub(crate) fn forged_programs() -> Step {
    let output = |name: &str| format!("target/simulation/forge/{name}");
    let (kernel, flat, init) = (output("kernel.efi"), output("kernel.flat"), output("first-init"));
    let step = build("forged programs").reads(["tests/forge", "qemu/cc-firmware/uefi.h", "qemu/cc-firmware/memory.c"]);
    let gcc = "gcc -std=gnu23 -Wall -Wextra -Werror -Os -static -s -o";
    // The same objects as a flat file, for a loader that knows no PE files.
    let ld = Run::in_tools_tree(["ld", "-T", "tests/forge/flat.ld", "--oformat", "binary", "-o", &flat]);
    let objects = ["kernel.c", "memory.c"].map(|source| format!("{kernel}.{source}.o"));
    program(step, APPLICATION, &["tests/forge/kernel.c", "qemu/cc-firmware/memory.c"], &kernel)
        .runs(objects.into_iter().fold(ld, Run::arg))
        .runs(Run::in_tools_tree(gcc.split(' ')).arg(&init).arg("tests/forge/first-init.c"))
        .makes([kernel, flat, init])
}

/// Writes the PE file `program` to `rom` as an option ROM for any PCI device.
pub(crate) fn write_option_rom(program: &Path, rom: &Path) -> Result<(), Error> {
    let image = fs::read(program).map_err(|e| Error::File(program.to_owned(), e))?;
    let bytes =
        option_rom(&image).ok_or_else(|| Error::Artifact(format!("{} is too large for an option ROM", program.display())))?;
    fs::write(rom, bytes).map_err(|e| Error::File(rom.to_owned(), e))
}

/// A header, PCI's data structure and the image, filled up to a multiple of 512 bytes. `None`: longer than 32 MiB.
///
/// Source: UEFI 2.10, section 14.4.2; PCI Firmware 3.3, section 5.1.
fn option_rom(image: &[u8]) -> Option<Vec<u8>> {
    const DATA: u16 = 0x1c;
    const IMAGE: u16 = 0x40;
    let blocks = u16::try_from((usize::from(IMAGE) + image.len()).div_ceil(512)).ok()?;
    let words = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    // Signature, length in blocks, EFI's signature (2 words), subsystem, machine x86-64, not compressed.
    let mut rom = words(&[0xaa55, blocks, 0x0ef1, 0, BOOT_DRIVER.into(), 0x8664, 0]);
    rom.resize(0x16, 0);
    rom.extend(words(&[IMAGE, DATA]));
    rom.resize(DATA.into(), 0);
    rom.extend(b"PCIR");
    // Red Hat's test device, no device list, length, revision 3; class code of 3 bytes.
    rom.extend(words(&[0x1b36, 0x0005, 0, 0x1c]));
    rom.extend([3, 0, 0, 0]);
    // Length in blocks, revision; EFI code, last image; then nothing.
    rom.extend(words(&[blocks, 0, 0x8003, 0, 0, 0]));
    rom.resize(IMAGE.into(), 0);
    rom.extend(image);
    rom.resize(usize::from(blocks) * 512, 0);
    Some(rom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_rom_points_to_its_data_and_image() {
        let rom = option_rom(&[7; 1000]).unwrap();
        let word = |at: usize| u16::from_le_bytes([rom[at], rom[at + 1]]);
        assert_eq!((rom.len(), word(0), word(2)), (1536, 0xaa55, 3));
        let (image, data) = (usize::from(word(0x16)), usize::from(word(0x18)));
        assert_eq!(rom[image..image + 1000], [7; 1000]);
        assert_eq!(&rom[data..data + 4], b"PCIR");
        assert_eq!((word(data + 10), word(data + 16), rom[data + 20], rom[data + 21]), (0x1c, 3, 3, 0x80));
        assert_eq!(option_rom(&vec![0; 33 << 20]), None);
    }
}
