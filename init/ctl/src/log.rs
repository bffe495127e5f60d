//! `cvmctl log`: logs of what was measured, replayed against the registers, and told for people.

mod pcrs;
mod register;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attest::Frame;
use ondisk::cel::{self, Record};
use ondisk::eventlog::{self, Kind, LOG_MAX, describe};
use ondisk::register::Hash;
use serde_json::{Value, json};

use crate::args::{LogShow, LogVerify};
use crate::quote::sources;
use crate::run::Error;
use crate::show as out;
use register::Register;

/// RTMR0 to RTMR3 in what identifies a domain: attributes, XFAM, MRTD and three owner fields stand before them.
const RTMRS_AT: usize = 208;
/// A TDREPORT, and the same 400 bytes in it.
const REPORT_BYTES: usize = 1024;
const DOMAIN_IN_REPORT: std::ops::Range<usize> = 512..912;

/// Extended by the kernel's integrity measurement architecture.
const IMA: Register = Register::Pcr(10);

/// A log in one of its two forms, with its file.
struct Read {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// One event of either form.
pub(crate) struct Told {
    register: Register,
    digests: Vec<(Hash, Vec<u8>)>,
    extended: bool,
    kind: String,
    text: String,
    /// False where the digest is not that of the text beside it, though the form says that it is.
    honest: bool,
}

/// The logs, one after the other.
#[derive(Default)]
struct Logs {
    events: Vec<Told>,
    /// What PCR 0 began with, where a log tells.
    locality: u8,
}

/// Prints the events.
pub(crate) fn show(args: &LogShow) -> Result<ExitCode, Error> {
    let read = read_all(&args.files)?;
    let logs = logs(&read)?;
    if args.json {
        out::json(&json!({ "events": logs.events.iter().map(json).collect::<Vec<_>>() }))?;
    } else {
        out::lines(&logs.events.iter().map(line).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replays; exit code 0 only if every register that is compared agrees and no record lies about itself.
pub(crate) fn judge(args: &LogVerify) -> Result<ExitCode, Error> {
    let read = read_all(&args.files)?;
    let logs = logs(&read)?;
    let mut wanted = Vec::new();
    if let Some(path) = &args.quote {
        wanted
            .extend(rtmrs(path)?.into_iter().filter(|(register, ..)| args.rtmrs.is_empty() || register.is_rtmr_of(&args.rtmrs)));
    }
    if let Some(path) = &args.pcrs {
        wanted.extend(pcrs::read(path)?);
    }
    // The integrity measurement architecture has a log of its own, which is none of these.
    let (compared, without_log): (Vec<_>, Vec<_>) =
        wanted.iter().partition(|(register, ..)| logs.has(*register) || *register != IMA);
    let compared: Vec<_> =
        compared.into_iter().map(|(register, hash, value)| (register, hash, value, logs.replay(*register, *hash))).collect();
    let measured = args.cmdline.as_ref().map(|line| (line, measured(&read, line)));
    let lies = logs.events.iter().filter(|event| !event.honest).count();
    let agree = !compared.is_empty() && compared.iter().all(|(_, _, value, replayed)| replayed.as_ref() == Some(*value));
    let believed = agree && lies == 0 && measured.as_ref().is_none_or(|(_, by)| by.is_some());

    if args.json {
        let registers: Vec<Value> = compared
            .iter()
            .map(|(register, hash, value, replayed)| {
                json!({
                    "register": register.to_string(), "hash": hash.name(), "value": hex::encode(value),
                    "replayed": replayed.as_ref().map(hex::encode), "agrees": replayed.as_ref() == Some(*value),
                })
            })
            .collect();
        out::json(&json!({
            "replays": believed,
            "registers": registers,
            "records_that_lie": lies,
            "command_line": measured.as_ref().map(|(_, by)| json!({ "measured": by.is_some(), "by": by })),
            "events": logs.events.iter().map(json).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut lines: Vec<String> = if args.verbose { logs.events.iter().map(line).collect() } else { Vec::new() };
        lines.extend(logs.events.iter().filter(|event| !event.honest).map(|event| format!("LIES  {}", line(event))));
        lines.extend(
            compared.iter().map(|(register, hash, value, replayed)| comparison(**register, **hash, value, replayed.as_deref())),
        );
        lines
            .extend(without_log.iter().map(|(register, ..)| format!("-     {register} is not compared: IMA's log is not given")));
        lines.extend(measured.as_ref().map(|(_, by)| match by {
            Some(by) => format!("ok    the command line was measured by {by}"),
            None => "WRONG the command line is not in the firmware's log".to_owned(),
        }));
        lines.push(if believed { "the logs replay" } else { "the logs do NOT replay" }.to_owned());
        out::lines(&lines)?;
    }
    Ok(if believed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn comparison(register: Register, hash: Hash, value: &[u8], replayed: Option<&[u8]>) -> String {
    let name = hash.name();
    match replayed {
        Some(replayed) if replayed == value => format!("ok    {register} {name} {}", hex::encode(value)),
        Some(replayed) => format!("WRONG {register} {name} is {}, the logs make {}", hex::encode(value), hex::encode(replayed)),
        None => format!("WRONG {register} {name} is {}, and the logs have no such digests", hex::encode(value)),
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Read>, Error> {
    let one = |path: &PathBuf| {
        let failed = |source| Error::File { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(LOG_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LOG_MAX) {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Read { path: path.clone(), bytes })
    };
    paths.iter().map(one).collect()
}

fn logs(read: &[Read]) -> Result<Logs, Error> {
    let mut logs = Logs::default();
    for Read { path, bytes } in read {
        match eventlog::Log::parse(bytes) {
            Ok(log) => {
                let kind = log.kind();
                logs.locality = log.startup_locality();
                logs.events.extend(log.events.iter().map(|event| of_firmware(event, kind)));
            }
            Err(firmware) => match cel::parse(bytes) {
                Ok(records) => logs.events.extend(records.into_iter().map(of_user_space)),
                Err(user) => return Err(Error::Log { path: path.clone(), firmware, user }),
            },
        }
    }
    Ok(logs)
}

fn of_firmware(event: &eventlog::Event<'_>, kind: Kind) -> Told {
    let digests = Hash::ALL.into_iter().filter_map(|hash| Some((hash, event.digest(hash)?.to_vec())));
    Told {
        register: Register::of_log(kind, event.register),
        digests: digests.collect(),
        extended: event.is_extended(),
        kind: describe::kind(event.kind),
        text: describe::text(event),
        honest: true,
    }
}

fn of_user_space(record: Record) -> Told {
    let honest = record.is_what_it_says();
    Told {
        register: record.register.into(),
        digests: record.digests,
        extended: true,
        kind: record.event_type.unwrap_or_else(|| "user space".to_owned()),
        text: record.string.map_or_else(|| "(no text)".to_owned(), |text| text.chars().filter(|c| !c.is_control()).collect()),
        honest,
    }
}

impl Logs {
    fn has(&self, register: Register) -> bool {
        self.events.iter().any(|event| event.register == register)
    }

    /// What the register holds if the logs say everything; `None` when an event has no such digest.
    fn replay(&self, register: Register, hash: Hash) -> Option<Vec<u8>> {
        let mut value = register.begins_with(hash, self.locality);
        for event in self.events.iter().filter(|event| event.extended && event.register == register) {
            let (_, digest) = event.digests.iter().find(|(known, _)| *known == hash)?;
            value = hash.extend(&value, digest);
        }
        Some(value)
    }
}

/// Who measured the command line, if a firmware's log says that anybody did.
fn measured(read: &[Read], line: &str) -> Option<&'static str> {
    read.iter().find_map(|read| {
        let log = eventlog::Log::parse(&read.bytes).ok()?;
        Hash::ALL.into_iter().find_map(|hash| log.measures_command_line(log.kind(), hash, line))
    })
}

/// The RTMRs of a quote or a TDREPORT.
fn rtmrs(path: &Path) -> Result<Vec<(Register, Hash, Vec<u8>)>, Error> {
    let bytes = sources::quote(path)?;
    let frame = Frame::parse(&bytes).ok();
    let report = (bytes.len() == REPORT_BYTES).then(|| bytes.get(DOMAIN_IN_REPORT)).flatten();
    let domain = frame.as_ref().and_then(Frame::domain).or(report).ok_or_else(|| Error::NoDomain(path.to_owned()))?;
    let registers = domain.get(RTMRS_AT..).unwrap_or_default().chunks_exact(48);
    Ok((0..4).zip(registers).map(|(number, value)| (Register::Rtmr(number), Hash::Sha384, value.to_vec())).collect())
}

/// The digest that is shown: SHA-384 where there is one.
fn digest(event: &Told) -> String {
    let digest = event.digests.iter().find(|(hash, _)| *hash == Hash::Sha384).or(event.digests.first());
    digest.map_or_else(|| "-".to_owned(), |(_, digest)| hex::encode(digest))
}

fn line(event: &Told) -> String {
    let digest = digest(event);
    let short = digest.get(..16).unwrap_or(&digest);
    format!("{:<6} {short:<16} {:<32} {}", event.register.to_string(), event.kind, event.text)
}

fn json(event: &Told) -> Value {
    let digests = event.digests.iter().map(|(hash, digest)| (hash.name().to_owned(), hex::encode(digest).into()));
    json!({
        "register": event.register.to_string(),
        "event": event.kind,
        "text": event.text,
        "extended": event.extended,
        "digests": digests.collect::<serde_json::Map<String, Value>>(),
        "honest": event.honest,
    })
}
