//! The place of the Secure Boot variables in RTMR0, found by digests.
//!
//! Nothing hashes the type of an event, and the host chooses bytes that firmware hashes for other purposes: files of fw_cfg, ACPI tables,
//! boot options. So a host can have the bytes of a variable hashed, and write a log that calls them the variable and the variable
//! something else. It cannot take away an event of the firmware: the true value of SecureBoot is always there. Therefore SecureBoot counts
//! only if it is the one event of the register with the digest of any of its values, and the other variables only in their fixed
//! places behind it.
//!
//! Source: edk2 `OvmfPkg/Tcg/TdTcg2Dxe`, `MeasureAllSecureVariables`.

use eventlog::ccel::Event as Logged;
use eventlog::register::Hash;

use super::SecureBootState;
use super::variable::{GLOBAL, IMAGE_SECURITY, Variable, encode};

/// The variables behind SecureBoot; the last two are measured only if they exist.
const FOLLOWING: [([u8; 16], &str); 4] = [(GLOBAL, "PK"), (GLOBAL, "KEK"), (IMAGE_SECURITY, "db"), (IMAGE_SECURITY, "dbx")];
const OPTIONAL: [&str; 2] = ["dbt", "dbr"];

/// The block of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// The index of SecureBoot among the events of RTMR0.
    start: usize,
    /// The number of variables whose place is proved: 1, or all of them.
    length: usize,
    /// The state of Secure Boot.
    pub(super) state: SecureBootState,
}

impl Block {
    /// Finds the block. `None` unless exactly one event has the digest of a value of SecureBoot, and no separator is before it.
    pub(super) fn find(logged: &[&Logged<'_>]) -> Option<Self> {
        let states: [(SecureBootState, &[u8]); 3] =
            [(SecureBootState::On, &[1]), (SecureBootState::Off, &[0]), (SecureBootState::Absent, &[])];
        let states = states.map(|(state, value)| (state, Hash::Sha384.digest(&encode(GLOBAL, "SecureBoot", value))));
        let state_of = |event: &Logged<'_>| {
            states.iter().find(|(_, digest)| event.digest(Hash::Sha384) == Some(digest)).map(|(state, _)| *state)
        };
        let mut found = logged.iter().enumerate().filter_map(|(at, event)| Some((at, state_of(event)?)));
        let (Some((start, state)), None) = (found.next(), found.next()) else { return None };
        let separator = logged.iter().position(|event| covers(event, &[0; 4]))?;
        let length = if is_followed(logged.get(start + 1..separator)?) { separator - start } else { 1 };
        Some(Self { start, length, state })
    }

    /// Whether the event of this index is SecureBoot.
    pub(super) const fn is_secure_boot(&self, index: usize) -> bool {
        index == self.start
    }

    /// Whether the event of this index is a variable of Secure Boot.
    pub(super) const fn contains(&self, index: usize) -> bool {
        self.start <= index && index < self.start + self.length
    }

    /// Whether the places of all variables are proved.
    pub(super) const fn is_whole(&self) -> bool {
        self.length > 1
    }
}

/// Whether these events are the variables behind SecureBoot.
fn is_followed(events: &[&Logged<'_>]) -> bool {
    let is = |event: &Logged<'_>, guid: [u8; 16], name: &str| {
        covers(event, event.data)
            && Variable::decode(event.data).is_some_and(|variable| variable.guid == guid && variable.name() == name)
    };
    let Some((fixed, rest)) = events.split_at_checked(FOLLOWING.len()) else { return false };
    let is_fixed = fixed.iter().zip(FOLLOWING).all(|(event, (guid, name))| is(event, guid, name));
    is_fixed && rest.iter().all(|event| OPTIONAL.iter().any(|name| is(event, IMAGE_SECURITY, name)))
}

/// Whether the event's digest is that of `bytes`.
pub(super) fn covers(event: &Logged<'_>, bytes: &[u8]) -> bool {
    event.digest(Hash::Sha384).is_some_and(|digest| Hash::Sha384.digest(bytes) == digest)
}
