//! A host that runs its own code and reproduces the registers of a genuine boot (tests/forge). Each attack is shown against a policy of RTMR1
//! and RTMR2 alone, where it gets the key; then `cvmctl measure` refuses to print that policy, or the policy names what the host cannot
//! reproduce.

mod policy;

use std::path::{Path, PathBuf};
use std::process::Command;

use eventlog::register::Hash;
use initrd::cpio::Entry;
use predict::{Event, Firmware, Maker, Part, Prediction, Route};
use qemu::Register;
use regex::Regex;

use super::TestContext;
use super::firmware::{gives, is_predicted, of, refuses};
use super::root::assert_field;
use crate::boot_chain::BootChain;
use crate::{Boot, Context, DataDisk, Failure, RootDisk, Vaults};
use encoding::hex::encode as hex;
use policy::{has_condition, has_no_condition, prints_no_policy};

const BUILT: &str = "reading the forged programs (qemu/build makes them)";
/// The first byte of the EFI system partition in the images (mkosi.conf.d/30-partitions: at 1 MiB).
const ESP: &str = "1048576";

/// GRUB with Secure Boot off starts any kernel, and without a TPM measures nothing: a host's kernel measures what the genuine boot of a TD
/// with a TPM and Secure Boot would have measured.
pub(super) fn a_kernel_that_measures_the_genuine_one_gets_nothing(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::matching_rtmr0(&context.artifacts, 2, 3)?;
    let genuine = Boot::new(context).chain(BootChain::Grub)?.cc().tpm(true);
    let (td, prediction, firmware) = (genuine.measurement()?, genuine.prediction()?, genuine.firmware_kind());
    let genuine = genuine.run_to_kernel()?;
    is_predicted(&genuine, &prediction, firmware)?;
    let image = forged_image(context, &prediction)?;
    let forged = Boot::new(context).chain(BootChain::OpenGrub)?.root(RootDisk::of(image)).cc().tpm(false).run_to_kernel()?;
    let (genuine, forged) = (of(&genuine, &td)?, of(&forged, &td)?);

    vaults.grant(&td)?;
    gives(&vaults, &genuine, "the genuine TD")?;
    gives(&vaults, &forged, "the forged TD under a policy of RTMR1 and RTMR2")?;

    // RTMR0 contains the state of Secure Boot.
    vaults.grant_with_rtmr0(&genuine)?;
    gives(&vaults, &genuine, "the genuine TD under a policy with RTMR0")?;
    refuses(&vaults, &forged, "the forged TD under a policy with RTMR0")?;
    let image = BootChain::Grub.image(&context.artifacts).display().to_string();
    prints_no_policy(context, &[&image, "--fold", "td-with-tpm"])?;
    prints_no_policy(context, &[&image, "--fold", "td"])
}

/// A copy of the GRUB image: in the kernel's place a program that measures what the initrd lists, in the initrd's place that list.
fn forged_image(context: &TestContext, prediction: &Prediction) -> Result<PathBuf, Failure> {
    let (image, list) = (context.folder.join("forged.raw"), context.folder.join("list"));
    let events = prediction.events(Firmware::TdWithTpm).filter(|event| is_of_grub(event));
    std::fs::write(&list, measurements(events)).context("writing the list of measurements")?;
    std::fs::copy(BootChain::Grub.image(&context.artifacts), &image).context("copying the image")?;
    let esp = format!("{}@@{ESP}", image.display());
    let configuration = run(Command::new("mtype").args(["-i", &esp, "::/grub/grub.cfg"]))?;
    let configuration = String::from_utf8_lossy(&configuration).into_owned();
    let path = |command: &str| {
        let pattern = Regex::new(&format!(r"(?m)^if {command} ([^ ;]+)")).context("compiling a pattern")?;
        let found = pattern.captures(&configuration).and_then(|found| found.get(1));
        found.map(|path| format!("::{}", path.as_str())).ok_or_else(|| Failure(format!("grub.cfg: no command {command}")))
    };
    let program = context.artifacts.top.join("target/simulation/forge/kernel.efi");
    for (file, path) in [(&program, path("linux")?), (&list, path("initrd")?)] {
        // Deleted first: the file system may have no space for both.
        run(Command::new("mdel").args(["-i", &esp, &path]))?;
        run(Command::new("mcopy").args(["-i", &esp]).arg(file).arg(&path))?;
    }
    Ok(image)
}

/// A kernel of the hypervisor that is no PE file: OVMF's legacy loader starts it without measuring it, with Secure Boot on too, so it can
/// measure all of a unified kernel image on a disk.
pub(super) fn a_kernel_of_the_legacy_loader_needs_a_condition(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::stapling(&context.artifacts, 2, 3)?;
    let kernel = context.folder.join("legacy-kernel");
    let flat = std::fs::read(context.artifacts.top.join("target/simulation/forge/kernel.flat")).context(BUILT)?;
    std::fs::write(&kernel, legacy_kernel(&flat)).context("writing the forged kernel")?;
    let chain = || Boot::new(context).chain(BootChain::Uki).map(|boot| boot.cc().tpm(false));
    let td = chain()?.measurement()?;
    let forged = |prediction: &Prediction| {
        let list = context.folder.join("list");
        let events = prediction.events(Firmware::Td).filter(|event| !is_of_firmware(event));
        std::fs::write(&list, measurements(events)).context("writing the list of measurements")?;
        let arguments = ["-kernel".as_ref(), kernel.as_os_str(), "-initrd".as_ref(), list.as_os_str()];
        of(&chain()?.qemu_arguments(arguments).run_to_kernel()?, &td)
    };
    vaults.grant(&td)?;
    gives(&vaults, &forged(&chain()?.prediction()?)?, "the forged TD under the policy of a UKI on a disk")?;
    let image = BootChain::Uki.image(&context.artifacts).display().to_string();
    has_condition(context, &[&image], "no-legacy-loader")?;

    // A unified kernel image of the hypervisor is measured before anything that the legacy loader's kernel can follow.
    let uki = context.artifacts.top.join("target/image/uki/cvm.efi");
    let boot = || Boot::new(context).uki_of_hypervisor(uki.clone()).cc().tpm(false);
    let (td, prediction) = (boot().measurement()?, boot().prediction()?);
    vaults.grant(&td)?;
    gives(&vaults, &of(&boot().run_to_kernel()?, &td)?, "the genuine TD with a UKI of the hypervisor")?;
    refuses(&vaults, &forged(&prediction)?, "the forged TD under the policy of a UKI of the hypervisor")?;
    let uki = uki.display().to_string();
    has_no_condition(context, &["--kernel", &uki])?;
    // Firmware that has no memory for the UKI goes on with a disk of the host, after it measured the UKI.
    has_condition(context, &["--kernel", &uki, "--secure-boot", "off"], "no-tpm-driver")
}

/// Firmware measures a unified kernel image of the hypervisor, has no memory for it, and goes on with a disk of the host, which has the
/// kernel of that image. RTMR1 is that of the genuine boot. With a TPM RTMR2 is zero, and an initrd of the host can extend it as above.
pub(super) fn a_uki_without_memory_needs_a_condition(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::stapling(&context.artifacts, 2, 3)?;
    let (uki, disk) = (context.folder.join("large.efi"), context.folder.join("disk-of-the-host.raw"));
    let image = std::fs::read(context.artifacts.top.join("target/image/uki/cvm.efi")).context("reading the UKI")?;
    std::fs::write(&uki, larger_in_memory(image.clone())?).context("writing the larger UKI")?;
    write_disk_of_kernel(context, &image, &disk)?;
    let boot = Boot::new(context).uki_of_hypervisor(uki.clone()).cc().tpm(true).qemu_arguments([
        "-drive".to_owned(),
        format!("if=none,id=of-the-host,format=raw,file={}", disk.display()),
        "-device".to_owned(),
        "virtio-blk-pci,drive=of-the-host,bootindex=1".to_owned(),
    ]);
    let td = boot.measurement()?;
    let measured = of(&boot.run_to_kernel()?, &td)?;
    if measured.rtmrs[1] != td.rtmrs[1] || measured.rtmrs[2] != Register::ZERO {
        return Err(Failure("expected the RTMR1 of the UKI, and an RTMR2 of zero".to_owned()));
    }
    vaults.grant(&td)?;
    refuses(&vaults, &measured, "the TD before the initrd of the host extends RTMR2")?;
    let mut extended = measured;
    extended.rtmrs[2] = td.rtmrs[2];
    gives(&vaults, &extended, "the TD after it")?;
    let uki = uki.display().to_string();
    let off = ["--kernel", &uki, "--secure-boot", "off", "--fold"];
    prints_no_policy(context, &[&off[..], &["td-with-tpm"]].concat())?;
    has_condition(context, &[&off[..], &["td"]].concat(), "no-tpm-driver")
}

/// The same program with two GiB more of memory: twice what the machine has.
fn larger_in_memory(mut program: Vec<u8>) -> Result<Vec<u8>, Failure> {
    // Offset of the PE header at 0x3c; SizeOfImage is 80 bytes behind it (PE format, "Optional Header Windows-Specific Fields").
    let word = |program: &[u8], at: usize| program.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field));
    let at = word(&program, 0x3c).and_then(|at| usize::try_from(at).ok()).map(|at| at + 80);
    let size = at.and_then(|at| word(&program, at)).and_then(|size| size.checked_add(2 << 30));
    let field = at.and_then(|at| program.get_mut(at..at + 4)).zip(size);
    let (field, size) = field.ok_or_else(|| Failure("the UKI is not a PE file".to_owned()))?;
    field.copy_from_slice(&size.to_le_bytes());
    Ok(program)
}

/// A disk with a file system and no partition table, whose boot program is the kernel of this UKI.
fn write_disk_of_kernel(context: &TestContext, uki: &[u8], disk: &Path) -> Result<(), Failure> {
    let sections = eventlog::pe::sections(uki).context("reading the sections of the UKI")?;
    let kernel = sections.iter().find(|section| section.name == b".linux").map(|section| section.data);
    let program = context.folder.join("BOOTX64.EFI");
    std::fs::write(&program, kernel.ok_or_else(|| Failure("the UKI has no kernel".to_owned()))?).context("writing the kernel")?;
    let file = std::fs::File::create(disk).context("making a disk")?;
    file.set_len(64 << 20).context("making a disk")?;
    run(Command::new("mformat").arg("-i").arg(disk).args(["-F", "::"]))?;
    run(Command::new("mmd").arg("-i").arg(disk).args(["::/EFI", "::/EFI/BOOT"]))?;
    run(Command::new("mcopy").arg("-i").arg(disk).arg(&program).arg("::/EFI/BOOT/"))?;
    Ok(())
}

/// A bzImage without an MZ header around a program for the handover protocol.
///
/// Source: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
fn legacy_kernel(program: &[u8]) -> Vec<u8> {
    const SETUP_SECTORS: u8 = 31;
    const HANDOVER: u16 = 0x10;
    let mut kernel = vec![0; (usize::from(SETUP_SECTORS) + 1) * 512];
    let mut set = |at: usize, bytes: &[u8]| {
        kernel.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    };
    set(0x1f1, &[SETUP_SECTORS]);
    set(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    set(0x202, b"HdrS");
    set(0x206, &[0x0f, 0x02]); // protocol 2.15
    set(0x211, &[1]); // loaded at 1 MiB
    set(0x22c, &[0xff, 0xff, 0xff, 0x7f]); // the highest address of the initrd
    set(0x230, &[0, 0, 0x20, 0, 1, 21]); // aligned at 2 MiB, relocatable
    set(0x236, &[0b1001]); // 64 bits, EFI handover
    set(0x238, &[0xff, 0x07]); // the longest command line
    set(0x260, &[0, 0, 0x10]); // needs 1 MiB
    set(0x264, &HANDOVER.to_le_bytes());
    // The entry for 64 bits is 512 bytes behind the other.
    kernel.resize(kernel.len() + 512 + usize::from(HANDOVER), 0);
    kernel.extend(program);
    // More than QEMU reads as a header.
    kernel.resize(kernel.len().next_multiple_of(4096), 0);
    kernel
}

/// Measured by the firmware itself around any kernel: the start of a boot option, its separator, the end of boot services.
fn is_of_firmware(event: &Event) -> bool {
    let is_action = |text: &[u8]| event.hashed.starts_with(text);
    event.route == Route::Separator || is_action(b"Calling EFI Application") || is_action(b"Exit Boot Services")
}

/// What GRUB measures with a TPM, and shim with Secure Boot on.
fn is_of_grub(event: &Event) -> bool {
    event.maker == Maker::Grub || (event.maker == Maker::Shim && event.covers.contains(&Part::Kernel))
}

/// These events in the form that tests/forge/kernel.c reads.
fn measurements<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<u8> {
    let mut list = Vec::new();
    for event in events {
        let register = event.rtmr().map_or(0, |number| number + 1);
        for word in [register, 0, u32::try_from(event.hashed.len()).unwrap_or(u32::MAX)] {
            list.extend(word.to_le_bytes());
        }
        list.extend(&event.hashed);
        list.resize(list.len().next_multiple_of(4), 0);
    }
    list
}

/// With a TPM beside the TD, the kernel's EFI stub tells the TPM alone which command line and initrd it got. A host's own initrd under the
/// genuine kernel extends RTMR2, which is still zero, by the digests of the genuine boot.
pub(super) fn an_initrd_that_extends_the_genuine_digests_gets_nothing(context: &TestContext) -> Result<(), Failure> {
    let (vaults, data) = (Vaults::up(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let boot = || Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").cc();
    let genuine = boot().tpm(false);
    let (td, prediction) = (genuine.measurement()?, genuine.prediction()?);
    let initrd = forged_initrd(context, &prediction)?;
    let of_host = || {
        let boot = boot().initrd(initrd.clone()).cmdline("of-the-host=1").cmdline("cvm.vault.timeout=12s").without_grant();
        boot.tpm(true)
    };
    vaults.grant(&td)?;
    let result = of_host().run()?;
    result.line(&format!("first-init: before rtmr2 {}", hex(&[0; 48])))?;
    for (number, register) in (0..).zip(td.rtmrs).filter(|(number, _)| matches!(number, 1 | 2)) {
        result.line(&format!("first-init: after rtmr{number} {}", hex(&register.0)))?;
    }
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"formatted")?;

    // The digests of a TD without a TPM are of no use where the stub measures into RTMR2: MRTD must be of firmware without a TPM driver.
    let result = of_host().tpm(false).run()?;
    result.rebooted_with(51)?;
    let measured = of(&result, &td)?.rtmrs;
    if measured[1] != td.rtmrs[1] || measured[2] == Register::ZERO {
        return Err(Failure("expected the genuine RTMR1, and an RTMR2 that is not zero, without a TPM".to_owned()));
    }

    let machine = |path: &Path| path.display().to_string();
    let files = [&context.artifacts.kernel, &context.artifacts.simulated].map(|path| machine(path));
    let [kernel, initrd] = &files;
    let direct = ["--kernel", kernel, "--initrd", initrd, "--cmdline", "quiet", "--fold"];
    prints_no_policy(context, &[&direct[..], &["td-with-tpm"]].concat())?;
    has_condition(context, &[&direct[..], &["td"]].concat(), "no-tpm-driver")
}

/// The simulated initrd with the host's program in front of PID 1.
fn forged_initrd(context: &TestContext, prediction: &Prediction) -> Result<PathBuf, Failure> {
    let read = |path: &str| std::fs::read(context.artifacts.top.join(path)).context(BUILT);
    let events = prediction.events(Firmware::Td).filter(|event| event.rtmr() == Some(2));
    let digests: Vec<u8> = events.flat_map(|event| event.digest(Hash::Sha384)).collect();
    context.initrd_with_entries(vec![
        Entry::file("init", 0o755, read("target/simulation/forge/first-init")?),
        Entry::file("cvm-init", 0o755, read("target/initrd/cvm-init")?),
        Entry::file("digests", 0o444, digests),
    ])
}

fn run(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command.output().context("editing the image")?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure(format!("editing the image: {}", String::from_utf8_lossy(&output.stderr))))
    }
}
