//! Predictions and accounts compared with logs. `init/predict/tests/rtmr0/README.md` says where the files are from.

use std::collections::BTreeMap;

use encoding::hex;
use eventlog::ccel::Log;
use eventlog::register::Hash;
use proptest::prelude::*;

use super::golden::{acpi, file, firmware_with, sha384, varstore};
use super::variable::{GLOBAL, IMAGE_SECURITY, encode};
use super::*;

/// The sections of dstack 0.6.0: as in `hob`.
const SECTIONS: [(u32, u64, u64); 4] =
    [(3, 0x81_0000, 0x1_0000), (3, 0x80_b000, 0x2000), (2, 0x80_9000, 0x2000), (3, 0x80_0000, 0x6000)];
const OLD_SECTIONS: [(u32, u64, u64); 4] =
    [(3, 0x81_1000, 0xf000), (3, 0x80_b000, 0x2000), (2, 0x80_9000, 0x2000), (3, 0x80_0000, 0x6000)];

fn of_log(name: &str, predicted: &[Event]) -> Account {
    Account::new(&Log::parse(&file(name, 0, 0)).unwrap(), predicted)
}

/// The certificate of the first entry in db that admitted a program, from its event.
fn admitting<'a>(log: &Log<'a>) -> &'a [u8] {
    let data = log.events.iter().find(|event| event.kind == 0x8000_00e0).unwrap().data;
    &variable::Variable::decode(data).unwrap().value[16..]
}

fn direct() -> Machine<'static> {
    Machine { boot: Some(Boot::Direct), ..Machine::default() }
}

const fn gib(count: u64) -> Memory {
    Memory { bytes: count << 30, below_4g: None }
}

/// The digests of a log's register in SHA-384.
fn digests(name: &str, registers: &[u32]) -> Vec<Vec<u8>> {
    let bytes = file(name, 0, 0);
    let log = Log::parse(&bytes).unwrap();
    let events = log.events.iter().filter(|event| event.is_extended() && registers.contains(&event.register));
    events.map(|event| event.digest(Hash::Sha384).unwrap().to_vec()).collect()
}

/// The digest of the CFV in four public logs is that of the variable store in Debian's package (OVMF_VARS_4M.fd, and the start of OVMF.fd).
#[test]
fn empty_variable_store_is_the_cfv_of_public_logs() {
    let firmware = firmware_with(&SECTIONS, &varstore("debian.vars"));
    let want = "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790";
    assert_eq!(sha384(cfv(&firmware).unwrap()), want);
    for name in ["dstack.ccel", "go-unpadded.ccel"] {
        assert_eq!(hex::encode(&digests(name, &[1])[1]), want, "{name}");
    }
    assert_eq!(cfv(&firmware_with(&SECTIONS, &[])).unwrap_err(), Error::NoCfv);
}

/// All events of RTMR0 but the three of ACPI are predicted; with those of the log, the register is that of the log.
#[test]
fn log_of_a_trust_domain_of_dstack_is_predicted_but_for_acpi() {
    let firmware = firmware_with(&OLD_SECTIONS, &varstore("debian.vars"));
    let machine =
        Machine { firmware: Some(&firmware), memory: Some(gib(1)), secure_boot: SecureBootVariable::Absent, ..direct() };
    let (events, is_whole) = machine.events().unwrap();
    assert!(!is_whole);
    assert_eq!(machine.rtmr0().unwrap(), None, "no value without the ACPI tables");
    let mut predicted: Vec<Vec<u8>> = events.iter().map(Event::digest).collect();
    let logged = digests("dstack.ccel", &[1]);
    assert_eq!((logged.len(), predicted.len()), (13, 10));
    predicted.splice(8..8, logged[8..11].to_vec());
    assert_eq!(predicted, logged);
    let account = of_log("dstack.ccel", &events);
    assert_eq!((account.missing.len(), account.secure_boot), (0, SecureBootState::Absent));
    let proofs = |proof: Proof| account.events.iter().filter(|event| event.proof == proof).count();
    assert_eq!((proofs(Proof::Predicted), proofs(Proof::Claimed)), (10, 3));
}

/// RTMR0 of a real quote: Dstack-TEE/dstack, commit 312dc605 (Apache-2.0), dstack/verifier/fixtures/quote-report.json, a machine of 64 GiB with
/// a GPU. The three digests of ACPI are from its event log; all others are predicted.
#[test]
fn register_of_a_public_quote_is_predicted_but_for_acpi() {
    let firmware = firmware_with(&SECTIONS, &varstore("debian.vars"));
    let machine =
        Machine { firmware: Some(&firmware), memory: Some(gib(64)), secure_boot: SecureBootVariable::Absent, ..direct() };
    let mut predicted: Vec<Vec<u8>> = machine.events().unwrap().0.iter().map(Event::digest).collect();
    let acpi = [
        "2065dd48d647e4377db277ba203526901a17845e93e0df4c2dfc3ce136e0910324ead1e1c86b8d90c2acdf9c85ffac53",
        "772b0169c66b52e4453fff9e3c6257635ea950ebcc8edd7ef2e2f8241cf6a155f39df01a7c7a194b6bc0abe5de11861d",
        "abfb2256644b5786eefdcb92303d2008c36cb9500d98997e215ef5080745d4bf2e5b3629090918e193e7f05b173d48c5",
    ];
    predicted.splice(8..8, acpi.map(|digest| hex::decode::<48>(digest).unwrap().to_vec()));
    let rtmr0 = Hash::Sha384.replay(predicted.iter().map(Vec::as_slice));
    assert_eq!(
        hex::encode(&rtmr0),
        "2e3843265f8ecdd4e2282694747f6f2f111605c33f2a8882f5734ee6f3a6ce63d8f34aeef06093dcda76fa5f9d33d8d6"
    );
}

/// An older firmware: SecureBoot is 0 rather than absent, and the second separator is in RTMR0.
#[test]
fn log_of_an_older_firmware_is_predicted_but_for_acpi() {
    let firmware = firmware_with(&SECTIONS, &varstore("debian.vars"));
    let machine = Machine { firmware: Some(&firmware), memory: Some(gib(8)), second_separator: true, ..direct() };
    let account = of_log("go-unpadded.ccel", &machine.events().unwrap().0);
    let claimed = account.events.iter().filter(|event| event.proof != Proof::Predicted).count();
    assert_eq!((account.missing.len(), account.events.len(), claimed), (0, 14, 3));
    assert_eq!(account.secure_boot, SecureBootState::Off);
}

/// OVMF measured these into PCR 7 on a machine of this project.
#[test]
fn variables_of_secure_boot_are_those_that_ovmf_measured() {
    for (vars, log, secure_boot) in
        [("debian.vars", "ovmf.log", SecureBootVariable::Absent), ("debian-ms.vars", "ovmf-ms.log", SecureBootVariable::Computed)]
    {
        let firmware = firmware_with(&SECTIONS, &varstore(vars));
        let machine = Machine { firmware: Some(&firmware), secure_boot, ..Machine::default() };
        let predicted: Vec<Vec<u8>> = machine.events().unwrap().0.iter().skip(1).take(6).map(Event::digest).collect();
        assert_eq!(predicted, digests(log, &[7]), "{log}: five variables and the separator");
    }
}

/// OVMF started a kernel that QEMU gave it, with Secure Boot on. A TPM has no TD HOB and no CFV, and a separator in PCR 1.
#[test]
fn direct_boot_with_secure_boot_is_predicted_whole_and_in_order() {
    let firmware = firmware_with(&SECTIONS, &varstore("builder.vars"));
    let files = acpi();
    let files: acpi::Files<'_> = files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect();
    let log = file("ovmf-direct.log", 0, 0);
    let log = Log::parse(&log).unwrap();
    let certificate = admitting(&log);
    let machine = Machine {
        firmware: Some(&firmware),
        acpi: Some(files),
        admitted_by: Some(certificate),
        second_separator: true,
        ..direct()
    };
    let events = machine.events().unwrap().0;
    let predicted: Vec<Vec<u8>> = events.iter().skip(1).map(Event::digest).collect();
    assert_eq!(predicted, digests("ovmf-direct.log", &[1, 7]));
    let texts: Vec<&str> = events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(texts[7], "ACPI: etc/table-loader, 4096 bytes");
    assert_eq!((texts[8], texts[9]), ("ACPI: etc/acpi/rsdp, 20 bytes", "ACPI: etc/tpm/log, 65536 bytes"));
    assert!(texts[10].starts_with("ACPI: etc/acpi/tables, 131072 bytes (2 CPUs; FACS 64 bytes, DSDT "), "{}", texts[10]);
    assert!(texts[10].ends_with(" bytes, WAET 40 bytes, RSDT 60 bytes)"), "{}", texts[10]);
}

#[test]
fn boot_options_are_measured_in_the_order_of_boot_order() {
    let variable = |name: &str, value: &[u8]| BootVariable { name: name.to_owned(), value: value.to_vec() };
    let boot = vec![variable("Boot0001", b"one"), variable("BootOrder", &[2, 0, 1, 0]), variable("Boot0002", b"two")];
    let hashed = |boot: Boot| {
        let (events, _) = Machine { boot: Some(boot), ..Machine::default() }.events()?;
        Ok::<_, Error>(events.into_iter().filter(|event| event.kind == Kind::Boot).map(|event| event.hashed).collect::<Vec<_>>())
    };
    assert_eq!(hashed(Boot::Variables(boot.clone())).unwrap(), [&[2, 0, 1, 0][..], b"two", b"one"]);
    for (left_out, want) in
        [(0, "boot variables: BootOrder names Boot0001, which is missing"), (1, "boot variables: BootOrder is missing")]
    {
        let mut some = boot.clone();
        some.remove(left_out);
        assert_eq!(hashed(Boot::Variables(some)).unwrap_err().to_string(), want);
    }
    let odd = vec![variable("BootOrder", &[0])];
    assert_eq!(
        hashed(Boot::Variables(odd)).unwrap_err().to_string(),
        "boot variables: BootOrder has 1 bytes: expected 2 for each option"
    );
    // The default is what three public logs of direct boot have.
    let logged = digests("dstack.ccel", &[1]);
    let default = hashed(Boot::Direct).unwrap();
    assert_eq!([Hash::Sha384.digest(&default[0]), Hash::Sha384.digest(&default[1])], logged[11..13]);
}

/// The entry for "Microsoft Corporation UEFI CA 2011" is the same in Debian's variable store, in Ubuntu's, whose log this is, and in the log
/// of Debian's shim in init/ctl/tests/logs.
#[test]
fn entry_of_db_that_admits_the_first_program_is_that_of_logs() {
    let firmware = firmware_with(&SECTIONS, &varstore("debian-ms.vars"));
    let store = Varstore::parse(cfv(&firmware).unwrap()).unwrap();
    let db = store.get(IMAGE_SECURITY, "db").unwrap();
    let logged = digests("trustee-grub.ccel", &[1])[15].clone();
    let log = file("trustee-grub.ccel", 0, 0);
    let log = Log::parse(&log).unwrap();
    let certificate = admitting(&log);
    assert!(signatures::entry_of(db, certificate).is_some());
    let events = |machine: Machine<'_>| machine.events().map(|(events, _)| events);
    let machine = Machine { firmware: Some(&firmware), admitted_by: Some(certificate), ..direct() };
    let kinds = |machine: Machine<'_>| events(machine).unwrap().iter().map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(kinds(machine.clone())[7..], [Kind::Authority, Kind::Boot, Kind::Boot]);
    let on_disk = vec![BootVariable { name: "BootOrder".to_owned(), value: Vec::new() }];
    let on_disk = Machine { boot: Some(Boot::Variables(on_disk)), second_separator: true, ..machine.clone() };
    assert_eq!(kinds(on_disk)[7..], [Kind::Boot, Kind::Separator, Kind::Authority]);
    let authority = events(machine.clone()).unwrap().into_iter().find(|event| event.kind == Kind::Authority).unwrap();
    assert_eq!(authority.digest(), logged);
    assert!(authority.what.starts_with("db: certificate CN=Microsoft Corporation UEFI CA 2011,"), "{}", authority.what);
    assert_eq!(events(Machine { admitted_by: Some(b"another"), ..machine }).unwrap_err(), Error::NotInDb);
}

/// With Secure Boot on, the register has the event of the entry in db.
#[test]
fn prediction_with_secure_boot_needs_the_admitting_certificate() {
    let log = file("trustee-grub.ccel", 0, 0);
    let log = Log::parse(&log).unwrap();
    let certificate = admitting(&log);
    let firmware = firmware_with(&SECTIONS, &varstore("debian-ms.vars"));
    let files = acpi();
    let files: acpi::Files<'_> = files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect();
    let machine = Machine { firmware: Some(&firmware), memory: Some(gib(2)), acpi: Some(files), ..direct() };
    assert_eq!(machine.rtmr0().unwrap(), None);
    assert!(Machine { admitted_by: Some(certificate), ..machine }.rtmr0().unwrap().is_some());
}

#[test]
fn prediction_has_a_value_only_with_all_inputs() {
    let firmware = firmware_with(&SECTIONS, &varstore("debian.vars"));
    let files = acpi();
    let files: acpi::Files<'_> = files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect();
    let whole = Machine { firmware: Some(&firmware), memory: Some(gib(2)), acpi: Some(files), ..direct() };
    assert_eq!(whole.rtmr0().unwrap().map(|value| value.len()), Some(48));
    for (what, machine) in [
        ("firmware", Machine { firmware: None, ..whole.clone() }),
        ("memory", Machine { memory: None, ..whole.clone() }),
        ("ACPI", Machine { acpi: None, ..whole.clone() }),
        ("boot", Machine { boot: None, ..whole.clone() }),
    ] {
        assert_eq!(machine.rtmr0().unwrap(), None, "{what}");
    }
}

#[test]
fn state_of_secure_boot_is_that_of_the_store() {
    let state = |vars: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut store = varstore(vars);
        change(&mut store);
        let firmware = firmware_with(&SECTIONS, &store);
        let computed = Machine { firmware: Some(&firmware), ..Machine::default() };
        let absent = Machine { secure_boot: SecureBootVariable::Absent, ..computed.clone() };
        (computed.secure_boot_state().unwrap(), absent.secure_boot_state().unwrap())
    };
    assert_eq!(state("debian-ms.vars", &|_| ()), (SecureBootState::On, SecureBootState::Absent));
    assert_eq!(state("debian.vars", &|_| ()), (SecureBootState::Off, SecureBootState::Absent));
    assert_eq!(Machine::default().secure_boot_state().unwrap(), SecureBootState::Unknown);
    // Secure Boot is off where the PK is deleted (state 0x3d), or where SecureBootEnable is 0.
    let at = |store: &[u8], name: &str| {
        let wide: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let found = |header: &usize| store[*header..].starts_with(&[0xaa, 0x55]) && store[header + 60..].starts_with(&wide);
        (100..20_000).find(found).unwrap_or_else(|| panic!("no variable {name}"))
    };
    let delete_key = |store: &mut Vec<u8>| {
        let header = at(store, "PK");
        store[header + 2] = 0x3d;
    };
    let disable = |store: &mut Vec<u8>| {
        let header = at(store, "SecureBootEnable");
        store[header + 60 + 34] = 0;
    };
    assert_eq!(state("debian-ms.vars", &delete_key).0, SecureBootState::Off);
    assert_eq!(state("debian-ms.vars", &disable).0, SecureBootState::Off);
}

/// Texts of public logs: see init/predict/tests/rtmr0/README.md.
#[test]
fn account_names_what_each_event_pins() {
    let account = of_log("trustee-grub.ccel", &[]);
    let texts: Vec<(Proof, &str)> = account.events.iter().map(|event| (event.proof, event.what.as_str())).collect();
    assert_eq!(texts[0], (Proof::Claimed, "TD HOB: the memory map from the hypervisor; digest only"));
    assert_eq!(texts[1], (Proof::Claimed, "CFV: the variable store in the firmware file; digest only"));
    assert_eq!(texts[2], (Proof::Described, "variable SecureBoot: on"));
    assert!(texts[3].1.starts_with("variable PK: 1 certificate: ") && texts[3].1.contains("Ubuntu"), "{}", texts[3].1);
    assert!(texts[4].1.starts_with("variable KEK: 2 certificates: "), "{}", texts[4].1);
    assert!(texts[5].1.contains("Microsoft Windows Production PCA 2011"), "{}", texts[5].1);
    assert_eq!(texts[6].1, "variable dbx: 1 SHA-256 hash");
    assert_eq!(texts[7], (Proof::Described, "separator"));
    assert_eq!(texts[8], (Proof::Claimed, "ACPI tables: number of CPUs, devices, memory nodes; digest only"));
    assert_eq!(texts[11], (Proof::Described, "BootOrder: 0001,0000 (only the value is hashed)"));
    let misc = "Boot0001: \"UEFI Misc Device\" at PciRoot(0x0)/Pci(";
    assert!(texts[12].1.starts_with(misc) && texts[12].1.contains(", made by firmware"), "{}", texts[12].1);
    let ui_app = "Boot0000: \"UiApp\" at Fv(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(462caa21-7614-4503-836e-8ab6f4662331) \
                  (only the value is hashed)";
    assert_eq!(texts[13], (Proof::Described, ui_app));
    assert!(
        texts[15].1.starts_with("variable db: certificate ") && texts[15].1.ends_with(" admitted a program"),
        "{}",
        texts[15].1
    );
    assert_eq!(texts[16].1, "variable SbatLevel: sbat,1,2023012900 shim,2 grub,3 grub.debian,4");
    assert!(texts[17].1.starts_with("variable MokListRT: certificate "), "{}", texts[17].1);
    assert_eq!(account.secure_boot, SecureBootState::On);
    assert_eq!(account.warnings.len(), 1, "{:?}", account.warnings);
    assert_eq!(
        hex::encode(&account.rtmr0.unwrap()),
        "cec0a104f691f60da2387fea3c2de00c4ac035e2bb479ff02edcce69039d9e9907f0b3e55031da3dc7038f423adebd79"
    );
}

#[test]
fn states_of_secure_boot_are_those_of_public_logs() {
    for (name, want, warnings) in [
        ("dstack.ccel", SecureBootState::Absent, 2),
        ("go-unpadded.ccel", SecureBootState::Off, 2),
        ("go-event-log.ccel", SecureBootState::Off, 2),
        ("trustee-alibaba.ccel", SecureBootState::Off, 2),
        ("trustee-gcp.ccel", SecureBootState::Off, 1),
        ("trustee-grub.ccel", SecureBootState::On, 1),
    ] {
        let account = of_log(name, &[]);
        assert_eq!((account.secure_boot, account.warnings.len()), (want, warnings), "{name}: {:?}", account.warnings);
    }
}

/// A log with these events in RTMR0: the type, the hashed bytes, and the data.
fn log(events: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let mut log = [1_u32, 3].map(u32::to_le_bytes).as_flattened().to_vec();
    let header = [&b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0"[..]].concat();
    log.extend([0; 20]);
    log.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    log.extend(header);
    for (kind, hashed, data) in events {
        log.extend([1, *kind, 1].map(u32::to_le_bytes).as_flattened());
        log.extend([0x0c, 0]);
        log.extend(Hash::Sha384.digest(hashed));
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(*data);
    }
    log
}

fn account(events: &[(u32, &[u8], &[u8])], predicted: &[Event]) -> Account {
    Account::new(&Log::parse(&log(events)).unwrap(), predicted)
}

const CONFIG: u32 = 0x8000_0001;
const BOOT: u32 = 0x8000_0002;

/// The log's writer chooses the data of an event.
#[test]
fn text_of_another_digest_is_never_vouched_for() {
    let (on, off) = (encode(GLOBAL, "SecureBoot", &[1]), encode(GLOBAL, "SecureBoot", &[0]));
    let separator = (4, &[0; 4][..], &[0; 4][..]);
    let lie = account(&[(CONFIG, &off, &on), separator], &[]);
    assert_eq!((lie.events[0].proof, lie.events[0].what.as_str()), (Proof::Described, "variable SecureBoot: OFF"));
    assert_eq!(lie.secure_boot, SecureBootState::Off, "by its digest");
    let option = encode(GLOBAL, "Boot0001", b"good");
    for (kind, hashed, data) in
        [(BOOT, &b"evil"[..], &option[..]), (BOOT, b"good", b"no variable"), (4, b"x", &[0; 4]), (0x77, b"x", b"x")]
    {
        let proof = account(&[(kind, hashed, data)], &[]).events[0].proof;
        assert!(matches!(proof, Proof::Claimed | Proof::NotInterpreted), "{kind:#x}");
    }
}

/// The host chooses bytes that firmware hashes as files, and a program of the running system can extend RTMR0: neither may change the
/// state of Secure Boot for the reader.
#[test]
fn secure_boot_is_known_only_from_the_one_digest_before_the_separator() {
    let (on, off) = (encode(GLOBAL, "SecureBoot", &[1]), encode(GLOBAL, "SecureBoot", &[0]));
    let (other, strange) = (encode(IMAGE_SECURITY, "SecureBoot", &[1]), encode(GLOBAL, "SecureBoot", &[2]));
    let absent = encode(GLOBAL, "SecureBoot", &[]);
    let variable = |data| (CONFIG, data, data);
    let (on, off) = (variable(&on[..]), variable(&off[..]));
    let separator = (4, &[0; 4][..], &[0; 4][..]);
    // The log calls the true event a file.
    let hidden = (0xa, off.1, &b"QEMU FW CFG\0bootorder"[..]);
    for (what, events, want) in [
        ("on", vec![on, separator], SecureBootState::On),
        ("off", vec![off, separator], SecureBootState::Off),
        ("absent", vec![variable(&absent), separator], SecureBootState::Absent),
        ("whatever the log calls it", vec![hidden, separator], SecureBootState::Off),
        ("a file with the bytes of on, before off", vec![on, hidden, separator], SecureBootState::Unknown),
        ("a file with the bytes of on, after off", vec![hidden, (0xa, &[0; 4], b"x"), on, separator], SecureBootState::Unknown),
        ("off, then on", vec![off, separator, on], SecureBootState::Unknown),
        ("on after the separator", vec![separator, on], SecureBootState::Unknown),
        ("on after a separator that the log calls a file", vec![(0xa, &[0; 4], b"x"), on, separator], SecureBootState::Unknown),
        ("no separator", vec![on], SecureBootState::Unknown),
        ("of another owner", vec![variable(&other), separator], SecureBootState::Unknown),
        ("another value", vec![variable(&strange), separator], SecureBootState::Unknown),
        ("none", vec![], SecureBootState::Unknown),
    ] {
        let account = account(&events, &[]);
        assert_eq!(account.secure_boot, want, "{what}");
        let is_warned = account.warnings.iter().any(|warning| warning.contains("The state of Secure Boot is NOT PROVED"));
        assert_eq!(is_warned, want == SecureBootState::Unknown, "{what}");
    }
}

/// A host can have the bytes of a good db hashed as a file, and call the true db something else.
#[test]
fn keys_are_proved_only_between_secure_boot_and_the_separator() {
    let [on, key, exchange, db, dbx, good] = [
        encode(GLOBAL, "SecureBoot", &[1]),
        encode(GLOBAL, "PK", &[1; 40]),
        encode(GLOBAL, "KEK", &[2; 40]),
        encode(IMAGE_SECURITY, "db", &[3; 40]),
        encode(IMAGE_SECURITY, "dbx", &[]),
        encode(IMAGE_SECURITY, "db", &[4; 40]),
    ];
    let variable = |data| (CONFIG, data, data);
    let separator = (4, &[0; 4][..], &[0; 4][..]);
    let [on, key, exchange, db, dbx, good] = [&on, &key, &exchange, &db, &dbx, &good].map(|data| variable(&data[..]));
    let hidden = (0xa, db.1, &b"QEMU FW CFG\0bootorder"[..]);
    let proofs = |events: &[(u32, &[u8], &[u8])]| {
        let account = account(events, &[]);
        let is_warned = account.warnings.iter().any(|warning| warning.contains("PK, KEK, db and dbx are NOT PROVED"));
        let is_proved = |event: &Explained| event.proof == Proof::Described && event.what.starts_with("variable ");
        (account.events.iter().filter(|event| is_proved(event)).count(), is_warned)
    };
    assert_eq!(proofs(&[on, key, exchange, db, dbx, separator]), (5, false));
    let timestamps = encode(IMAGE_SECURITY, "dbt", &[]);
    assert_eq!(proofs(&[on, key, exchange, db, dbx, variable(&timestamps), separator]), (6, false));
    assert_eq!(proofs(&[on, key, exchange, db, dbx, separator, good]), (5, false), "the second db is not proved");
    for (what, events) in [
        ("a good db as a file before", vec![good, on, key, exchange, hidden, dbx, separator]),
        ("a good db as a file after", vec![on, key, exchange, hidden, dbx, separator, good]),
        ("a separator too early", vec![on, key, exchange, db, separator, dbx]),
        ("another order", vec![on, exchange, key, db, dbx, separator]),
        ("one more", vec![on, key, exchange, db, good, dbx, separator]),
    ] {
        assert_eq!(proofs(&events), (1, true), "{what}");
    }
}

#[test]
fn predicted_events_are_found_by_digest_and_type_once() {
    let event = |hashed: &[u8]| Event { kind: Kind::Acpi, what: "ACPI: etc/acpi/rsdp".to_owned(), hashed: hashed.to_vec() };
    let acpi = (0xa, &b"rsdp"[..], &b"ACPI DATA"[..]);
    let found = account(&[acpi, acpi], &[event(b"rsdp"), event(b"other")]);
    let texts: Vec<_> = found.events.iter().map(|event| (event.proof, event.what.as_str())).collect();
    assert_eq!(texts[0], (Proof::Predicted, "ACPI: etc/acpi/rsdp"));
    assert_eq!(texts[1].0, Proof::Claimed, "one prediction is not two events");
    assert_eq!(found.missing, ["ACPI: etc/acpi/rsdp"]);
    let two = account(&[(0xa, b"b", b"ACPI DATA"), (0xa, b"a", b"ACPI DATA")], &[event(b"a"), event(b"b")]);
    assert!(two.warnings.iter().any(|warning| warning.contains("another order")), "{:?}", two.warnings);
    assert!(!found.warnings.iter().any(|warning| warning.contains("another order")), "{:?}", found.warnings);
    let as_hob = account(&[(0x8000_000b, b"rsdp", b"")], &[event(b"rsdp")]);
    assert_eq!(as_hob.events[0].proof, Proof::Claimed);
}

#[test]
fn malformed_acpi_files_are_refused() {
    let command = |code: u32, name: &[u8]| {
        let mut command = [&code.to_le_bytes()[..], name].concat();
        command.resize(128, 0);
        command
    };
    let rsdp = command(1, b"etc/acpi/rsdp");
    let length = "ACPI: etc/table-loader: its length is not a multiple of 128 bytes, or too large";
    let name = "ACPI: etc/table-loader: the name of a file is not a relative path in ASCII, or there are too many files";
    for (what, script, want) in [
        ("empty", vec![], length),
        ("cut", rsdp[..100].to_vec(), length),
        ("no name", command(1, b""), name),
        ("an escape", command(1, b"\x1b[2J"), name),
        ("an absolute path", command(1, b"/etc/passwd"), name),
        ("a parent", command(1, b"etc/../../x"), name),
        ("17 files", rsdp.repeat(17), name),
        ("a file that is missing", rsdp.clone(), "ACPI: the file etc/acpi/rsdp is missing"),
    ] {
        let files = BTreeMap::from([("etc/table-loader".to_owned(), script.as_slice())]);
        assert_eq!(acpi::measured(&files).unwrap_err().to_string(), want, "{what}");
    }
    assert_eq!(acpi::measured(&BTreeMap::new()).unwrap_err().to_string(), "ACPI: the file etc/table-loader is missing");
    let script = [rsdp, command(3, b"\xff"), command(0, b"")].concat();
    let files = BTreeMap::from([("etc/table-loader".to_owned(), &script[..]), ("etc/acpi/rsdp".to_owned(), b"x")]);
    assert_eq!(acpi::measured(&files).unwrap().len(), 2, "other commands allocate nothing");
}

#[test]
fn malformed_variable_stores_are_refused() {
    let good = varstore("debian-ms.vars");
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    // The first variable is at 72 (volume header) + 28 (store header).
    for (what, bytes, want) in [
        ("empty", vec![], VarstoreError::Volume),
        ("another type of volume", changed(16, &[0]), VarstoreError::Volume),
        ("no signature", changed(40, b"X"), VarstoreError::Volume),
        ("a volume of 2^63 bytes", changed(39, &[0x80]), VarstoreError::TooLarge),
        ("a header outside of the volume", changed(48, &[0xff, 0xff]), VarstoreError::Kind),
        ("a store without authentication", changed(72, &[0]), VarstoreError::Kind),
        ("not formatted", changed(92, &[0]), VarstoreError::Kind),
        ("a store longer than the volume", changed(88, &[0xff; 4]), VarstoreError::Truncated(72)),
        ("a store shorter than its header", changed(88, &[1, 0, 0, 0]), VarstoreError::Truncated(72)),
        ("a name of 4 GiB", changed(136, &[0xff; 4]), VarstoreError::TooLarge),
        ("a value of 4 GiB", changed(140, &[0xff; 4]), VarstoreError::TooLarge),
        ("a value longer than the rest", changed(140, &[0xb0, 0xff, 3, 0]), VarstoreError::Truncated(28)),
        ("cut short", good[..1000].to_vec(), VarstoreError::Truncated(0)),
    ] {
        assert_eq!(Varstore::parse(&bytes).unwrap_err(), want, "{what}");
    }
    // Firmware ignores a deleted variable.
    let first = Varstore::parse(&good).unwrap();
    assert!(first.get(GLOBAL, "PK").is_some() && first.get(GLOBAL, "pk").is_none() && first.get(IMAGE_SECURITY, "PK").is_none());
}

#[test]
fn signature_lists_and_load_options_are_bounded() {
    let x509 = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
    let list = |whole: u32, header: u32, entry: u32, data: &[u8]| {
        [&x509[..], [whole, header, entry].map(u32::to_le_bytes).as_flattened(), data].concat()
    };
    assert_eq!(signatures::describe(&[]).as_deref(), Some("empty"));
    assert_eq!(signatures::describe(&list(28, 0, 17, &[])).as_deref(), Some("empty"));
    let junk = signatures::describe(&list(45, 0, 17, &[7; 17])).unwrap();
    assert!(junk.starts_with("1 certificate: not a certificate (SHA-256 "), "{junk}");
    for (what, bytes) in [
        ("cut", list(60, 0, 17, &[7; 17])),
        ("entries of 0 bytes", list(45, 0, 0, &[7; 17])),
        ("entries of 16 bytes", list(44, 0, 16, &[7; 16])),
        ("a part of an entry", list(44, 0, 17, &[7; 16])),
        ("a long header", list(45, u32::MAX, 17, &[7; 17])),
        ("shorter than its header", list(3, 0, 17, &[7; 17])),
        ("too long", vec![0; 2 << 20]),
    ] {
        assert_eq!(signatures::describe(&bytes), None, "{what}");
    }
    let option = |path: &[u8], rest: &[u8]| {
        [&1_u32.to_le_bytes()[..], &u16::try_from(path.len()).unwrap().to_le_bytes(), &[b'a', 0, 0x1b, 0, 0, 0], path, rest]
            .concat()
    };
    assert_eq!(load_option::describe(&option(&[], &[])).as_deref(), Some("\"a?\" at no device"));
    assert_eq!(
        load_option::describe(&option(&[9, 9, 4, 0], b"quiet")).as_deref(),
        Some("\"a?\" at Path(0x9,0x9), 5 bytes of arguments")
    );
    assert_eq!(load_option::describe(&option(&[9, 9, 200, 0], &[])), None);
    assert_eq!(load_option::describe(&[1, 0, 0, 0, 0, 0, b'a', 0]), None, "no end of the name");
    assert_eq!(load_option::describe_order(&[0]), None);
}

proptest! {
    #[test]
    fn any_change_of_a_log_is_explained_or_refused(at in 0_usize..15_000, byte: u8) {
        let mut bytes = file("trustee-grub.ccel", 0, 0);
        bytes[at] = byte;
        if let Ok(log) = Log::parse(&bytes) {
            let account = Account::new(&log, &[]);
            prop_assert!(account.events.iter().all(|event| event.what.chars().all(|c| matches!(c, ' '..='~'))));
        }
    }

    #[test]
    fn any_change_of_a_variable_store_is_read_or_refused(at in 0_usize..12_775, byte: u8) {
        let mut bytes = varstore("debian-ms.vars");
        bytes[at] = byte;
        let firmware = firmware_with(&SECTIONS, &bytes);
        drop(Machine { firmware: Some(&firmware), memory: Some(gib(1)), ..Machine::default() }.events());
    }

    #[test]
    fn any_bytes_are_described_or_not(bytes: Vec<u8>) {
        drop((signatures::describe(&bytes), signatures::describe_entry(&bytes), load_option::describe(&bytes)));
        drop((load_option::describe_order(&bytes), acpi::describe(&bytes), Varstore::parse(&bytes).is_ok()));
    }
}
