//! Disks and their partitions in sysfs. The host chooses names, sizes and serial numbers: nothing here is verified.

use std::fs;
use std::path::{Path, PathBuf};

use super::answer::in_time;
use crate::Error;
use crate::threads::ANSWER;

/// The longest serial number of a virtio-blk disk, in bytes. Source: virtio 1.2, section 5.2.6, `VIRTIO_BLK_T_GET_ID`.
const VIRTIO_SERIAL_LEN: usize = 20;

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Name under `/dev` and `/sys/block`, for example `vda`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Logical block size in bytes: the unit of the partition table.
    pub block: u32,
    /// Serial number as virtio, NVMe or SCSI report it.
    pub serial: Option<String>,
    /// Whether the driver is virtio_blk, which truncates serial numbers.
    virtio_blk: bool,
    sysfs: PathBuf,
    dev: PathBuf,
}

/// A partition as the kernel found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelPartition {
    /// The device node.
    pub path: PathBuf,
    /// First byte on its disk.
    pub start: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// `major:minor`.
    pub number: String,
}

/// Lists all disks of the machine, sorted by name; loop, RAM and mapped devices are not disks.
///
/// # Errors
/// As reading `/sys/block`.
pub fn disks() -> Result<Vec<Disk>, Error> {
    disks_in(Path::new("/sys/block"), Path::new("/dev"))
}

/// Lists disks with other paths for `/sys/block` (`root`) and `/dev`.
///
/// # Errors
/// As reading the directory; a disk that vanishes during the listing is left out.
pub fn disks_in(root: &Path, dev: &Path) -> Result<Vec<Disk>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| Error::io("readdir", root.display(), &e))? {
        let entry = entry.map_err(|e| Error::io("readdir", root.display(), &e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if ["loop", "ram", "dm-", "zram", "md", "sr", "fd"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let sysfs = root.join(&name);
        // One path of a multipath NVMe disk: sysfs lists the disk as well.
        if number(&sysfs.join("hidden")) == Some(1) {
            continue;
        }
        let (Some(sectors), Some(block)) = (number(&sysfs.join("size")), number(&sysfs.join("queue/logical_block_size"))) else {
            continue;
        };
        let Ok(block) = u32::try_from(block) else { continue };
        // Inserted in order, since std's sort adds 4 KB to the binary for each sorted type.
        let place = found.partition_point(|before: &Disk| before.name < name);
        found.insert(
            place,
            Disk {
                serial: serial(&sysfs),
                virtio_blk: is_virtio_blk(&sysfs),
                bytes: sectors.saturating_mul(512),
                block,
                name,
                sysfs,
                dev: dev.to_owned(),
            },
        );
    }
    Ok(found)
}

/// Lists the disks with requests in flight, separated by commas. It sends no request to a disk.
///
/// Source: Documentation/ABI/stable/sysfs-block: `inflight` contains the numbers of reads and writes.
#[must_use]
pub fn busy() -> String {
    busy_in(Path::new("/sys/block"))
}

fn busy_in(root: &Path) -> String {
    let mut names = String::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let counts = text(&entry.path().join("inflight")).unwrap_or_default();
        if counts.split_whitespace().any(|count| count != "0") {
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(&entry.file_name().to_string_lossy());
        }
    }
    names
}

impl Disk {
    /// Returns the path of the device node.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dev.join(&self.name)
    }

    /// Whether the disk has the serial number `wanted`. On virtio-blk, which transports 20 bytes, a longer one matches by its first 20.
    #[must_use]
    pub fn has_serial(&self, wanted: &str) -> bool {
        let Some(serial) = &self.serial else { return false };
        let cut = wanted.as_bytes().get(..VIRTIO_SERIAL_LEN).filter(|_| self.virtio_blk);
        serial == wanted || cut == Some(serial.as_bytes())
    }

    /// Returns `major:minor` of the whole disk.
    ///
    /// # Errors
    /// As reading sysfs.
    pub fn number(&self) -> Result<String, Error> {
        text(&self.sysfs.join("dev"))
    }

    /// Lists the partitions that the kernel found.
    ///
    /// # Errors
    /// As reading sysfs.
    pub fn partitions(&self) -> Result<Vec<KernelPartition>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.sysfs).map_err(|e| Error::io("readdir", self.sysfs.display(), &e))? {
            let entry = entry.map_err(|e| Error::io("readdir", self.sysfs.display(), &e))?;
            let (Ok(name), path) = (entry.file_name().into_string(), entry.path()) else { continue };
            if !path.join("partition").exists() {
                continue;
            }
            if let (Some(start), Some(sectors)) = (number(&path.join("start")), number(&path.join("size"))) {
                found.push(KernelPartition {
                    path: self.dev.join(name),
                    start: start.saturating_mul(512),
                    bytes: sectors.saturating_mul(512),
                    number: text(&path.join("dev"))?,
                });
            }
        }
        Ok(found)
    }
}

pub(super) fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|e| Error::io("read", path.display(), &e))
}

fn number(path: &Path) -> Option<u64> {
    text(path).ok()?.parse().ok()
}

/// Checks the driver instead of the name: SCSI and NVMe disks report whole serial numbers, and names do not prove the bus.
fn is_virtio_blk(sysfs: &Path) -> bool {
    fs::read_link(sysfs.join("device/driver")).is_ok_and(|driver| driver.file_name().is_some_and(|name| name == "virtio_blk"))
}

/// Reads `serial` (virtio and some others), `device/serial` (NVMe), or page 0x80 of the vital product data after its 4-byte header
/// (SCSI). Bytes that are not UTF-8 become U+FFFD, which no serial number of a policy contains.
fn serial(sysfs: &Path) -> Option<String> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Each read makes virtio_blk send a request to the disk and wait for the answer.
    let virtio = || {
        let path = sysfs.join("serial");
        let wanted = path.clone();
        in_time("read", &path, ANSWER, move || fs::read(wanted)).ok()
    };
    let plain = || virtio().or_else(|| fs::read(sysfs.join("device/serial")).ok()).map(|bytes| lossy(&bytes));
    let scsi = || fs::read(sysfs.join("device/vpd_pg80")).ok()?.get(4..).map(lossy);
    let serial = plain().or_else(scsi)?;
    let serial = serial.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!serial.is_empty()).then(|| serial.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(root: &Path) -> Vec<Disk> {
        disks_in(root, Path::new("/dev")).unwrap()
    }

    fn sysfs(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn lists_disks_with_the_serial_of_each_bus() {
        let root = sysfs(&[
            ("vda/size", b"2048\n"),
            ("vda/queue/logical_block_size", b"512\n"),
            ("vda/serial", b"root"),
            ("nvme0n1/size", b"8\n"),
            ("nvme0n1/queue/logical_block_size", b"4096\n"),
            ("nvme0n1/device/serial", b"data   \n"),
            ("sda/size", b"8\n"),
            ("sda/queue/logical_block_size", b"512\n"),
            ("sda/device/vpd_pg80", b"\0\x80\0\x04 ab\0"),
            ("loop0/size", b"8\n"),
            ("loop0/queue/logical_block_size", b"512\n"),
            ("vdc/size", b"8\n"),
            ("vdc/queue/logical_block_size", b"512\n"),
            ("vdc/serial", b"a\xff\n"),
            ("vdb/size", b"nonsense\n"),
            ("vdb/queue/logical_block_size", b"512\n"),
        ]);
        let found: Vec<_> = listed(root.path()).into_iter().map(|d| (d.name, d.bytes, d.block, d.serial)).collect();
        assert_eq!(
            found,
            [
                ("nvme0n1".to_owned(), 4096, 4096, Some("data".to_owned())),
                ("sda".to_owned(), 4096, 512, Some("ab".to_owned())),
                ("vda".to_owned(), 1_048_576, 512, Some("root".to_owned())),
                ("vdc".to_owned(), 4096, 512, Some("a\u{fffd}".to_owned())),
            ]
        );
    }

    #[test]
    fn disks_with_requests_under_way_are_named() {
        let root =
            sysfs(&[("vda/inflight", b"       0        0\n"), ("vdb/inflight", b"       1        0\n"), ("vdc/size", b"8")]);
        assert_eq!(busy_in(root.path()), "vdb");
        assert_eq!(busy_in(&root.path().join("none")), "");
    }

    #[test]
    fn lists_partitions_in_bytes() {
        let root = sysfs(&[
            ("vda/size", b"2048"),
            ("vda/queue/logical_block_size", b"512"),
            ("vda/dev", b"254:0\n"),
            ("vda/vda2/partition", b"2\n"),
            ("vda/vda2/start", b"64\n"),
            ("vda/vda2/size", b"8\n"),
            ("vda/vda2/dev", b"254:2\n"),
        ]);
        let disk = listed(root.path()).remove(0);
        assert_eq!(disk.number().unwrap(), "254:0");
        let want = KernelPartition { path: PathBuf::from("/dev/vda2"), start: 32768, bytes: 4096, number: "254:2".to_owned() };
        assert_eq!(disk.partitions().unwrap(), [want]);
    }

    #[test]
    fn serial_is_compared_by_its_first_20_bytes_on_virtio_blk_alone() {
        let long = "0123456789abcdefghij-and-more";
        let cut = &long[..20];
        let cases = [
            ("cut by virtio-blk", Some("virtio_blk"), cut, long, true),
            ("not cut by SCSI", Some("sd"), cut, long, false),
            ("no driver", None, cut, long, false),
            ("shorter than the cut", Some("virtio_blk"), &long[..19], long, false),
            ("cut one further", Some("virtio_blk"), &long[..21], long, false),
            ("short and equal", Some("virtio_blk"), "data", "data", true),
            ("short and a prefix", Some("virtio_blk"), "data", "data-2", false),
            ("20 bytes and equal", Some("virtio_blk"), cut, cut, true),
            ("longer than wanted", Some("virtio_blk"), cut, &long[..19], false),
            ("long and equal elsewhere", Some("sd"), long, long, true),
        ];
        for (name, driver, serial, wanted, want) in cases {
            let root = sysfs(&[
                ("vda/size", b"8"),
                ("vda/queue/logical_block_size", b"512"),
                ("vda/serial", serial.as_bytes()),
                ("vda/device/vendor", b"0x1af4"),
            ]);
            if let Some(driver) = driver {
                // As in sysfs; the target of the symlink need not exist.
                let target = format!("../../../../bus/virtio/drivers/{driver}");
                std::os::unix::fs::symlink(target, root.path().join("vda/device/driver")).unwrap();
            }
            assert_eq!(listed(root.path())[0].has_serial(wanted), want, "{name}");
        }
    }
}
