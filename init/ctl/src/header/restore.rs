//! `cvmctl header restore`: writes a saved header area back to its disk.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::process::ExitCode;

use cmdline::Data;
use ondisk::luks2::{self, DATA_OFFSET, RestorePlan};
use quorum::Dek;

use super::accept::{Accepted, Authentication, Damaged, accept, check_commitment};
use super::disk::{self, Disk};
use super::report::Report;
use super::{passphrase, policy, target};
use crate::args::HeaderRestore;
use crate::run::Error;

/// The last line if the command is refused.
const NOT_WRITTEN: &str = "nothing was written";

/// The smallest disk, in bytes: the header area and 1 MiB of data.
const SMALLEST: u64 = DATA_OFFSET + (1 << 20);

/// Checks file and disk, writes the area, and prints each check; exit code 0 only if the disk has the saved header in the end.
pub(crate) fn restore(args: &HeaderRestore) -> Result<ExitCode, Error> {
    let wanted = policy(&args.expected)?;
    let dek = args.passphrase_fd.map(passphrase).transpose()?;
    let mut report = Report::default();
    let Some(saved) = saved(&mut report, args, dek.as_ref(), &wanted)? else { return report.end_refused(NOT_WRITTEN) };
    let Some(disk) = Disk::open(&args.disk)? else {
        report.refuse("disk", "it is in use: unmount it, close its mapping, or stop the virtual machine that has it open");
        return report.end_refused(NOT_WRITTEN);
    };
    if disk.bytes() < SMALLEST {
        report.refuse("disk", format_args!("expected at least {SMALLEST} bytes, found {}: is this the disk?", disk.bytes()));
        return report.end_refused(NOT_WRITTEN);
    }
    let found = disk.read()?;
    target::examine(&mut report, &found, &saved.header, args.replace_damaged);
    if report.refused {
        return report.end_refused(NOT_WRITTEN);
    }
    let plan = luks2::plan_restore(&found, &saved.image, &saved.header, &saved.checked).map_err(Error::Plan)?;
    if plan.groups.iter().all(Vec::is_empty) {
        report.lines.push("the disk already has this header: nothing to do, nothing was written".to_owned());
        report.print()?;
        return Ok(ExitCode::SUCCESS);
    }
    if saved.checked.auth_token().is_none() && target::has_token(&found, &wanted) {
        report.warn(
            "authentication",
            "the disk's header has a token and the saved one has none: it is older than the token, or the token was removed from it. The \
             guest opens it only with cvm.data.header-auth=auto",
        );
    }
    warn(&mut report, &found, &saved, &plan);
    // Printed before the first write, in case the program is interrupted.
    report.print()?;
    disk.write(&plan)?;
    report.lines.push(format!("the header area of {} was written and reads back as saved", args.disk.display()));
    report.print()?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the saved area, if it may be restored.
fn saved(report: &mut Report, args: &HeaderRestore, dek: Option<&Dek>, wanted: &Data) -> Result<Option<Accepted>, Error> {
    let failed = |source| Error::File { path: args.file.clone(), source };
    let mut file = File::open(&args.file).map_err(failed)?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
    if bytes != DATA_OFFSET {
        report.refuse("size", format_args!("expected exactly {DATA_OFFSET} bytes, found {bytes}: give a file of header save"));
        return Ok(None);
    }
    let accepted = accept(report, disk::read_area(&file).map_err(failed)?, Damaged::Refuse, wanted);
    check_commitment(report, dek, wanted);
    let Some(accepted) = accepted else { return Ok(None) };
    report.note("keyslots", accepted.keyslots());
    authenticate(report, accepted.authenticate(dek, wanted), args.unauthenticated);
    Ok((!report.refused).then_some(accepted))
}

fn authenticate(report: &mut Report, found: Authentication, may_miss: bool) {
    let rule = "authentication";
    match found {
        Authentication::Verified => report.line(true, rule, "the token verifies with the passphrase"),
        // With a passphrase the header must verify, also with --unauthenticated.
        Authentication::Failed => report.refuse(
            rule,
            "the token does not verify with the passphrase: the file is another disk's, is of another key (a rotation), or was changed",
        ),
        Authentication::NoPassphrase if may_miss => report.warn(rule, "not verified, as --unauthenticated says"),
        Authentication::NoPassphrase => {
            report.refuse(rule, "the passphrase is missing: give it with --passphrase-fd, or accept the file with --unauthenticated");
        }
        Authentication::NoToken if may_miss => {
            report.warn(rule, "the header has no token, so nothing proves it, as --unauthenticated says");
        }
        Authentication::NoToken => report.refuse(
            rule,
            "the header has no token (cvm-init did not make it), so nothing proves it: accept the file with --unauthenticated",
        ),
    }
}

fn warn(report: &mut Report, found: &[u8], saved: &Accepted, plan: &RestorePlan) {
    let newest = |image: &[u8]| luks2::sound_copies(image).iter().map(|copy| copy.seqid).max();
    let mine = saved.header.seqid();
    if let Some(newer) = newest(found).filter(|seqid| *seqid > mine) {
        report.warn(
            "sequence",
            format_args!(
                "the saved header ({mine}) is older than the disk's ({newer}). If the key was rotated in between, the previous key \
                 opens the disk from now on: boot it with cvm.vault.previous, which rotates it again"
            ),
        );
    }
    if let Some(written) = newest(&plan.image).filter(|seqid| *seqid != mine) {
        report.note("sequence", format_args!("the header is written with {written}, so that every reader uses it as the newest"));
    }
    if plan.shares_key_material {
        report.warn(
            "key material",
            "both headers need the same bytes: until this command ends neither header is usable. If it is interrupted, run the same \
             restore again",
        );
    }
}
