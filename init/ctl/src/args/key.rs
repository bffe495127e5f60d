//! The arguments of `cvmctl key` and `cvmctl profile`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{ClientArgs, CredentialArgs, FactArgs, NodeArgs, OwnerArgs};

#[derive(Subcommand)]
pub(crate) enum Key {
    /// List the owner's keys at each vault
    List(Keys),
    /// Print when a key was made, when it ends, and which version its policy has
    Info(KeyOf),
    /// Print the policy that is in force. Without --json it must be the same at every vault
    Policy(KeyOf),
    /// Delete a key for ever. Can be repeated until every vault says that it is absent
    Delete(KeyDelete),
    /// Print what was asked of a key, and whether it was allowed
    Audit(KeyAudit),
    /// Print what a key hashes to, for cvm.vault.key-commitment or cvm.vault.previous.key-commitment. Asks nobody
    Commitment(KeyCommitment),
}

#[derive(Args)]
pub(crate) struct KeyCommitment {
    /// The descriptor on which the passphrase comes: 64 lower-case hex digits
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: u32,
}

/// Whom to ask, and as whom.
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
    /// The key's name at every vault
    #[arg(long, value_name = "NAME")]
    pub(crate) handle: String,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

#[derive(Args)]
pub(crate) struct KeyDelete {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// Also delete a key that may be in use: a disk under it can never be opened again. Without it only the rest of a dealing that ended
    /// halfway is deleted: every vault answers, one has no such key, and none has given it out or has another policy than the first
    #[arg(long)]
    pub(crate) even_in_use: bool,
}

#[derive(Args)]
pub(crate) struct KeyAudit {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// The number of the first entry
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) since: u64,
    /// How many entries
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) limit: u32,
}

#[derive(Subcommand)]
pub(crate) enum Profile {
    /// Propose a profile at each vault; it gets nothing until it is promoted
    Stage(ProfileStage),
    /// List the profiles that are staged and not promoted
    List(KeyOf),
    /// Let the guests of a staged profile have the key, beside those that have it already
    Promote(ProfileOf),
    /// Drop a staged profile
    Revoke(ProfileOf),
}

#[derive(Args)]
pub(crate) struct ProfileStage {
    #[command(flatten)]
    pub(crate) key: KeyOf,
    /// The profile, JSON: what stands under Tee in a key policy
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: PathBuf,
    /// Where it comes from
    #[arg(long, value_name = "SOURCE", default_value = "manual-import")]
    pub(crate) source: ProfileSourceName,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
}

/// As vaults know sources; they decide nothing on it.
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
    /// The profile, JSON, as it was staged; each vault's number for it is looked up
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Its number, at the one vault that is given
    #[arg(long, value_name = "N")]
    pub(crate) id: Option<u32>,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
}
