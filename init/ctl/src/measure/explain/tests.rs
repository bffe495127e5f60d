//! Logs made of predicted events, with one thing changed.

use eventlog::ccel::Log;
use predict::{Event, Firmware, Maker, Part, Route, SecureBoot};

use super::*;
use crate::args::Signature;

const ON: &str = subject::state(SecureBoot::On, Signature::Verified);
const OFF: &str = subject::state(SecureBoot::Off, Signature::Verified);
const EXPECTED: Shape = Shape { state: ON, firmware: Firmware::Td, failed: 0 };

fn event(maker: Maker, pcr: u32, what: &str, hashed: &[u8], covers: &[Part]) -> Event {
    let route = match (maker, what) {
        (_, "separator") => Route::Separator,
        (Maker::Grub, _) => Route::OnlyWithTpm,
        (Maker::KernelStub, _) => Route::TpmElseCc,
        _ => Route::Each,
    };
    Event { pcr, what: what.to_owned(), hashed: hashed.to_vec(), maker, route, covers: covers.to_vec() }
}

fn table(last: u8) -> Vec<u8> {
    let mut table = vec![7; 92 + 8 + 128];
    table[48] = last;
    table
}

fn begin() -> Vec<Event> {
    let mut events = vec![event(Maker::Firmware, 4, "action", b"Calling EFI Application from Boot Option", &[])];
    events.extend((2..=6).map(|pcr| event(Maker::Firmware, pcr, "separator", &[0; 4], &[])));
    events.push(event(Maker::Firmware, 5, "the disk's partition table", &table(0), &[]));
    events
}

fn uki(secure_boot: SecureBoot) -> Prediction {
    let mut events = begin();
    events.push(event(Maker::Firmware, 4, "EFI/BOOT/BOOTX64.EFI is loaded (Authenticode)", b"uki", &[Part::Loader]));
    events.push(event(Maker::SystemdStub, 11, "name of section .linux", b".linux\0", &[]));
    events.push(event(Maker::SystemdStub, 11, "section .linux", b"kernel", &[Part::Kernel]));
    if secure_boot == SecureBoot::Off {
        events.push(event(Maker::Firmware, 4, "the kernel is loaded (Authenticode)", b"kernel as a program", &[Part::Kernel]));
    }
    events.extend(end());
    Prediction(events)
}

fn grub() -> Prediction {
    let mut events = begin();
    events.push(event(Maker::Firmware, 4, "EFI/BOOT/BOOTX64.EFI is loaded (Authenticode)", b"shim", &[Part::Loader]));
    events.push(event(Maker::Shim, 14, "shim: MokList", b"keys", &[]));
    events.push(event(Maker::Grub, 8, "GRUB runs linux", b"linux /v", &[]));
    events.extend(end());
    Prediction(events)
}

fn end() -> Vec<Event> {
    vec![
        event(Maker::KernelStub, 9, "command line", b"a b", &[Part::CommandLine]),
        event(Maker::KernelStub, 9, "initrd", b"initrd", &[Part::Initrd]),
        event(Maker::Firmware, 5, "action", b"Exit Boot Services Invocation", &[]),
    ]
}

/// Register, type, hashed bytes and data.
type Record = (u32, u32, Vec<u8>, Vec<u8>);

/// What a machine of this firmware logs.
fn records(prediction: &Prediction, firmware: Firmware) -> Vec<Record> {
    let kind = |event: &Event| match (event.maker, event.what.as_str()) {
        (_, "separator") => 4,
        (_, "action") => 0x8000_0007,
        (_, "the disk's partition table") => 0x8000_0006,
        (Maker::Firmware, _) => 0x8000_0003,
        _ => 0xd,
    };
    let events = prediction.events(firmware);
    events.map(|event| (event.rtmr().unwrap() + 1, kind(event), event.hashed.clone(), event.hashed.clone())).collect()
}

fn bytes(records: &[Record]) -> Vec<u8> {
    let mut log = [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20], &33_u32.to_le_bytes()].concat();
    log.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0");
    for (register, kind, hashed, data) in records {
        log.extend([*register, *kind, 1].map(u32::to_le_bytes).concat());
        log.extend([&0xc_u16.to_le_bytes()[..], &Hash::Sha384.digest(hashed)].concat());
        log.extend([&u32::try_from(data.len()).unwrap().to_le_bytes()[..], data].concat());
    }
    log
}

fn report(chain: Chain, records: &[Record], expected: Shape) -> serde_json::Value {
    let states = match chain {
        Chain::Grub => vec![(ON, grub())],
        _ => vec![(ON, uki(SecureBoot::On)), (OFF, uki(SecureBoot::Off))],
    };
    let bytes = bytes(records);
    of(&Log::parse(&bytes).unwrap(), chain, &states, expected, None).unwrap().to_json()
}

#[test]
fn machine_as_predicted_is_equal_in_each_shape() {
    for firmware in Firmware::ALL.into_iter().filter(|firmware| firmware.has_cc()) {
        for (state, secure_boot) in [(ON, SecureBoot::On), (OFF, SecureBoot::Off)] {
            for failed in [0, 2] {
                let records = records(&uki(secure_boot).after_failed_boot_options(failed), firmware);
                let report = report(Chain::Uki, &records, Shape { state, firmware, failed });
                assert_eq!((&report["equal"], report["causes"].as_array().unwrap().len()), (&true.into(), 0), "{report}");
            }
        }
    }
}

#[test]
fn machine_of_another_shape_is_explained_by_it() {
    let machines = [
        ("td-older", ON, 0, "before edk2-stable202411"),
        ("td", OFF, 0, "with Secure Boot off, not with Secure Boot on"),
        ("td-with-tpm", ON, 0, "the machine has a TPM"),
        ("td", ON, 2, "tried 2 boot options before the image, not 0"),
    ];
    for (name, state, failed, cause) in machines {
        let firmware = Firmware::ALL.into_iter().find(|firmware| firmware.name() == name).unwrap();
        let secure_boot = if state == ON { SecureBoot::On } else { SecureBoot::Off };
        let records = records(&uki(secure_boot).after_failed_boot_options(failed), firmware);
        let report = report(Chain::Uki, &records, EXPECTED);
        let causes = report["causes"].as_array().unwrap();
        assert!(report["equal"] == false && causes.len() == 1 && causes[0].as_str().unwrap().contains(cause), "{report}");
        assert_eq!(
            (report["equal_if"][0]["fold"].as_str(), report["equal_if"][0]["failed_boot_options"].as_u64()),
            (Some(name), u64::try_from(failed).ok()),
            "{report}"
        );
    }
    // GRUB without a TPM, where the prediction assumes one.
    let report = report(Chain::Grub, &records(&grub(), Firmware::Td), Shape { firmware: Firmware::TdWithTpm, ..EXPECTED });
    assert!(report["causes"][0].as_str().unwrap().contains("the machine has no TPM"), "{report}");
}

#[test]
fn first_event_that_differs_is_named_with_its_usual_cause() {
    type Change = fn(&mut Vec<Record>);
    let other: fn(&mut Record) = |record| {
        record.2.push(b'!');
        record.3.push(b'!');
    };
    let position =
        |wanted: &[u8]| records(&uki(SecureBoot::On), Firmware::Td).iter().position(|record| record.2 == wanted).unwrap();
    let (gpt, program, kernel) = (position(&table(0)), position(b"uki"), position(b"kernel"));
    assert_eq!((gpt, program, kernel), (2, 3, 5), "the indexes below");
    let cases: [(&str, Change, u64, &str, &str); 10] = [
        ("another image", |log| log[3].2.push(0), 4, "other", "another program"),
        ("a resized disk", |log| (log[2].2, log[2].3) = (table(9), table(9)), 3, "other", "has another size"),
        (
            "other partitions",
            |log| (log[2].2, log[2].3) = (vec![8; 228], vec![8; 228]),
            3,
            "other",
            "another image, or its partitions",
        ),
        ("an option ROM", |log| log.insert(1, (2, 0x8000_0004, b"rom".to_vec(), vec![0; 32])), 2, "additional", "option ROM"),
        (
            "a further program",
            |log| log.insert(3, (2, 0x8000_0003, b"p".to_vec(), vec![0; 32])),
            4,
            "additional",
            "started a further program:",
        ),
        (
            "a kernel of the hypervisor",
            |log| log.insert(0, (2, 0x8000_0003, b"p".to_vec(), vec![0; 32])),
            1,
            "additional",
            "gave the firmware a kernel",
        ),
        (
            "words of the host",
            |log| log.insert(6, (3, 0xd, b"words".to_vec(), b"words".to_vec())),
            7,
            "additional",
            "of the host",
        ),
        ("another section", |log| log[5].2.push(0), 6, "other", "a section of the unified kernel image differs"),
        ("another command line", |log| log[6].2.push(0), 7, "other", "another kernel command line"),
        ("another initrd", |log| log[7].2.push(0), 8, "other", "another initrd"),
    ];
    for (name, change, number, how, cause) in cases {
        let mut log = records(&uki(SecureBoot::On), Firmware::Td);
        change(&mut log);
        let report = report(Chain::Uki, &log, EXPECTED);
        let difference = &report["difference"];
        assert_eq!(
            (difference["event"].as_u64(), difference["change"].as_str()),
            (Some(number), Some(how)),
            "{name}: {report:#}"
        );
        assert!(report["causes"].to_string().contains(cause), "{name}: {report:#}");
        assert_eq!((&report["equal"], report["equal_if"].as_array().unwrap().len()), (&false.into(), 0), "{name}");
    }
    let mut log = records(&grub(), Firmware::TdWithTpm);
    other(&mut log[4]);
    log[4].3 = b"MokList\0".to_vec();
    let report = report(Chain::Grub, &log, Shape { firmware: Firmware::TdWithTpm, ..EXPECTED });
    assert!(report["causes"].to_string().contains("a machine owner key is enrolled"), "{report:#}");
}

#[test]
fn another_image_is_not_taken_for_another_shape() {
    let mut other = records(&uki(SecureBoot::On), Firmware::Td);
    other.iter_mut().filter(|record| record.1 != 4 && record.1 != 0x8000_0007).for_each(|record| record.2.push(b'!'));
    let (own, older) = (report(Chain::Uki, &other, EXPECTED), other[..1].iter().chain(&other[2..]).cloned().collect::<Vec<_>>());
    assert!(own["nearest"].is_null() && own["causes"].as_array().unwrap().len() == 1, "{own:#}");
    // Older firmware shows in the event itself.
    let older = report(Chain::Uki, &older, EXPECTED);
    assert!(older["causes"][0].as_str().unwrap().starts_with("the generation of the firmware"), "{older:#}");
    // Firmware with boot variables in this register, as in logs of a cloud.
    other.insert(0, (2, 0x8000_0002, b"order".to_vec(), b"BootOrder".to_vec()));
    let cloud = report(Chain::Uki, &other, EXPECTED);
    assert!(cloud["causes"][0].as_str().unwrap().contains("its settings into this register"), "{cloud:#}");
}

#[test]
fn log_that_ends_early_or_goes_on_is_not_equal() {
    let whole = records(&uki(SecureBoot::On), Firmware::Td);
    let short = report(Chain::Uki, &whole[..6], EXPECTED);
    assert!(short["difference"]["found"].is_null() && short["equal"] == false, "{short:#}");
    assert!(
        short["causes"].to_string().contains("the log ends early") || short["causes"].to_string().contains("EFI stub"),
        "{short:#}"
    );
    let more = [&whole[..], &[(3, 0xd, b"more".to_vec(), b"more".to_vec())]].concat();
    let more = report(Chain::Uki, &more, EXPECTED);
    assert_eq!((more["difference"]["expected"].is_null(), &more["equal"]), (true, &false.into()), "{more:#}");
    assert_eq!(report(Chain::Uki, &[], EXPECTED)["equal"], false);
}

#[test]
fn log_of_another_machine_than_predicted_is_refused() {
    let (states, bytes) = (vec![(ON, uki(SecureBoot::On))], bytes(&records(&uki(SecureBoot::On), Firmware::Td)));
    let expected = Shape { firmware: Firmware::Tpm, ..EXPECTED };
    let error = of(&Log::parse(&bytes).unwrap(), Chain::Uki, &states, expected, None).err().unwrap();
    assert_eq!(error.to_string(), "this is the log of a TD, but --fold tpm predicts the registers of another machine");
}
