//! The boot sequence, from the kernel's first instruction in user space to the exec of the real init.

use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::boot_log::BootLog;
use crate::boot_report::BootReport;
use crate::error::BootError;
use crate::phase::early::EarlyMounts;
use crate::phase::policy::MeasuredConfig;
use crate::phase::unlock::Unlocked;
use crate::phase::{data, early, handoff, measure, net, policy, quiesce, root, scratch, unlock};
use linux::threads;

/// Runs all phases in order and ends in the exec of the real init.
///
/// Each phase takes a proof that only an earlier phase can make, so no phase can run too early: there is no key without a link,
/// no open disk without a proved key, and no real init without a verified root.
pub(crate) fn boot(boot_log: &Arc<BootLog>) -> Result<Infallible, BootError> {
    let early = boot_log.phase("early", early::mount)?; // mounts /proc /sys /dev /run, loads modules
    let policy = Arc::new(boot_log.phase("policy", || policy::read(early))?); // parses the measured command line and reads the trust files
    boot_log.apply_policy(&policy.line);
    let registers = measure::find(early, &policy.line, &policy.text)?; // finds RTMRs and a TPM; checks whether firmware measured the command line
    let mut report = BootReport::new(&policy);

    let (root, disks) = run_in_parallel(
        (boot_log, &policy),
        move |boot_log, policy| {
            let root = boot_log.phase("root", || root::verify(early, &policy.line.root))?; // dm-verity over erofs
            handoff::check(&root, &policy.line.init)?; // checked before any disk is written to
            Ok(root)
        },
        move |boot_log, policy| unlock_disk(boot_log, early, policy), // a proved key from t of n shares
    )?;
    report.root(&root);
    quiesce::wait_for_disks()?; // a disk that does not answer would block the exec, so the boot ends before a disk is formatted

    let opened = match disks {
        Some((disks, unlocked)) => {
            report.unlocked(&unlocked);
            boot_log.phase("data", || data::open(&root, disks, unlocked.keys))? // the keys are wiped here
        }
        None => Vec::new(),
    };
    report.data(&opened);
    if !policy.line.scratch.is_empty() {
        let make = || scratch::make(early, &root, &policy.line.scratch); // with keys that only the kernel knows
        report.scratch(boot_log.phase("scratch", make)?);
    }
    let quiescent = boot_log.phase("quiesce", quiesce::wait)?; // no other thread and no pending quote request
    let extend = || measure::extend(&quiescent, registers, &report.facts(&opened)); // one event for each fact, then the RTMR cap
    let measured = boot_log.phase("measure", extend)?;
    report.measured(measured);
    let handoff = || handoff::switch_root(early, quiescent, &root, &policy.line.init, boot_log, report);
    boot_log.phase("handoff", handoff).map_err(BootError::from) // never returns
}

/// Inspects the data disks, then collects shares and proves the key; `None` when policy has no data disk.
fn unlock_disk(
    boot_log: &BootLog,
    early: EarlyMounts,
    policy: &MeasuredConfig,
) -> Result<Option<(data::Disks, Unlocked)>, BootError> {
    let Some(wanted) = &policy.line.data else {
        return Ok(None);
    };
    let disks = data::inspect(early, wanted)?; // one private copy of each header
    let deadline = Instant::now() + wanted.vaults.timeout; // for network and key together
    let network = boot_log.phase("net", || net::up(early, &policy.line, wanted, deadline))?; // the first link that gets an address
    let gather = || unlock::gather(&network, &disks, policy, wanted, deadline); // a proved key from t of n shares
    let unlocked = boot_log.phase("unlock", gather)?;
    network.release();
    Ok(Some((disks, unlocked)))
}

/// Runs both closures in parallel and returns the first failure without waiting for the other, since the machine ends then.
fn run_in_parallel<A: Send + 'static, B: Send + 'static>(
    (boot_log, policy): (&Arc<BootLog>, &Arc<MeasuredConfig>),
    first: impl FnOnce(&BootLog, &MeasuredConfig) -> Result<A, BootError> + Send + 'static,
    second: impl FnOnce(&BootLog, &MeasuredConfig) -> Result<B, BootError> + Send + 'static,
) -> Result<(A, B), BootError> {
    enum Done<A, B> {
        First(A),
        Second(B),
    }
    let (sender, results) = mpsc::channel();
    let shared = || (Arc::clone(boot_log), Arc::clone(policy), sender.clone());
    let ((log1, policy1, sender1), (log2, policy2, sender2)) = (shared(), shared());
    let refused = |error| BootError::Internal(format!(" ({error})"));
    threads::spawn("root", Box::new(move || drop(sender1.send(first(&log1, &policy1).map(Done::First))))).map_err(refused)?;
    threads::spawn("unlock", Box::new(move || drop(sender2.send(second(&log2, &policy2).map(Done::Second))))).map_err(refused)?;
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
