//! Firmware in flash with variables of the machine's own, and what it measures into: a TPM, the registers of a TD, both or none.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    arguments::{Arguments, escaped},
    cc::CcDriver,
};

/// Debian's OVMF with Secure Boot; only firmware may write its variables.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// Firmware that replaces QEMU's BIOS.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// The flash with its variables, including the keys of Secure Boot; the machine writes to it.
    pub variables: PathBuf,
    /// The socket of a TPM 2.0 ([`Tpm::socket`]).
    pub tpm: Option<PathBuf>,
    /// The driver by which it measures as firmware of a TD.
    pub cc: Option<CcDriver>,
}

impl Firmware {
    pub(crate) fn add(&self, arguments: &mut Arguments) {
        // Without system management mode any program could write the keys.
        arguments.pair("-machine", "smm=on");
        arguments.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
        arguments.pair("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={CODE}"));
        let mut variables = OsString::from("if=pflash,unit=1,format=raw,file=");
        variables.push(escaped(&self.variables));
        arguments.pair("-drive", variables);
        arguments.0.extend(self.tpm.iter().flat_map(|socket| device(socket)).flatten());
        if let Some(driver) = &self.cc {
            driver.add(arguments);
        }
    }
}

/// QEMU's options for the TPM at `socket`.
fn device(socket: &Path) -> [[OsString; 2]; 3] {
    let mut chardev = OsString::from("socket,id=tpm,path=");
    chardev.push(escaped(socket));
    [
        ["-chardev".into(), chardev],
        ["-tpmdev".into(), "emulator,id=tpm,chardev=tpm".into()],
        ["-device".into(), "tpm-tis,tpmdev=tpm".into()],
    ]
}

/// An emulated TPM 2.0 for one boot. It ends, and its state is deleted, when dropped.
#[derive(Debug)]
pub struct Tpm {
    dir: tempfile::TempDir,
}

impl Tpm {
    /// Starts swtpm in the tools tree.
    ///
    /// # Errors
    /// swtpm does not start.
    pub fn start() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("cvm-tpm-").tempdir_in("/tmp")?;
        let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("initrd").join("run-in-tools-tree");
        let state = dir.path().join("state");
        fs::create_dir(&state)?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        // The command returns when swtpm listens; swtpm ends with the machine.
        let status = Command::new(launcher)
            .args(["swtpm", "socket", "--tpm2", "--terminate", "--daemon"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args(["--ctrl", &format!("type=unixio,path={}", path("socket"))])
            .args(["--pid", &format!("file={}", path("pid"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if status.success() { Ok(Self { dir }) } else { Err(io::Error::other(format!("swtpm: {status}"))) }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// QEMU's arguments for a machine without [`Firmware`].
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        device(&self.socket()).into_iter().flatten().collect()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // swtpm deletes its file of its process id when it ends, usually with the machine.
        let pid = fs::read_to_string(self.dir.path().join("pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).unwrap_or_default();
        }
    }
}
