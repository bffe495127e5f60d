//! What the table says, held against the parser.

use super::super::tests::{data_parameters, with_root};
use super::super::{
    Check, DataCipher, Distinct, FailureAction, FileSystem, Format, FsOption, HeaderAuth, LogLevel, Measure, MountMode,
    OnCorruption, OnError, Phase, Wipe,
};
use super::{Absent, Group, Key, Needs, SetBy};

#[test]
fn names_lead_back_to_their_keys() {
    for key in Key::ALL {
        assert_eq!(Key::from_name(key.as_str()), Some(*key));
    }
    assert_eq!(Key::from_name("cvm.date"), None);
}

#[test]
fn rows_are_in_the_order_of_the_groups() {
    assert!(Key::ALL.is_sorted_by_key(|key| key.about().group));
    assert!(Group::ALL.is_sorted());
    assert!(Group::ALL.iter().all(|group| Key::ALL.iter().any(|key| key.about().group == *group)));
}

#[test]
fn only_data_and_vault_keys_need_a_data_disk() {
    for key in Key::ALL {
        let is_named_so = key.as_str().starts_with("cvm.data.") || key.as_str().starts_with("cvm.vault");
        assert_eq!(key.needs_data_disk(), is_named_so, "{key}");
        assert_eq!(key.about().needs == Needs::DataDisk, is_named_so, "{key}");
    }
}

#[test]
fn signed_configuration_may_not_decide_what_is_trusted() {
    for key in Key::ALL {
        let parts = ["cvm.data", "cvm.vault", "cvm.net", "cvm.pccs", "cvm.watchdog"];
        let may = parts.iter().any(|part| key.as_str() == *part || key.as_str().starts_with(&format!("{part}.")));
        assert_eq!(key.about().set_by == SetBy::Configuration, may, "{key}");
    }
}

#[test]
fn defaults_of_the_table_are_those_of_the_parser() {
    for key in Key::ALL {
        let rest = if key.needs_data_disk() { data_parameters() } else { String::new() };
        let absent = with_root(&rest);
        match key.about().absent {
            Absent::Value(text) => {
                assert_eq!(key.default_value(), Some(text));
                let (absent, given) = (absent.unwrap(), with_root(&format!("{rest} {key}={text}")).unwrap());
                // The cipher's default is about formatting: a given one must be that of an existing disk too.
                let given = if *key == Key::DataCipher { given.without_required_cipher() } else { given };
                assert_eq!(given.without_parameters(), absent.without_parameters(), "{key}={text}");
            }
            Absent::Refused => assert!(
                *key == Key::RootHash || rest.contains(&format!("{key}=")),
                "{key} is required, and the command line without it was accepted"
            ),
            Absent::Means(_) => {
                assert_eq!(key.default_value(), None);
                assert!(absent.is_ok(), "{key}: {absent:?}");
            }
        }
    }
}

#[test]
fn every_keyword_stands_in_the_grammar_of_its_key() {
    let keywords: [(Key, Vec<&str>); 14] = [
        (Key::VerityOnCorruption, OnCorruption::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataFormat, Format::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataFstype, FileSystem::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataCipher, DataCipher::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataHeaderAuth, HeaderAuth::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataWipe, Wipe::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataOpen, MountMode::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataCheck, Check::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataOnError, OnError::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::DataOptions, FsOption::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::VaultDistinct, Distinct::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::Measure, Measure::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::Fail, FailureAction::ALL.iter().map(|value| value.as_str()).collect()),
        (Key::Log, LogLevel::ALL.iter().map(|value| value.as_str()).collect()),
    ];
    let phases = Phase::ALL.iter().map(|value| value.as_str()).collect();
    for (key, values) in keywords.into_iter().chain([(Key::Debug, phases)]) {
        for value in values {
            assert!(key.about().value.contains(&format!("`{value}`")), "{key}: {value}");
        }
    }
}

#[test]
fn texts_of_the_table_are_markdown_that_a_table_holds() {
    for key in Key::ALL {
        let about = key.about();
        let texts = [about.value, about.decides].into_iter().chain(about.notes.iter().copied());
        for text in texts {
            assert!(text.matches('`').count().is_multiple_of(2) && !text.contains('\n') && !text.is_empty(), "{key}: {text}");
        }
        assert!(!about.decides.ends_with('.') && !about.value.ends_with('.'), "{key}");
        assert!(about.notes.iter().all(|note| note.ends_with('.')), "{key}");
    }
}

#[test]
fn removed_names_are_refused_with_the_new_ones() {
    for (old, new) in Key::REMOVED {
        let parameter = if old.contains('=') { (*old).to_owned() } else { format!("{old}=x") };
        let error = with_root(&parameter).unwrap_err().to_string();
        assert_eq!(error, format!("{old} is now {new}"));
    }
}
