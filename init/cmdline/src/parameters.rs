//! The command line split into parameters, and the parameters that configure this init.

use super::{Error, Key};
use std::collections::BTreeMap;

/// One byte fewer than x86 keeps (`COMMAND_LINE_SIZE` without the last NUL): the end of a command line that fills it may be missing.
pub(super) const MOST_BYTES: usize = 2046;

/// How much of an unknown key the error contains, in characters.
const MOST_SHOWN: usize = 64;

/// The parameters of this init: each key once, with the text behind `=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(BTreeMap<Key, String>);

impl Parameters {
    /// Splits the command line, and refuses everything that the kernel could split in another way.
    pub(super) fn read(line: &str) -> Result<Self, Error> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.len() > MOST_BYTES {
            return Err(Error::TooLong);
        }
        // The kernel splits at a vertical tab, and this parser does not. No other control character is of use here.
        if !line.bytes().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return Err(Error::NotAscii);
        }
        if line.contains('"') {
            return Err(Error::Quoted);
        }
        let mut known = BTreeMap::new();
        let mut dashes = false;
        for parameter in line.split_ascii_whitespace() {
            dashes |= parameter == "--";
            let Some((key, value)) = key_and_value(parameter)? else {
                continue;
            };
            if dashes {
                return Err(Error::AfterDashes(key));
            }
            // Without `=` there is no value, and every key has one.
            let value = value.ok_or(Error::Malformed(key))?;
            if known.insert(key, value.to_owned()).is_some() {
                return Err(Error::Repeated(key));
            }
        }
        Ok(Self(known))
    }

    /// The keys that were given, in the order of [`Key::ALL`].
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.keys().copied()
    }

    pub(super) fn is_given(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    /// Reads the value of a key that may be absent.
    pub(super) fn optional<T>(&self, key: Key, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        self.0.get(&key).map(|value| read(value).ok_or(Error::Malformed(key))).transpose()
    }

    /// Reads the value of a key, or else its default; an error if it has none.
    pub(super) fn value<T>(&self, key: Key, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        read(self.text(key)?).ok_or(Error::Malformed(key))
    }

    fn text(&self, key: Key) -> Result<&str, Error> {
        self.0.get(&key).map(String::as_str).or(key.default_value()).ok_or(Error::Missing(key))
    }

    /// The parameters as text: sorted by bytes, separated by one space.
    pub(super) fn canonical(&self) -> String {
        let mut parameters: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        parameters.sort_unstable();
        parameters.join(" ")
    }
}

/// The key and the value of a parameter; `None` where it belongs to another program.
fn key_and_value(parameter: &str) -> Result<Option<(Key, Option<&str>)>, Error> {
    let (name, value) = parameter.split_once('=').map_or((parameter, None), |(name, value)| (name, Some(value)));
    if let Some((old, new)) = Key::REMOVED.iter().find(|(old, _)| *old == name || *old == parameter) {
        return Err(Error::Removed { old, new });
    }
    if let Some(key) = Key::from_name(name) {
        return Ok(Some((key, value)));
    }
    // Any case, and `cvm` alone: no other program has such parameters, so they are misspelt keys.
    let lower = name.to_ascii_lowercase();
    if lower == "cvm" || lower.starts_with(Key::PREFIX) {
        return Err(Error::Unknown(name.chars().take(MOST_SHOWN).collect()));
    }
    Ok(None)
}
