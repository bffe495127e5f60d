//! From arguments to the library and back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ctl::Floors;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::args::{Cli, Cmdline, Command, Header, Log, Quote};
use crate::{cmdline, explain, header, log, measure, quote, show, vaults};

/// A policy file is a few KiB; this only keeps a mistake small.
const FILE_MAX: usize = 1 << 20;
/// What a refused command line ends with.
pub(crate) const REFUSED: u8 = 2;

/// Why a command could not even begin, or its outcome not be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("--mrtd, --rtmr1 and --rtmr2, and --rtmr0 if it is given, must be given as often as each other, at least once")]
    Images,
    #[error("--issuer and --owner-sub must be given, or a policy that names the owner")]
    NoOwner,
    #[error("--issuer and --owner-sub are not the owner whom the policy names")]
    AnotherOwner,
    #[error("keeping secrets out of core dumps")]
    Core(#[source] rustix::io::Errno),
    #[error("collateral")]
    Source(#[from] ctl::collateral::SourceError),
    #[error("collateral cache: {0}")]
    Caches(String),
    #[error("{path} has mode {mode:04o}, and others could read the key: expected 0600. Run: chmod 600 {path}")]
    Mode { path: PathBuf, mode: u32 },
    #[error("{path} is not a regular file: expected a client key that cvmctl client-key made")]
    NoFile { path: PathBuf },
    #[error(
        "{path} is no client key: expected PEM with a P-256 key in PKCS#8 and its certificate, as cvmctl client-key makes it"
    )]
    ClientKey { path: PathBuf },
    #[error("descriptor {descriptor}: {source}")]
    Token { descriptor: u32, source: vault::operator::TokenError },
    #[error("--grant-fd and --bearer-fd are one descriptor: each token is read from its own")]
    SameDescriptor,
    #[error("the grant carries no policy: expected a key-creation grant, whose claim policy is the whole key policy")]
    NoPolicy,
    #[error("this machine is not let in: {0}")]
    Attributes(&'static str),
    #[error("the vaults do not have the same policy, see it with --json")]
    Policies,
    #[error("output; the key is dealt, and these words of its command line are nowhere else: {words}")]
    WordsLost { words: String, source: io::Error },
    #[error("no quote")]
    Quote(#[source] attest::QuoteHeaderError),
    #[error("policy words")]
    Words(#[source] ::cmdline::Error),
    #[error("the passphrase is not 64 lower-case hexadecimal digits")]
    Passphrase,
    #[error("{path}")]
    Image { path: PathBuf, source: predict::Error },
    #[error("{path}")]
    Firmware { path: PathBuf, source: predict::MrtdError },
    #[error("{path} is no event log: as a firmware's: {firmware}; as one of user space: {user}")]
    Log { path: PathBuf, firmware: eventlog::ccel::Error, user: eventlog::cel::Error },
    #[error("{path}")]
    FirmwareLog { path: PathBuf, source: eventlog::ccel::Error },
    #[error("{0} is neither a TDX quote nor a TDREPORT")]
    NoDomain(PathBuf),
    #[error("{path}, line {line}: no PCR")]
    Pcrs { path: PathBuf, line: usize },
    #[error("no data disk {wanted} in cvm.data, which lists: {listed}. Give --disk-name NAME")]
    DiskName { wanted: String, listed: String },
    #[error("{path} is neither a block device nor a regular file: give the data disk, or an image of it")]
    NoDisk { path: PathBuf },
    #[error("{path} has no name of a file at its end: give the name of the file to make")]
    NoName { path: PathBuf },
    #[error("writing {path}; it may hold a part of the saved header now: run the same restore again")]
    Unfinished { path: PathBuf, source: io::Error },
    #[error("{0} does not read back as it was written: run the same restore again; if that fails too, the disk is bad")]
    ReadBack(PathBuf),
    #[error("the saved header cannot be planned onto the disk")]
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
        Command::Cmdline(Cmdline::Check { words }) => check(&words.join(" ")),
        Command::Cmdline(Cmdline::Explain { words }) => explain_cmdline(&words.join(" ")),
        Command::Header(Header::Check(args)) => header::judge(&args),
        Command::Header(Header::Save(args)) => header::save(&args),
        Command::Header(Header::Restore(args)) => header::restore(&args),
        Command::Quote(Quote::Verify(args)) => quote::judge(&args),
        Command::Quote(Quote::Show(args)) => quote::describe(&args),
        Command::Measure(args) => measure::predict(*args),
        Command::Log(Log::Verify(args)) => log::judge(&args),
        Command::Log(Log::Show(args)) => log::show(&args),
        Command::Explain(args) => explain::explain(&args),
    }
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

/// The initrd's floors.
pub(crate) fn floors(file: &Path) -> Result<Floors, Error> {
    Floors::from_json(&read(file)?).map_err(|source| Error::Json { path: file.to_owned(), source })
}

pub(crate) fn json(path: &Path) -> Result<Value, Error> {
    serde_json::from_slice(&read(path)?).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Reads a file into memory that is wiped and never moves: it may be the issuer's key.
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
