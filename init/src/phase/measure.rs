//! What happened, into registers that nobody can turn back: RTMR3 of the trust domain, and a PCR where there is a TPM. The last event
//! is the latch: a vault that demands RTMR3 as it was before gives nothing to whatever runs later in this boot.
//!
//! Nothing is extended before the data disk is open, since vaults demand the register untouched; what is named in policy is looked for
//! before anybody is asked for a share.

mod event;
mod firmware;
mod log;
mod tpm;

use kernel::measurements::{REGISTER_BYTES, Rtmr};
use ondisk::cel::{Record, Register};
use ondisk::cmdline::{Measure, Measured as Demand, Policy};
use ondisk::register::Hash;
use serde::Serialize;

use super::api::Api;
use crate::journal::step;
pub(crate) use event::Facts;
use firmware::Finding;
use tpm::Tpm;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cvm.measure={0}: this machine has no such register")]
    Absent(&'static str),
    #[error("cvm.measure={0}")]
    Unusable(&'static str, #[source] tpm::Error),
    #[error("cvm.measured=require: {0}")]
    NotMeasured(Finding),
    #[error("RTMR3")]
    Rtmr(#[source] kernel::Error),
    #[error("TPM")]
    Tpm(#[source] tpm::Error),
    #[error("{0} does not hold what was extended")]
    Lost(&'static str),
    #[error("event log")]
    Log(#[source] std::io::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Absent(_) | Self::Unusable(..) => 90,
            Self::Rtmr(_) | Self::Tpm(_) | Self::Lost(_) | Self::Log(_) => 96,
            Self::NotMeasured(_) => 97,
        }
    }
}

/// The registers that this boot goes into, and whether its command line was measured. Only [`find`] makes one, before the network is up.
pub(crate) struct Registers {
    rtmr: Option<Rtmr>,
    tpm: Option<Tpm>,
    firmware: Finding,
}

/// What the receipt says of the measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether firmware measured our command line.
    command_line: firmware::Told,
    /// RTMR3 before and behind the events; none where the machine has none, or policy wants none.
    rtmr3: Option<RtmrValues>,
    /// The PCR behind the events.
    pcr: Option<PcrValues>,
    /// How many events there were, the latch counted in; 0: nothing was measured.
    events: usize,
}

#[derive(Debug, Serialize)]
struct RtmrValues {
    before: String,
    after: String,
}

#[derive(Debug, Serialize)]
struct PcrValues {
    number: u32,
    /// By hash function.
    values: std::collections::BTreeMap<&'static str, String>,
}

/// Looks for the registers and into the firmware's log.
///
/// # Errors
/// What policy names is not there; policy requires a measured command line and it is not known to be.
pub(crate) fn find(_api: Api, policy: &Policy, command_line: &str) -> Result<Registers, Error> {
    let firmware = firmware::look(command_line);
    match &firmware {
        Finding::Measured { .. } => ::log::info!("measured: {firmware}"),
        Finding::NotMeasured { .. } => ::log::warn!("measured: {firmware}"),
        Finding::Unknown(_) => step(format_args!("measured: {firmware}")),
    }
    if policy.measured == Demand::Require && !matches!(firmware, Finding::Measured { .. }) {
        return Err(Error::NotMeasured(firmware));
    }
    let wants = |word: Measure| policy.measure == word || policy.measure == Measure::Auto;
    let rtmr = wants(Measure::Rtmr).then(Rtmr::third).flatten();
    if policy.measure == Measure::Rtmr && rtmr.is_none() {
        return Err(Error::Absent(Measure::Rtmr.as_str()));
    }
    let tpm = match wants(Measure::Tpm).then(Tpm::find).flatten() {
        Some(tpm) => Some(tpm.map_err(|error| Error::Unusable(policy.measure.as_str(), error))?),
        None if policy.measure == Measure::Tpm => return Err(Error::Absent(Measure::Tpm.as_str())),
        None => None,
    };
    Ok(Registers { rtmr, tpm, firmware })
}

/// Extends every event into every register, reads them back, and leaves the logs where verifiers look.
///
/// # Errors
/// When a register or a log does not take it.
pub(crate) fn extend(registers: Registers, facts: &Facts<'_>) -> Result<Outcome, Error> {
    let Registers { rtmr, mut tpm, firmware } = registers;
    let events = event::records(facts);
    let before = rtmr.as_ref().map(|rtmr| rtmr.value().map_err(Error::Rtmr)).transpose()?;
    if before.is_some_and(|value| value != [0; REGISTER_BYTES]) {
        ::log::warn!("measure: RTMR3 was extended before this boot's initrd");
    }
    let mut expected = before;
    let (mut of_rtmr, mut of_tpm) = (Vec::new(), Vec::new());
    for text in &events {
        if let (Some(rtmr), Some(value)) = (&rtmr, &mut expected) {
            let digest = sha384(text.as_bytes());
            rtmr.extend(&digest).map_err(Error::Rtmr)?;
            *value = sha384(&[*value, digest].concat());
            of_rtmr.push(log::record(Register::Rtmr(3), vec![(Hash::Sha384, digest.to_vec())], text));
        }
        if let Some(tpm) = &mut tpm {
            let digests = tpm.extend(text.as_bytes()).map_err(Error::Tpm)?;
            of_tpm.push(log::record(Register::Pcr(tpm::PCR), digests, text));
        }
    }
    let after = rtmr.as_ref().map(|rtmr| rtmr.value().map_err(Error::Rtmr)).transpose()?;
    if after != expected {
        return Err(Error::Lost("RTMR3"));
    }
    let pcr = tpm.map(|tpm| tpm.close().map_err(Error::Tpm)).transpose()?;
    log::leave(&of_rtmr, &of_tpm).map_err(Error::Log)?;
    let measured = rtmr.is_some() || pcr.is_some();
    if !measured {
        ::log::info!("measure: no register: what runs later in this boot is kept from the key by nothing");
    }
    Ok(Outcome {
        command_line: firmware.told(),
        rtmr3: before.zip(after).map(|(before, after)| RtmrValues { before: hex(&before), after: hex(&after) }),
        pcr: pcr.map(|values| PcrValues {
            number: tpm::PCR,
            values: values.iter().map(|(hash, value)| (hash.name(), hex(value))).collect(),
        }),
        events: if measured { events.len() } else { 0 },
    })
}

fn sha384(bytes: &[u8]) -> [u8; REGISTER_BYTES] {
    let mut digest = [0; REGISTER_BYTES];
    digest.iter_mut().zip(Hash::Sha384.digest(bytes)).for_each(|(to, from)| *to = from);
    digest
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digests that one event has, by hash function.
type Digests = Vec<(Hash, Vec<u8>)>;
/// Records of one register, in order.
type Records = Vec<Record>;
