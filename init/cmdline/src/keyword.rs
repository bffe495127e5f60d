//! Values that are one of a few words.

macro_rules! keywords {
    ($($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $text:literal,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$note])* $variant,)* }

        impl $name {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The value as it is written on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value that is written so.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )* };
}

keywords! {
    /// What dm-verity does about a bad block.
    OnCorruption {
        /// Stops the kernel.
        Panic = "panic",
        /// Restarts the machine.
        Restart = "restart",
        /// Fails the read.
        Eio = "eio",
    }
    /// Whether a disk is formatted.
    Format {
        /// Not ever.
        Never = "never",
        /// When it is blank, which is a fact about its bytes.
        IfBlank = "if-blank",
    }
    /// What first format makes.
    FileSystem {
        /// ext4.
        Ext4 = "ext4",
        /// XFS.
        Xfs = "xfs",
        /// btrfs.
        Btrfs = "btrfs",
    }
    /// How the data disk is encrypted and authenticated.
    DataCipher {
        /// aes-xts-plain64 with hmac-sha256.
        XtsHmac = "xts-hmac",
        /// aegis128-random.
        Aegis = "aegis",
        /// aes-gcm-random: 96-bit random nonces.
        Gcm = "gcm",
    }
    /// Whether the LUKS2 header must carry our seal.
    Seal {
        /// An unsealed header is refused.
        Require = "require",
        /// An unsealed header is opened under the allow-list, and said to be so.
        Auto = "auto",
    }
    /// What first format wipes.
    Wipe {
        /// Nothing: tags come with the first write of a sector.
        Lazy = "lazy",
        /// Every sector.
        Full = "full",
    }
    /// What happens to a file system in which the kernel meets an error.
    OnError {
        /// It takes no more writes: what is whole stays whole.
        RemountReadOnly = "remount-ro",
        /// The kernel panics, so that the machine ends or restarts.
        Panic = "panic",
    }
    /// Whether the file system is checked before it is mounted.
    Check {
        /// As its kind wants it: ext4 by `e2fsck -p`, which checks in full only after an error; others by their own recovery.
        Auto = "auto",
        /// In full, with repair.
        Force = "force",
        /// Not at all.
        No = "no",
    }
    /// What becomes of the disk once its key is proved.
    OpenMode {
        /// It is opened and its file system is mounted.
        Mount = "mount",
        /// It is opened and left unmounted, for the system to repair or copy.
        NoMount = "no-mount",
    }
    /// An option of the mount.
    FsOption {
        /// Reading a file does not write its access time.
        NoAccessTime = "noatime",
        /// Nothing on it is executed.
        NoExec = "noexec",
        /// The kernel counts and limits what a project uses.
        ProjectQuota = "prjquota",
    }
    /// What makes two vault nodes two.
    Distinct {
        /// The platform that they run on.
        Platform = "platform",
        /// The key of their leaf.
        Key = "key",
    }
    /// Where events are measured.
    Measure {
        /// Wherever this machine can.
        Auto = "auto",
        /// RTMR3, or stop.
        Rtmr = "rtmr",
        /// A PCR of the vTPM, or stop.
        Tpm = "tpm",
        /// Nowhere.
        Off = "off",
    }
    /// Whether the command line must be found in the replayed firmware log.
    Measured {
        /// When there is a log.
        Auto = "auto",
        /// Always.
        Require = "require",
    }
    /// How much is logged.
    LogLevel {
        /// Failures.
        Error = "error",
        /// What may fail later.
        Warn = "warn",
        /// The story.
        Info = "info",
        /// Everything.
        Debug = "debug",
    }
    /// A phase at which the boot may pause. `api` is not one: it is over when this line is read.
    Phase {
        /// The command line.
        Policy = "policy",
        /// The verified root.
        Root = "root",
        /// The network.
        Net = "net",
        /// The vaults.
        Unlock = "unlock",
        /// The data disk.
        Data = "data",
        /// The scratch disks.
        Scratch = "scratch",
        /// The measurements.
        Measure = "measure",
        /// The real system.
        Handoff = "handoff",
    }
    /// What Intel says about a platform. `Revoked` is not here, since no policy may accept it.
    ///
    /// Source: Intel PCS API v4, `tcbStatus`; the last two are for TD 1.5 with a preserved TD.
    TcbStatus {
        /// Nothing to do.
        UpToDate = "UpToDate",
        /// Software must harden itself.
        SwHardeningNeeded = "SWHardeningNeeded",
        /// The platform's configuration exposes it.
        ConfigurationNeeded = "ConfigurationNeeded",
        /// Both of the above.
        ConfigurationAndSwHardeningNeeded = "ConfigurationAndSWHardeningNeeded",
        /// Security updates are missing.
        OutOfDate = "OutOfDate",
        /// Security updates are missing and the configuration exposes it.
        OutOfDateConfigurationNeeded = "OutOfDateConfigurationNeeded",
        /// Started on an old module; the module is current now.
        TdRelaunchAdvised = "TDRelaunchAdvised",
        /// As before, and the configuration exposes the platform.
        TdRelaunchAdvisedConfigurationNeeded = "TDRelaunchAdvisedConfigurationNeeded",
    }
}
