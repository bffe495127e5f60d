//! Measures what happened into RTMR3 of the trust domain (TD) and, where there is a TPM, into a PCR; then extends the cap, the event
//! `leave-initrd`, into RTMR2 as well. Vaults match MRTD, RTMR1 and RTMR2 of a quote, so after the cap no quote of this boot matches the
//! policy of a key, at any vault, whatever runs.
//!
//! Nothing is extended before the data disk is open. A register that policy needs is looked for before a share is asked for. The host or
//! its provider controls a TPM beside a TD: PID 1 sends it nothing unless
//! policy names it.

mod event;
mod firmware;
mod log;
mod tpm;

use std::collections::BTreeMap;

use cmdline::{Measure, Policy};
use eventlog::cel::{Record, Register};
use eventlog::register::Hash;
use failure::ErrorCode;
use linux::measurements::{REGISTER_BYTES, Rtmr};
use serde::Serialize;

use super::api::Api;
use super::quiesce::Quiescent;
use crate::receipt::hex;
pub(crate) use event::Facts;
use firmware::{Finding, Reason};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cvm.measure={0}: this machine has no such register")]
    Absent(&'static str),
    #[error(
        "cvm.measure={0}: this kernel does not let the TD extend RTMR2 and RTMR3, as Linux 6.16 and later do: what runs after the handoff \
         could get the key. cvm.measure=off accepts that"
    )]
    NoCap(&'static str),
    #[error("cvm.measure={0}: TPM")]
    Unusable(&'static str, #[source] tpm::Error),
    #[error("cvm.measure.require-cmdline=yes: {0}")]
    NotMeasured(Finding),
    #[error("RTMR{0}")]
    Rtmr(u32, #[source] linux::Error),
    #[error("RTMR{0}: expected {1} after the extension, read {2}")]
    Lost(u32, String, String),
    #[error("TPM")]
    Tpm(#[source] tpm::Error),
    #[error("event")]
    Event(#[source] serde_json::Error),
    #[error("event log")]
    Log(#[source] std::io::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Absent(_) | Self::NoCap(_) | Self::Unusable(..) => ErrorCode::RegisterAbsent,
            Self::Rtmr(..) | Self::Lost(..) | Self::Tpm(_) | Self::Event(_) | Self::Log(_) => ErrorCode::MeasureFailed,
            Self::NotMeasured(_) => ErrorCode::CmdlineUnmeasured,
        }
    }
}

/// The registers that this boot goes into, and whether its command line was measured. Only [`find`] makes one, before the network is up.
pub(crate) struct Registers {
    rtmrs: Option<Rtmrs>,
    tpm: Tpm,
    firmware: Finding,
}

/// The registers of a TD that PID 1 extends.
struct Rtmrs {
    /// RTMR2: firmware, boot loader and kernel measured the command line and the initrd into it. It takes the cap alone.
    of_boot: Rtmr,
    /// RTMR3, which firmware, boot loader and kernel do not write. It takes every event.
    of_events: Rtmr,
}

impl Rtmrs {
    /// `None` unless the kernel offers both.
    fn find() -> Option<Self> {
        Some(Self { of_boot: Rtmr::number(2)?, of_events: Rtmr::number(3)? })
    }
}

/// What the machine is, as far as it decides which registers are used.
#[derive(Debug, Clone, Copy, Default)]
struct Machine {
    /// A TD.
    td: bool,
    /// A TD or an SEV-SNP guest: a TPM is the host's.
    confidential: bool,
    tpm: bool,
}

/// What is done with a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tpm {
    /// There is none, or policy wants none.
    None,
    /// It takes the events, or the boot ends.
    Needed,
}

/// What the receipt says of the measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether firmware measured our command line.
    command_line: firmware::Told,
    /// Whether RTMR2 has the cap: no quote of this boot matches the vaults' policy from then on.
    capped: bool,
    /// RTMR2 before and behind the cap.
    rtmr2: Option<RtmrValues>,
    /// RTMR3 before and behind the events; none where the machine has none, or policy wants none.
    rtmr3: Option<RtmrValues>,
    /// The PCR behind the events.
    pcr: Option<PcrValues>,
    /// How many events there were, the cap included; 0: nothing was measured.
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
    if policy.require_cmdline && !matches!(firmware, Finding::Measured { .. }) {
        return Err(Error::NotMeasured(firmware));
    }
    let machine = Machine { td: firmware::is_td(), confidential: firmware::is_confidential(), tpm: tpm::is_there() };
    let (rtmrs, tpm) = decide(policy.measure, policy.data.is_some(), Rtmrs::find(), machine)?;
    if let Some(rtmrs) = &rtmrs
        && rtmrs.of_events.value().map_err(|error| Error::Rtmr(3, error))? != [0; REGISTER_BYTES]
    {
        ::log::warn!("measure: RTMR3 is not zero: something extended it before this initrd");
    }
    if tpm == Tpm::Needed {
        tpm::try_it().map_err(|error| Error::Unusable(policy.measure.as_str(), error))?;
    }
    Ok(Registers { rtmrs, tpm, firmware })
}

/// Which registers take the events, by policy and by what is there. Vaults give the shares of the keys of data disks, `vaults`.
fn decide<R>(wanted: Measure, vaults: bool, rtmrs: Option<R>, machine: Machine) -> Result<(Option<R>, Tpm), Error> {
    let Machine { td, confidential, tpm } = machine;
    let of_tpm = |tpm: bool| if tpm { Tpm::Needed } else { Tpm::None };
    match wanted {
        Measure::Off => Ok((None, Tpm::None)),
        Measure::Rtmr if rtmrs.is_none() => Err(Error::Absent(wanted.as_str())),
        Measure::Tpm if !tpm => Err(Error::Absent(wanted.as_str())),
        // Without a cap the key is open to whatever runs later: `off` alone accepts that.
        _ if td && vaults && rtmrs.is_none() => Err(Error::NoCap(wanted.as_str())),
        Measure::Rtmr => Ok((rtmrs, Tpm::None)),
        Measure::Tpm => Ok((rtmrs, Tpm::Needed)),
        // The TPM is the host's: PID 1 has no C code parse its answers unless policy names it.
        Measure::Auto if confidential => Ok((rtmrs, Tpm::None)),
        Measure::Auto => Ok((rtmrs, of_tpm(tpm))),
    }
}

/// Extends every event into the registers of events and the cap into RTMR2, reads them back, and leaves the logs where verifiers look.
///
/// # Errors
/// When a register or a log does not take it.
pub(crate) fn extend(_quiescent: &Quiescent, registers: Registers, facts: &Facts<'_>) -> Result<Outcome, Error> {
    let Registers { rtmrs, tpm, firmware } = registers;
    let events = event::records(facts).map_err(Error::Event)?;
    let mut of_rtmr = Vec::new();
    let extended = rtmrs.map(|rtmrs| -> Result<_, Error> {
        let rtmr3 = extend_rtmr(3, &rtmrs.of_events, &events, &mut of_rtmr)?;
        let cap = events.last().map_or(&[][..], std::slice::from_ref);
        Ok((extend_rtmr(2, &rtmrs.of_boot, cap, &mut of_rtmr)?, rtmr3))
    });
    let (rtmr2, rtmr3) = extended.transpose()?.unzip();
    if rtmr2.is_none() && !facts.data.is_empty() {
        ::log::warn!("measure: RTMR2 has no cap: what runs later in this boot can get the key from the vaults");
    }
    let extended = match tpm {
        Tpm::None => None,
        Tpm::Needed => Some(tpm::extend(&events).map_err(Error::Tpm)?),
    };
    let of_tpm: Vec<Record> = extended.iter().flat_map(|done| done.events.iter().zip(&events)).map(of_pcr).collect();
    log::leave(&of_rtmr, &of_tpm).map_err(Error::Log)?;
    Ok(Outcome {
        command_line: firmware.told(),
        capped: rtmr2.is_some(),
        events: if rtmr3.is_some() || extended.is_some() { events.len() } else { 0 },
        rtmr2,
        rtmr3,
        pcr: extended.map(|done| PcrValues {
            number: tpm::PCR,
            values: done.values.iter().map(|(hash, value)| (hash.name(), hex(value))).collect(),
        }),
    })
}

fn extend_rtmr(number: u32, rtmr: &Rtmr, events: &[String], records: &mut Vec<Record>) -> Result<RtmrValues, Error> {
    let failed = |error| Error::Rtmr(number, error);
    let before = rtmr.value().map_err(failed)?;
    let mut expected = before;
    for text in events {
        let digest = sha384(text.as_bytes());
        rtmr.extend(&digest).map_err(failed)?;
        expected = sha384(&[expected, digest].concat());
        records.push(log::record(Register::Rtmr(number), vec![(Hash::Sha384, digest.to_vec())], text));
    }
    let (before, expected, after) = (hex(&before), hex(&expected), hex(&rtmr.value().map_err(failed)?));
    if after == expected { Ok(RtmrValues { before, after }) } else { Err(Error::Lost(number, expected, after)) }
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
        type Case<'a> = (&'a str, Measure, Option<()>, Machine, Decided);
        let (rtmrs, none) = (Some(()), None);
        let td = Machine { td: true, confidential: true, tpm: false };
        let td_with_tpm = Machine { tpm: true, ..td };
        let snp = Machine { confidential: true, ..Machine::default() };
        let (with_tpm, bare) = (Machine { tpm: true, ..Machine::default() }, Machine::default());
        let cases: [Case<'_>; 15] = [
            ("off, and everything there", Measure::Off, rtmrs, td_with_tpm, Ok((none, Tpm::None))),
            ("off in a TD whose kernel has no registers", Measure::Off, none, td, Ok((none, Tpm::None))),
            ("a TD alone", Measure::Auto, rtmrs, td, Ok((rtmrs, Tpm::None))),
            ("a TD with the host's TPM", Measure::Auto, rtmrs, td_with_tpm, Ok((rtmrs, Tpm::None))),
            ("a TD whose kernel has no registers", Measure::Auto, none, td, Err(90)),
            ("the same with the host's TPM", Measure::Auto, none, td_with_tpm, Err(90)),
            ("an SNP guest", Measure::Auto, none, snp, Ok((none, Tpm::None))),
            ("a machine with a TPM", Measure::Auto, none, with_tpm, Ok((none, Tpm::Needed))),
            ("a machine with nothing", Measure::Auto, none, bare, Ok((none, Tpm::None))),
            ("RTMRs by name leave the TPM alone", Measure::Rtmr, rtmrs, td_with_tpm, Ok((rtmrs, Tpm::None))),
            ("RTMRs by name, and none", Measure::Rtmr, none, td_with_tpm, Err(90)),
            ("the TPM by name does not leave out the cap", Measure::Tpm, rtmrs, td_with_tpm, Ok((rtmrs, Tpm::Needed))),
            ("the TPM by name where there can be no cap", Measure::Tpm, none, td_with_tpm, Err(90)),
            ("the TPM by name, and none", Measure::Tpm, rtmrs, td, Err(90)),
            ("the TPM by name on a machine", Measure::Tpm, none, with_tpm, Ok((none, Tpm::Needed))),
        ];
        for (name, wanted, rtmrs, machine, want) in cases {
            assert_eq!(decide(wanted, true, rtmrs, machine).map_err(|error| error.code().number()), want, "{name}");
        }
        // Without vaults there is no key to protect.
        assert!(matches!(decide(Measure::Auto, false, none, td), Ok((None, Tpm::None))));
        assert!(matches!(decide(Measure::Tpm, false, none, td_with_tpm), Ok((None, Tpm::Needed))));
    }

    #[test]
    fn a_register_that_does_not_take_what_it_is_given_is_an_error() {
        // A file keeps what is written last: no register does.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rtmr3:sha384"), [0; 48]).unwrap();
        let rtmr = Rtmr::at(folder.path(), 3).unwrap();
        let mut records = Vec::new();
        let lost = extend_rtmr(3, &rtmr, &["{}".to_owned()], &mut records);
        assert_eq!((lost.map(|_| ()).map_err(|error| error.code().number()), records.len()), (Err(96), 1));
    }
}
