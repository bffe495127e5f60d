//! The files that `qemu/build` made.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ondisk::gpt::{Header, Partition};
use uuid::Uuid;

use crate::{Context, Failure};

/// Sector size of the image, in bytes.
const SECTOR: usize = 512;
/// Partition types of the Discoverable Partitions Specification: root and root verity on x86-64.
const KIND_ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const KIND_HASHES: &str = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5";

/// The two kernel arguments by which production refuses unsigned modules. The kernel accepts the simulated module's signature
/// only when the firmware contains the builder's key.
const ONLY_SIGNED_MODULES: [&str; 2] = ["lockdown=integrity", "module.sig_enforce=1"];

/// The Debian kernels that an initrd is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelSeries {
    /// The kernel of Debian's backports, 7.x: the default.
    #[default]
    Backports,
    /// The kernel of Debian 13, 6.12.
    Stable,
}

impl KernelSeries {
    /// The suffix of a scenario's name: `@stable` for the kernel of Debian 13.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Backports => "",
            Self::Stable => "@stable",
        }
    }

    /// The suffix of file names of artifacts for this kernel (initrd/xtask/src/project.rs).
    const fn suffix(self) -> &'static str {
        match self {
            Self::Backports => "",
            Self::Stable => "-stable",
        }
    }
}

/// The built files, and what the tests read from them.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The project's folder.
    pub top: PathBuf,
    /// The kernel that these artifacts are for.
    pub series: KernelSeries,
    /// The image's kernel.
    pub kernel: PathBuf,
    /// The initrd with the simulated root and the simulated tdx-guest.
    pub simulated: PathBuf,
    /// The simulated initrd with a stand-in for sev-guest in place of the one for tdx-guest.
    pub snp: PathBuf,
    /// The initrd with Intel's root and Debian's own tdx-guest.
    pub production: PathBuf,
    /// The disk image.
    pub image: PathBuf,
    /// The root hash of the image, 64 hex digits.
    pub root_hash: String,
    /// First byte and length of the root partition.
    pub root: (u64, u64),
    /// First byte and length of the partition of its hashes.
    pub hashes: (u64, u64),
    /// The simulated root's keys and certificates.
    pub pki: PathBuf,
    /// The image's command line without the root hash, as production has it.
    pub cmdline: Vec<String>,
    /// Kernel modules of the tests, one folder each.
    pub test_modules: PathBuf,
}

impl Artifacts {
    /// Finds the artifacts below `top`.
    ///
    /// # Errors
    /// A file is missing, or the image contains no verity root.
    pub fn find(top: &Path, kernel: KernelSeries) -> Result<Self, Failure> {
        let (target, suffix) = (top.join("target"), kernel.suffix());
        let folder = target.join(format!("image/direct{suffix}"));
        let image = folder.join("cvm.raw");
        let partitions = read_table(&image)?;
        let of_kind = |kind: &str| {
            let found = partitions.iter().find(|partition| partition.kind.to_string() == kind);
            found.ok_or_else(|| Failure(format!("the image contains no partition of type {kind}")))
        };
        let (root, hashes) = (of_kind(KIND_ROOT)?, of_kind(KIND_HASHES)?);
        let sector = u64::try_from(SECTOR).context("converting the sector size")?;
        let range = |partition: &Partition| (partition.first * sector, partition.sectors() * sector);
        // systemd-repart sets the partitions' UUIDs to the two halves of the root hash.
        let half = |uuid: &Uuid| uuid.to_string().replace('-', "");
        let command_line = std::fs::read_to_string(folder.join("cvm.cmdline"))
            .context("reading the image's command line (qemu/build makes it)")?;
        let cmdline = command_line.split(' ').filter(|argument| !argument.starts_with("roothash=")).map(str::to_owned);
        Ok(Self {
            kernel: folder.join("cvm.vmlinuz"),
            simulated: target.join(format!("initrd/simulated{suffix}.zst")),
            snp: target.join(format!("initrd/snp{suffix}.zst")),
            production: target.join(format!("initrd/production{suffix}.zst")),
            cmdline: cmdline.collect(),
            test_modules: target.join(format!("simulation/modules{suffix}")),
            root_hash: half(&root.uuid) + &half(&hashes.uuid),
            root: range(root),
            hashes: range(hashes),
            pki: target.join("simulation/pki"),
            top: top.to_owned(),
            series: kernel,
            image,
        })
    }
}

impl Artifacts {
    /// The image's command line without the two arguments that refuse the simulated module.
    pub(crate) fn cmdline_for_simulation(&self) -> impl Iterator<Item = &String> {
        self.cmdline.iter().filter(|argument| !ONLY_SIGNED_MODULES.contains(&argument.as_str()))
    }
}

/// Reads the partition table of an image.
///
/// # Errors
/// The image cannot be read, or its table is malformed.
pub(crate) fn read_table(image: &Path) -> Result<Vec<Partition>, Failure> {
    let file = File::open(image).context("opening the image (qemu/build makes it)")?;
    let sectors = file.metadata().context("reading the size of the image")?.len() / 512;
    let mut lba1 = vec![0; SECTOR];
    file.read_exact_at(&mut lba1, 512).context("reading the partition table")?;
    let header = Header::parse(&lba1, sectors).context("parsing the partition table")?;
    let (offset, length) = header.entries_range();
    let mut entries = vec![0; length];
    file.read_exact_at(&mut entries, offset).context("reading the partitions")?;
    header.partitions(&entries).context("parsing the partitions")
}
