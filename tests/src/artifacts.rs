//! What `qemu/build` made.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ondisk::gpt::{Header, Partition};
use uuid::Uuid;

use crate::{Doing, Failure};

/// Sector size of the image, in bytes.
const SECTOR: usize = 512;
/// Types of the Discoverable Partitions Specification: root and its verity hashes on x86-64.
const KIND_ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const KIND_HASHES: &str = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5";

/// Two words of production refuse unsigned modules. The simulated module's signature counts only where firmware has the builder's key.
const ONLY_SIGNED_MODULES: [&str; 2] = ["lockdown=integrity", "module.sig_enforce=1"];

/// Debian's kernels for which the initrd is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelLine {
    /// That of Debian's backports, the default: 7.x.
    #[default]
    Backports,
    /// That of Debian 13: 6.12.
    Stable,
}

impl KernelLine {
    /// At the end of a scenario's name, `@6` for that of Debian 13.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Backports => "",
            Self::Stable => "@6",
        }
    }

    /// At the end of the names of what is made for it (initrd/xtask/src/project.rs).
    const fn suffix(self) -> &'static str {
        match self {
            Self::Backports => "",
            Self::Stable => "-6",
        }
    }
}

/// The built files and what is to be known of them.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The project.
    pub top: PathBuf,
    /// Which kernel it is.
    pub line: KernelLine,
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
    pub words: Vec<String>,
    /// Kernel modules of the tests, a folder each.
    pub test_modules: PathBuf,
}

impl Artifacts {
    /// Finds them below `top`.
    ///
    /// # Errors
    /// When something is not built, or the image has no verity root.
    pub fn find(top: &Path, kernel: KernelLine) -> Result<Self, Failure> {
        let (target, suffix) = (top.join("target"), kernel.suffix());
        let folder = target.join(format!("image/direct{suffix}"));
        let image = folder.join("cvm.raw");
        let partitions = read_table(&image)?;
        let of_kind = |kind: &str| {
            let found = partitions.iter().find(|partition| partition.kind.to_string() == kind);
            found.ok_or_else(|| Failure(format!("the image has no partition of type {kind}")))
        };
        let (root, hashes) = (of_kind(KIND_ROOT)?, of_kind(KIND_HASHES)?);
        let sector = u64::try_from(SECTOR).doing("sector size")?;
        let range = |partition: &Partition| (partition.first * sector, partition.sectors() * sector);
        // systemd-repart names the partitions by the two halves of the root hash.
        let half = |uuid: &Uuid| uuid.to_string().replace('-', "");
        let command_line = std::fs::read_to_string(folder.join("cvm.cmdline")).doing("the image's command line")?;
        let words = command_line.split(' ').filter(|word| !word.starts_with("roothash=")).map(str::to_owned);
        Ok(Self {
            kernel: folder.join("cvm.vmlinuz"),
            simulated: target.join(format!("initrd/simulated{suffix}.zst")),
            snp: target.join(format!("initrd/snp{suffix}.zst")),
            production: target.join(format!("initrd/production{suffix}.zst")),
            words: words.collect(),
            test_modules: target.join(format!("simulation/modules{suffix}")),
            root_hash: half(&root.uuid) + &half(&hashes.uuid),
            root: range(root),
            hashes: range(hashes),
            pki: target.join("simulation/pki"),
            top: top.to_owned(),
            line: kernel,
            image,
        })
    }
}

impl Artifacts {
    /// The words of production but those two that the simulated module cannot stand.
    pub(crate) fn words_for_the_simulation(&self) -> impl Iterator<Item = &String> {
        self.words.iter().filter(|word| !ONLY_SIGNED_MODULES.contains(&word.as_str()))
    }
}

fn read_table(image: &Path) -> Result<Vec<Partition>, Failure> {
    let file = File::open(image).doing("opening the image (is it built? qemu/build)")?;
    let sectors = file.metadata().doing("size of the image")?.len() / 512;
    let mut lba1 = vec![0; SECTOR];
    file.read_exact_at(&mut lba1, 512).doing("reading the partition table")?;
    let header = Header::parse(&lba1, sectors).doing("partition table")?;
    let (offset, length) = header.entries_range();
    let mut entries = vec![0; length];
    file.read_exact_at(&mut entries, offset).doing("reading the partitions")?;
    header.partitions(&entries).doing("partitions")
}
