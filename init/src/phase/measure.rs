//! What happened, into registers that nobody can turn back: RTMR3 of the trust domain, and a PCR where there is a TPM. The last event
//! is the latch: a vault that demands RTMR3 as it was before gives nothing to whatever runs later in this boot.
//!
//! Nothing is extended before the data disk is open, since vaults demand the register untouched; what is named in policy is looked for
//! before anybody is asked for a share. A TPM beside a trust domain is the host's or its provider's: unless policy names it, nothing is
//! said to it before the latch is closed, and what it answers stops no boot.

mod event;
mod firmware;
mod log;
mod tpm;

use std::collections::BTreeMap;

use kernel::measurements::{REGISTER_BYTES, Rtmr};
use ondisk::cel::{Record, Register};
use ondisk::cmdline::{Measure, Measured as Demand, Policy};
use ondisk::register::Hash;
use serde::Serialize;

use super::api::Api;
use crate::receipt::hex;
pub(crate) use event::Facts;
use firmware::{Finding, Reason};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cvm.measure={0}: this machine has no such register")]
    Absent(&'static str),
    #[error("cvm.measure={0}: TPM")]
    Unusable(&'static str, #[source] tpm::Error),
    #[error("cvm.measured=require: {0}")]
    NotMeasured(Finding),
    #[error("RTMR3")]
    Rtmr(#[source] kernel::Error),
    #[error("RTMR3 does not hold what was extended")]
    Lost,
    #[error("TPM")]
    Tpm(#[source] tpm::Error),
    #[error("event")]
    Event(#[source] serde_json::Error),
    #[error("event log")]
    Log(#[source] std::io::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Absent(_) | Self::Unusable(..) => 90,
            Self::Rtmr(_) | Self::Lost | Self::Tpm(_) | Self::Event(_) | Self::Log(_) => 96,
            Self::NotMeasured(_) => 97,
        }
    }
}

/// The registers that this boot goes into, and whether its command line was measured. Only [`find`] makes one, before the network is up.
pub(crate) struct Registers {
    rtmr: Option<Rtmr>,
    tpm: Tpm,
    firmware: Finding,
}

/// What is done with a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tpm {
    /// There is none, or policy wants none.
    None,
    /// It takes the events, or the boot ends.
    Needed,
    /// It is beside a confidential machine, and policy does not name it.
    Beside,
}

/// What the receipt says of the measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether firmware measured our command line.
    command_line: firmware::Told,
    /// Whether RTMR3 was extended: what runs later in this boot is another domain to a vault that looks.
    latched: bool,
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
    values: BTreeMap<&'static str, String>,
}

/// Looks for the registers and into the firmware's log.
///
/// # Errors
/// What policy names is not there; policy requires a measured command line and it is not known to be.
pub(crate) fn find(_api: Api, policy: &Policy, command_line: &str) -> Result<Registers, Error> {
    let firmware = firmware::look(command_line);
    match &firmware {
        Finding::Measured { .. } | Finding::Unknown(Reason::NoLog) => ::log::info!("measured: {firmware}"),
        Finding::NotMeasured { .. } | Finding::Unknown(_) => ::log::warn!("measured: {firmware}"),
    }
    if policy.measured == Demand::Require && !matches!(firmware, Finding::Measured { .. }) {
        return Err(Error::NotMeasured(firmware));
    }
    let (rtmr, tpm) = decide(policy.measure, Rtmr::third(), firmware::is_confidential(), tpm::is_there())?;
    if let Some(rtmr) = &rtmr
        && rtmr.value().map_err(Error::Rtmr)? != [0; REGISTER_BYTES]
    {
        ::log::warn!("measure: RTMR3 was extended before this initrd: a vault that looks gives no share");
    }
    if tpm == Tpm::Needed {
        tpm::try_it().map_err(|error| Error::Unusable(policy.measure.as_str(), error))?;
    }
    Ok(Registers { rtmr, tpm, firmware })
}

/// Which registers take the events, by policy and by what is there.
fn decide<R>(wanted: Measure, rtmr: Option<R>, confidential: bool, tpm: bool) -> Result<(Option<R>, Tpm), Error> {
    let of_tpm = |tpm: bool| if tpm { Tpm::Needed } else { Tpm::None };
    match wanted {
        Measure::Off => Ok((None, Tpm::None)),
        Measure::Rtmr if rtmr.is_some() => Ok((rtmr, Tpm::None)),
        Measure::Tpm if tpm => Ok((None, Tpm::Needed)),
        Measure::Rtmr | Measure::Tpm => Err(Error::Absent(wanted.as_str())),
        Measure::Auto if confidential && tpm => Ok((rtmr, Tpm::Beside)),
        Measure::Auto => Ok((rtmr, of_tpm(tpm))),
    }
}

/// Extends every event into every register, reads them back, and leaves the logs where verifiers look.
///
/// # Errors
/// When a register or a log does not take it.
pub(crate) fn extend(registers: Registers, facts: &Facts<'_>) -> Result<Outcome, Error> {
    let Registers { rtmr, tpm, firmware } = registers;
    let events = event::records(facts).map_err(Error::Event)?;
    let mut of_rtmr = Vec::new();
    let rtmr3 = rtmr.map(|rtmr| extend_rtmr(&rtmr, &events, &mut of_rtmr)).transpose()?;
    if rtmr3.is_none() && !facts.data.is_empty() {
        ::log::warn!("measure: RTMR3 is not extended: no vault can tell what runs later in this boot from this initrd");
    }
    let extended = match tpm {
        Tpm::None => None,
        Tpm::Needed => Some(tpm::extend(&events).map_err(Error::Tpm)?),
        Tpm::Beside => tpm::extend(&events).inspect_err(|error| ::log::warn!("measure: TPM: {error}")).ok(),
    };
    let of_tpm: Vec<Record> = extended.iter().flat_map(|done| done.events.iter().zip(&events)).map(of_pcr).collect();
    log::leave(&of_rtmr, &of_tpm).map_err(Error::Log)?;
    Ok(Outcome {
        command_line: firmware.told(),
        latched: rtmr3.is_some(),
        events: if rtmr3.is_some() || extended.is_some() { events.len() } else { 0 },
        rtmr3,
        pcr: extended.map(|done| PcrValues {
            number: tpm::PCR,
            values: done.values.iter().map(|(hash, value)| (hash.name(), hex(value))).collect(),
        }),
    })
}

fn extend_rtmr(rtmr: &Rtmr, events: &[String], records: &mut Vec<Record>) -> Result<RtmrValues, Error> {
    let before = rtmr.value().map_err(Error::Rtmr)?;
    let mut expected = before;
    for text in events {
        let digest = sha384(text.as_bytes());
        rtmr.extend(&digest).map_err(Error::Rtmr)?;
        expected = sha384(&[expected, digest].concat());
        records.push(log::record(Register::Rtmr(3), vec![(Hash::Sha384, digest.to_vec())], text));
    }
    let after = rtmr.value().map_err(Error::Rtmr)?;
    if after == expected { Ok(RtmrValues { before: hex(&before), after: hex(&after) }) } else { Err(Error::Lost) }
}

fn of_pcr((digests, text): (&Digests, &String)) -> Record {
    log::record(Register::Pcr(tpm::PCR), digests.clone(), text)
}

fn sha384(bytes: &[u8]) -> [u8; REGISTER_BYTES] {
    let mut digest = [0; REGISTER_BYTES];
    digest.iter_mut().zip(Hash::Sha384.digest(bytes)).for_each(|(to, from)| *to = from);
    digest
}

/// Digests by hash function.
type Digests = Vec<(Hash, Vec<u8>)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_those_that_policy_wants_and_the_machine_has() {
        type Decided = Result<(Option<()>, Tpm), u8>;
        type Case<'a> = (&'a str, Measure, Option<()>, bool, bool, Decided);
        let (rtmr, none) = (Some(()), None);
        let cases: [Case<'_>; 12] = [
            ("off, and everything there", Measure::Off, rtmr, true, true, Ok((none, Tpm::None))),
            ("a domain alone", Measure::Auto, rtmr, true, false, Ok((rtmr, Tpm::None))),
            ("a domain with the host's TPM", Measure::Auto, rtmr, true, true, Ok((rtmr, Tpm::Beside))),
            ("a domain whose kernel has no registers", Measure::Auto, none, true, false, Ok((none, Tpm::None))),
            ("the same with the host's TPM", Measure::Auto, none, true, true, Ok((none, Tpm::Beside))),
            ("a machine with a TPM", Measure::Auto, none, false, true, Ok((none, Tpm::Needed))),
            ("a machine with nothing", Measure::Auto, none, false, false, Ok((none, Tpm::None))),
            ("RTMR3 by name leaves the TPM alone", Measure::Rtmr, rtmr, true, true, Ok((rtmr, Tpm::None))),
            ("RTMR3 by name, and none", Measure::Rtmr, none, true, true, Err(90)),
            ("the TPM by name leaves RTMR3 alone", Measure::Tpm, rtmr, true, true, Ok((none, Tpm::Needed))),
            ("the TPM by name, and none", Measure::Tpm, rtmr, true, false, Err(90)),
            ("the TPM by name on a machine", Measure::Tpm, none, false, true, Ok((none, Tpm::Needed))),
        ];
        for (name, wanted, rtmr, confidential, tpm, want) in cases {
            assert_eq!(decide(wanted, rtmr, confidential, tpm).map_err(|error| error.code()), want, "{name}");
        }
    }

    #[test]
    fn a_register_that_does_not_take_what_it_is_given_is_an_error() {
        // A file keeps what is written last: no register does.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rtmr3:sha384"), [0; 48]).unwrap();
        let rtmr = Rtmr::at(folder.path(), 3).unwrap();
        let mut records = Vec::new();
        let lost = extend_rtmr(&rtmr, &["{}".to_owned()], &mut records);
        assert_eq!((lost.map(|_| ()).map_err(|error| error.code()), records.len()), (Err(96), 1));
    }
}
