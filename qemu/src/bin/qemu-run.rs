//! `qemu-run`: boots a machine with its console on this terminal and reports how it ended.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use qemu::{
    Accel, Disk, DiskFormat, Exit, HOST_IN_GUEST, Keyboard, Machine, Network, Qemu, QuoteAnswer, QuotingService, Register, Relay,
    TdInfo, Vm, measurement::STAND_IN_FIRMWARE, qgs, quoting::QuoteSource,
};

/// Boots a virtual machine with a simulated TDX guest driver. Its console is this terminal; Ctrl-A x ends it.
#[derive(Parser)]
#[command(name = "qemu/run")]
struct Flags {
    /// Kernel, a bzImage
    #[arg(long)]
    kernel: PathBuf,
    /// Initrd
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// Argument of the kernel command line; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    append: Vec<String>,
    /// virtio disk: SERIAL=FILE, then any of ",ro", ",snapshot", ",qcow2"; may be repeated
    #[arg(long, value_parser = parse_disk, value_name = "SERIAL=FILE")]
    disk: Vec<Disk>,
    /// Address of a vault, HOST:PORT as seen from this host: added to cvm.vault= as the guest reaches it; may be repeated
    #[arg(long, value_name = "ADDR")]
    vault: Vec<SocketAddr>,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Number of virtual CPUs
    #[arg(long, default_value_t = 1)]
    cpus: u8,
    /// Unix socket of a quoting service; default: every request for a quote is refused
    #[arg(long, value_name = "PATH")]
    qgs_socket: Option<PathBuf>,
    /// File that is measured into MRTD as firmware; default: a fixed text. The machine runs QEMU's own firmware
    #[arg(long)]
    firmware: Option<PathBuf>,
    /// Print MRTD and RTMR0 to RTMR3 of this machine, for the vaults' policy, and exit
    #[arg(long)]
    measure: bool,
    /// What executes the guest's instructions
    #[arg(long, default_value = "auto")]
    accel: Acceleration,
    /// End the machine after so many seconds; default: a day
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// QEMU program; default: that of the tools tree
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Acceleration {
    Auto,
    Tcg,
    Kvm,
}

impl From<Acceleration> for Accel {
    fn from(choice: Acceleration) -> Self {
        match choice {
            Acceleration::Auto => Self::Auto,
            Acceleration::Tcg => Self::Tcg,
            Acceleration::Kvm => Self::Kvm,
        }
    }
}

fn parse_disk(text: &str) -> Result<Disk, String> {
    let (serial, rest) = text.split_once('=').ok_or("no SERIAL= before the file")?;
    let mut parts = rest.split(',');
    let mut disk = Disk::raw(serial, parts.next().unwrap_or_default());
    for option in parts {
        match option {
            "ro" => disk.read_only = true,
            "snapshot" => disk.snapshot = true,
            "qcow2" => disk.format = DiskFormat::Qcow2,
            unknown => return Err(format!("unknown option {unknown:?}")),
        }
    }
    Ok(disk)
}

/// The argument `cvm.vault=`. The guest reaches the host's loopback at another address.
fn vault_argument(vaults: &[SocketAddr]) -> Option<String> {
    let seen = vaults.iter().map(|vault| {
        let host = if vault.ip().is_loopback() { HOST_IN_GUEST.into() } else { vault.ip() };
        SocketAddr::new(host, vault.port()).to_string()
    });
    (!vaults.is_empty()).then(|| format!("cvm.vault={}", seen.collect::<Vec<_>>().join(",")))
}

/// How long an external quoting service may take: the real driver gives up after 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The default of `--timeout`: a day.
const DAY: u64 = 86_400;

fn run(flags: Flags) -> Result<Exit, Box<dyn std::error::Error>> {
    let machine = Machine {
        firmware: None,
        kernel: Some(flags.kernel),
        initrd: flags.initrd,
        append: flags.append.into_iter().chain(vault_argument(&flags.vault)).collect(),
        disks: flags.disk,
        memory_mib: flags.memory,
        cpus: flags.cpus,
        network: Network::default(),
        keyboard: Keyboard::Terminal,
        reports: false,
        arguments: Vec::new(),
    };
    let firmware = flags.firmware.map_or_else(|| Ok(STAND_IN_FIRMWARE.to_vec()), std::fs::read)?;
    let td_info = machine.td_info(&firmware)?;
    if flags.measure {
        print_registers(&td_info);
        return Ok(Exit::PoweredOff);
    }
    let mut relay = flags.qgs_socket.map(|socket| Relay { socket, timeout: TIMEOUT });
    let source = move |report: &[u8; qgs::TD_REPORT_LEN]| match &mut relay {
        Some(relay) => relay.quote(report),
        None => QuoteAnswer::Error(qgs::ERROR_UNEXPECTED),
    };
    let quotes = QuotingService::start(move || Some(td_info.clone()), None, source)?;

    let qemu = flags.qemu.map_or_else(Qemu::of_tools_tree, |program| Qemu::command(vec![program.into()]));
    let qemu = qemu.accel(flags.accel.into());
    let mut vm = Vm::boot_with_copy(&qemu, &machine, Some(&quotes), Some(Box::new(io::stdout())))?;
    Ok(vm.wait(Duration::from_secs(flags.timeout.unwrap_or(DAY)))?)
}

fn print_registers(td: &TdInfo) {
    let hex = |register: &Register| encoding::hex::encode(&register.0);
    println!("mrtd  {}", hex(&td.mrtd));
    for (number, register) in td.rtmrs.iter().enumerate() {
        println!("rtmr{number} {}", hex(register));
    }
}

/// Exits with 0 for a power-off, 2 for a reset, 3 for a panic, 4 for a timeout, 1 for anything else.
fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(exit) => {
            eprintln!("\nqemu-run: {exit:?}");
            ExitCode::from(match exit {
                Exit::PoweredOff => 0,
                Exit::Rebooted => 2,
                Exit::Panicked(_) => 3,
                Exit::TimedOut => 4,
                Exit::Died(..) => 1,
            })
        }
        Err(error) => {
            eprintln!("qemu-run: {}", failure::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vaults_on_loopback_are_named_as_the_guest_reaches_them() {
        let vaults = ["127.0.0.1:8443", "[::1]:8444", "192.0.2.7:8443"].map(|vault| vault.parse().unwrap());
        assert_eq!(vault_argument(&vaults).unwrap(), "cvm.vault=10.0.2.2:8443,10.0.2.2:8444,192.0.2.7:8443");
        assert_eq!(vault_argument(&[]), None);
    }

    #[test]
    fn disk_flag_is_serial_file_and_options() {
        let disk = parse_disk("data=/tmp/d.img,snapshot,ro").unwrap();
        assert_eq!((disk.serial.as_str(), disk.file.to_str()), ("data", Some("/tmp/d.img")));
        assert_eq!((disk.snapshot, disk.read_only, disk.format), (true, true, DiskFormat::Raw));
        assert_eq!(parse_disk("data=/tmp/d.img,rw").unwrap_err(), "unknown option \"rw\"");
        assert!(parse_disk("/tmp/d.img").is_err());
    }
}
