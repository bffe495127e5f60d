//! Finds out whether KVM runs guests on this host, by running one.
//!
//! A successful open of `/dev/kvm` is not enough. On some nested hosts `KVM_CREATE_VM` succeeds, the first guest instructions
//! fail with "emulation failure", and QEMU hangs. On others the host's kernel interprets each instruction of the guest: a boot
//! sector runs, but a kernel is slower than under emulation and fails at the first instruction that the interpreter lacks.

use std::{ffi::OsString, io, sync::OnceLock, time::Duration};

use crate::{
    command::{Qemu, end_child, wait_for_child},
    console::Console,
};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// KVM if it can run a guest, else emulation.
    Auto,
    /// Emulation with all virtual CPUs in one thread. With a thread for each, a guest lost a timer of its second CPU once in some
    /// hundred boots, before PID 1; in one thread, 400 of 400 boots with two CPUs succeeded. The virtual CPUs take turns at any
    /// instruction, and two machines at a time use two cores.
    Tcg,
    /// The processor's virtualisation.
    Kvm,
}

/// The longest time for firmware and loop, which take half a second under KVM.
const DEADLINE: Duration = Duration::from_secs(10);
/// The value that the guest writes to the debug port; QEMU exits with `2 * value + 1`.
const VALUE: u8 = 0x10;
const EXIT_CODE: i32 = 0x21;
/// Rounds of the guest's loop: a third of a second on a processor, minutes in an interpreter.
const TURNS: u32 = 1 << 30;
/// Length of the boot disk in bytes: SeaBIOS reads none smaller than a cylinder (16 heads, 63 sectors).
const DISK_LEN: u64 = 1 << 20;

impl Accel {
    /// The value of QEMU's `-accel`.
    #[must_use]
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg | Self::Auto => "tcg,thread=single",
        }
    }
}

/// KVM if a guest runs under it, else emulation. Probes once per process.
pub(crate) fn probe(qemu: &Qemu) -> Accel {
    static ANSWER: OnceLock<Accel> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let openable = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if openable && runs_a_guest(qemu, Accel::Kvm).unwrap_or(false) { Accel::Kvm } else { Accel::Tcg }
    })
}

/// Boots a sector that computes for a while and writes to QEMU's debug exit port; returns whether it did so within 10 seconds.
///
/// # Errors
/// QEMU cannot be started.
pub fn runs_a_guest(qemu: &Qemu, accel: Accel) -> io::Result<bool> {
    let dir = tempfile::Builder::new().prefix("cvm-accel-").tempdir_in("/tmp")?;
    let sector = dir.path().join("sector");
    std::fs::write(&sector, boot_sector())?;
    std::fs::File::options().write(true).open(&sector)?.set_len(DISK_LEN)?;
    let mut drive = OsString::from("if=ide,format=raw,readonly=off,file=");
    drive.push(&sector);
    let mut arguments: Vec<OsString> = ["-accel", accel.argument(), "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        .into_iter()
        .chain(["-machine", "q35", "-cpu", "max", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot", "-drive"])
        .map(OsString::from)
        .collect();
    arguments.push(drive);

    let mut child = qemu.start(&arguments).map_err(io::Error::other)?.spawn()?;
    let stderr = child.stderr.take().map(|stderr| Console::open(stderr, None, None)).transpose()?;
    // Ends when QEMU ends, or at the line after which QEMU hangs.
    drop(stderr.map(|stderr| stderr.wait_for("KVM internal error", DEADLINE)));
    let status = wait_for_child(&mut child, Duration::from_millis(200));
    end_child(&mut child);
    Ok(status?.is_some_and(|status| status.code() == Some(EXIT_CODE)))
}

/// `mov ecx, TURNS; again: dec ecx; jnz again; mov al, VALUE; out 0xf4, al; hlt; jmp $-1`, and the signature of a boot sector.
fn boot_sector() -> [u8; 512] {
    let mut sector = [0; 512];
    let [a, b, c, d] = TURNS.to_le_bytes();
    let code = [0x66, 0xb9, a, b, c, d, 0x66, 0x49, 0x75, 0xfc, 0xb0, VALUE, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
    sector.iter_mut().zip(code).for_each(|(to, from)| *to = from);
    if let Some(mark) = sector.last_chunk_mut::<2>() {
        *mark = [0x55, 0xaa];
    }
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Qemu {
        Qemu::command(["sh", "-c", script, "qemu"].map(OsString::from).to_vec())
    }

    #[test]
    fn guest_ran_only_if_it_reached_the_debug_port() {
        let cases = [
            ("exit 33", true),
            ("exit 0", false),
            ("echo KVM internal error. Suberror: 1 >&2; exec sleep 600", false),
            ("echo no such accelerator >&2; exit 1", false),
        ];
        for (script, want) in cases {
            assert_eq!(runs_a_guest(&shell(script), Accel::Kvm).unwrap(), want, "{script}");
        }
    }

    #[test]
    fn boot_sector_is_what_a_bios_starts() {
        let sector = boot_sector();
        let code = [0x66, 0xb9, 0, 0, 0, 0x40, 0x66, 0x49, 0x75, 0xfc, 0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
        assert_eq!(sector[..17], code);
        assert_eq!(sector[510..], [0x55, 0xaa]);
    }
}
