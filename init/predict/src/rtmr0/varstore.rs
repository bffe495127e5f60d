//! The variable store of edk2: a firmware volume with authenticated variables, as in `OVMF_VARS.fd` and in the configuration volume (CFV)
//! of a TDVF.
//!
//! The host chooses a TDVF's CFV, since MRTD does not measure it; the store is hostile input.
//!
//! Source: edk2 `MdeModulePkg/Include/Guid/VariableFormat.h`, `MdeModulePkg/Universal/Variable/RuntimeDxe`; PI 1.8, volume 3, section 3.2.1.

use encoding::fields::{array, le_u16, le_u32, le_u64};

/// The largest store that is read, in bytes; OVMF's has 528 KiB.
const STORE_MAX: usize = 4 << 20;
/// The most variables, deleted ones included.
const VARIABLES_MAX: usize = 4096;
/// The longest name, in bytes.
const NAME_MAX: usize = 1024;
/// `EFI_SYSTEM_NV_DATA_FV_GUID`, `fff12b8d-7696-4c8b-a985-2747075b4f50`.
const VOLUME: [u8; 16] = [0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50];
/// `EFI_AUTHENTICATED_VARIABLE_GUID`, `aaf32c78-947b-439a-a180-2e144ec37792`.
const AUTHENTICATED: [u8; 16] = [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];
/// Lengths of `VARIABLE_STORE_HEADER` and `AUTHENTICATED_VARIABLE_HEADER`, in bytes.
const STORE_HEADER_LEN: usize = 28;
const HEADER_LEN: usize = 60;
const START: u16 = 0x55aa;
/// States of a variable: whole; whole, but a new value is being written.
const ADDED: u8 = 0x3f;
const IN_DELETED_TRANSITION: u8 = 0x3e;

/// Why a store is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a firmware volume for variables.
    #[error("not a variable store: no firmware volume of the type for variables at the start")]
    Volume,
    /// The store in the volume is of another kind.
    #[error("expected a store of authenticated variables that is formatted and healthy")]
    Kind,
    /// A length exceeds the bytes: the offset.
    #[error("variable store: the record at byte {0} is truncated")]
    Truncated(usize),
    /// The volume, a name or the number of variables exceeds its limit.
    #[error("variable store: too large, or too many variables")]
    TooLarge,
}

/// A variable of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored<'a> {
    guid: [u8; 16],
    name: &'a [u8],
    value: &'a [u8],
    state: u8,
}

/// The variables of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Varstore<'a>(Vec<Stored<'a>>);

impl<'a> Varstore<'a> {
    /// Reads the store at the start of `bytes`.
    ///
    /// # Errors
    /// When the bytes are not such a store, or a length in it exceeds them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let store = store(bytes)?;
        let mut variables = Vec::new();
        let mut at = STORE_HEADER_LEN;
        while le_u16(store, at) == Some(START) {
            if variables.len() == VARIABLES_MAX {
                return Err(Error::TooLarge);
            }
            let (variable, length) = variable(store, at)?;
            variables.push(variable);
            at = (at + length).next_multiple_of(4);
        }
        Ok(Self(variables))
    }

    /// Returns the value of a variable, as firmware finds it: the one that is whole, or the one that a new value was about to replace.
    #[must_use]
    pub fn get(&self, guid: [u8; 16], name: &str) -> Option<&'a [u8]> {
        let wide: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let with = |state: u8| {
            let mut same = self.0.iter().filter(|stored| stored.state == state && stored.guid == guid && stored.name == wide);
            same.next().map(|stored| stored.value)
        };
        with(ADDED).or_else(|| with(IN_DELETED_TRANSITION))
    }
}

/// Returns the store with its header, without the rest of the volume.
fn store(bytes: &[u8]) -> Result<&[u8], Error> {
    let length = le_u64(bytes, 32).and_then(|length| usize::try_from(length).ok()).ok_or(Error::Volume)?;
    if array(bytes, 16) != Some(VOLUME) || bytes.get(40..44) != Some(b"_FVH") {
        return Err(Error::Volume);
    }
    if length > STORE_MAX {
        return Err(Error::TooLarge);
    }
    let start = le_u16(bytes, 48).map(usize::from).ok_or(Error::Volume)?;
    let store = bytes.get(..length).and_then(|volume| volume.get(start..)).ok_or(Error::Truncated(0))?;
    // Format 0x5a: formatted; state 0xfe: healthy.
    if array(store, 0) != Some(AUTHENTICATED) || store.get(20..22) != Some(&[0x5a, 0xfe]) {
        return Err(Error::Kind);
    }
    let length = le_u32(store, 16).and_then(|length| usize::try_from(length).ok()).ok_or(Error::Truncated(start))?;
    store.get(..length).filter(|_| length >= STORE_HEADER_LEN).ok_or(Error::Truncated(start))
}

/// Reads the variable at the offset `at`, and returns its length without padding.
fn variable(store: &[u8], at: usize) -> Result<(Stored<'_>, usize), Error> {
    let short = || Error::Truncated(at);
    let header = store.get(at..at + HEADER_LEN).ok_or_else(short)?;
    let length = |offset: usize| le_u32(header, offset).and_then(|length| usize::try_from(length).ok()).ok_or_else(short);
    let (name, value) = (length(36)?, length(40)?);
    if name > NAME_MAX || value > store.len() {
        return Err(Error::TooLarge);
    }
    let data = store.get(at + HEADER_LEN..at + HEADER_LEN + name + value).ok_or_else(short)?;
    let (name, value) = data.split_at_checked(name).ok_or_else(short)?;
    let guid = array(header, 44).ok_or_else(short)?;
    let state = header.get(2).copied().ok_or_else(short)?;
    Ok((Stored { guid, name, value, state }, HEADER_LEN + data.len()))
}
