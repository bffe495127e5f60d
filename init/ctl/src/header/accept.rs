//! Checks of a header area before it is saved or restored: the guest would accept it, and its first format is finished.

use cmdline::{Data, HeaderAuth, KeyCommitment};
use ondisk::intent::{self, Intent};
use ondisk::luks2::{self, AcceptedLayout, DATA_OFFSET, Expect, FormatState, Header, PARTS, Violation};
use quorum::{Dek, Purpose};

use super::report::Report;
use super::with_disk_key;

/// How to treat a header with one damaged copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Damaged {
    /// Repair it from the other copy, as the guest does.
    Repair,
    Refuse,
}

/// A header area that passed every check.
pub(super) struct Accepted {
    /// The complete area, with both copies of the header intact.
    pub(super) image: Vec<u8>,
    pub(super) header: Header,
    pub(super) checked: AcceptedLayout,
}

/// The result of a header's authentication.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Authentication {
    /// The token was made with the key that was given.
    Verified,
    /// It was not.
    Failed,
    NoPassphrase,
    NoToken,
}

/// Checks an area against the policy. `None` if a rule is broken; the report names it.
pub(super) fn accept(report: &mut Report, mut image: Vec<u8>, damaged: Damaged, wanted: &Data) -> Option<Accepted> {
    if has_record(&image) {
        report.refuse(
            "record of a begun format",
            "a first format was begun or its last write was lost. Boot the guest: it ends the format or erases the record",
        );
    }
    let header = parse(report, &mut image, damaged)?;
    let uuid = header.uuid();
    report.line(true, "form", format_args!("{} bytes a copy, sequence {}, uuid {uuid}", header.size(), header.seqid()));
    check_uuid(report, &header, wanted);
    // Rotation creates a second keyslot for a short time, always together with the token.
    let expect = |rotation| Expect { cipher: wanted.cipher, data_offset: DATA_OFFSET, rotation };
    let has_token = luks2::check(&header, &expect(true)).is_ok_and(|checked| checked.auth_token().is_some());
    let expect = expect(has_token);
    for (part, found) in PARTS.into_iter().zip(luks2::check_parts(&header, &expect)) {
        match found {
            Ok(()) => report.line(true, part, "as policy requires"),
            Err(Violation::Keyslots) => {
                report.refuse(part, "expected one, and a second one only beside the authentication token (rotation)");
            }
            Err(violation) => report.refuse(part, violation),
        }
    }
    let checked = luks2::check(&header, &expect).ok()?;
    examine_state(report, &checked, wanted);
    (!report.refused).then_some(Accepted { image, header, checked })
}

/// Compares the header's UUID with the one in the policy; the guest ends with E89 if they differ.
pub(super) fn check_uuid(report: &mut Report, header: &Header, wanted: &Data) {
    let (uuid, pinned) = (header.uuid(), wanted.disks.first().and_then(|disk| disk.uuid));
    if let Some(expected) = pinned.filter(|expected| *expected != uuid) {
        report.refuse("uuid", format_args!("the header's is {uuid}, and cvm.data.uuid is {expected}: is this the right disk?"));
    }
}

/// Whether the area contains a record of a begun format.
pub(super) fn has_record(image: &[u8]) -> bool {
    let block = usize::try_from(intent::OFFSET).ok().and_then(|at| image.get(at..at + intent::BLOCK));
    block.and_then(Intent::parse).is_some()
}

fn parse(report: &mut Report, image: &mut [u8], damaged: Damaged) -> Option<Header> {
    let error = match Header::parse(image) {
        Ok(header) => return Some(header),
        Err(error) => error,
    };
    if damaged == Damaged::Refuse {
        report.refuse(
            "form",
            format_args!("{error}. If one copy is whole, cvmctl header save FILE NEWFILE makes a file with both"),
        );
        return None;
    }
    match luks2::repair(image).and_then(|()| Header::parse(image)) {
        Ok(header) => {
            report.note("copies", format_args!("{error}; the other copy is whole, and the file gets both copies from it"));
            Some(header)
        }
        Err(error) => {
            report.refuse("form", error);
            None
        }
    }
}

fn examine_state(report: &mut Report, checked: &AcceptedLayout, wanted: &Data) {
    match checked.auth_token().map(|token| token.state) {
        Some(FormatState::Formatting) => {
            report.refuse("state", "the first format was not finished, so there is no data that this header opens");
        }
        None if wanted.header_auth == HeaderAuth::Require => {
            report.refuse("authentication", "the header has no token, and cvm.data.header-auth=require refuses it");
        }
        Some(FormatState::Ready) | None => {}
    }
    if checked.slots().len() > 1 {
        report.note("rotation", "it was not finished: the guest opens this header only with cvm.vault.previous");
    }
}

impl Accepted {
    pub(super) fn authenticate(&self, dek: Option<&Dek>, wanted: &Data) -> Authentication {
        let Some(token) = self.checked.auth_token() else { return Authentication::NoToken };
        let Some(dek) = dek else { return Authentication::NoPassphrase };
        let message = luks2::auth_message(&self.header, &self.checked, &self.image, token.state);
        let uuid = self.header.uuid().to_string();
        let authenticator = with_disk_key(dek, wanted, |dek| dek.authenticator(Purpose::HeaderAuthentication, &uuid));
        if message.is_some_and(|message| authenticator.verifies(&message, &token.mac)) {
            Authentication::Verified
        } else {
            Authentication::Failed
        }
    }

    pub(super) fn keyslots(&self) -> String {
        let slots = self.checked.slots().iter();
        slots.map(|slot| format!("{} by {}", slot.id, slot.kdf.as_str())).collect::<Vec<_>>().join(", ")
    }
}

/// Compares the key with the commitment, if the policy has one. During a rotation the key may be the previous one.
pub(super) fn check_commitment(report: &mut Report, dek: Option<&Dek>, wanted: &Data) {
    let (Some(dek), KeyCommitment::Sha256(current)) = (dek, wanted.vaults.commitment) else { return };
    let (found, rule) = (dek.commitment().0, "commitment");
    if found == current {
        report.line(true, rule, "the passphrase is the key of cvm.vault.key-commitment");
    } else if wanted.vaults.previous.as_ref().is_some_and(|previous| previous.commitment == found) {
        report.line(true, rule, "the passphrase is the key of cvm.vault.previous.key-commitment");
    } else {
        report.refuse(
            rule,
            "the passphrase is not the key of cvm.vault.key-commitment. If it is the previous key, add cvm.vault.previous and \
             cvm.vault.previous.key-commitment to --cmdline",
        );
    }
}
