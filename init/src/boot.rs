//! The story, from the kernel's first instruction in user space to the real init.

use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::error::BootError;
use crate::journal::Journal;
use crate::phase::api::Api;
use crate::phase::policy::Measured;
use crate::phase::unlock::Unlocked;
use crate::phase::{api, data, handoff, measure, net, policy, quiesce, root, scratch, unlock};
use crate::receipt::Receipt;
use linux::threads;

/// Takes the machine from the kernel's first instruction to the real init.
///
/// Each step takes what only an earlier step can make, so no step can run too soon: there is no key without a link, no open
/// disk without a key that was proved, and no real init without a verified root.
pub(crate) fn boot(journal: &Arc<Journal>) -> Result<Infallible, BootError> {
    let api = journal.phase("api", api::mount)?; //                        /proc /sys /dev /run; modules
    let policy = Arc::new(journal.phase("policy", || policy::read(api))?); // the measured command line, and trust files
    journal.obey(&policy.line);
    let registers = measure::find(api, &policy.line, &policy.text)?; //        RTMR3, a TPM; was that line measured?
    let mut receipt = Receipt::new(&policy);

    let (root, disks) = side_by_side(
        (journal, &policy),
        move |journal, policy| {
            let root = journal.phase("root", || root::verify(api, &policy.line.root))?; //                dm-verity over erofs
            handoff::check(&root, &policy.line.init)?; //                                                before a disk is written to
            Ok(root)
        },
        move |journal, policy| unlock_disk(journal, api, policy), //                                   t of n shares, proved
    )?;
    receipt.root(&root);
    quiesce::disks_answer()?; //                                               else nothing can be handed off, nor need it be formatted

    let opened = match disks {
        Some((disks, unlocked)) => {
            receipt.unlocked(&unlocked);
            journal.phase("data", || data::open(&root, disks, unlocked.keys))? // the keys die here
        }
        None => Vec::new(),
    };
    receipt.data(&opened);
    if !policy.line.scratch.is_empty() {
        let make = || scratch::make(api, &root, &policy.line.scratch); // keys that only the kernel has
        receipt.scratch(journal.phase("scratch", make)?);
    }
    let quiescent = journal.phase("quiesce", quiesce::wait)?; //               no thread and no request for a quote is left
    let extend = || measure::extend(&quiescent, registers, &receipt.facts(&opened)); // what happened; then the cap
    let measured = journal.phase("measure", extend)?;
    receipt.measured(measured);
    let handoff = || handoff::switch_root(api, quiescent, &root, &policy.line.init, journal, receipt);
    journal.phase("handoff", handoff).map_err(BootError::from) // never returns
}

/// Looks at the data disks, then gathers and proves its key; nothing when policy has no data disk.
fn unlock_disk(journal: &Journal, api: Api, policy: &Measured) -> Result<Option<(data::Disks, Unlocked)>, BootError> {
    let Some(wanted) = &policy.line.data else {
        return Ok(None);
    };
    let disks = data::inspect(api, wanted)?; //                                          one private copy of each header
    let deadline = Instant::now() + wanted.vaults.timeout; //                           for link and key together
    let network = journal.phase("net", || net::up(api, &policy.line, wanted, deadline))?; //  the first link that answers
    let gather = || unlock::gather(&network, &disks, policy, wanted, deadline); //       t of n shares, proved
    let unlocked = journal.phase("unlock", gather)?;
    network.release();
    Ok(Some((disks, unlocked)))
}

/// Runs both at once and ends with the first failure, without waiting for the other: the machine is about to end anyway.
fn side_by_side<A: Send + 'static, B: Send + 'static>(
    (journal, policy): (&Arc<Journal>, &Arc<Measured>),
    first: impl FnOnce(&Journal, &Measured) -> Result<A, BootError> + Send + 'static,
    second: impl FnOnce(&Journal, &Measured) -> Result<B, BootError> + Send + 'static,
) -> Result<(A, B), BootError> {
    enum Done<A, B> {
        First(A),
        Second(B),
    }
    let (sender, results) = mpsc::channel();
    let shared = || (Arc::clone(journal), Arc::clone(policy), sender.clone());
    let ((ours, measured, done), (theirs, same, also)) = (shared(), shared());
    let refused = |error| BootError::Internal(format!(" ({error})"));
    threads::spawn("root", Box::new(move || drop(done.send(first(&ours, &measured).map(Done::First))))).map_err(refused)?;
    threads::spawn("unlock", Box::new(move || drop(also.send(second(&theirs, &same).map(Done::Second))))).map_err(refused)?;
    drop(sender);
    let (mut a, mut b) = (None, None);
    for result in results {
        match result? {
            Done::First(value) => a = Some(value),
            Done::Second(value) => b = Some(value),
        }
    }
    a.zip(b).ok_or_else(|| BootError::Internal(" (a phase ended without a result)".to_owned()))
}
