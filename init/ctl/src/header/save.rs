//! `cvmctl header save`: saves the header area of a disk to a file.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::process::ExitCode;

use encoding::hex;
use ondisk::luks2::DATA_OFFSET;
use ring::digest::{SHA256, digest};

use super::accept::{Accepted, Authentication, Damaged, accept, check_commitment};
use super::report::Report;
use super::{disk, passphrase, policy};
use crate::args::HeaderSave;
use crate::new_file;
use crate::run::Error;

/// The last line if the command is refused.
const NOT_SAVED: &str = "nothing was saved";

/// Warning about the secrecy of the file.
const SECRECY: &str = "The file contains the keyslots: with it, the disk and the disk's key (also one from before a rotation) the data can \
be read. Keep it as secret as the disk, and delete every copy after a rotation.";

/// Checks the area, prints each check, and saves it; exit code 0 only if the file was created.
pub(crate) fn save(args: &HeaderSave) -> Result<ExitCode, Error> {
    let wanted = policy(&args.expected)?;
    let dek = args.passphrase_fd.map(passphrase).transpose()?;
    let mut report = Report::default();
    if args.file.symlink_metadata().is_ok() {
        return end_exists(report, args);
    }
    let failed = |source| Error::File { path: args.disk.clone(), source };
    let mut file = File::open(&args.disk).map_err(failed)?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
    if bytes < DATA_OFFSET {
        report.refuse("size", format_args!("expected at least {DATA_OFFSET} bytes, found {bytes}: give the whole header area"));
        return report.end_refused(NOT_SAVED);
    }
    let image = disk::read_area(&file).map_err(failed)?;
    let accepted = accept(&mut report, image, Damaged::Repair, &wanted);
    check_commitment(&mut report, dek.as_ref(), &wanted);
    let Some(accepted) = accepted else { return report.end_refused(NOT_SAVED) };
    let authentication = accepted.authenticate(dek.as_ref(), &wanted);
    if authentication == Authentication::Failed {
        report.refuse(
            "authentication",
            "the token does not verify with the passphrase: it is another disk's, or the header was changed",
        );
    }
    if report.refused {
        return report.end_refused(NOT_SAVED);
    }
    if !new_file::create(&args.file, &accepted.image)? {
        return end_exists(report, args);
    }
    describe(&mut report, &accepted, authentication, args);
    report.print()?;
    Ok(ExitCode::SUCCESS)
}

fn end_exists(mut report: Report, args: &HeaderSave) -> Result<ExitCode, Error> {
    report.refuse("file", format_args!("{} exists and is not replaced: give another name", args.file.display()));
    report.end_refused(NOT_SAVED)
}

fn describe(report: &mut Report, accepted: &Accepted, authentication: Authentication, args: &HeaderSave) {
    let authenticated = match authentication {
        Authentication::Verified => "yes, by the passphrase",
        Authentication::NoToken => "NO, not authenticated: the header has no token, so only the allow-list restricts it",
        _ => "NO, not authenticated: no passphrase was given (--passphrase-fd)",
    };
    report.lines.extend([
        format!("LUKS UUID: {}", accepted.header.uuid()),
        format!("sequence: {}", accepted.header.seqid()),
        format!("keyslots: {}", accepted.keyslots()),
        format!("authenticated: {authenticated}"),
        format!("sha256: {}  {}", hex::encode(digest(&SHA256, &accepted.image).as_ref()), args.file.display()),
        SECRECY.to_owned(),
    ]);
}
