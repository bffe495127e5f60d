//! Measures what happened: extends events into RTMR3 of the trust domain (TD) and, where there is a TPM, into a PCR; then extends
//! the RTMR cap, the event `leave-initrd`, into RTMR2 as well. Vaults match MRTD, RTMR1 and RTMR2 of a quote, so after the cap no
//! quote of this boot matches the policy of a key.
//!
//! Nothing is extended before the data disk is open. Registers that policy needs are found before PID 1 asks for a share. The
//! host or its provider controls a TPM beside a TD: PID 1 sends it nothing unless policy names it.

mod event;
mod firmware;
mod log;
mod tpm;

use cmdline::{Measure, Policy};
use encoding::hex;
use eventlog::cel::{Record, Register};
use eventlog::register::Hash;
use failure::ErrorCode;
use linux::rtmr::{REGISTER_BYTES, Rtmr};
use serde::Serialize;
use serde_json::{Map, Value};

use super::early::EarlyMounts;
use super::quiesce::Quiescent;
pub(crate) use event::Facts;
use firmware::{Finding, Reason};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cvm.measure={0}: this machine has no such register: correct cvm.measure, or start another type of machine")]
    Absent(&'static str),
    #[error(
        "cvm.measure={0}: this kernel does not let the TD extend RTMR2 and RTMR3, as Linux 6.16 and later do: what runs after the handoff \
         could get the key. cvm.measure=off accepts that"
    )]
    NoCap(&'static str),
    #[error("cvm.measure={0}: the TPM cannot be used")]
    Unusable(&'static str, #[source] tpm::Error),
    #[error("cvm.measure.require-cmdline=yes: {0}")]
    NotMeasured(Finding),
    #[error("RTMR{0}")]
    Rtmr(u32, #[source] linux::Error),
    #[error("RTMR{0}: expected {1} after the extension, read {2}")]
    Lost(u32, String, String),
    #[error("TPM")]
    Tpm(#[source] tpm::Error),
    #[error("event log")]
    Log(#[source] std::io::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Absent(_) | Self::NoCap(_) | Self::Unusable(..) => ErrorCode::RegisterAbsent,
            Self::Rtmr(..) | Self::Lost(..) | Self::Tpm(_) | Self::Log(_) => ErrorCode::MeasureFailed,
            Self::NotMeasured(_) => ErrorCode::CmdlineUnmeasured,
        }
    }
}

/// The registers that this boot extends, and whether firmware measured the command line. Only [`find`] makes one, before the
/// network is up.
pub(crate) struct Registers {
    rtmrs: Option<Rtmrs>,
    tpm: Tpm,
    firmware: Finding,
}

/// The RTMRs that PID 1 extends.
struct Rtmrs {
    /// RTMR2: firmware, boot loader and kernel measured the command line and the initrd into it. PID 1 extends only the cap into
    /// it.
    of_boot: Rtmr,
    /// RTMR3, which firmware, boot loader and kernel do not extend. PID 1 extends every event into it.
    of_events: Rtmr,
}

impl Rtmrs {
    /// `None` unless the kernel offers both.
    fn find() -> Option<Self> {
        Some(Self { of_boot: Rtmr::number(2)?, of_events: Rtmr::number(3)? })
    }
}

/// The properties of the machine that decide which registers are used.
#[derive(Debug, Clone, Copy, Default)]
struct Machine {
    td: bool,
    /// A TD or an SEV-SNP guest, where the host controls a TPM.
    confidential: bool,
    tpm: bool,
}

/// Whether a TPM is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tpm {
    /// There is none, or policy does not use it.
    None,
    /// Every event is extended into it; an error ends the boot.
    Needed,
}

/// The measurements, as the boot report contains them.
#[derive(Debug, Serialize)]
pub(crate) struct MeasureReport {
    /// Whether firmware measured the command line.
    command_line: firmware::CommandLineReport,
    /// Whether RTMR2 has the cap: after it, no quote of this boot matches a key's policy.
    rtmr2_capped: bool,
    /// RTMR2 before and after the cap.
    rtmr2: Option<RtmrValues>,
    /// RTMR3 before and after the events; none where the machine has no RTMR3 or policy does not use it.
    rtmr3: Option<RtmrValues>,
    /// The PCR after the events.
    pcr: Option<PcrValues>,
    /// How many events were extended, the cap included; 0 when nothing was measured.
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
    /// In hex, by hash function.
    values: Map<String, Value>,
}

/// Finds the registers and searches the firmware's log.
///
/// # Errors
/// When a register that policy names is missing, or when policy requires a measured command line and the log does not prove it.
pub(crate) fn find(_early: EarlyMounts, policy: &Policy, command_line: &str) -> Result<Registers, Error> {
    let firmware = firmware::examine(command_line);
    match &firmware {
        Finding::Measured { .. } | Finding::Unknown(Reason::NoLog) => ::log::info!("measured: {firmware}"),
        Finding::NotMeasured { .. } | Finding::Unknown(_) => ::log::warn!("measured: {firmware}"),
    }
    if policy.require_cmdline && !matches!(firmware, Finding::Measured { .. }) {
        return Err(Error::NotMeasured(firmware));
    }
    let machine = Machine { td: firmware::is_td(), confidential: firmware::is_confidential(), tpm: tpm::is_present() };
    let (rtmrs, tpm) = decide(policy.measure, policy.data.is_some(), Rtmrs::find(), machine)?;
    if let Some(rtmrs) = &rtmrs
        && rtmrs.of_events.value().map_err(|error| Error::Rtmr(3, error))? != [0; REGISTER_BYTES]
    {
        ::log::warn!("measure: RTMR3 is not zero: something extended it before PID 1");
    }
    if tpm == Tpm::Needed {
        tpm::check().map_err(|error| Error::Unusable(policy.measure.as_str(), error))?;
    }
    Ok(Registers { rtmrs, tpm, firmware })
}

/// Decides which registers take the events. `vaults`: the policy has a data disk, whose key the vaults hold.
fn decide<R>(wanted: Measure, vaults: bool, rtmrs: Option<R>, machine: Machine) -> Result<(Option<R>, Tpm), Error> {
    let Machine { td, confidential, tpm } = machine;
    let of_tpm = |tpm: bool| if tpm { Tpm::Needed } else { Tpm::None };
    match wanted {
        Measure::Off => Ok((None, Tpm::None)),
        Measure::Rtmr if rtmrs.is_none() => Err(Error::Absent(wanted.as_str())),
        Measure::Tpm if !tpm => Err(Error::Absent(wanted.as_str())),
        // Without a cap, programs that run later could get the key: only `off` accepts that.
        _ if td && vaults && rtmrs.is_none() => Err(Error::NoCap(wanted.as_str())),
        Measure::Rtmr => Ok((rtmrs, Tpm::None)),
        Measure::Tpm => Ok((rtmrs, Tpm::Needed)),
        // The host controls the TPM: PID 1 lets no C code parse its answers unless policy names it.
        Measure::Auto if confidential => Ok((rtmrs, Tpm::None)),
        Measure::Auto => Ok((rtmrs, of_tpm(tpm))),
    }
}

/// Extends every event and the cap, reads the registers back, and writes the logs for verifiers.
///
/// # Errors
/// When a register does not hold the expected value afterwards, or a log cannot be written.
pub(crate) fn extend(_quiescent: &Quiescent, registers: Registers, facts: &Facts<'_>) -> Result<MeasureReport, Error> {
    let Registers { rtmrs, tpm, firmware } = registers;
    let events = event::records(facts);
    let mut of_rtmr = Vec::new();
    let extended = rtmrs.map(|rtmrs| -> Result<_, Error> {
        let rtmr3 = extend_rtmr(3, &rtmrs.of_events, &events, &mut of_rtmr)?;
        let cap = events.last().map_or(&[][..], std::slice::from_ref);
        Ok((extend_rtmr(2, &rtmrs.of_boot, cap, &mut of_rtmr)?, rtmr3))
    });
    let (rtmr2, rtmr3) = extended.transpose()?.unzip();
    if rtmr2.is_none() && !facts.data.is_empty() {
        ::log::warn!("measure: RTMR2 has no cap: programs that run later in this boot can get the key from the vaults");
    }
    let extended = match tpm {
        Tpm::None => None,
        Tpm::Needed => Some(tpm::extend(&events).map_err(Error::Tpm)?),
    };
    let of_tpm: Vec<Record> = extended.iter().flat_map(|done| done.events.iter().zip(&events)).map(of_pcr).collect();
    log::write(&of_rtmr, &of_tpm).map_err(Error::Log)?;
    Ok(MeasureReport {
        command_line: firmware.report(),
        rtmr2_capped: rtmr2.is_some(),
        events: if rtmr3.is_some() || extended.is_some() { events.len() } else { 0 },
        rtmr2,
        rtmr3,
        pcr: extended.map(|done| PcrValues { number: tpm::PCR, values: by_hash(&done.values) }),
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
    let (before, expected, after) = (hex::encode(&before), hex::encode(&expected), hex::encode(&rtmr.value().map_err(failed)?));
    if after == expected { Ok(RtmrValues { before, after }) } else { Err(Error::Lost(number, expected, after)) }
}

/// In the order of the names. A `BTreeMap` that is collected sorts first, which adds 4 KB to PID 1.
fn by_hash(digests: &Digests) -> Map<String, Value> {
    let mut values = Map::new();
    for hash in Hash::ALL {
        for (_, digest) in digests.iter().filter(|(of, _)| *of == hash) {
            values.insert(hash.name().to_owned(), hex::encode(digest).into());
        }
    }
    values
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
        // A file keeps the last value written, as no register does.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rtmr3:sha384"), [0; 48]).unwrap();
        let rtmr = Rtmr::at(folder.path(), 3).unwrap();
        let mut records = Vec::new();
        let lost = extend_rtmr(3, &rtmr, &["{}".to_owned()], &mut records);
        assert_eq!((lost.map(|_| ()).map_err(|error| error.code().number()), records.len()), (Err(96), 1));
    }
}
