//! The keys of the command line that configure this init, with the facts about each: one table, [`table`].

mod table;

use std::fmt;

pub use table::Key;

/// A part of the configuration: keys that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The root file system.
    Root,
    /// The data disks.
    Data,
    /// The scratch disks.
    Scratch,
    /// The vaults and the disk's key at them.
    Vault,
    /// A previous key.
    Previous,
    /// The network.
    Net,
    /// Which vault platforms are accepted.
    Attestation,
    /// The measurements.
    Measure,
    /// Failures, logs and the real init.
    Boot,
}

impl Group {
    /// Every group, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Root,
        Self::Data,
        Self::Scratch,
        Self::Vault,
        Self::Previous,
        Self::Net,
        Self::Attestation,
        Self::Measure,
        Self::Boot,
    ];

    /// The title of the group.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Root => "Root file system",
            Self::Data => "Data disks",
            Self::Scratch => "Scratch disks",
            Self::Vault => "Vaults",
            Self::Previous => "Key rotation",
            Self::Net => "Network",
            Self::Attestation => "Attestation of the vaults",
            Self::Measure => "Measurement",
            Self::Boot => "Failures, logs and init",
        }
    }
}

/// What holds where a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The command line is refused; of a key that needs a data disk, only where `cvm.data` is given.
    Refused,
    /// The parser reads this text in place of a given value.
    Value(&'static str),
    /// No value stands for it: what happens instead.
    Means(&'static str),
}

impl Absent {
    /// The text that the parser reads.
    const fn value(self) -> Option<&'static str> {
        match self {
            Self::Value(text) => Some(text),
            Self::Refused | Self::Means(_) => None,
        }
    }
}

/// What a key needs to have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A data disk: without `cvm.data` the key is refused, so that a typo there does not drop the disk in silence.
    DataDisk,
}

/// Who may set a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// The measured command line alone: the key decides which peers, disks and code are trusted.
    CommandLine,
    /// The measured command line or a signed configuration: the key says which vaults, disks and networks a machine uses.
    Configuration,
}

/// The documentation of a key, in Markdown. PID 1 prints none of it, so its binary does not contain it.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The part that the key belongs to.
    pub group: Group,
    /// What holds without it.
    pub absent: Absent,
    /// What it needs to have a meaning.
    pub needs: Needs,
    /// Who may set it.
    pub set_by: SetBy,
    /// The grammar of its value.
    pub value: &'static str,
    /// What it decides: a noun phrase.
    pub decides: &'static str,
    /// Details, and constraints between this key and others.
    pub notes: &'static [&'static str],
}

impl Key {
    /// Every parameter that starts so belongs to this init, known or not.
    pub(super) const PREFIX: &str = "cvm.";

    /// The key with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.as_str() == name)
    }

    /// Names of earlier versions, and values, that are refused, with what stands in their place. A value stands before its name.
    pub(super) const REMOVED: &[(&str, &str)] = &[
        ("cvm.data.fs", Self::DataFstype.as_str()),
        ("cvm.data.journal", "always on"),
        ("cvm.data.seal", Self::DataHeaderAuth.as_str()),
        ("cvm.fail=park", "cvm.fail=halt"),
        ("cvm.measured=auto", "cvm.measure.require-cmdline=no"),
        ("cvm.measured=require", "cvm.measure.require-cmdline=yes"),
        ("cvm.measured", Self::MeasureRequireCmdline.as_str()),
        ("cvm.vault.commit", Self::VaultKeyCommitment.as_str()),
        ("cvm.vault.patience", Self::VaultTimeout.as_str()),
    ];
}

/// The key itself: a derived one would put a second name of each key into PID 1.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
