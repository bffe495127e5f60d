//! A host that runs its own code and reproduces the registers of a genuine boot (tests/forge). Each attack is shown against a policy of RTMR1
//! and RTMR2 alone, where it gets the key; then `cvmctl measure` refuses to print that policy, or the policy names what the host cannot
//! reproduce.

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

/// Expects that `cvmctl measure` fails and prints no policy.
fn prints_no_policy(context: &TestContext, arguments: &[&str]) -> Result<(), Failure> {
    let output = measure(context, arguments)?;
    if output.status.success() || !output.stdout.is_empty() {
        let printed = String::from_utf8_lossy(&output.stdout);
        return Err(Failure(format!("cvmctl measure {}: expected a refusal, found {printed}", arguments.join(" "))));
    }
    Ok(())
}

/// Expects that `cvmctl measure` prints a policy and names this condition on the firmware.
fn has_condition(context: &TestContext, arguments: &[&str], condition: &str) -> Result<(), Failure> {
    let found = conditions(context, arguments)?;
    if found.contains(condition) { Ok(()) } else { Err(Failure(format!("expected the condition {condition}, found {found}"))) }
}

/// Expects that `cvmctl measure` prints a policy without a condition on the firmware.
fn has_no_condition(context: &TestContext, arguments: &[&str]) -> Result<(), Failure> {
    let found = conditions(context, arguments)?;
    if found == "[]" { Ok(()) } else { Err(Failure(format!("expected no condition, found {found}"))) }
}

fn conditions(context: &TestContext, arguments: &[&str]) -> Result<String, Failure> {
    let output = measure(context, &[arguments, &["--json"]].concat())?;
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).context(&shown)?;
    Ok(report.get("conditions").map(ToString::to_string).unwrap_or_default())
}

fn measure(context: &TestContext, arguments: &[&str]) -> Result<std::process::Output, Failure> {
    let program = context.artifacts.top.join("target/programs/cvmctl");
    Command::new(program).arg("measure").args(arguments).output().context("running cvmctl")
}

fn run(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command.output().context("editing the image")?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure(format!("editing the image: {}", String::from_utf8_lossy(&output.stderr))))
    }
}
