//! What is said to the commands that make policies and dial vaults.

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
    /// How many shares make the key
    #[arg(long, value_name = "T")]
    pub(crate) threshold: usize,
    /// The key's name at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    /// The key policy, JSON
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
    /// A descriptor to read the grant from: a JWT of the vaults' identity provider, bound by cnf to --client-key. Without --policy and
    /// measurements, the policy is the grant's
    #[arg(long, value_name = "N", requires = "client", requires = "bearer_fd")]
    pub(crate) grant_fd: Option<u32>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Print one JSON object instead of words
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
    /// The key's name at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    /// The whole new key policy, JSON
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
    /// The client key, PEM; made with mode 0600 if there is none
    pub(crate) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which TLS key the vaults see
#[derive(Args)]
#[command(group = ArgGroup::new("client").args(["client_key", "client_key_fd"]))]
pub(crate) struct ClientArgs {
    /// The client key that `cvmctl client-key` made; a fresh one otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// A descriptor to read it from
    #[arg(long, value_name = "N")]
    pub(crate) client_key_fd: Option<u32>,
}

/// What speaks for the owner at the vaults
#[derive(Args)]
pub(crate) struct CredentialArgs {
    /// The P-256 key of the vaults' issuer that signs grants and bearers, PKCS#8 in PEM or DER. They are made with each vault's own time
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bearer_fd"])]
    pub(crate) issuer_key: Option<PathBuf>,
    /// The key's id in the issuer's JWKS; vaults take the first key otherwise
    #[arg(long, value_name = "ID", requires = "issuer_key")]
    pub(crate) kid: Option<String>,
    /// The audience of bearers, as the vaults are configured; default: privasys-vault
    #[arg(long, value_name = "TEXT", requires = "issuer_key")]
    pub(crate) audience: Option<String>,
    /// A descriptor to read the owner's bearer from: a JWT of the vaults' identity provider
    #[arg(long, value_name = "N")]
    pub(crate) bearer_fd: Option<u32>,
}

/// What is known of guests and vaults, to see mistakes that would cost the key
#[derive(Args, Default)]
pub(crate) struct FactArgs {
    /// The guest's cvm.vault.app. Needed where the policy has required_oids, which may only be 1.3.6.1.4.1.65230.4.1 with this value
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    pub(crate) app: Option<[u8; 16]>,
    /// Registers beyond MRTD, RTMR1 and RTMR2 that the vaults match. Today's vaults drop such a field silently, and then match any machine
    #[arg(long, value_name = "REGISTER", value_delimiter = ',', value_parser = ["rtmr0", "rtmr3"])]
    pub(crate) nodes_match: Vec<String>,
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
    /// A certificate authority of the vaults, PEM or DER: one of them must have signed a vault's leaf. The same as the initrd's
    /// anchors/node-ca-*.der. Can be repeated; default: any leaf
    #[arg(long, value_name = "FILE")]
    pub(crate) node_ca: Vec<PathBuf>,
    /// The platform instance id or PPID of a machine that may run a vault, as in cvm.vault.platforms; default: any machine
    #[arg(long = "platform", value_name = "HEX", value_delimiter = ',', value_parser = platform)]
    pub(crate) platforms: Vec<std::vec::Vec<u8>>,
    /// A TCB status that is good enough
    #[arg(long = "tcb", value_name = "STATUS", value_delimiter = ',', value_parser = tcb)]
    #[arg(default_values = ["UpToDate", "SWHardeningNeeded"])]
    pub(crate) statuses: Vec<TcbStatus>,
    /// The initrd's floors.json
    #[arg(long, value_name = "FILE")]
    pub(crate) floors: Option<PathBuf>,
    /// Collateral for the vaults' platforms, which real vaults do not send: a folder (a PCS's answers by name, or JSON in dcap-qvl's form),
    /// such a JSON file, or http://HOST:PORT or https://HOST:PORT of a PCCS (TLS 1.3). Intel signed what it serves, so the certificate
    /// of https is not verified. Can be repeated, for several platforms
    #[arg(long, value_name = "DIR|FILE|URL")]
    pub(crate) collateral: Vec<String>,
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
    /// another device or another version of the hypervisor is another RTMR0. Today's vaults drop the field: give
    /// --nodes-match rtmr0 too, where yours match it
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

/// What is known of the machines besides measurements. No vault looks at it, so it is looked at here
#[derive(Args, Default)]
pub(crate) struct GuestArgs {
    /// TDATTRIBUTES of a machine that boots the image, 64 bits as `cvmctl quote show` prints them. DEBUG and MIGRATABLE are refused: no
    /// vault looks at them, so with the same measurements such a machine would get the key
    #[arg(long, value_name = "HEX", value_parser = bits)]
    pub(crate) td_attributes: Option<u64>,
    /// A TDX quote or a TDREPORT of such a machine, whose TDATTRIBUTES are looked at instead. Not verified here
    #[arg(long, value_name = "FILE")]
    pub(crate) td_quote: Option<PathBuf>,
}

/// What a policy says besides
#[derive(Args)]
pub(crate) struct TermArgs {
    /// What the policy calls the images
    #[arg(long, default_value = "guest-v1")]
    pub(crate) name: String,
    /// A service that vaults ask about the guest's quote, https. A vault without one denies every guest
    #[arg(long = "attestation-server", value_name = "URL")]
    pub(crate) attestation_servers: Vec<String>,
    /// How long the key lives, at most 90 days: vaults would shorten more to that
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
    /// A role that the owner must have besides
    #[arg(long = "owner-role", value_name = "ROLE", requires = "owner_sub")]
    pub(crate) owner_roles: Vec<String>,
}
