//! What is said to `cvmctl`. No argument holds a secret: those stand in lists of processes.

mod header;
mod key;
mod measure;
mod vaults;

use std::path::PathBuf;

use attest::TcbDemand;
use clap::{Args, Parser, Subcommand};
use ctl::TcbStatus;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use header::{Expected, Header, HeaderCheck, HeaderRestore, HeaderSave};
pub(crate) use key::{Key, KeyAudit, KeyOf, Keys, Profile, ProfileOf, ProfileSourceName, ProfileStage};
pub(crate) use measure::{Fold, Log, LogShow, LogVerify, Measure, SecureBootState};
pub(crate) use vaults::{
    ClientArgs, ClientKey, CredentialArgs, FactArgs, GuestArgs, ImageArgs, NodeArgs, OwnerArgs, Policy, Promote, Provision,
    TermArgs,
};

/// Deals disk keys to Enclave Vaults and says which images may have them
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a disk key and leave one share of it at each vault; prints the guest's command line words
    Provision(Box<Provision>),
    /// Print a key policy
    Policy(Policy),
    /// Put a whole new key policy into force at each vault, in place of the old one, and read it back
    Promote(Box<Promote>),
    /// Keys at the vaults: list, info, policy, delete, audit
    #[command(subcommand)]
    Key(Box<Key>),
    /// Staged attestation profiles of a key: stage, list, promote, revoke. To promote one adds its guests to those that the policy lets in
    #[command(subcommand)]
    Profile(Box<Profile>),
    /// Make a client key if there is none, and print the hash that a grant's cnf must have
    ClientKey(ClientKey),
    /// The guest's command line
    #[command(subcommand)]
    Cmdline(Cmdline),
    /// The header of a data disk
    #[command(subcommand)]
    Header(Header),
    /// Quotes in files, judged by the guest's own verifier
    #[command(subcommand)]
    Quote(Quote),
    /// Predict what a machine that boots an image measures, and print the key policy that lets it in
    Measure(Box<Measure>),
    /// Event logs: what firmware, boot loader and cvm-init say they measured
    #[command(subcommand)]
    Log(Log),
    /// Explain an error code of the failure line (cvm-init: E53 ...): meaning, action, advice; without a code, list all
    Explain(Explain),
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

#[derive(Subcommand)]
pub(crate) enum Quote {
    /// Verify a quote, a line for each check; exit code 0 only if it is believed
    Verify(Box<QuoteVerify>),
    /// Print what a quote says of itself. Nothing of it is verified
    Show(QuoteShow),
}

#[derive(Args)]
pub(crate) struct QuoteShow {
    /// The quote: raw, hex or base64; - is stdin
    pub(crate) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct QuoteVerify {
    /// The quote: raw, hex or base64; - is stdin
    pub(crate) file: PathBuf,
    /// The root certificate that its chain must end in, DER or PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: PathBuf,
    /// Collateral: a folder (a PCS's answers by name, or JSON in dcap-qvl's form), such a JSON file, or http://HOST:PORT or
    /// https://HOST:PORT of a PCCS. Intel signed what it serves, so the certificate of https is not verified. Can be repeated
    #[arg(long, value_name = "DIR|FILE|URL")]
    pub(crate) collateral: Vec<String>,
    /// When: RFC 3339 or Unix seconds; default: now
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub(crate) at: Option<u64>,
    /// As the guest's cvm.tcb: uptodate, a comma list of statuses, or signature (no collateral)
    #[arg(long, value_name = "STATUSES", value_parser = demand, default_value = "UpToDate,SWHardeningNeeded")]
    pub(crate) tcb: TcbDemand,
    /// The initrd's floors.json
    #[arg(long, value_name = "FILE")]
    pub(crate) floors: Option<PathBuf>,
    /// A platform instance id or PPID that is accepted; any if none is given
    #[arg(long = "platform", value_name = "HEX", value_delimiter = ',', value_parser = platform)]
    pub(crate) platforms: Vec<std::vec::Vec<u8>>,
    /// What the quote must be made for, 64 bytes
    #[arg(long, value_name = "HEX", value_parser = bytes::<64>)]
    pub(crate) report_data: Option<[u8; 64]>,
    /// An enclave's build; any if none is given
    #[arg(long = "mrenclave", value_name = "HEX", value_delimiter = ',', value_parser = bytes::<32>)]
    pub(crate) mrenclaves: Vec<[u8; 32]>,
    /// The TDX module
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrseam: Option<[u8; 48]>,
    /// What a trust domain was built of
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrtd: Option<[u8; 48]>,
    /// A trust domain's register 0
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr0: Option<[u8; 48]>,
    /// A trust domain's register 1
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr1: Option<[u8; 48]>,
    /// A trust domain's register 2
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr2: Option<[u8; 48]>,
    /// A trust domain's register 3
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr3: Option<[u8; 48]>,
    /// A trust domain's MRCONFIGID
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrconfigid: Option<[u8; 48]>,
    /// A trust domain's MROWNER
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrowner: Option<[u8; 48]>,
    /// A trust domain's MROWNERCONFIG
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrownerconfig: Option<[u8; 48]>,
    /// Bits of TDATTRIBUTES that are accepted besides the usual: KL, PERFMON and others
    #[arg(long, value_name = "HEX", value_parser = bits, default_value = "0")]
    pub(crate) td_attributes_allowed: u64,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Cmdline {
    /// Read a command line with the guest's own parser; exit code 2 if it refuses. Formats that nothing proves (E26) and registers
    /// that a machine does not have (E90) are the guest's to refuse
    Check {
        /// The words, in one argument or several
        #[arg(required = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Say of every key what holds with a command line, and what it decides; without words, all defaults
    Explain {
        /// The words, in one argument or several
        #[arg(allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let wrong = || format!("not {} hexadecimal digits", 2 * N);
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
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
            let statuses = list.split(',').filter(|word| *word != "uptodate").map(tcb);
            std::iter::once(Ok(TcbStatus::UpToDate)).chain(statuses).collect::<Result<_, _>>().map(TcbDemand::Statuses)
        }
    }
}

/// A UUID, with hyphens or without.
fn uuid(text: &str) -> Result<[u8; 16], String> {
    let is_canonical = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let digits = if is_canonical { text.replace('-', "") } else { text.to_owned() };
    bytes::<16>(&digits).map_err(|_| "not a UUID".to_owned())
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
    let wrong = |_| "neither RFC 3339 nor Unix seconds".to_owned();
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(wrong)?;
    u64::try_from(time.unix_timestamp()).map_err(|_| "before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_fit_together() {
        Cli::command().debug_assert();
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
