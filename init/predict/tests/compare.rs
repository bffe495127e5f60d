//! Comparison of logs with predictions: equal logs, and the first event that differs.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::sync::LazyLock;

use eventlog::ccel::{Kind, Log};
use eventlog::register::Hash;
use predict::{Firmware, Prediction, SecureBoot, compare, image, register};
use proptest::prelude::{any, proptest};

mod images;

use images::{BOOT, ESP, disk, uki, with_grub};

const EV_NO_ACTION: u32 = 3;
const EV_IPL: u32 = 13;

/// An event: register, type, digest.
type Entry = (u32, u32, Vec<u8>);

fn entries(prediction: &Prediction, kind: Kind, firmware: Firmware) -> Vec<Entry> {
    let goes = |event: &&predict::Event| match kind {
        Kind::Cc => event.is_in_rtmr(firmware),
        Kind::Tpm => event.is_in_pcr(firmware),
    };
    let entry = |event: &predict::Event| (register(kind, event).unwrap(), EV_IPL, event.digest(Hash::Sha384));
    prediction.0.iter().filter(goes).map(entry).collect()
}

/// A crypto-agile log with SHA-384 alone (TCG PC Client Platform Firmware Profile 1.06, section 10).
fn log(entries: &[Entry]) -> Vec<u8> {
    let header = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0";
    let mut log = [&[1_u32, EV_NO_ACTION].map(u32::to_le_bytes).concat()[..], &[0; 20]].concat();
    log.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    log.extend(header);
    for (register, kind, digest) in entries {
        log.extend([*register, *kind, 1].map(u32::to_le_bytes).concat());
        log.extend([0x0c, 0]);
        log.extend(digest);
        log.extend([0; 4]);
    }
    log
}

fn predictions() -> [Prediction; 2] {
    let uki = disk(ESP, &[(BOOT, &uki(&[]))]);
    let grub = with_grub("linux /k/vmlinuz a\ninitrd /k/initrd\nboot\n");
    [uki, grub].map(|disk| image(disk, SecureBoot::Off).unwrap().1)
}

#[test]
fn log_of_each_firmware_is_equal_to_its_prediction_and_to_no_other() {
    for prediction in predictions() {
        for (kind, firmware) in Firmware::ALL.map(|firmware| (if firmware.has_cc() { Kind::Cc } else { Kind::Tpm }, firmware)) {
            // Firmware measures its settings before, and the log names itself in events that are not extended.
            let mut entries = entries(&prediction, kind, firmware);
            let count = entries.len();
            entries.insert(0, (1, EV_IPL, vec![7; 48]));
            entries.insert(3, (2, EV_NO_ACTION, vec![0; 48]));
            let bytes = log(&entries);
            let parsed = Log::parse(&bytes).unwrap();
            assert_eq!(compare(&parsed, kind, Hash::Sha384, &prediction, firmware), Ok(count), "{firmware:?}");
            for other in Firmware::ALL.into_iter().filter(|other| *other != firmware && other.has_cc() == firmware.has_cc()) {
                assert!(compare(&parsed, kind, Hash::Sha384, &prediction, other).is_err(), "{firmware:?} {other:?}");
            }
        }
    }
}

#[test]
fn first_divergence_names_both_events() {
    let [prediction, _] = predictions();
    let entries = entries(&prediction, Kind::Cc, Firmware::Td);
    let diverges = |entries: &[Entry]| {
        let bytes = log(entries);
        let log = Log::parse(&bytes).unwrap();
        let divergence = *compare(&log, Kind::Cc, Hash::Sha384, &prediction, Firmware::Td).unwrap_err();
        (
            divergence.equal,
            divergence.expected.map(|event| event.what.clone()),
            divergence.found.map(|found| (found.index, found.register)),
        )
    };
    let mut changed = entries.clone();
    changed[2].2[0] ^= 1;
    assert_eq!(diverges(&changed), (2, Some("the disk's partition table".to_owned()), Some((2, 2))));
    let mut moved = entries.clone();
    moved[2].0 = 3;
    assert_eq!(diverges(&moved), (2, Some("the disk's partition table".to_owned()), Some((2, 3))));
    let last = entries.len() - 1;
    let what = "firmware action \"Exit Boot Services Returned with Success\"".to_owned();
    assert_eq!(diverges(&entries[..last]), (last, Some(what), None));
    let more = [&entries[..], &[(3, EV_IPL, vec![1; 48])]].concat();
    assert_eq!(diverges(&more), (last + 1, None, Some((last + 1, 3))));
    // A log without SHA-384 agrees with nothing.
    let sha256 = log(&[]);
    let parsed = Log::parse(&sha256).unwrap();
    assert_eq!(compare(&parsed, Kind::Cc, Hash::Sha256, &prediction, Firmware::Td).unwrap_err().equal, 0);
}

static UKI: LazyLock<Prediction> = LazyLock::new(|| predictions()[0].clone());

proptest! {
    #[test]
    fn any_other_log_diverges_at_the_changed_event(at in 0_usize..14, flip in 1_u8..=255, register in 2_u32..4, moves in any::<bool>()) {
        let prediction = &*UKI;
        let mut entries = entries(prediction, Kind::Cc, Firmware::Td);
        let at = at.min(entries.len() - 1);
        let before = entries[at].clone();
        if moves { entries[at].0 = register } else { entries[at].2[5] ^= flip }
        let bytes = log(&entries);
        let compared = compare(&Log::parse(&bytes).unwrap(), Kind::Cc, Hash::Sha384, prediction, Firmware::Td);
        match compared {
            Ok(count) => assert!(count == entries.len() && entries[at] == before),
            Err(divergence) => assert!(divergence.equal == at && entries[at] != before),
        }
    }
}
