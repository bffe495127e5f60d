//! Dispatch of commands, and errors outside the library.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ctl::Floors;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::args::{self, Cli, Cmdline, Command, Header, Log, MeasureCommand, Quote};
use crate::{cmdline, explain, header, log, measure, quote, show, vaults};

/// The largest input file, in bytes. Policies are a few KiB.
const FILE_MAX: usize = 1 << 20;
/// Exit code for a refused command line or header.
pub(crate) const REFUSED: u8 = 2;

/// Why a command could not start, or its result not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("give --mrtd, --rtmr1 and --rtmr2 (and --rtmr0, if used) the same number of times, at least once")]
    Images,
    #[error("give --issuer and --owner-sub, or a policy that names the owner")]
    NoOwner,
    #[error("--issuer and --owner-sub differ from the owner in the policy")]
    AnotherOwner,
    #[error("disabling core dumps")]
    Core(#[source] rustix::io::Errno),
    #[error("collateral")]
    Source(#[from] ctl::collateral::SourceError),
    #[error("collateral cache: {0}")]
    Caches(String),
    #[error("{path}: expected mode 0600, got {mode:04o}, with which others could read the key. Run: chmod 600 {path}")]
    Mode { path: PathBuf, mode: u32 },
    #[error("{path}: expected a client key of cvmctl client-key, got something other than a regular file")]
    NoFile { path: PathBuf },
    #[error("{path}: expected PEM with a P-256 key in PKCS#8 and its certificate, as cvmctl client-key writes it")]
    ClientKey { path: PathBuf },
    #[error("descriptor {descriptor}: {source}")]
    Token { descriptor: u32, source: vault::operator::TokenError },
    #[error("--grant-fd and --bearer-fd are the same descriptor: give two")]
    SameDescriptor,
    #[error("the grant contains no policy: expected a key-creation grant, whose claim policy is the complete key policy")]
    NoPolicy,
    #[error("this machine is refused: {0}")]
    Attributes(&'static str),
    #[error("the vaults have different policies: print them with --json")]
    Policies,
    #[error(
        "output; the key is stored at the vaults, and these arguments for its command line are not stored anywhere: {parameters}"
    )]
    ParametersLost { parameters: String, source: io::Error },
    #[error("expected a quote")]
    Quote(#[source] attest::QuoteHeaderError),
    #[error("command line parameters")]
    Cmdline(#[source] ::cmdline::Error),
    #[error("passphrase: expected 64 lower-case hexadecimal digits")]
    Passphrase,
    #[error("{path}")]
    Bundle { path: PathBuf, source: measure::bundle::read::Error },
    #[error("{path}")]
    Image { path: PathBuf, source: predict::Error },
    #[error(
        "{path}: --kernel-signature not-verified is for a kernel that the hypervisor gives: Secure Boot refuses any other boot"
    )]
    KernelSignature { path: PathBuf },
    #[error("{path} is a unified kernel image, which contains initrd and command line: give neither --initrd nor --cmdline")]
    UkiArguments { path: PathBuf },
    #[error("{path} is a program (MZ) and no disk image: give a kernel or a unified kernel image with --kernel")]
    ProgramAsImage { path: PathBuf },
    #[error("{path} is not a unified kernel image: give its command line with --cmdline")]
    NoCmdline { path: PathBuf },
    #[error("{path}")]
    Firmware { path: PathBuf, source: predict::MrtdError },
    #[error("RTMR0")]
    Rtmr0(#[from] predict::rtmr0::Error),
    #[error("no value of RTMR0 without all inputs: give {0}, or the log of a boot (--log and --quote)")]
    Rtmr0Inputs(String),
    #[error("{path} is not an event log. As a log of firmware: {firmware}. As a log of user space: {user}")]
    Log { path: PathBuf, firmware: eventlog::ccel::Error, user: eventlog::cel::Error },
    #[error("{path}: expected a CCEL")]
    FirmwareLog { path: PathBuf, source: eventlog::ccel::Error },
    #[error("expected one log of firmware among the files of --log, found {0}: a CCEL or binary_bios_measurements, not JSON")]
    FirmwareLogs(usize),
    #[error("this is the log of {0}, but --fold {1} predicts the registers of another machine")]
    LogKind(&'static str, &'static str),
    #[error("the log lacks digests in SHA-384, SHA-256 and SHA-512, so nothing can be compared; SHA-1 verifies nothing")]
    WeakLog,
    #[error("{0}: expected a TDX quote or a TDREPORT")]
    NoDomain(PathBuf),
    #[error("{path}, line {line}: expected a PCR: number and hexadecimal digits")]
    Pcrs { path: PathBuf, line: usize },
    #[error("no data disk {wanted} in cvm.data, which lists: {listed}. Give --disk-name NAME")]
    DiskName { wanted: String, listed: String },
    #[error("{path}: expected a block device or a regular file: give the data disk, or an image of it")]
    NoDisk { path: PathBuf },
    #[error("{path}: expected a path with a file name at its end")]
    NoName { path: PathBuf },
    #[error("writing {path}; it may contain a part of the saved header now: repeat the restore")]
    Unfinished { path: PathBuf, source: io::Error },
    #[error("{0}: the data read back differs from the data written: repeat the restore; if it fails again, replace the disk")]
    ReadBack(PathBuf),
    #[error("the saved header does not fit the disk")]
    Plan(#[source] ondisk::luks2::Error),
    #[error(transparent)]
    UnknownCode(#[from] explain::UnknownCode),
    #[error("output")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] ctl::Error),
}

pub(crate) fn run(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Provision(args) => vaults::provision(*args),
        Command::Policy(args) => vaults::show_policy(args),
        Command::Promote(args) => vaults::promote(*args),
        Command::Key(command) => vaults::key(*command),
        Command::Profile(command) => vaults::profile(*command),
        Command::ClientKey(args) => vaults::client_key(&args),
        Command::Cmdline(Cmdline::Check { parameters }) => check(&parameters.join(" ")),
        Command::Cmdline(Cmdline::Explain { markdown: true, .. }) => print(cmdline::reference().as_bytes()),
        Command::Cmdline(Cmdline::Explain { parameters, .. }) => explain_cmdline(&parameters.join(" ")),
        Command::Header(Header::Check(args)) => header::check(&args),
        Command::Header(Header::Save(args)) => header::save(&args),
        Command::Header(Header::Restore(args)) => header::restore(&args),
        Command::Quote(Quote::Verify(args)) => quote::verify_file(&args),
        Command::Quote(Quote::Show(args)) => quote::describe(&args),
        Command::Measure(args) => match &args.command {
            Some(MeasureCommand::Explain(args)) => measure::explain(args),
            Some(MeasureCommand::Rtmr0(args)) => measure::rtmr0(args),
            Some(MeasureCommand::Verify(args)) => measure::bundle::verify(args),
            None => measure::predict(&args),
        },
        Command::Log(Log::Verify(args)) => log::verify(&args),
        Command::Log(Log::Show(args)) => log::show(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::command(), "cvmctl", &mut script);
            print(&script)
        }
        Command::Man { folder } => man(&folder),
    }
}

fn print(text: &[u8]) -> Result<ExitCode, Error> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn man(folder: &Path) -> Result<ExitCode, Error> {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(args::command(), folder).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn check(line: &str) -> Result<ExitCode, Error> {
    match cmdline::parse(line) {
        Ok(policy) => {
            show::lines(&["ok".to_owned(), policy.canonical()])?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            show::problem(&cmdline::refusal(line, &error))?;
            Ok(ExitCode::from(REFUSED))
        }
    }
}

fn explain_cmdline(line: &str) -> Result<ExitCode, Error> {
    if line.trim().is_empty() {
        show::lines(&cmdline::explanation("", None))?;
        return Ok(ExitCode::SUCCESS);
    }
    match cmdline::parse(line) {
        Ok(policy) => show::lines(&cmdline::explanation(line, Some(&policy)))?,
        Err(_) => return check(line),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the initrd's floors.json.
pub(crate) fn floors(file: &Path) -> Result<Floors, Error> {
    Floors::from_json(&read(file)?).map_err(|source| Error::Json { path: file.to_owned(), source })
}

pub(crate) fn json(path: &Path) -> Result<Value, Error> {
    serde_json::from_slice(&read(path)?).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Reads a file into memory that is wiped on drop and never moves, since it may be the issuer's key.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(vec![0; FILE_MAX]);
    let mut file = File::open(path).map_err(failed)?;
    let mut filled = 0;
    loop {
        match file.read(bytes.get_mut(filled..).unwrap_or_default()).map_err(failed)? {
            0 if filled == FILE_MAX => return Err(failed(io::ErrorKind::FileTooLarge.into())),
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
