//! The predicted events of an image, and the registers that they make.

use eventlog::register::Hash;

use crate::{Event, Firmware, Route, firmware};

/// The predicted events, from the start of the first boot option to the first program of the initrd. Earlier events measure firmware and
/// its settings, which do not depend on the image.
///
/// The list has the events of all kinds of firmware; [`Prediction::events`] and [`Prediction::pcr_events`] select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction(pub Vec<Event>);

impl Prediction {
    /// Returns RTMR1 or RTMR2; 48 bytes. Zeros for firmware without RTMRs.
    #[must_use]
    pub fn rtmr(&self, number: u32, firmware: Firmware) -> Vec<u8> {
        let events = self.0.iter().filter(|event| event.is_in_rtmr(firmware));
        replay(Hash::Sha384, events.filter(|event| event.rtmr() == Some(number)))
    }

    /// Returns the events that this firmware extends, in order: into RTMRs; [`Firmware::Tpm`]: into PCRs.
    pub fn events(&self, firmware: Firmware) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(move |event| match firmware {
            Firmware::Tpm => event.is_in_pcr(firmware),
            _ => event.is_in_rtmr(firmware),
        })
    }

    /// Returns the events that this firmware extends into PCRs, in order; none without a TPM.
    pub fn pcr_events(&self, firmware: Firmware) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(move |event| event.is_in_pcr(firmware))
    }

    /// Returns a PCR in the bank of `hash`, as edk2 extends it with this firmware.
    #[must_use]
    pub fn pcr(&self, number: u32, hash: Hash, firmware: Firmware) -> Vec<u8> {
        replay(hash, self.pcr_events(firmware).filter(|event| event.pcr == number))
    }

    /// Returns the PCRs that are predicted whole with this firmware; none without a TPM.
    ///
    /// PCRs 0 to 3 and 7 contain firmware settings. PCR 5 contains the partition table, which changes when its backup is moved to the end of
    /// a larger disk. Where RTMRs exist beside the TPM, PCRs 2 to 7 are left out: edk2 measures programs and the partition table into RTMR1
    /// alone, and Google's firmware into PCR 2 besides.
    #[must_use]
    pub fn pcrs(&self, firmware: Firmware) -> Vec<u32> {
        let first = if firmware.has_cc() { 8 } else { 4 };
        let is_extended = |pcr: u32| self.pcr_events(firmware).any(|event| event.pcr == pcr && event.route != Route::Separator);
        (first..=15).filter(|pcr| *pcr != 7 && is_extended(*pcr)).collect()
    }

    /// Returns the prediction for a machine whose firmware tries `count` other boot options before the image's, each of which fails without
    /// that a program was loaded, for example an empty disk. Each adds two actions to RTMR1 and PCR 4. A direct boot has none.
    #[must_use]
    pub fn after_failed_boot_options(mut self, count: usize) -> Self {
        let is_separator = |event: &Event| event.route == Route::Separator;
        let at = self.0.iter().rposition(is_separator).map_or(0, |last| last + 1);
        let again = std::iter::repeat_n((), count).flat_map(|()| firmware::tries_again());
        drop(self.0.splice(at..at, again));
        self
    }
}

fn replay<'a>(hash: Hash, events: impl Iterator<Item = &'a Event>) -> Vec<u8> {
    let digests: Vec<Vec<u8>> = events.map(|event| event.digest(hash)).collect();
    hash.replay(digests.iter().map(Vec::as_slice))
}
