//! Fuzzes the account of RTMR0, variable stores, and the files of ACPI tables.
#![no_main]

use std::collections::BTreeMap;

use eventlog::ccel::Log;
use libfuzzer_sys::fuzz_target;
use predict::rtmr0::{Account, Machine, Memory, Proof, SecureBootState, Varstore, acpi};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = Log::parse(bytes) {
        let account = Account::new(&log, &[]);
        for event in &account.events {
            assert!(event.what.len() <= 8192 && event.what.chars().all(|c| matches!(c, ' '..='~')), "a description is a line");
            assert!(event.proof != Proof::Predicted, "nothing was predicted");
        }
        let is_warned = account.warnings.iter().any(|warning| warning.contains("Secure Boot is NOT PROVED"));
        assert_eq!(is_warned, account.secure_boot == SecureBootState::Unknown, "an unknown state is said");
    }
    std::hint::black_box(Varstore::parse(bytes).is_ok());
    let memory = Some(Memory { bytes: 1 << 30, below_4g: None });
    drop(Machine { firmware: Some(bytes), memory, ..Machine::default() }.events());
    let files = BTreeMap::from([(acpi::LOADER.to_owned(), bytes), (acpi::TABLES.to_owned(), bytes)]);
    drop(Machine { acpi: Some(files), ..Machine::default() }.events());
});
