//! From arguments to the library and back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cvmctl::policy::{Image, Owner, Terms};
use cvmctl::{Floors, Nodes, policy, promote, provision};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::args::{
    Cli, Cmdline, Command, Header, ImageArgs, Log, NodeArgs, OwnerArgs, Policy, Promote, Provision, Quote, TermArgs,
};
use crate::{cmdline, header, log, measure, quote, show};

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
    Source(#[from] cvmctl::collateral::SourceError),
    #[error("collateral cache: {0}")]
    Caches(String),
    #[error("no quote")]
    Quote(#[source] attest::FrameError),
    #[error("policy words")]
    Words(#[source] ondisk::cmdline::Error),
    #[error("the passphrase is not 64 lower-case hexadecimal digits")]
    Passphrase,
    #[error("{path}")]
    Image { path: PathBuf, source: predict::Error },
    #[error("{path}")]
    Firmware { path: PathBuf, source: predict::MrtdError },
    #[error("{path} is no event log: as a firmware's: {firmware}; as one of user space: {user}")]
    Log { path: PathBuf, firmware: ondisk::eventlog::Error, user: ondisk::cel::Error },
    #[error("{path}")]
    FirmwareLog { path: PathBuf, source: ondisk::eventlog::Error },
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
    #[error("output")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] cvmctl::Error),
}

pub(crate) fn run(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Provision(args) => provision(*args),
        Command::Policy(args) => show_policy(args),
        Command::Promote(args) => promote(args),
        Command::Cmdline(Cmdline::Check { words }) => check(&words.join(" ")),
        Command::Cmdline(Cmdline::Explain { words }) => explain(&words.join(" ")),
        Command::Header(Header::Check(args)) => header::judge(&args),
        Command::Header(Header::Save(args)) => header::save(&args),
        Command::Header(Header::Restore(args)) => header::restore(&args),
        Command::Quote(Quote::Verify(args)) => quote::judge(&args),
        Command::Quote(Quote::Show(args)) => quote::describe(&args),
        Command::Measure(args) => measure::predict(*args),
        Command::Log(Log::Verify(args)) => log::judge(&args),
        Command::Log(Log::Show(args)) => log::show(&args),
    }
}

fn provision(args: Provision) -> Result<ExitCode, Error> {
    // A core dump is a file, and for a moment the key is in memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::Core)?;
    let request = provision::Request {
        nodes: nodes(args.nodes)?,
        threshold: args.threshold,
        handle: args.handle,
        policy: key_policy(args.policy.as_deref(), args.images, args.owner)?,
        issuer_key: read(&args.issuer_key)?,
    };
    let done = provision::provision(&request)?;
    // First what cannot be had again: the commitment is nowhere else.
    if args.json {
        show::json(&done.to_json())?;
    } else {
        show::lines(&done.words)?;
    }
    show::provisioned(&done)?;
    Ok(ExitCode::SUCCESS)
}

fn show_policy(args: Policy) -> Result<ExitCode, Error> {
    show::json(&policy::key_policy(&terms(args.images, owner(args.owner))?))?;
    Ok(ExitCode::SUCCESS)
}

fn promote(args: Promote) -> Result<ExitCode, Error> {
    let request = promote::Request {
        nodes: nodes(args.nodes)?,
        handle: args.handle,
        policy: json(&args.policy)?,
        issuer_key: read(&args.issuer_key)?,
    };
    let outcomes = promote::promote(&request)?;
    show::promoted(&outcomes)?;
    Ok(if outcomes.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn explain(line: &str) -> Result<ExitCode, Error> {
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

/// The policy of the file, whose owner must be the one that is named, if one is; or one made of measurements.
fn key_policy(file: Option<&Path>, images: ImageArgs, named: OwnerArgs) -> Result<Value, Error> {
    let named = owner(named);
    let Some(file) = file else {
        return Ok(policy::key_policy(&terms(images, Some(named.ok_or(Error::NoOwner)?))?));
    };
    let policy = json(file)?;
    let owner = policy::owner(&policy);
    let same = |named: &Owner| owner.as_ref().is_some_and(|owner| (&owner.issuer, &owner.sub) == (&named.issuer, &named.sub));
    if named.is_some_and(|named| !same(&named)) {
        return Err(Error::AnotherOwner);
    }
    Ok(policy)
}

pub(crate) fn owner(args: OwnerArgs) -> Option<Owner> {
    Some(Owner { issuer: args.issuer?, sub: args.owner_sub?, roles: Vec::new() })
}

fn terms(args: ImageArgs, owner: Option<Owner>) -> Result<Terms, Error> {
    let count = args.mrtd.len();
    // None at all is a policy that lets nobody in yet: images are promoted when they are known.
    if args.rtmr1.len() != count || args.rtmr2.len() != count || ![0, count].contains(&args.rtmr0.len()) {
        return Err(Error::Images);
    }
    let ImageArgs { mrtd, rtmr0, rtmr1, rtmr2, terms: more } = args;
    let rtmr0 = rtmr0.into_iter().map(Some).chain(std::iter::repeat(None));
    let registers = mrtd.into_iter().zip(rtmr0).zip(rtmr1).zip(rtmr2);
    let images = registers.map(|(((mrtd, rtmr0), rtmr1), rtmr2)| Image { mrtd, rtmr0, rtmr1, rtmr2 });
    Ok(of_images(images.collect(), more, owner))
}

/// The terms under which these images have the key.
pub(crate) fn of_images(images: Vec<Image>, args: TermArgs, owner: Option<Owner>) -> Terms {
    Terms { name: args.name, images, owner, attestation_servers: args.attestation_servers, ttl_seconds: args.ttl }
}

fn nodes(args: NodeArgs) -> Result<Nodes, Error> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let floors = args.floors.as_deref().map_or(Ok(Floors::default()), floors)?;
    Ok(Nodes {
        vaults: args.vaults,
        anchor: read(&args.anchor)?.to_vec(),
        mrenclaves: args.mrenclaves,
        statuses: args.statuses,
        at: args.at.unwrap_or_else(now).max(floors.built),
        floors,
    })
}

/// The initrd's floors.
pub(crate) fn floors(file: &Path) -> Result<Floors, Error> {
    Floors::from_json(&read(file)?).map_err(|source| Error::Json { path: file.to_owned(), source })
}

fn json(path: &Path) -> Result<Value, Error> {
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
