//! The line cut into words, and the words of ours picked out.

use super::{Error, Key};
use std::collections::BTreeMap;

/// One byte fewer than x86 keeps (`COMMAND_LINE_SIZE` without the last NUL): a line that fills it may have lost its end.
pub(super) const MOST_BYTES: usize = 2046;

/// What of an unknown key goes into the error, in characters.
const MOST_SHOWN: usize = 64;

/// The words of ours: each key once, with the text behind `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words(BTreeMap<Key, String>);

impl Words {
    /// Cuts the line. Everything that could make the kernel see other words than we do is refused here.
    pub(super) fn read(line: &str) -> Result<Self, Error> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.len() > MOST_BYTES {
            return Err(Error::TooLong);
        }
        // Vertical tab is white space to the kernel and not to us; no other control character has a place here either.
        if !line.bytes().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return Err(Error::NotAscii);
        }
        if line.contains('"') {
            return Err(Error::Quoted);
        }
        let mut ours = BTreeMap::new();
        let mut dashes = false;
        for word in line.split_ascii_whitespace() {
            dashes |= word == "--";
            let Some((key, value)) = ours_of(word)? else {
                continue;
            };
            if dashes {
                return Err(Error::AfterDashes(key));
            }
            // Without `=` there is no value, which no key of ours allows.
            let value = value.ok_or(Error::Malformed(key))?;
            if ours.insert(key, value.to_owned()).is_some() {
                return Err(Error::Repeated(key));
            }
        }
        Ok(Self(ours))
    }

    /// The keys that were given, in the order of [`Key::ALL`].
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.keys().copied()
    }

    /// Reads the value of a key that may be absent.
    pub(super) fn optional<T>(&self, key: Key, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        self.0.get(&key).map(|value| read(value).ok_or(Error::Malformed(key))).transpose()
    }

    /// Reads the value of a key that must be there.
    pub(super) fn required<T>(&self, key: Key, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        self.optional(key, read)?.ok_or(Error::Missing(key))
    }

    /// The words as text: sorted by bytes, one space between two.
    pub(super) fn canonical(&self) -> String {
        let mut words: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        words.sort_unstable();
        words.join(" ")
    }
}

/// The key and the value of a word of ours; `None` for everybody else's.
fn ours_of(word: &str) -> Result<Option<(Key, Option<&str>)>, Error> {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    if let Some(key) = Key::from_name(name) {
        return Ok(Some((key, value)));
    }
    if let Some((key, reason)) = Key::REMOVED.iter().find(|(key, _)| *key == name) {
        return Err(Error::Removed { key, reason });
    }
    // Any case, and `cvm` alone: nobody else has such words, so they are misspelt ones of ours.
    let lower = name.to_ascii_lowercase();
    if lower == "cvm" || lower.starts_with(Key::PREFIX) {
        return Err(Error::Unknown(name.chars().take(MOST_SHOWN).collect()));
    }
    Ok(None)
}
