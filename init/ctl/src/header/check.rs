//! `cvmctl header check`: checks a data disk's header by the guest's rules. It writes nothing and does not open the disk's encryption.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use cmdline::{Data, Format, HeaderAuth};
use ondisk::blank;
use ondisk::intent::{self, Intent};
use ondisk::luks2::{self, AcceptedLayout, DATA_OFFSET, Expect, FormatState, Header, PARTS};
use quorum::{Dek, Purpose};

use super::accept::{check_commitment, check_uuid};
use super::report::Report;
use super::{passphrase, policy, with_disk_key};
use crate::args::HeaderCheck;
use crate::run::{Error, REFUSED};
use crate::show;

/// Checks a header and prints each rule; exit code 0 only if the guest would open the disk, or format it if it is blank and policy allows.
pub(crate) fn check(args: &HeaderCheck) -> Result<ExitCode, Error> {
    let wanted = policy(&args.expected)?;
    let dek = args.passphrase_fd.map(passphrase).transpose()?;
    let (image, is_blank, is_whole) = read(args).map_err(|source| Error::File { path: args.disk.clone(), source })?;
    let mut report = Report::default();
    if is_blank && !is_whole {
        report.line(false, "blank", "yes, but the disk is too small for a data disk");
    } else if is_blank {
        report.line(
            wanted.format == Format::IfBlank,
            "blank",
            "every byte that the guest checks is zero; cvm.data.format decides",
        );
    } else {
        examine(&mut report, image, &wanted, dek.as_ref());
    }
    let accepted = !report.refused;
    report.lines.push(if accepted {
        "the guest would continue".to_owned()
    } else {
        "the guest would refuse this disk".to_owned()
    });
    show::lines(&report.lines)?;
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn examine(report: &mut Report, mut image: Vec<u8>, wanted: &Data, dek: Option<&Dek>) {
    let record = usize::try_from(intent::OFFSET).ok().and_then(|at| image.get(at..at + intent::BLOCK)).and_then(Intent::parse);
    let found = Header::parse(&image).or_else(|torn| {
        luks2::repair(&mut image)?;
        report.note("copies", format_args!("{torn}; the other one is whole, and the guest repairs this one"));
        Header::parse(&image)
    });
    let header = match (found, record) {
        (Ok(header), _) => header,
        (Err(error), Some(record)) => {
            report.note("form", format_args!("{error}; expected after an interrupted first format, whose record was found"));
            return begun(report, &record, wanted, dek);
        }
        (Err(error), None) => return report.line(false, "form", error),
    };
    let form = format!("both copies whole, {} bytes each, sequence {}, uuid {}", header.size(), header.seqid(), header.uuid());
    report.line(true, "form", form);
    check_uuid(report, &header, wanted);
    let rotation = wanted.vaults.previous.is_some();
    let expect = Expect { cipher: wanted.cipher, data_offset: DATA_OFFSET, rotation };
    for (part, found) in PARTS.into_iter().zip(luks2::check_parts(&header, &expect)) {
        match found {
            Ok(()) => report.line(true, part, "as policy requires"),
            Err(violation) => report.line(false, part, violation),
        }
    }
    if let Ok(checked) = luks2::check(&header, &expect) {
        let slots: Vec<_> = checked.slots().iter().map(|slot| format!("{} by {}", slot.id, slot.kdf.as_str())).collect();
        report.note("keyslots", slots.join(", "));
        match (record, checked.auth_token().map(|token| token.state)) {
            (Some(record), Some(FormatState::Formatting)) => begun(report, &record, wanted, dek),
            (Some(_), Some(FormatState::Ready)) => report.note("record of a begun format", "left over; the guest erases it"),
            (Some(_), None) => report.line(false, "record of a begun format", "beside a header without an authentication token"),
            (None, _) => {}
        }
        authentication(report, (&header, &checked, &image), wanted, dek);
    }
}

/// A format that was interrupted: formatted again by policy, if the record verifies with the key.
fn begun(report: &mut Report, record: &Intent, wanted: &Data, dek: Option<&Dek>) {
    let rule = "record of a begun format";
    report.line(wanted.format == Format::IfBlank, "state", "a first format that was interrupted; cvm.data.format decides");
    let authenticator =
        dek.map(|dek| with_disk_key(dek, wanted, |dek| dek.authenticator(Purpose::FormatIntent, &record.uuid.to_string())));
    match authenticator.map(|key| key.verifies(&intent::message(record.uuid), &record.mac)) {
        Some(true) => report.line(true, rule, "verifies with the key"),
        Some(false) => report.line(false, rule, "does not verify with the key"),
        None => report.note(rule, "found, not verified: no passphrase was given"),
    }
}

fn authentication(
    report: &mut Report,
    (header, checked, image): (&Header, &AcceptedLayout, &[u8]),
    wanted: &Data,
    dek: Option<&Dek>,
) {
    let Some(token) = checked.auth_token() else {
        return report.line(
            wanted.header_auth == HeaderAuth::Auto,
            "authentication",
            "the header has no token: only the allow-list restricts it",
        );
    };
    if token.state == FormatState::Formatting {
        let formats = wanted.format == Format::IfBlank;
        report.line(formats, "state", "a first format that was interrupted; cvm.data.format decides");
    }
    let Some(dek) = dek else {
        return report.note(
            "authentication",
            format_args!("token of state {}, not verified: no passphrase was given", token.state.as_str()),
        );
    };
    let message = luks2::auth_message(header, checked, image, token.state);
    let uuid = header.uuid().to_string();
    let authenticator = with_disk_key(dek, wanted, |dek| dek.authenticator(Purpose::HeaderAuthentication, &uuid));
    let good = message.is_some_and(|message| authenticator.verifies(&message, &token.mac));
    report.line(good, "authentication", if good { "verifies with the key" } else { "does not verify with the key" });
    check_commitment(report, Some(dek), wanted);
}

/// Reads the header area; whether all bytes are zero that the guest checks before it considers a disk blank; and whether the disk is large
/// enough for the guest.
fn read(args: &HeaderCheck) -> std::io::Result<(Vec<u8>, bool, bool)> {
    let mut disk = File::open(&args.disk)?;
    let bytes = disk.seek(SeekFrom::End(0))?;
    let length = usize::try_from(bytes.min(DATA_OFFSET)).unwrap_or(0);
    let mut image = vec![0; length];
    disk.read_exact_at(&mut image, 0)?;
    let mut is_blank = blank::is_blank(&image);
    for range in blank::ranges(bytes).into_iter().flatten() {
        if !is_blank {
            break;
        }
        let mut piece = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        disk.read_exact_at(&mut piece, range.start)?;
        is_blank &= blank::is_blank(&piece);
    }
    image.resize(usize::try_from(DATA_OFFSET).unwrap_or(0), 0);
    Ok((image, is_blank, blank::ranges(bytes).is_ok()))
}
