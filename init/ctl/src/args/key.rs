//! The arguments of `cvmctl key` and `cvmctl profile`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{ClientArgs, CredentialArgs, FactArgs, NodeArgs, OwnerArgs};

#[derive(Subcommand)]
pub(crate) enum Key {
    /// List the owner's keys at each vault
    List(Keys),
    /// Print when a key was created, when it expires, and the version of its policy
    Info(KeyOf),
    /// Print the policy in force. Without --json it must be the same at every vault
    Policy(KeyOf),
    /// Delete a key permanently. Can be repeated until every vault reports it absent
    Delete(KeyDelete),
    /// Print the requests for a key, and whether each was allowed
    Audit(KeyAudit),
    /// Print what a key hashes to, for cvm.vault.key-commitment or cvm.vault.previous.key-commitment. Contacts no vault
    Commitment(KeyCommitment),
}

#[derive(Args)]
pub(crate) struct KeyCommitment {
    /// File descriptor with the passphrase, 64 lower-case hexadecimal digits
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: u32,
}

/// The vaults, and the credentials for them.
#[derive(Args)]
pub(crate) struct Keys {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct KeyOf {
    /// Name of the key at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

#[derive(Args)]
pub(crate) struct KeyDelete {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// Also delete a key that may be in use; its disk can never be opened again. Without this option only the remainder of an incomplete
    /// `cvmctl provision` is deleted: all vaults answer, at least one lacks the key, none exported it, all have the first policy
    #[arg(long)]
    pub(crate) even_in_use: bool,
}

#[derive(Args)]
pub(crate) struct KeyAudit {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// Number of the first entry
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) since: u64,
    /// Number of entries, 1 to 1024
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) limit: u32,
}

#[derive(Subcommand)]
pub(crate) enum Profile {
    /// Stage a profile at each vault. Its guests do not get the key until it is promoted
    Stage(ProfileStage),
    /// List staged profiles
    List(KeyOf),
    /// Add the guests of a staged profile to those that the policy admits
    Promote(ProfileOf),
    /// Delete a staged profile
    Revoke(ProfileOf),
}

#[derive(Args)]
pub(crate) struct ProfileStage {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// Profile, JSON: the value of Tee in a key policy
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: PathBuf,
    /// Origin of the profile, which vaults record
    #[arg(long, value_name = "SOURCE", default_value = "manual-import")]
    pub(crate) source: ProfileSourceName,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
}

/// Origins of profiles. Vaults do not evaluate them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileSourceName {
    PlatformBuild,
    ManualImport,
}

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["profile", "id"]))]
pub(crate) struct ProfileOf {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// Profile, JSON, as it was staged; finds its number at each vault
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Number of the profile; needs exactly one --vault
    #[arg(long, value_name = "N")]
    pub(crate) id: Option<u32>,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
}
