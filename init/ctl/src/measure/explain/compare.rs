//! Comparison of the events of one log with one shape, register by register.

use eventlog::ccel::{Event, Kind, Log};
use eventlog::register::Hash;

use super::shape::Predicted;

/// How a log differs from the prediction at one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Another digest.
    Other,
    /// The log has an event more than predicted, and then continues as predicted or ends.
    Additional,
    /// The log lacks an event, and then continues as predicted or ends.
    Missing,
}

/// The first event of a register at which log and prediction differ.
pub(super) struct Divergence<'a> {
    pub(super) register: u32,
    pub(super) change: Change,
    pub(super) expected: Option<&'a Predicted<'a>>,
    /// The event and its index in the log; the index is that of the end where the log has none.
    pub(super) found: Option<&'a Event<'a>>,
    pub(super) index: usize,
}

/// The comparison with one shape.
pub(super) struct Comparison<'a> {
    /// Registers and the number of their events that are equal.
    pub(super) equal: Vec<(u32, usize)>,
    /// Number of equal events that tell images apart.
    of_image: usize,
    /// In the order of the log.
    pub(super) divergences: Vec<Divergence<'a>>,
}

impl Comparison<'_> {
    /// Whether everything is equal, and the number of events of the image before the first difference of their register: the better, the
    /// higher. Firmware's own events are the same with any image, so they do not count.
    pub(super) fn rank(&self) -> (bool, usize) {
        (self.divergences.is_empty(), self.of_image)
    }
}

/// The registers that an image decides, by their numbers in this kind of log.
pub(super) fn registers(kind: Kind) -> Vec<u32> {
    match kind {
        Kind::Cc => vec![2, 3],
        Kind::Tpm => (2..=6).chain(8..=15).collect(),
    }
}

/// Compares each register that the log or the prediction extends.
pub(super) fn compare<'a>(log: &'a Log<'a>, kind: Kind, hash: Hash, predicted: &[(u32, &'a Predicted<'a>)]) -> Comparison<'a> {
    let mut comparison = Comparison { equal: Vec::new(), of_image: 0, divergences: Vec::new() };
    for register in registers(kind) {
        let logged = log.events.iter().enumerate().filter(|(_, event)| event.is_extended() && event.register == register);
        let logged: Vec<(usize, &Event<'_>)> = logged.collect();
        let wanted: Vec<&Predicted<'_>> =
            predicted.iter().filter(|(number, _)| *number == register).map(|(_, event)| *event).collect();
        if logged.is_empty() && wanted.is_empty() {
            continue;
        }
        let is = |event: Option<&(usize, &Event<'_>)>, wanted: Option<&&Predicted<'_>>| {
            let digest = event.and_then(|(_, event)| event.digest(hash));
            digest.is_some() && digest == wanted.map(|wanted| wanted.digest.as_slice())
        };
        let equal = logged.iter().zip(&wanted).take_while(|(event, wanted)| is(Some(event), Some(wanted))).count();
        comparison.equal.push((register, equal));
        comparison.of_image += wanted.iter().take(equal).filter(|wanted| wanted.is_of_image()).count();
        let (found, expected) = (logged.get(equal), wanted.get(equal));
        // After an additional or missing event, log and prediction continue alike or both end.
        let continues = |at: usize, next: usize| match (logged.get(at), wanted.get(next)) {
            (None, None) => true,
            (event, wanted) => is(event, wanted),
        };
        let change = match (found, expected) {
            (None, None) => continue,
            (Some(_), None) => Change::Additional,
            (None, Some(_)) => Change::Missing,
            _ if continues(equal + 1, equal) => Change::Additional,
            _ if continues(equal, equal + 1) => Change::Missing,
            _ => Change::Other,
        };
        comparison.divergences.push(Divergence {
            register,
            change,
            expected: expected.copied(),
            found: found.map(|(_, event)| *event),
            index: found.map_or(log.events.len(), |(index, _)| *index),
        });
    }
    comparison.divergences.sort_by_key(|divergence| divergence.index);
    comparison
}
