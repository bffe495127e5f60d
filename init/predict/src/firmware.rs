//! The kinds of firmware, and the events that each of them extends around the events of an image.

use crate::{Event, Maker, Route};

/// The kind of firmware: which measurement protocols it offers, and where its separator goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firmware {
    /// A TDVF without a TPM: one separator in RTMR1 (edk2-stable202411 and later).
    #[default]
    Td,
    /// A TDVF without a TPM, before edk2-stable202411: that separator goes to RTMR0, where it is the second.
    ///
    /// Source: edk2 commit efaf8931bbfa33a81b8792fbf9e2ccc239d53204, `OvmfPkg/TdTcg2Dxe: Fix the SeparatorEvent issue in RTMRs`.
    TdOlder,
    /// A TDVF in a TD that also has a TPM, as on GCP: the kernel's EFI stub does not extend RTMR2.
    TdWithTpm,
    /// The same before edk2-stable202411.
    TdWithTpmOlder,
    /// Firmware with a TPM and without RTMRs: a separator for each PCR.
    Tpm,
}

impl Firmware {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Td, Self::TdOlder, Self::TdWithTpm, Self::TdWithTpmOlder, Self::Tpm];

    /// Whether the firmware offers `EFI_CC_MEASUREMENT_PROTOCOL`, and so RTMRs.
    #[must_use]
    pub const fn has_cc(self) -> bool {
        !matches!(self, Self::Tpm)
    }

    /// Whether the firmware offers `EFI_TCG2_PROTOCOL`, and so PCRs.
    #[must_use]
    pub const fn has_tpm(self) -> bool {
        matches!(self, Self::TdWithTpm | Self::TdWithTpmOlder | Self::Tpm)
    }

    /// Whether the firmware is a TDVF from before edk2-stable202411.
    #[must_use]
    pub const fn is_older(self) -> bool {
        matches!(self, Self::TdOlder | Self::TdWithTpmOlder)
    }

    /// Returns the same firmware where the host gives it a TPM, or none. Firmware without RTMRs stays as it is.
    #[must_use]
    pub const fn with_tpm(self, tpm: bool) -> Self {
        match (self, tpm) {
            (Self::Tpm, _) => Self::Tpm,
            (Self::Td | Self::TdWithTpm, false) => Self::Td,
            (Self::Td | Self::TdWithTpm, true) => Self::TdWithTpm,
            (Self::TdOlder | Self::TdWithTpmOlder, false) => Self::TdOlder,
            (Self::TdOlder | Self::TdWithTpmOlder, true) => Self::TdWithTpmOlder,
        }
    }

    /// Returns the name in arguments and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Td => "td",
            Self::TdOlder => "td-older",
            Self::TdWithTpm => "td-with-tpm",
            Self::TdWithTpmOlder => "td-with-tpm-older",
            Self::Tpm => "tpm",
        }
    }
}

/// The firmware's text when it starts a boot option.
const CALLING: &str = "Calling EFI Application from Boot Option";
/// Its text when a boot option returned and another is tried.
const RETURNING: &str = "Returning from EFI Application from Boot Option";
/// Its texts when the kernel exits boot services.
const EXITS: [&str; 2] = ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"];

/// The events of firmware when it starts the first boot option: an action, and the separators.
pub(crate) fn begins() -> Vec<Event> {
    let separator = |pcr| Event { route: Route::Separator, ..Event::new(Maker::Firmware, pcr, "separator", [0; 4]) };
    let mut events = vec![Event::action(4, CALLING)];
    events.extend((2..=6).map(separator));
    events
}

/// The events of firmware for each boot option after one that failed.
///
/// Source: edk2 `SecurityPkg/Tcg/Tcg2Dxe` and `OvmfPkg/Tcg/TdTcg2Dxe`, `OnReadyToBoot`.
pub(crate) fn tries_again() -> [Event; 2] {
    [RETURNING, CALLING].map(|text| Event::action(4, text))
}

/// The events of firmware when the kernel exits boot services.
pub(crate) fn ends() -> [Event; 2] {
    EXITS.map(|text| Event::action(5, text))
}

/// Whether this is one of [`ends`]: the kernel already runs.
pub(crate) fn is_exit(event: &Event) -> bool {
    event.maker == Maker::Firmware && EXITS.iter().any(|text| event.hashed == text.as_bytes())
}
