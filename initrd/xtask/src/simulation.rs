//! The steps that make the simulated hardware: keys, root certificate, kernel modules, firmware, and the programs in the tests' image.

use crate::Error;
use crate::process::Run;
use crate::project::{Kernel, Project};
use crate::step::{Action, Step};
use crate::steps::{build, program};

/// The certificate and key of the tests' builder.
pub(crate) const BUILDER_CERTIFICATE: &str = "target/builder/cert.pem";
pub(crate) const BUILDER_KEY: &str = "target/builder/key.pem";
/// The trust anchor of the simulation.
pub(crate) const ROOT: &str = "target/simulation/root.der";

/// The key of the tests' builder signs the UKI and the modules of the simulation. It never leaves `target/`.
pub(crate) fn builder_key() -> Step {
    let openssl = |arguments: &str| Run::in_tools_tree(arguments.split(' '));
    let request = openssl("openssl req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -addext keyUsage=digitalSignature");
    build("builder's key")
        .runs(
            [BUILDER_KEY, "-out", BUILDER_CERTIFICATE, "-addext", "extendedKeyUsage=codeSigning"]
                .into_iter()
                .fold(request.arg("-subj").arg("/CN=SIMULATED builder of cvm-init tests").arg("-keyout"), Run::arg),
        )
        .runs(openssl("openssl x509 -outform DER -in target/builder/cert.pem -out target/builder/cert.der"))
        .makes([BUILDER_KEY, BUILDER_CERTIFICATE, "target/builder/cert.der"])
}

/// The simulated root certificate with the keys below it: made once, then loaded.
pub(crate) fn simulated_root() -> Step {
    build("simulated root certificate")
        .reads([program("mint-root")])
        .runs(Run::in_tools_tree([&program("mint-root"), "target/simulation"]))
        .makes([ROOT, "target/simulation/pki/root.key"])
}

/// The kernel modules of the simulation and the tests. Where the firmware has the builder's key, a kernel that takes only signed modules
/// takes the first two.
pub(crate) fn modules(project: &Project, kernel: Kernel) -> Result<Step, Error> {
    let (release, out) = (kernel.release(project)?, format!("target/simulation/modules{}", kernel.suffix()));
    let mut step = build(format!("simulated hardware{}", kernel.suffix()))
        .reads(["qemu/tdx-guest", "tests/crash", BUILDER_KEY, BUILDER_CERTIFICATE])
        .does(Action::Empty(out.clone().into()));
    for (source, files) in
        [("qemu/tdx-guest", ["Makefile", "tdx-guest.c", "sev-guest.c"].as_slice()), ("tests/crash", &["Makefile", "crash.c"])]
    {
        let folder = format!("{out}/{}", source.rsplit('/').next().unwrap_or(source));
        for file in files {
            step = step.does(Action::Copy(format!("{source}/{file}").into(), format!("{folder}/{file}").into()));
        }
        let (build, sources) = (format!("/usr/lib/modules/{release}/build"), format!("M={}/{folder}", project.top.display()));
        step = step.runs(Run::in_tools_tree(["make", "-C", &build, &sources, "modules"]));
    }
    let sign = format!("/usr/lib/linux-kbuild-{}/scripts/sign-file", release.trim_end_matches("-cloud-amd64"));
    let signed = ["tdx-guest", "sev-guest"].map(|name| format!("{out}/tdx-guest/{name}.ko"));
    for module in &signed {
        step = step.runs(Run::in_tools_tree([&sign, "sha256", BUILDER_KEY, BUILDER_CERTIFICATE, module]));
    }
    Ok(step.makes(signed).makes([format!("{out}/crash/crash.ko")]))
}

/// The programs of the tests' image, and the root certificate that they verify vaults with.
pub(crate) fn test_programs() -> Step {
    let folder = "target/simulation/tree/usr/lib/cvm-tests";
    let mut step = build("programs in the tests' image").reads([ROOT]);
    for (name, installed) in [("refetch-key", "refetch-key"), ("stress", "stress")] {
        let (program, output) = (program(name), format!("{folder}/{installed}"));
        step = step.runs(Run::in_tools_tree(["strip", "--strip-all", "-o", &output, &program])).reads([program]).makes([output]);
    }
    let root = format!("{folder}/root.der");
    step.does(Action::Copy(ROOT.into(), root.clone().into())).makes([root])
}

/// Variables of firmware as a machine's owner leaves them: Secure Boot on, with the builder's key alone (UKI), or with Microsoft's keys for
/// Debian's shim and the builder's for the simulated module (GRUB). And as a host leaves them: Secure Boot off, and the variable from which
/// systemd would take more of the command line.
pub(crate) fn firmware() -> Step {
    let owner = "5b6fbd3e-7c4c-4d7e-9d8a-2f1c5a0e8b11";
    let variables = |input: &str, output: &str, flags: &[&str]| {
        let output = format!("target/firmware/{output}.fd");
        let run = Run::in_tools_tree(["virt-fw-vars", "--input", input, "--output", &output]);
        flags.iter().fold(run, |run, flag| run.arg(*flag))
    };
    let key = |flag| [flag, owner, BUILDER_CERTIFICATE];
    let on = [["--secure-boot"].as_slice(), &key("--set-pk"), &key("--add-kek"), &key("--add-db")].concat();
    let microsoft = [["--secure-boot"].as_slice(), &key("--add-db")].concat();
    let off = ["--set-false", "SecureBootEnable", "--set-json", "target/firmware/host.json"];
    build("firmware with its keys")
        .reads([BUILDER_CERTIFICATE])
        .does(Action::Write("target/firmware/host.json".into(), host_variables("systemd.hostname=taken-by-the-host")))
        .runs(variables("/usr/share/OVMF/OVMF_VARS_4M.fd", "uki", &on))
        .runs(variables("/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "grub", &microsoft))
        .runs(variables("target/firmware/grub.fd", "open-grub", &["--set-false", "SecureBootEnable"]))
        .runs(variables("target/firmware/uki.fd", "open", &off))
        .makes(["uki", "grub", "open-grub", "open"].map(|name| format!("target/firmware/{name}.fd")))
}

/// The EFI variable `SystemdOptions` in the form that virt-fw-vars reads: UTF-16 with a zero at its end, in hex.
fn host_variables(options: &str) -> String {
    let data: String = options.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).map(|byte| format!("{byte:02x}")).collect();
    let guid = "8cf2644b-4b0b-428f-9387-6d876050dc67";
    serde_json::json!({"version": 2, "variables": [{"name": "SystemdOptions", "guid": guid, "attr": 7, "data": data}]})
        .to_string()
}

/// A copy of the UKI image with its UKI signed for Secure Boot.
pub(crate) fn signed_uki(own: &Run) -> Step {
    let (image, signed) = ("target/image/uki/cvm.raw", "target/image/uki/signed.raw");
    build("image uki, signed")
        .reads(["initrd/xtask/src/sign.rs", image, BUILDER_KEY, BUILDER_CERTIFICATE])
        .runs(["sign", BUILDER_KEY, BUILDER_CERTIFICATE, image, signed].into_iter().fold(own.clone(), Run::arg))
        .makes([signed])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_variables_are_utf_16_in_hex() {
        let text = host_variables("ab");
        assert!(text.contains("\"data\":\"610062000000\"") && text.contains("\"attr\":7"), "{text}");
    }
}
