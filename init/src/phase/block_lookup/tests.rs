//! Lookups with files in place of disks and of sysfs.

use std::fs;
use std::path::Path;

use linux::block::{Disk, disks_in};

use super::survey::Survey;
use super::*;

/// The identifier of the entry, in the table's byte order.
const WANTED: [u8; 16] = [0x11; 16];

/// A sysfs and a `/dev` in the build folder: tmpfs does not support direct reads everywhere.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap())
    }

    /// Adds a disk with this sector size in bytes; without content it has no node.
    fn disk(self, name: &str, sector: usize, serial: &str, content: Option<&[u8]>) -> Self {
        let (sysfs, dev) = (self.0.path().join("sys").join(name), self.0.path().join("dev"));
        fs::create_dir_all(sysfs.join("queue")).unwrap();
        fs::create_dir_all(&dev).unwrap();
        fs::write(sysfs.join("size"), (1 << 20 >> 9).to_string()).unwrap();
        fs::write(sysfs.join("queue/logical_block_size"), sector.to_string()).unwrap();
        fs::write(sysfs.join("serial"), serial).unwrap();
        fs::write(sysfs.join("dev"), "254:0").unwrap();
        if let Some(content) = content {
            let mut bytes = content.to_vec();
            bytes.resize(1 << 20, 0);
            fs::write(dev.join(name), bytes).unwrap();
        }
        self
    }

    /// Adds the partition of [`table`] to the kernel's view of the disk.
    fn partition(self, disk: &str, sector: u64) -> Self {
        let folder = self.0.path().join("sys").join(disk).join(format!("{disk}1"));
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in [("partition", 1), ("start", 64 * sector / 512), ("size", 8 * sector / 512)] {
            fs::write(folder.join(name), value.to_string()).unwrap();
        }
        fs::write(folder.join("dev"), "254:1").unwrap();
        fs::write(self.0.path().join("dev").join(format!("{disk}1")), vec![0; 4096]).unwrap();
        self
    }

    fn disks(&self) -> Vec<Disk> {
        disks_in(&self.0.path().join("sys"), &self.0.path().join("dev")).unwrap()
    }

    fn look(&self, query: &DeviceQuery<'_>) -> Result<String, Error> {
        let found = Survey::take(&self.disks(), query).outcome(query)?;
        Ok(found.path.strip_prefix(self.0.path()).unwrap_or(Path::new("")).display().to_string())
    }
}

/// The start of a disk of 1 MiB whose table names one partition: sectors 64 to 71, with the identifier [`WANTED`].
fn table(sector: usize) -> Vec<u8> {
    let mut entries = vec![0; 128 * 128];
    entries[..16].copy_from_slice(&[0xaa; 16]);
    entries[16..32].copy_from_slice(&WANTED);
    entries[32..40].copy_from_slice(&64_u64.to_le_bytes());
    entries[40..48].copy_from_slice(&71_u64.to_le_bytes());
    let last = (1 << 20) / u64::try_from(sector).unwrap() - 1;
    let mut header = vec![0; sector];
    header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    for (at, value) in [(24, 1), (32, last), (40, 48), (48, last - 40), (72, 2)] {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    header[56..72].copy_from_slice(&[0x22; 16]);
    for (at, value) in [(80, 128), (84, 128), (88, crc(&entries))] {
        header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
    }
    let sum = crc(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    [vec![0; sector], header, entries].concat()
}

/// CRC-32 of GPT (UEFI 2.10, section 5.3.2).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

fn damaged() -> Vec<u8> {
    let mut bytes = table(512);
    bytes[512 + 60] ^= 1;
    bytes
}

fn wanted() -> DeviceQuery<'static> {
    DeviceQuery::Uuid(Uuid::from_bytes(WANTED))
}

#[test]
fn damaged_and_absent_disks_beside_the_wanted_one_stop_nothing() {
    let machine = Machine::new().disk("vda", 512, "root", Some(&table(512))).partition("vda", 512);
    let machine =
        machine.disk("vdb", 512, "b", Some(&damaged())).disk("vdc", 512, "c", Some(&[0x5a; 9000])).disk("vdd", 512, "d", None);
    assert_eq!(machine.look(&wanted()).unwrap(), "dev/vda1");
    let survey = Survey::take(&machine.disks(), &wanted());
    let skipped = survey.skipped();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped[0].starts_with("vdb: partition table: ") && skipped[1].starts_with("vdd: open "), "{skipped:?}");
    assert!(survey.may_change_unannounced(), "a disk without a node may get one");
}

#[test]
fn disk_that_was_not_searched_is_named_when_nothing_is_found() {
    let damaged_alone = Machine::new().disk("vda", 512, "root", Some(&damaged()));
    let error = damaged_alone.look(&wanted()).unwrap_err();
    assert!(matches!(error, Error::Damaged(..)) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("vda: partition table: "), "{error}");
    let error = Machine::new().disk("vda", 512, "root", None).look(&wanted()).unwrap_err();
    assert!(matches!(error, Error::Unreadable(..)) && error.is_transient(), "{error}");
    let both = Machine::new().disk("vda", 512, "root", None).disk("vdb", 512, "b", Some(&damaged()));
    let error = both.look(&wanted()).unwrap_err();
    assert!(matches!(error, Error::Missing(..)), "{error}");
    assert!(error.to_string().contains("; not searched: vda: open ") && error.to_string().contains(", vdb: "), "{error}");
}

#[test]
fn partition_of_a_table_is_awaited_until_the_kernel_has_it() {
    let machine = Machine::new().disk("vda", 512, "root", Some(&table(512)));
    let survey = Survey::take(&machine.disks(), &wanted());
    assert!(matches!(survey.outcome(&wanted()), Err(Error::Disagree(_, 1, disk)) if disk == "vda"));
    assert!(survey.may_change_unannounced());
    assert_eq!(machine.partition("vda", 512).look(&wanted()).unwrap(), "dev/vda1");
}

#[test]
fn table_for_other_sectors_is_told() {
    for (table_sector, disk_sector) in [(512, 4096), (4096, 512)] {
        let machine = Machine::new().disk("vda", disk_sector, "root", Some(&table(table_sector)));
        let error = machine.look(&wanted()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&format!("a partition table for {table_sector}-byte sectors")), "{message}");
        assert!(message.contains(&format!("vda has {disk_sector}-byte sectors")) && !error.is_transient(), "{message}");
    }
}

#[test]
fn two_of_one_name_are_refused_whether_they_can_be_used_or_not() {
    let serials = Machine::new().disk("vda", 512, "data", Some(&[])).disk("vdb", 4096, "data", None);
    assert!(matches!(serials.look(&DeviceQuery::Serial("data")), Err(Error::Ambiguous(_))));
    let tables =
        Machine::new().disk("vda", 512, "a", Some(&table(512))).partition("vda", 512).disk("vdb", 512, "b", Some(&table(512)));
    assert!(matches!(tables.look(&wanted()), Err(Error::Ambiguous(_))));
}

#[test]
fn serials_that_were_seen_are_listed_and_escaped() {
    let machine = Machine::new().disk("vda", 512, "root", Some(&[])).disk("vdb", 4096, "a\u{1b}[2J", Some(&[]));
    let error = machine.look(&DeviceQuery::Serial("data")).unwrap_err();
    let want = "disk with serial data did not appear; serials seen: \"root\" (vda), \"a\\u{1b}[2J\" (vdb)";
    assert_eq!(error.to_string(), want);
    assert_eq!(machine.look(&DeviceQuery::Serial("root")).unwrap(), "dev/vda");
    let long = "x".repeat(200);
    let many = (0..10).fold(Machine::new(), |machine, number| machine.disk(&format!("vd{number}"), 512, &long, Some(&[])));
    let text = many.look(&DeviceQuery::Serial("data")).unwrap_err().to_string();
    assert!(text.len() < 900 && text.ends_with(" and 2 more"), "{text}");
    let none = Machine::new().disk("vda", 512, "", None).look(&DeviceQuery::Serial("data")).unwrap_err();
    assert!(none.to_string().ends_with("serials seen: none (vda)"), "{none}");
}

#[test]
fn lookup_goes_on_until_the_device_can_be_used_or_time_is_up() {
    let machine = Machine::new().disk("vda", 512, "data", None);
    let query = DeviceQuery::Serial("data");
    let mut looks = 0;
    let found = look_until(
        Instant::now() + Duration::from_secs(60),
        &query,
        || Ok(machine.disks()),
        |_| {
            looks += 1;
            if looks == 3 {
                fs::write(machine.0.path().join("dev/vda"), vec![0; 4096]).unwrap();
            }
            Ok(())
        },
    );
    assert_eq!((found.unwrap().number.as_str(), looks), ("254:0", 3));
    let late = look_until(Instant::now(), &DeviceQuery::Serial("other"), || Ok(machine.disks()), |_| Ok(()));
    assert!(matches!(late, Err(Error::Missing(..))));
}

#[test]
fn each_line_is_reported_once_and_not_without_end() {
    let mut reported = BTreeSet::new();
    assert_eq!(take_new(&mut reported, vec!["a".to_owned(), "b".to_owned(), "a".to_owned()]), ["a", "b"]);
    assert_eq!(take_new(&mut reported, vec!["b".to_owned(), "c".to_owned()]), ["c"]);
    let flood = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(take_new(&mut reported, flood).len(), REPORTED_MAX - 3);
}
