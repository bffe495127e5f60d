//! The arguments of `cvmctl`. No argument is a secret: every user of a machine can list the arguments of its processes.

mod examples;
mod header;
mod key;
mod log;
mod measure;
mod measure_explain;
mod measure_rtmr0;
mod measure_verify;
mod vaults;

use std::path::PathBuf;

use attest::TcbDemand;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use ctl::TcbStatus;
use encoding::hex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use header::{Expected, Header, HeaderCheck, HeaderRestore, HeaderSave};
pub(crate) use key::{Key, KeyAudit, KeyOf, Keys, Profile, ProfileOf, ProfileSourceName, ProfileStage};
pub(crate) use log::{Log, LogShow, LogVerify};
pub(crate) use measure::{Fold, Measure, MeasureCommand, SecureBootState, Signature};
pub(crate) use measure_explain::MeasureExplain;
pub(crate) use measure_rtmr0::MeasureRtmr0;
pub(crate) use measure_verify::MeasureVerify;
pub(crate) use vaults::{
    ClientArgs, ClientKey, CredentialArgs, FactArgs, GuestArgs, ImageArgs, NodeArgs, OwnerArgs, Policy, Promote, Provision,
    TermArgs,
};

/// Deal the keys of data disks to Enclave Vaults, and manage which images get them
#[derive(Parser)]
#[command(name = "cvmctl", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a disk key, store one share of it at each vault, and print the parameters of the guest's command line
    Provision(Box<Provision>),
    /// Print a key policy
    Policy(Policy),
    /// Replace the key policy at each vault by a new one, and read it back
    Promote(Box<Promote>),
    /// List, describe, delete and audit keys at the vaults
    #[command(subcommand)]
    Key(Box<Key>),
    /// Stage, list, promote and revoke attestation profiles of a key. Promoting a profile adds its guests to those that the policy admits
    #[command(subcommand)]
    Profile(Box<Profile>),
    /// Generate a client key if FILE does not exist, and print the hash that a grant's cnf must contain
    ClientKey(ClientKey),
    /// The guest's command line: check, explain
    #[command(subcommand)]
    Cmdline(Cmdline),
    /// The header of a data disk: check, save, restore
    #[command(subcommand)]
    Header(Header),
    /// Verify and print quotes in files, with the guest's verifier
    #[command(subcommand)]
    Quote(Quote),
    /// Predict the measurements of a machine that boots an image, and print the key policy that admits it
    Measure(Box<Measure>),
    /// Verify and print event logs of firmware, boot loader and cvm-init
    #[command(subcommand)]
    Log(Log),
    /// Explain an error code of the failure line (cvm-init: E53 ...): meaning, action, advice; without a code, list all
    Explain(Explain),
    /// Print a script that completes the arguments of cvmctl in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages of cvmctl and of each of its commands
    Man {
        /// The folder to write to; it is made if there is none
        folder: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Explain {
    /// The code: E53 or 53
    pub(crate) code: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print init/docs/error-codes.md
    #[arg(long, conflicts_with_all = ["code", "json"])]
    pub(crate) markdown: bool,
}

/// The arguments of cvmctl, with examples in the help of each command.
pub(crate) fn command() -> clap::Command {
    examples::attach(Cli::command())
}

/// Parses the arguments of this process; ends it after help, version, or a message about a wrong argument.
pub(crate) fn parse() -> Cli {
    Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
}

#[derive(Subcommand)]
pub(crate) enum Quote {
    /// Verify a quote and print each check; exit code 0 only if the quote verifies
    Verify(Box<QuoteVerify>),
    /// Print the contents of a quote without verification
    Show(QuoteShow),
}

#[derive(Args)]
pub(crate) struct QuoteShow {
    /// Quote: raw, hex or base64; `-` is stdin
    pub(crate) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct QuoteVerify {
    /// Quote: raw, hex or base64; `-` is stdin
    pub(crate) file: PathBuf,
    /// Root certificate of the quote's chain, DER or PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: PathBuf,
    /// Collateral: a directory (answers of a PCS by their usual names, or JSON in dcap-qvl's format), such a JSON file, or http://HOST:PORT
    /// or https://HOST:PORT of a PCCS. Intel signs collateral, so the TLS certificate is not verified. Can be repeated; default: none
    #[arg(long, value_name = "DIR|FILE|URL")]
    pub(crate) collateral: Vec<String>,
    /// Time of verification: RFC 3339 or Unix seconds; default: now
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub(crate) at: Option<u64>,
    /// Accepted TCB, as in cvm.tcb: uptodate, a comma-separated list of statuses, or signature (no collateral)
    #[arg(long, value_name = "STATUSES", value_parser = demand, default_value = "UpToDate,SWHardeningNeeded")]
    pub(crate) tcb: TcbDemand,
    /// floors.json of the initrd; default: no lower bounds
    #[arg(long, value_name = "FILE")]
    pub(crate) floors: Option<PathBuf>,
    /// Accepted platform instance id or PPID, 16 bytes; default: any
    #[arg(long = "platform", value_name = "HEX", value_delimiter = ',', value_parser = platform)]
    pub(crate) platforms: Vec<std::vec::Vec<u8>>,
    /// Expected report data, 64 bytes; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<64>)]
    pub(crate) report_data: Option<[u8; 64]>,
    /// Accepted MRENCLAVE of an enclave; default: any
    #[arg(long = "mrenclave", value_name = "HEX", value_delimiter = ',', value_parser = bytes::<32>)]
    pub(crate) mrenclaves: Vec<[u8; 32]>,
    /// Expected MRSEAM, the measurement of the TDX module; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrseam: Option<[u8; 48]>,
    /// Expected MRTD; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrtd: Option<[u8; 48]>,
    /// Expected RTMR0; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr0: Option<[u8; 48]>,
    /// Expected RTMR1; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr1: Option<[u8; 48]>,
    /// Expected RTMR2; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr2: Option<[u8; 48]>,
    /// Expected RTMR3; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr3: Option<[u8; 48]>,
    /// Expected MRCONFIGID; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrconfigid: Option<[u8; 48]>,
    /// Expected MROWNER; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrowner: Option<[u8; 48]>,
    /// Expected MROWNERCONFIG; default: not compared
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrownerconfig: Option<[u8; 48]>,
    /// Further accepted bits of TDATTRIBUTES, such as KL and PERFMON
    #[arg(long, value_name = "HEX", value_parser = bits, default_value = "0")]
    pub(crate) td_attributes_allowed: u64,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Cmdline {
    /// Parse a command line with the guest's own parser; exit code 2 if it is refused. Only the guest can refuse registers
    /// that its machine does not have (E90)
    Check {
        /// The command line, in one argument or several
        #[arg(required = true, allow_hyphen_values = true, value_name = "PARAMETER")]
        parameters: Vec<String>,
    },
    /// Print every key with its value or default, and what it decides; without parameters, all defaults
    Explain {
        /// The command line, in one argument or several
        #[arg(allow_hyphen_values = true, value_name = "PARAMETER", conflicts_with = "markdown")]
        parameters: Vec<String>,
        /// Print init/docs/command-line.md, the reference of all keys
        #[arg(long)]
        markdown: bool,
    },
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let wrong = || format!("expected {} hexadecimal digits, found {} characters", 2 * N, text.chars().count());
    hex::decode_any_case(text.as_bytes()).and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}

fn tcb(text: &str) -> Result<TcbStatus, String> {
    TcbStatus::parse(text).ok_or_else(|| match text {
        "Revoked" => "no policy may accept Revoked".to_owned(),
        _ => format!("expected one of {}", TcbStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ")),
    })
}

fn demand(text: &str) -> Result<TcbDemand, String> {
    match text {
        "signature" => Ok(TcbDemand::Signature),
        "uptodate" => Ok(TcbDemand::Statuses(vec![TcbStatus::UpToDate])),
        // UpToDate is always good enough.
        list => {
            let statuses = list.split(',').filter(|status| *status != "uptodate").map(tcb);
            std::iter::once(Ok(TcbStatus::UpToDate)).chain(statuses).collect::<Result<_, _>>().map(TcbDemand::Statuses)
        }
    }
}

/// A UUID, with hyphens or without.
fn uuid(text: &str) -> Result<[u8; 16], String> {
    let is_canonical = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let digits = if is_canonical { text.replace('-', "") } else { text.to_owned() };
    bytes::<16>(&digits).map_err(|_| "expected a UUID: 32 hexadecimal digits, with the four hyphens or without".to_owned())
}

fn platform(text: &str) -> Result<Vec<u8>, String> {
    bytes::<16>(text).map(|id| id.to_vec())
}

fn bits(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| "not a hexadecimal number of 64 bits".to_owned())
}

fn at(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let wrong = |_| "expected a time: RFC 3339 (2026-11-30T12:00:00Z) or Unix seconds".to_owned();
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(wrong)?;
    u64::try_from(time.unix_timestamp()).map_err(|_| "before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_fit_together() {
        command().debug_assert();
    }

    #[test]
    fn values_are_read_strictly() {
        assert_eq!(bytes::<2>("aBcd"), Ok([0xab, 0xcd]));
        assert!(bytes::<2>("abc").is_err() && bytes::<2>("abcdef").is_err());
        assert_eq!(tcb("SWHardeningNeeded"), Ok(TcbStatus::SwHardeningNeeded));
        assert_eq!(uuid("00112233-4455-6677-8899-aabbccddeeff"), uuid("00112233445566778899aabbccddeeff"));
        assert!(uuid("0011-22334455-6677-8899-aabbccddeeff").is_err() && uuid("00112233-4455-6677-8899-aabbccddee").is_err());
        assert!(tcb("Revoked").is_err() && tcb("uptodate").is_err());
        assert_eq!(demand("signature"), Ok(TcbDemand::Signature));
        assert_eq!(demand("uptodate,OutOfDate"), Ok(TcbDemand::Statuses(vec![TcbStatus::UpToDate, TcbStatus::OutOfDate])));
        assert!(demand("signature,UpToDate").is_err() && demand("").is_err() && bits("xyz").is_err());
        assert_eq!(bits("0x8000000000000000"), Ok(1 << 63));
        assert_eq!(at("1788516900"), Ok(1_788_516_900));
        assert_eq!(at("2026-09-04T12:15:00+02:00"), Ok(1_788_516_900));
        assert!(at("1960-01-01T00:00:00Z").is_err() && at("yesterday").is_err());
    }
}
