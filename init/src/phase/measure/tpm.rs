//! A TPM 2.0: one PCR, all of its active banks, through tpm2-tss.
//!
//! What answers may be the host's emulation, so a deadline is kept here: the kernel's own, for each command, may be minutes.

use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc;
use std::time::Duration;

use eventlog::register::Hash;
use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::PcrHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CapabilityData, Digest, DigestValues, PcrSelectionListBuilder, PcrSlot};
use tss_esapi::tcti_ldr::{DeviceConfig, TctiNameConf};

use super::Digests;

/// The PCR of system identity, which systemd extends too: machine id, volume keys, file systems.
///
/// Source: UAPI group, Linux TPM PCR Registry.
pub(super) const PCR: u32 = 15;
const HANDLE: PcrHandle = PcrHandle::Pcr15;
const SLOT: PcrSlot = PcrSlot::Slot15;

/// The kernel's resource manager; there for TPM 2.0 alone.
const DEVICE: &str = "/dev/tpmrm0";
/// More banks than there are hash functions.
const BANKS_MAX: u32 = 16;
/// For all commands of one visit; they take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("tpm2-tss")]
    Tss(#[from] tss_esapi::Error),
    #[error("its active banks cannot be told")]
    Banks,
    #[error("a bank of it is active whose hash function is not known here ({0:?}): it would stay as it is")]
    Unknown(HashingAlgorithm),
    #[error("the PCR does not hold what was extended")]
    Lost,
    #[error("thread")]
    Thread(#[source] linux::Error),
    #[error("no answer in {} s", PATIENCE.as_secs())]
    Late,
}

/// What was extended, event by event, and what the PCR holds since.
pub(super) struct Extended {
    pub(super) events: Vec<Digests>,
    pub(super) values: Digests,
}

/// Whether the machine has one.
pub(super) fn is_there() -> bool {
    Path::new(DEVICE).exists()
}

/// Whether it can be used: it answers, and every active bank is of a hash function that is known.
pub(super) fn try_it() -> Result<(), Error> {
    in_time(|| Open::new().map(|_| ()))
}

/// Extends every active bank by the digest of each event and reads it back.
pub(super) fn extend(events: &[String]) -> Result<Extended, Error> {
    let events = events.to_vec();
    in_time(move || {
        let mut tpm = Open::new()?;
        let events = events.iter().map(|event| tpm.extend(event.as_bytes())).collect::<Result<_, _>>()?;
        Ok(Extended { events, values: tpm.close()? })
    })
}

/// A command that hangs keeps its thread, and ends the boot.
fn in_time<T: Send + 'static>(visit: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let (sender, answer) = mpsc::channel();
    let thread = linux::threads::spawn("tpm", Box::new(move || drop(sender.send(visit())))).map_err(Error::Thread)?;
    let answer = answer.recv_timeout(PATIENCE).map_err(|_| Error::Late)?;
    thread.join().map_err(|_| Error::Late)?; // it has nothing left to do
    answer
}

/// A session with the TPM: its active banks and what the PCR must hold in each.
struct Open {
    context: Context,
    banks: Digests,
}

impl Open {
    fn new() -> Result<Self, Error> {
        let device = DeviceConfig::from_str(DEVICE)?;
        let mut context = Context::new(TctiNameConf::Device(device))?;
        let assigned = |context: &mut Context| context.get_capability(CapabilityType::AssignedPcr, 0, BANKS_MAX);
        let (data, _) = context.execute_without_session(assigned)?;
        let CapabilityData::AssignedPcr(selections) = data else { return Err(Error::Banks) };
        let active = selections.get_selections().iter().filter(|selection| selection.is_selected(SLOT));
        let hashes: Vec<Hash> = active.map(|selection| known(selection.hashing_algorithm())).collect::<Result<_, _>>()?;
        if hashes.is_empty() {
            return Err(Error::Banks);
        }
        let banks = hashes.into_iter().map(|hash| Ok((hash, value(&mut context, hash)?)));
        let banks = banks.collect::<Result<_, Error>>()?;
        Ok(Self { context, banks })
    }

    fn extend(&mut self, event: &[u8]) -> Result<Digests, Error> {
        let mut digests = Vec::with_capacity(self.banks.len());
        let mut values = DigestValues::new();
        for (hash, expected) in &mut self.banks {
            let digest = hash.digest(event);
            values.set(algorithm(*hash), Digest::try_from(digest.as_slice())?);
            *expected = hash.extend(expected, &digest);
            digests.push((*hash, digest));
        }
        let extend = |context: &mut Context| context.pcr_extend(HANDLE, values.clone());
        self.context.execute_with_session(Some(AuthSession::Password), extend)?;
        Ok(digests)
    }

    /// Reads every bank once more: what the PCR holds now, if it is what was extended.
    fn close(mut self) -> Result<Digests, Error> {
        for (hash, expected) in &self.banks {
            if value(&mut self.context, *hash)? != *expected {
                return Err(Error::Lost);
            }
        }
        Ok(self.banks)
    }
}

fn value(context: &mut Context, hash: Hash) -> Result<Vec<u8>, Error> {
    let selection = PcrSelectionListBuilder::new().with_selection(algorithm(hash), &[SLOT]).build()?;
    let (_, _, digests) = context.execute_without_session(|context| context.pcr_read(selection.clone()))?;
    let value = digests.value().first().map(|digest| digest.value().to_vec());
    value.filter(|value| value.len() == hash.bytes()).ok_or(Error::Banks)
}

fn known(algorithm: HashingAlgorithm) -> Result<Hash, Error> {
    match algorithm {
        HashingAlgorithm::Sha1 => Ok(Hash::Sha1),
        HashingAlgorithm::Sha256 => Ok(Hash::Sha256),
        HashingAlgorithm::Sha384 => Ok(Hash::Sha384),
        HashingAlgorithm::Sha512 => Ok(Hash::Sha512),
        other => Err(Error::Unknown(other)),
    }
}

const fn algorithm(hash: Hash) -> HashingAlgorithm {
    match hash {
        Hash::Sha1 => HashingAlgorithm::Sha1,
        Hash::Sha256 => HashingAlgorithm::Sha256,
        Hash::Sha384 => HashingAlgorithm::Sha384,
        Hash::Sha512 => HashingAlgorithm::Sha512,
    }
}
