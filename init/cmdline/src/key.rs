//! The words that are ours.

use std::fmt;

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A key of the command line that belongs to this init.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key { $($(#[$doc])* $name,)* }

        impl Key {
            /// Every key, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The key as it is written before `=`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

keys! {
    /// The root hash of dm-verity.
    RootHash = "roothash",
    /// What dm-verity does about a bad block.
    VerityOnCorruption = "cvm.verity.on-corruption",
    /// Which partition is the root.
    Root = "cvm.root",
    /// Which disk or partition is the data disk.
    Data = "cvm.data",
    /// Where the data disk is mounted.
    DataMount = "cvm.data.mount",
    /// Whether a blank disk is formatted.
    DataFormat = "cvm.data.format",
    /// What first format makes.
    DataFs = "cvm.data.fs",
    /// How the data disk is encrypted.
    DataCipher = "cvm.data.cipher",
    /// Whether the header must carry our seal.
    DataSeal = "cvm.data.seal",
    /// What first format wipes.
    DataWipe = "cvm.data.wipe",
    /// Until when a blank disk is formatted.
    DataFormatUntil = "cvm.data.format-until",
    /// Which disk it must be, once it is formatted.
    DataUuid = "cvm.data.uuid",
    /// Whether the disk is mounted.
    DataOpen = "cvm.data.open",
    /// Whether the file system is checked before it is mounted.
    DataCheck = "cvm.data.check",
    /// What a file system error does.
    DataOnError = "cvm.data.on-error",
    /// Whether the file system grows with the disk.
    DataGrow = "cvm.data.grow",
    /// Options of the mount.
    DataOptions = "cvm.data.options",
    /// Which disks are scratch space, and for what.
    Scratch = "cvm.scratch",
    /// Where the vaults are.
    Vault = "cvm.vault",
    /// Which builds are vaults.
    VaultMrenclave = "cvm.vault.mrenclave",
    /// The name of the key at the vaults.
    VaultHandle = "cvm.vault.handle",
    /// The handle that is rotated away from.
    VaultPrevious = "cvm.vault.previous",
    /// The commitment to the key that is rotated away from.
    VaultPreviousCommit = "cvm.vault.previous.key-commitment",
    /// Where the vaults of the key that is rotated away from are.
    VaultPreviousVaults = "cvm.vault.previous.vaults",
    /// Which builds those are.
    VaultPreviousMrenclave = "cvm.vault.previous.mrenclave",
    /// How many shares that key takes.
    VaultPreviousThreshold = "cvm.vault.previous.threshold",
    /// The commitment to the disk's key.
    VaultCommit = "cvm.vault.commit",
    /// Who we are to the vaults.
    VaultApp = "cvm.vault.app",
    /// Which machines may run a vault.
    VaultPlatforms = "cvm.vault.platforms",
    /// How many shares it takes.
    VaultThreshold = "cvm.vault.threshold",
    /// What makes two nodes two.
    VaultDistinct = "cvm.vault.distinct",
    /// How long to try before the verdict.
    VaultPatience = "cvm.vault.patience",
    /// Which platforms are good enough.
    Tcb = "cvm.tcb",
    /// A cache of collateral.
    Pccs = "cvm.pccs",
    /// How the network comes up.
    Net = "cvm.net",
    /// Where events are measured.
    Measure = "cvm.measure",
    /// Whether this line must be in the firmware's log.
    Measured = "cvm.measured",
    /// Whether addresses and routes stay for the real system.
    NetKeep = "cvm.net.keep",
    /// How long the watchdog waits.
    Watchdog = "cvm.watchdog",
    /// The real init.
    Init = "init",
    /// What happens after a failure.
    Fail = "cvm.fail",
    /// How much is logged.
    Log = "cvm.log",
    /// What helps to debug.
    Debug = "cvm.debug",
}

impl Key {
    /// Every word that starts so is ours, known or not.
    pub(super) const PREFIX: &str = "cvm.";

    /// The key with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.as_str() == name)
    }

    /// Keys of earlier versions that are refused, with the reason.
    pub(super) const REMOVED: &[(&str, &str)] = &[(
        "cvm.data.journal",
        "dm-integrity always keeps its journal: without it a crash under write load leaves sectors that cannot be read",
    )];

    /// True when the key means nothing without a data disk.
    pub(super) fn is_about_data(self) -> bool {
        let name = self.as_str();
        name.starts_with("cvm.data.") || name.starts_with(Self::Vault.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn names_lead_back_to_their_keys() {
        for key in Key::ALL {
            assert_eq!(Key::from_name(key.as_str()), Some(*key));
        }
        assert_eq!(Key::from_name("cvm.date"), None);
    }

    #[test]
    fn only_data_and_vault_keys_are_about_data() {
        assert_eq!(Key::ALL.iter().filter(|key| key.is_about_data()).count(), 27);
        assert!(!Key::Data.is_about_data() && Key::DataMount.is_about_data() && Key::Vault.is_about_data());
    }
}
