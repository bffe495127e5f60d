//! What is said to `cvmctl`. No argument holds a secret: those stand in lists of processes.

mod header;
mod measure;

use std::path::PathBuf;

use attest::TcbDemand;
use clap::{Args, Parser, Subcommand};
use cvmctl::TcbStatus;
use cvmctl::policy::TTL_SECONDS;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use header::{Expected, Header, HeaderCheck, HeaderRestore, HeaderSave};
pub(crate) use measure::{Fold, Log, LogShow, LogVerify, Measure, SecureBootState};

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
    /// Put a new key policy into force at each vault
    Promote(Promote),
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

#[derive(Args)]
pub(crate) struct Provision {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// How many shares make the key
    #[arg(long, value_name = "T")]
    pub(crate) threshold: usize,
    /// The key's name at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    /// The key policy, JSON
    #[arg(long, value_name = "FILE", required_unless_present = "mrtd")]
    #[arg(conflicts_with_all = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "name", "attestation_servers", "ttl"])]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
    /// The P-256 key that signs the grant, PKCS#8 in PEM or DER
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer_key: PathBuf,
    /// Print one JSON object instead of words
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Policy {
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

#[derive(Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// The key's name at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    /// The whole new key policy, JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The P-256 key that signs the owner's bearer, PKCS#8 in PEM or DER
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer_key: PathBuf,
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

/// Where the vaults are and what they must prove, as the guest will demand it
#[derive(Args)]
pub(crate) struct NodeArgs {
    /// A vault; give one for each share
    #[arg(long = "vault", value_name = "HOST:PORT", required = true, value_delimiter = ',')]
    pub(crate) vaults: Vec<String>,
    /// The root certificate of the vaults' quotes, DER
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: PathBuf,
    /// A build that is a vault
    #[arg(long = "mrenclave", value_name = "HEX", required = true, value_delimiter = ',', value_parser = bytes::<32>)]
    pub(crate) mrenclaves: Vec<[u8; 32]>,
    /// A TCB status that is good enough
    #[arg(long = "tcb", value_name = "STATUS", value_delimiter = ',', value_parser = tcb)]
    #[arg(default_values = ["UpToDate", "SWHardeningNeeded"])]
    pub(crate) statuses: Vec<TcbStatus>,
    /// The initrd's floors.json
    #[arg(long, value_name = "FILE")]
    pub(crate) floors: Option<PathBuf>,
    /// When to verify evidence: RFC 3339 or Unix seconds; default: now
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub(crate) at: Option<u64>,
}

/// The images that may have the key; the nth of each measurement makes the nth image
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// MRTD of an image
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) mrtd: Vec<[u8; 48]>,
    /// RTMR0 of a machine that boots the image, from a quote that was believed; without it any machine's. It pins the memory map that
    /// the host gives the firmware, the host's ACPI tables, Secure Boot variables and boot options: another number of CPUs, other memory,
    /// another device or another version of the hypervisor is another RTMR0. Only for nodes that know the field: others drop it
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) rtmr0: Vec<[u8; 48]>,
    /// RTMR1 of an image
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) rtmr1: Vec<[u8; 48]>,
    /// RTMR2 of an image
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) rtmr2: Vec<[u8; 48]>,
    #[command(flatten)]
    pub(crate) terms: TermArgs,
}

/// What a policy says besides
#[derive(Args)]
pub(crate) struct TermArgs {
    /// What the policy calls the images
    #[arg(long, default_value = "guest-v1")]
    pub(crate) name: String,
    /// A service that nodes ask about the guest's quote
    #[arg(long = "attestation-server", value_name = "URL")]
    pub(crate) attestation_servers: Vec<String>,
    /// How long the key lives
    #[arg(long, value_name = "SECONDS", default_value_t = TTL_SECONDS)]
    pub(crate) ttl: u64,
}

/// Who owns the key
#[derive(Args)]
pub(crate) struct OwnerArgs {
    /// The issuer of the owner's tokens
    #[arg(long, value_name = "URL", requires = "owner_sub")]
    pub(crate) issuer: Option<String>,
    /// The owner's subject there
    #[arg(long, value_name = "SUB", requires = "issuer")]
    pub(crate) owner_sub: Option<String>,
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let wrong = || format!("not {} hexadecimal digits", 2 * N);
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}

fn tcb(text: &str) -> Result<TcbStatus, String> {
    match serde_json::from_value(text.into()) {
        Ok(TcbStatus::Revoked) => Err("no policy may accept it".to_owned()),
        Ok(status) => Ok(status),
        Err(_) => Err("not a status as Intel writes it".to_owned()),
    }
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
        assert_eq!(tcb("SWHardeningNeeded"), Ok(TcbStatus::SWHardeningNeeded));
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
