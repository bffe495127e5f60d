//! The arguments of the commands that make policies and connect to vaults.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use ctl::TcbStatus;
use ctl::policy::TTL_SECONDS;

use super::{at, bits, bytes, platform, tcb, uuid};

#[derive(Args)]
#[command(group = ArgGroup::new("grant").required(true).args(["issuer_key", "grant_fd"]))]
pub(crate) struct Provision {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// Number of shares that recover the key, at least 2
    #[arg(long, value_name = "T")]
    pub(crate) threshold: usize,
    /// Name of the key at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    /// Key policy, JSON
    #[arg(long, value_name = "FILE", required_unless_present_any = ["mrtd", "grant_fd"])]
    #[arg(conflicts_with_all = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "name", "attestation_servers", "ttl"])]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// File descriptor with the grant: a JWT of the vaults' identity provider, bound by cnf to --client-key. Without --policy and
    /// measurements, the grant's policy is used
    #[arg(long, value_name = "N", requires = "client", requires = "bearer_fd")]
    pub(crate) grant_fd: Option<u32>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Print one JSON object instead of the parameters
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Policy {
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

#[derive(Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// Name of the key at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    /// New key policy, complete, JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ClientKey {
    /// Client key, PEM; generated with mode 0600 if the file does not exist
    pub(crate) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// TLS client key
#[derive(Args)]
#[command(group = ArgGroup::new("client").args(["client_key", "client_key_fd"]))]
pub(crate) struct ClientArgs {
    /// Client key, as `cvmctl client-key` generates it; default: a new key for this command
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// File descriptor with the client key
    #[arg(long, value_name = "N")]
    pub(crate) client_key_fd: Option<u32>,
}

/// Credentials of the key's owner
#[derive(Args)]
pub(crate) struct CredentialArgs {
    /// P-256 key of the vaults' issuer, PKCS#8 in PEM or DER. Signs grants and bearer tokens, with the time of each vault
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bearer_fd"])]
    pub(crate) issuer_key: Option<PathBuf>,
    /// Id of the key in the issuer's JWKS; default: vaults use the first key
    #[arg(long, value_name = "ID", requires = "issuer_key")]
    pub(crate) kid: Option<String>,
    /// Audience of bearer tokens, as configured at the vaults; default: privasys-vault
    #[arg(long, value_name = "TEXT", requires = "issuer_key")]
    pub(crate) audience: Option<String>,
    /// File descriptor with the owner's bearer token: a JWT of the vaults' identity provider
    #[arg(long, value_name = "N")]
    pub(crate) bearer_fd: Option<u32>,
}

/// Facts about guests and vaults, to detect mistakes in policies
#[derive(Args, Default)]
pub(crate) struct FactArgs {
    /// The guest's cvm.vault.app. Needed if the policy has required_oids, which can only be 1.3.6.1.4.1.65230.4.1 with this value
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    pub(crate) app: Option<[u8; 16]>,
    /// Registers that the vaults compare in addition to MRTD, RTMR1 and RTMR2; default: none. Current vaults silently drop such a field, and
    /// then admit any machine
    #[arg(long, value_name = "REGISTER", value_delimiter = ',', value_parser = ["rtmr0", "rtmr3"])]
    pub(crate) nodes_match: Vec<String>,
}

/// Addresses of the vaults and what they must prove, as the guest will demand it
#[derive(Args)]
pub(crate) struct NodeArgs {
    /// Address of a vault, one for each share
    #[arg(long = "vault", value_name = "HOST:PORT", required = true, value_delimiter = ',')]
    pub(crate) vaults: Vec<String>,
    /// Root certificate of the vaults' quotes, DER
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: PathBuf,
    /// Accepted MRENCLAVE of a vault
    #[arg(long = "mrenclave", value_name = "HEX", required = true, value_delimiter = ',', value_parser = bytes::<32>)]
    pub(crate) mrenclaves: Vec<[u8; 32]>,
    /// Certificate of a node CA, PEM or DER; one of them must have issued a vault's certificate. Use the files of the initrd's
    /// anchors/node-ca-*.der. Can be repeated; default: any certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) node_ca: Vec<PathBuf>,
    /// Platform instance id or PPID of a machine that may run a vault, as in cvm.vault.platforms; default: any
    #[arg(long = "platform", value_name = "HEX", value_delimiter = ',', value_parser = platform)]
    pub(crate) platforms: Vec<std::vec::Vec<u8>>,
    /// Accepted TCB status
    #[arg(long = "tcb", value_name = "STATUS", value_delimiter = ',', value_parser = tcb)]
    #[arg(default_values = ["UpToDate", "SWHardeningNeeded"])]
    pub(crate) statuses: Vec<TcbStatus>,
    /// floors.json of the initrd; default: no lower bounds
    #[arg(long, value_name = "FILE")]
    pub(crate) floors: Option<PathBuf>,
    /// Collateral for the vaults' platforms, which real vaults do not send: a directory (answers of a PCS by their usual names, or JSON in
    /// dcap-qvl's format), such a JSON file, or http://HOST:PORT or https://HOST:PORT of a PCCS (TLS 1.3). Intel signs collateral, so the
    /// TLS certificate is not verified. Can be repeated, for several platforms; default: none
    #[arg(long, value_name = "DIR|FILE|URL")]
    pub(crate) collateral: Vec<String>,
    /// Time of verification: RFC 3339 or Unix seconds; default: now
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub(crate) at: Option<u64>,
}

/// Images that get the key: the nth value of each measurement belongs to the nth image
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// MRTD of an image
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) mrtd: Vec<[u8; 48]>,
    /// RTMR0 of a machine that boots the image, from a verified quote; default: any. It depends on memory map, ACPI tables, Secure Boot
    /// variables and boot options, so it changes with the number of CPUs, memory, devices and the version of the hypervisor. Current
    /// vaults drop the field; add --nodes-match rtmr0 if yours compare it
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) rtmr0: Vec<[u8; 48]>,
    /// RTMR1 of an image
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) rtmr1: Vec<[u8; 48]>,
    /// RTMR2 of an image
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = bytes::<48>)]
    pub(crate) rtmr2: Vec<[u8; 48]>,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) terms: TermArgs,
}

/// Facts about the machines beside measurements. Vaults do not check them, so this command does
#[derive(Args, Default)]
pub(crate) struct GuestArgs {
    /// TDATTRIBUTES of a machine that boots the image, 64 bits as `cvmctl quote show` prints them; default: not checked. DEBUG and
    /// MIGRATABLE are refused: vaults do not check them, so such a machine with the same measurements would get the key
    #[arg(long, value_name = "HEX", value_parser = bits)]
    pub(crate) td_attributes: Option<u64>,
    /// TDX quote or TDREPORT of such a machine, whose TDATTRIBUTES are checked instead. Its signature is not verified
    #[arg(long, value_name = "FILE")]
    pub(crate) td_quote: Option<PathBuf>,
}

/// Further terms of a policy
#[derive(Args, Clone)]
pub(crate) struct TermArgs {
    /// Name of the images in the policy
    #[arg(long, default_value = "guest-v1")]
    pub(crate) name: String,
    /// URL (https) of an attestation server that verifies guests' quotes for the vaults. Without one, vaults deny every guest
    #[arg(long = "attestation-server", value_name = "URL")]
    pub(crate) attestation_servers: Vec<String>,
    /// Lifetime of the key, in seconds, at most 90 days
    #[arg(long, value_name = "SECONDS", default_value_t = TTL_SECONDS)]
    pub(crate) ttl: u64,
}

/// Owner of the key
#[derive(Args, Clone)]
pub(crate) struct OwnerArgs {
    /// Issuer of the owner's tokens
    #[arg(long, value_name = "URL", requires = "owner_sub")]
    pub(crate) issuer: Option<String>,
    /// Subject of the owner at that issuer
    #[arg(long, value_name = "SUB", requires = "issuer")]
    pub(crate) owner_sub: Option<String>,
    /// Role that the owner must have; default: none
    #[arg(long = "owner-role", value_name = "ROLE", requires = "owner_sub")]
    pub(crate) owner_roles: Vec<String>,
}
