//! Comparison of a firmware's event log with a prediction, event by event.

use eventlog::ccel::{self, Kind, Log};
use eventlog::register::Hash;

use crate::{Event, Firmware, Prediction};

/// An event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its index in [`Log::events`].
    pub index: usize,
    /// The number of its register in the log; its meaning depends on the kind of log.
    pub register: u32,
    /// Its digest; empty if the log has none in the compared hash function.
    pub digest: Vec<u8>,
}

/// The first event at which a log and a prediction differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The number of events before it that are equal.
    pub equal: usize,
    /// The event that the prediction has next; `None`: the log has more events.
    pub expected: Option<Event>,
    /// The event that the log has next; `None`: it ends.
    pub found: Option<Logged>,
}

/// Compares the events of a log that the image decides with a prediction: register and digest, in order. Returns their number, which is that
/// of the prediction.
///
/// In a log of a TD these are all events of RTMR1 and RTMR2, in the log of a TPM those of PCRs 2 to 6 and 8 to 15. Firmware that measures a
/// driver or an option ROM into one of them diverges at that event: its registers are not the predicted ones. The log itself is not trusted;
/// equality says something about a machine only if the log replays to its registers.
///
/// # Errors
/// The first event that differs.
pub fn compare(
    log: &Log<'_>,
    kind: Kind,
    hash: Hash,
    prediction: &Prediction,
    firmware: Firmware,
) -> Result<usize, Box<Divergence>> {
    let mut logged = log.events.iter().enumerate().filter(|(_, event)| is_of_image(kind, event));
    let mut equal = 0;
    for expected in expected(prediction, kind, firmware) {
        let found = logged.next().map(|(index, event)| found(index, event, hash));
        let wanted = (register(kind, expected), expected.digest(hash));
        if found.as_ref().is_none_or(|found| wanted != (Some(found.register), found.digest.clone())) {
            return Err(Box::new(Divergence { equal, expected: Some(expected.clone()), found }));
        }
        equal += 1;
    }
    match logged.next() {
        Some((index, event)) => Err(Box::new(Divergence { equal, expected: None, found: Some(found(index, event, hash)) })),
        None => Ok(equal),
    }
}

/// The number of an event's register in a log of this kind; `None`: it has none there.
#[must_use]
pub fn register(kind: Kind, event: &Event) -> Option<u32> {
    match kind {
        // 0 is MRTD.
        Kind::Cc => event.rtmr().map(|number| number + 1),
        Kind::Tpm => Some(event.pcr),
    }
}

fn expected(prediction: &Prediction, kind: Kind, firmware: Firmware) -> impl Iterator<Item = &Event> {
    let is_expected = move |event: &&Event| match kind {
        Kind::Cc => event.is_in_rtmr(firmware),
        Kind::Tpm => event.is_in_pcr(firmware),
    };
    prediction.0.iter().filter(is_expected)
}

fn is_of_image(kind: Kind, event: &ccel::Event<'_>) -> bool {
    event.is_extended()
        && match kind {
            Kind::Cc => matches!(event.register, 2 | 3),
            Kind::Tpm => matches!(event.register, 2..=6 | 8..=15),
        }
}

fn found(index: usize, event: &ccel::Event<'_>, hash: Hash) -> Logged {
    Logged { index, register: event.register, digest: event.digest(hash).unwrap_or_default().to_vec() }
}
