//! The table of keys: one row for each. The enum, the parser's defaults, `cvmctl cmdline` and `init/docs/command-line.md` come from it.

use super::Absent::{Means, Refused, Value};
use super::{About, Absent, Group, Needs, SetBy};

macro_rules! keys {
    ($($name:ident = $text:literal {
        group: $group:ident, needs: $needs:ident, set_by: $set_by:ident, absent: $absent:expr,
        value: $value:expr,
        decides: $decides:literal,
        notes: $notes:expr,
    })*) => {
        /// A key of the command line that belongs to this init.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key { $(#[doc = concat!("`", $text, "`: ", $decides, ".")] $name,)* }

        impl Key {
            /// Every key, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The key as it is written before `=`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The text that the parser reads where the key is absent; `None` where no text stands for that.
            pub(crate) const fn default_value(self) -> Option<&'static str> {
                match self { $(Self::$name => const { Absent::value($absent) },)* }
            }

            /// Whether the key is refused without a data disk.
            pub(crate) const fn needs_data_disk(self) -> bool {
                match self { $(Self::$name => matches!(Needs::$needs, Needs::DataDisk),)* }
            }

            /// Everything that the table says of the key.
            #[must_use]
            pub const fn about(self) -> About {
                match self { $(Self::$name => About {
                    group: Group::$group, absent: $absent, needs: Needs::$needs, set_by: SetBy::$set_by,
                    value: $value, decides: $decides, notes: $notes,
                },)* }
            }
        }
    };
}

keys! {
    RootHash = "roothash" {
        group: Root, needs: Nothing, set_by: CommandLine, absent: Refused,
        value: "64 lower-case hexadecimal digits",
        decides: "the content of the root file system, by its dm-verity root hash",
        notes: &[],
    }
    VerityOnCorruption = "cvm.verity.on-corruption" {
        group: Root, needs: Nothing, set_by: CommandLine, absent: Value("panic"),
        value: "`panic`, `restart` or `eio`",
        decides: "what the kernel does when it reads a block of the root that does not match the root hash",
        notes: &["With Linux 6.12 and later, the same happens when the disk cannot read a block."],
    }
    Root = "cvm.root" {
        group: Root, needs: Nothing, set_by: CommandLine,
        absent: Means("the two partitions whose UUIDs are the first and the last half of the root hash"),
        value: "`PARTUUID=UUID`, `PARTLABEL=LABEL` or `serial=SERIAL`",
        decides: "which partition or disk contains the root file system",
        notes: &[],
    }
    Data = "cvm.data" {
        group: Data, needs: Nothing, set_by: Configuration, absent: Means("no data disk: the boot continues without one and asks no vault"),
        value: "1 to 8 of `[NAME:]SELECTOR`, separated by commas; a selector is `serial=SERIAL`, `PARTUUID=UUID` or `PARTLABEL=LABEL`",
        decides: "which disks or partitions are data disks",
        notes: &[
            "A name consists of 1 to 16 characters `a-z 0-9` and starts with a letter; `data` is not a name. It stays with its disk: the \
             key of a disk with a name is derived from the vaults' key and the name. One disk may have no name: its key is the vaults' key.",
            "The open disk is `/dev/mapper/NAME-crypt`, or `/dev/mapper/data-crypt` for the disk without a name.",
            "A serial number consists of 1 to 64 characters `A-Z a-z 0-9 . _ : -`. virtio-blk transfers 20 bytes: there the first 20 of a \
             longer one are compared. A partition label consists of 1 to 36 printable ASCII characters; one with a comma cannot be given.",
            "No disk may be named twice, neither here nor in `cvm.scratch`.",
        ],
    }
    DataMount = "cvm.data.mount" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("/data"),
        value: "a list of `[NAME:]PATH`, separated by commas; a path is absolute, without `.`, `..`, empty parts or a final `/`",
        decides: "where each data disk is mounted",
        notes: &[
            "A disk with a name is mounted at `/NAME` unless a path is given for it.",
            "The path is a folder of the image, without symbolic links in it. It is not in `/var`, `/tmp`, `/run`, `/dev`, `/proc`, `/sys`, \
             `/usr`, `/etc`, `/bin`, `/sbin`, `/lib`, `/lib32` or `/lib64`: the running system mounts over them or needs them.",
            "No mount point is inside another one. Refused with `cvm.data.open=no-mount`.",
        ],
    }
    DataFormat = "cvm.data.format" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("never"),
        value: "`never` or `if-blank`",
        decides: "whether a blank disk is formatted",
        notes: &["`if-blank` is refused with `cvm.vault.key-commitment=none`."],
    }
    DataFormatUntil = "cvm.data.format-until" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Means("no limit"),
        value: "a time in UTC, such as `2026-11-29T00:00:00Z`",
        decides: "until when a blank disk is formatted, by the time that the vaults agree on",
        notes: &["Refused without `cvm.data.format=if-blank`."],
    }
    DataUuid = "cvm.data.uuid" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Means("any UUID"),
        value: "a list of `[NAME:]UUID`, separated by commas; a UUID is in lower case",
        decides: "which LUKS UUID a data disk must have (else E89)",
        notes: &[
            "A disk with a UUID here is never formatted. So `cvm.data.format=if-blank` is refused where every disk has one.",
        ],
    }
    DataFstype = "cvm.data.fstype" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("ext4"),
        value: "`ext4`, `xfs` or `btrfs`",
        decides: "the file system that the first format makes and that is mounted",
        notes: &[],
    }
    DataCipher = "cvm.data.cipher" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("xts-hmac"),
        value: "`xts-hmac` (aes-xts-plain64 with hmac-sha256), `aegis` (aegis128-random) or `gcm` (aes-gcm-random)",
        decides: "how data disks are encrypted and authenticated",
        notes: &[
            "The default applies to the first format only. Where the key is absent, an existing disk may have any of the three. Where it \
             is given, a disk with another cipher is refused (E75).",
            "`gcm` uses random 96-bit nonces: write at most 16 TiB to such a disk in its life.",
        ],
    }
    DataHeaderAuth = "cvm.data.header-auth" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Means("`require` with `cvm.data.format=if-blank`, else `auto`"),
        value: "`require` or `auto`",
        decides: "whether the LUKS2 header must carry a MAC made with the disk's key",
        notes: &[
            "`auto` also accepts a header without a MAC, if the allow-list of header fields accepts it. The boot report then says that \
             the header is not authenticated.",
        ],
    }
    DataWipe = "cvm.data.wipe" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("lazy"),
        value: "`lazy` or `full`",
        decides: "whether the first format writes every sector",
        notes: &["`full` shows its progress on the console."],
    }
    DataOpen = "cvm.data.open" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("mount"),
        value: "`mount` or `no-mount`",
        decides: "whether open data disks are mounted",
        notes: &["With `no-mount` a disk is opened as `/dev/mapper/data-crypt` or `/dev/mapper/NAME-crypt` and left to the running system."],
    }
    DataCheck = "cvm.data.check" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("auto"),
        value: "`auto` (`e2fsck -p`), `force` (`e2fsck -f -y`, `xfs_repair`, `btrfs check`) or `no`",
        decides: "how the file system is checked before the mount, by the tools of the verified root",
        notes: &["Refused with `cvm.data.open=no-mount`."],
    }
    DataOnError = "cvm.data.on-error" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("remount-ro"),
        value: "`remount-ro` or `panic`",
        decides: "what the kernel does when it finds an error in the file system",
        notes: &["`panic` is refused with `cvm.data.fstype=btrfs`, and the key with `cvm.data.open=no-mount`."],
    }
    DataGrow = "cvm.data.grow" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Value("no"),
        value: "`yes` or `no`",
        decides: "whether the file system grows when the disk has become larger",
        notes: &["Refused with `cvm.data.open=no-mount`."],
    }
    DataOptions = "cvm.data.options" {
        group: Data, needs: DataDisk, set_by: Configuration, absent: Means("no option"),
        value: "a list of `noatime`, `noexec` and `prjquota`, separated by commas",
        decides: "which options the file system is mounted with",
        notes: &["`prjquota` is refused with `cvm.data.fstype=btrfs`, and the key with `cvm.data.open=no-mount`."],
    }
    Scratch = "cvm.scratch" {
        group: Scratch, needs: Nothing, set_by: CommandLine, absent: Means("no scratch disk"),
        value: "1 to 4 of `SELECTOR[:USE]`, separated by commas; a selector as in `cvm.data`; the use is `swap` or a path",
        decides: "which disks are encrypted under a new random key at each boot, and what each is used for",
        notes: &[
            "Without a use, the disk is mounted at `/scratch`. The rules of `cvm.data.mount` for mount points apply.",
            "The last `:` that `swap` or `/` follows begins the use, so a serial number or label may contain `:`.",
            "Needs no data disk and no vault.",
        ],
    }
    Vault = "cvm.vault" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Refused,
        value: "1 to 16 of `ADDRESS:PORT`, `[V6]:PORT`, `NAME:PORT` or `vsock:CID:PORT`, separated by commas",
        decides: "where to look for vaults",
        notes: &["Addresses are hints: a vault is trusted by its attestation evidence alone."],
    }
    VaultMrenclave = "cvm.vault.mrenclave" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Refused,
        value: "1 to 8 of 64 lower-case hexadecimal digits, separated by commas",
        decides: "which SGX enclave measurements (MRENCLAVE) a vault may have",
        notes: &[],
    }
    VaultHandle = "cvm.vault.handle" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Refused,
        value: "1 to 256 characters `A-Z a-z 0-9 . _ / -`",
        decides: "the name of the key at the vaults",
        notes: &[],
    }
    VaultKeyCommitment = "cvm.vault.key-commitment" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Refused,
        value: "64 lower-case hexadecimal digits, as `cvmctl provision` prints them, or `none`",
        decides: "the commitment (a SHA-256 hash) that the key must match",
        notes: &[
            "`none` accepts any key that opens the disk, from the vaults of any owner. It opens existing disks only: it is refused with \
             `cvm.data.format=if-blank` and with `cvm.vault.previous`.",
        ],
    }
    VaultApp = "cvm.vault.app" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Refused,
        value: "a UUID in lower case",
        decides: "the application identifier in the certificate that the guest shows to the vaults",
        notes: &[],
    }
    VaultPlatforms = "cvm.vault.platforms" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Means("any machine"),
        value: "1 to 32 of 32 lower-case hexadecimal digits, separated by commas",
        decides: "which machines may run a vault",
        notes: &[
            "An entry is the platform instance ID of the verified PCK certificate, or its PPID where it has no platform instance ID.",
        ],
    }
    VaultThreshold = "cvm.vault.threshold" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Value("2"),
        value: "a number, 2 to the number of vaults in `cvm.vault`",
        decides: "how many shares are combined into the key",
        notes: &[],
    }
    VaultDistinct = "cvm.vault.distinct" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Value("key"),
        value: "`key` (the public key of the vault's certificate) or `platform` (the machine that runs the vault)",
        decides: "which property distinguishes two vaults",
        notes: &[],
    }
    VaultTimeout = "cvm.vault.timeout" {
        group: Vault, needs: DataDisk, set_by: Configuration, absent: Value("5m"),
        value: "a number with `s`, `m` or `h`: `1s` to `24h`",
        decides: "how long network configuration and key retrieval may take together",
        notes: &[],
    }
    VaultPrevious = "cvm.vault.previous" {
        group: Previous, needs: DataDisk, set_by: Configuration, absent: Means("no rotation"),
        value: "as `cvm.vault.handle`",
        decides: "the name of the previous key, from which disks are rotated to the key of `cvm.vault.handle`",
        notes: &[
            "It may equal `cvm.vault.handle` only where `cvm.vault.previous.vaults` gives other addresses. Refused with \
             `cvm.vault.key-commitment=none`. The other keys of this group are refused without it.",
        ],
    }
    VaultPreviousKeyCommitment = "cvm.vault.previous.key-commitment" {
        group: Previous, needs: DataDisk, set_by: Configuration, absent: Means("none (required with `cvm.vault.previous`)"),
        value: "64 lower-case hexadecimal digits",
        decides: "the commitment that the previous key must match",
        notes: &["It must differ from `cvm.vault.key-commitment`."],
    }
    VaultPreviousVaults = "cvm.vault.previous.vaults" {
        group: Previous, needs: DataDisk, set_by: Configuration, absent: Means("the vaults of `cvm.vault`"),
        value: "as `cvm.vault`",
        decides: "where to look for vaults that hold the previous key",
        notes: &[],
    }
    VaultPreviousMrenclave = "cvm.vault.previous.mrenclave" {
        group: Previous, needs: DataDisk, set_by: Configuration, absent: Means("those of `cvm.vault.mrenclave`"),
        value: "as `cvm.vault.mrenclave`",
        decides: "which enclave measurements a vault that holds the previous key may have",
        notes: &[],
    }
    VaultPreviousThreshold = "cvm.vault.previous.threshold" {
        group: Previous, needs: DataDisk, set_by: Configuration, absent: Means("that of `cvm.vault.threshold`"),
        value: "a number, 2 to the number of vaults that hold the previous key",
        decides: "how many shares are combined into the previous key",
        notes: &[],
    }
    Net = "cvm.net" {
        group: Net, needs: Nothing, set_by: Configuration, absent: Value("dhcp"),
        value: "`dhcp`, `slaac`, `dual` or `static:ADDRESS/LENGTH[,gw=ADDRESS]`, each with `[,dns=ADDRESS][,if=NAME|MAC]`; or `none`",
        decides: "how the network is configured",
        notes: &[
            "`slaac` uses router advertisements. `dual` uses DHCPv4 and router advertisements at once: the boot continues with the first \
             that gives an address. `static` takes an address of either family.",
            "The network is not configured where no key needs it: every vault is on vsock, and neither `cvm.net`, `cvm.net.keep=yes` nor \
             `cvm.pccs` is given.",
            "`none` is refused with `cvm.pccs` and with a vault that is not on vsock.",
        ],
    }
    NetKeep = "cvm.net.keep" {
        group: Net, needs: Nothing, set_by: Configuration, absent: Value("no"),
        value: "`yes` or `no`",
        decides: "whether addresses and routes of the link stay for the running system",
        notes: &[],
    }
    Tcb = "cvm.tcb" {
        group: Attestation, needs: Nothing, set_by: CommandLine, absent: Value("uptodate,SWHardeningNeeded"),
        value: "a list of TCB statuses as Intel spells them, such as `OutOfDate`, separated by commas; or `signature`",
        decides: "which TCB status the platform of a vault may have",
        notes: &[
            "`UpToDate` (or `uptodate`) is always accepted, `Revoked` never.",
            "`signature` verifies signatures without collateral: neither TCB status nor revocation is checked.",
        ],
    }
    Pccs = "cvm.pccs" {
        group: Attestation, needs: Nothing, set_by: Configuration, absent: Means("no cache"),
        value: "`http://` or `https://`, then `ADDRESS:PORT` or `NAME:PORT`",
        decides: "which cache provides collateral (Intel's PCCS) that no vault provides",
        notes: &["The cache is not trusted: Intel signs what it provides. So the certificate of `https` is not verified."],
    }
    Measure = "cvm.measure" {
        group: Measure, needs: Nothing, set_by: CommandLine, absent: Value("auto"),
        value: "`auto`, `rtmr`, `tpm` or `off`",
        decides: "which registers are extended with the events of the boot",
        notes: &[
            "`rtmr`: the RTMRs of a TD only. `tpm`: the PCRs of the TPM as well, also of one that the host controls. A register that is \
             named must exist (else E90).",
        ],
    }
    MeasureRequireCmdline = "cvm.measure.require-cmdline" {
        group: Measure, needs: Nothing, set_by: CommandLine, absent: Value("no"),
        value: "`yes` or `no`",
        decides: "whether the boot ends (E97) unless the firmware's event log proves that the digest of this command line was extended",
        notes: &["With `no` the log is still checked where there is one, and the boot report contains the result."],
    }
    Watchdog = "cvm.watchdog" {
        group: Boot, needs: Nothing, set_by: Configuration, absent: Means("no watchdog"),
        value: "a number of seconds, 10 to 3600",
        decides: "after how many seconds without progress the machine is reset, until the kernel executes the real init",
        notes: &[],
    }
    Init = "init" {
        group: Boot, needs: Nothing, set_by: CommandLine, absent: Value("/sbin/init"),
        value: "an absolute path",
        decides: "the real init in the root file system",
        notes: &[],
    }
    Fail = "cvm.fail" {
        group: Boot, needs: Nothing, set_by: CommandLine, absent: Means("the action of the error's code"),
        value: "`reboot`, `poweroff` or `halt`",
        decides: "what the machine does after any failure, once the command line is read",
        notes: &[],
    }
    Log = "cvm.log" {
        group: Boot, needs: Nothing, set_by: CommandLine, absent: Value("info"),
        value: "`error`, `warn`, `info` or `debug`",
        decides: "how much is logged",
        notes: &["The boot report contains it."],
    }
    Debug = "cvm.debug" {
        group: Boot, needs: Nothing, set_by: CommandLine, absent: Means("no debugging aid"),
        value: "a list of `timeline` and `pause:PHASE`, separated by commas; a phase is `policy`, `root`, `net`, `unlock`, `data`, `scratch`, \
                `measure` or `handoff`",
        decides: "which debugging aids are on: a timeline of the boot, and pauses at phases",
        notes: &["The boot report contains it, and it is measured."],
    }
}
