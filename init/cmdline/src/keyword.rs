//! Values that are one of a few keywords.

macro_rules! keywords {
    ($($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $text:literal,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$note])* $variant,)* }

        /// The value itself: a derived one would put a second name of each value into PID 1.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The value as it is written on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Parses a value.
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
    /// What the kernel does when a block of the root does not match the root hash.
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
        /// Not at all.
        Never = "never",
        /// When it is blank: every byte that is examined is zero.
        IfBlank = "if-blank",
    }
    /// The file system of a data disk.
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
    /// Whether the LUKS2 header must carry a MAC made with the disk's key.
    HeaderAuth {
        /// A header without a MAC is refused.
        Require = "require",
        /// A header without a MAC is accepted under the allow-list, and reported as not authenticated.
        Auto = "auto",
    }
    /// Whether the first format writes every sector.
    Wipe {
        /// No: the tag of a sector is written with its first data.
        Lazy = "lazy",
        /// Yes.
        Full = "full",
    }
    /// What the kernel does when it finds an error in the file system.
    OnError {
        /// The file system becomes read-only.
        RemountReadOnly = "remount-ro",
        /// The kernel panics.
        Panic = "panic",
    }
    /// Whether the file system is checked before it is mounted.
    Check {
        /// ext4 by `e2fsck -p`, which checks everything only after an error; others recover at the mount.
        Auto = "auto",
        /// In full, with repair.
        Force = "force",
        /// Not at all.
        No = "no",
    }
    /// Whether an open disk is mounted.
    MountMode {
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
    /// Which property distinguishes two vaults.
    Distinct {
        /// The platform that they run on.
        Platform = "platform",
        /// The public key of their certificate.
        Key = "key",
    }
    /// Where events are measured.
    Measure {
        /// In every register that this machine has.
        Auto = "auto",
        /// In RTMR3, or the boot ends.
        Rtmr = "rtmr",
        /// In a PCR of the TPM too, or the boot ends.
        Tpm = "tpm",
        /// Nowhere.
        Off = "off",
    }
    /// How much is logged.
    LogLevel {
        /// Failures.
        Error = "error",
        /// Problems that do not end the boot.
        Warn = "warn",
        /// The steps of the boot.
        Info = "info",
        /// Everything.
        Debug = "debug",
    }
    /// A phase at which the boot may pause. `early` is not one: it ends before the command line is read.
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
        /// The handoff to the real init.
        Handoff = "handoff",
    }
    /// The TCB status of a platform. `Revoked` is missing, since no policy may accept it.
    ///
    /// Source: Intel PCS API v4, `tcbStatus`; the last two are for TD 1.5 with a preserved TD.
    TcbStatus {
        /// All security updates are installed.
        UpToDate = "UpToDate",
        /// Software needs mitigations of its own.
        SwHardeningNeeded = "SWHardeningNeeded",
        /// The platform's configuration exposes it.
        ConfigurationNeeded = "ConfigurationNeeded",
        /// Both of the above.
        ConfigurationAndSwHardeningNeeded = "ConfigurationAndSWHardeningNeeded",
        /// Security updates are missing.
        OutOfDate = "OutOfDate",
        /// Security updates are missing and the configuration exposes it.
        OutOfDateConfigurationNeeded = "OutOfDateConfigurationNeeded",
        /// The TD was started on an older TDX module; the module is current now.
        TdRelaunchAdvised = "TDRelaunchAdvised",
        /// As before, and the configuration exposes the platform.
        TdRelaunchAdvisedConfigurationNeeded = "TDRelaunchAdvisedConfigurationNeeded",
    }
}
