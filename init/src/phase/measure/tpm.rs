//! A TPM 2.0: extends and reads all active banks of one PCR through tpm2-tss.
//!
//! The TPM may be emulated by the host, so commands have a deadline here: the kernel's own deadline for a command may be minutes.

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

/// The PCR of system identity; systemd extends machine id, volume keys and file systems into it.
///
/// Source: UAPI group, Linux TPM PCR Registry.
pub(super) const PCR: u32 = 15;
const HANDLE: PcrHandle = PcrHandle::Pcr15;
const SLOT: PcrSlot = PcrSlot::Slot15;

/// The kernel's resource manager, which exists for TPM 2.0 only.
const DEVICE: &str = "/dev/tpmrm0";
/// More than there are hash functions.
const BANKS_MAX: u32 = 16;
/// For all commands of one session; they take milliseconds.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("tpm2-tss")]
    Tss(#[from] tss_esapi::Error),
    #[error("it does not name its active banks")]
    Banks,
    #[error("an active bank has an unknown hash function ({0:?}) and could not be extended: deactivate that bank")]
    Unknown(HashingAlgorithm),
    #[error("the PCR does not hold the expected value after the extension")]
    Lost,
    #[error("thread")]
    Thread(#[source] linux::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// The digests of each event, and the values of the PCR afterwards.
pub(super) struct Extended {
    pub(super) events: Vec<Digests>,
    pub(super) values: Digests,
}

/// Whether the machine has a TPM.
pub(super) fn is_present() -> bool {
    Path::new(DEVICE).exists()
}

/// Whether the TPM answers and every active bank has a known hash function.
pub(super) fn check() -> Result<(), Error> {
    with_timeout(|| Session::new().map(|_| ()))
}

/// Extends the digest of each event into every active bank and reads the banks back.
pub(super) fn extend(events: &[String]) -> Result<Extended, Error> {
    let events = events.to_vec();
    with_timeout(move || {
        let mut tpm = Session::new()?;
        let events = events.iter().map(|event| tpm.extend(event.as_bytes())).collect::<Result<_, _>>()?;
        Ok(Extended { events, values: tpm.close()? })
    })
}

/// Runs `visit` in a thread. A command that hangs keeps the thread, and the boot ends.
fn with_timeout<T: Send + 'static>(visit: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let (sender, answer) = mpsc::channel();
    let thread = linux::threads::spawn("tpm", Box::new(move || drop(sender.send(visit())))).map_err(Error::Thread)?;
    let answer = answer.recv_timeout(TIMEOUT).map_err(|_| Error::Timeout)?;
    thread.join().map_err(|_| Error::Timeout)?; // the thread has nothing left to do
    answer
}

/// An open TPM: its active banks and the value that the PCR must hold in each.
struct Session {
    context: Context,
    banks: Digests,
}

impl Session {
    fn new() -> Result<Self, Error> {
        let device = DeviceConfig::from_str(DEVICE)?;
        let mut context = Context::new(TctiNameConf::Device(device))?;
        let assigned = |context: &mut Context| context.get_capability(CapabilityType::AssignedPcr, 0, BANKS_MAX);
        let (data, _) = context.execute_without_session(assigned)?;
        let CapabilityData::AssignedPcr(selections) = data else { return Err(Error::Banks) };
        let active = selections.get_selections().iter().filter(|selection| selection.is_selected(SLOT));
        let hashes: Vec<Hash> = active.map(|selection| known_hash(selection.hashing_algorithm())).collect::<Result<_, _>>()?;
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

    /// Reads every bank again and compares it with the expected value.
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

fn known_hash(algorithm: HashingAlgorithm) -> Result<Hash, Error> {
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
