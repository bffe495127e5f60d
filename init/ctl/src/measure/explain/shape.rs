//! Shapes of a boot: what decides the events of one image beside the image itself.

use eventlog::ccel::Kind;
use predict::{Chain, Event, Firmware, Maker, Prediction, Route, register};
use serde_json::{Value, json};

use crate::measure::subject::States;

/// The most boot options that are assumed to fail before the image.
const FAILED_MAX: usize = 3;

/// The longest text that firmware measures is shorter, in bytes; a partition table is longer.
const TEXT_MAX: usize = 64;

/// What decides the events of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// The state of Secure Boot: a name in [`States`].
    pub(super) state: &'static str,
    pub(super) firmware: Firmware,
    /// Number of boot options that fail before the image.
    pub(super) failed: usize,
}

/// A predicted event with its digest, which is computed once: images have some hundred MB.
pub(super) struct Predicted<'a> {
    pub(super) event: &'a Event,
    pub(super) digest: Vec<u8>,
}

/// The predicted events of each state of Secure Boot, and those of a boot option that fails.
pub(super) struct Predictions<'a> {
    states: Vec<(&'static str, Vec<Predicted<'a>>)>,
    failed: Vec<Predicted<'a>>,
}

impl Predicted<'_> {
    /// Whether another image has another event here: not for separators and texts of firmware, which are short.
    pub(super) fn is_of_image(&self) -> bool {
        self.event.maker != Maker::Firmware || !self.event.covers.is_empty() || self.event.hashed.len() > TEXT_MAX
    }
}

impl<'a> Predictions<'a> {
    pub(super) fn of(states: &'a States, failed: &'a Prediction, digest: impl Fn(&Event) -> Vec<u8>) -> Self {
        let digests = |events: &'a [Event]| events.iter().map(|event| Predicted { event, digest: digest(event) }).collect();
        let states = states.iter().map(|(name, prediction)| (*name, digests(&prediction.0)));
        Self { states: states.collect(), failed: digests(&failed.0) }
    }

    /// The other shapes in which the image can boot on a machine with this kind of log.
    pub(super) fn shapes(&self, chain: Chain, kind: Kind, expected: Shape) -> Vec<Shape> {
        let fits = |firmware: &Firmware| match kind {
            Kind::Cc => firmware.has_cc(),
            Kind::Tpm => firmware.has_tpm() && !firmware.is_older(),
        };
        // The hypervisor gives the kernel of a direct boot: no boot option is tried before it.
        let failed = if matches!(chain, Chain::Uki | Chain::Grub) { FAILED_MAX } else { 0 };
        let mut shapes = Vec::new();
        for firmware in Firmware::ALL.into_iter().filter(fits) {
            for (state, _) in &self.states {
                shapes.extend((0..=failed).map(|failed| Shape { state, firmware, failed }));
            }
        }
        // The fewest differences first, so that of equally good shapes the nearest is found.
        shapes.sort_by_key(|shape| shape.differences(expected).len() + shape.failed.abs_diff(expected.failed));
        shapes.retain(|shape| *shape != expected);
        shapes
    }

    /// The events of a shape, in order, with the numbers of their registers.
    pub(super) fn events(&self, shape: Shape, kind: Kind) -> Vec<(u32, &Predicted<'a>)> {
        let own = self.states.iter().find(|(name, _)| *name == shape.state).map_or(&[][..], |(_, events)| events);
        let last = own.iter().rposition(|predicted| predicted.event.route == Route::Separator).map_or(0, |last| last + 1);
        let (before, after) = own.split_at_checked(last).unwrap_or((own, &[]));
        let failed = (0..shape.failed).flat_map(|_| &self.failed);
        let is_in = |event: &Event| match kind {
            Kind::Cc => event.is_in_rtmr(shape.firmware),
            Kind::Tpm => event.is_in_pcr(shape.firmware),
        };
        let events = before.iter().chain(failed).chain(after).filter(|predicted| is_in(predicted.event));
        events.filter_map(|predicted| Some((register(kind, predicted.event)?, predicted))).collect()
    }
}

impl Shape {
    pub(super) fn name(self) -> String {
        let failed = match self.failed {
            0 => String::new(),
            1 => ", after 1 boot option that failed".to_owned(),
            count => format!(", after {count} boot options that failed"),
        };
        format!("{} {}{failed}", self.firmware.name(), self.state)
    }

    /// What is different on a machine of this shape from the expected one.
    pub(super) fn differences(self, expected: Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.state != expected.state {
            differences.push(format!("the machine booted {}, not {}", self.state, expected.state));
        }
        let (own, other) = (self.firmware, expected.firmware);
        if own.is_older() != other.is_older() {
            differences.push(if own.is_older() {
                "the firmware is a TDVF from before edk2-stable202411, which measures its second separator into RTMR0 and none into RTMR1"
                    .to_owned()
            } else {
                "the firmware is a TDVF since edk2-stable202411, which measures a separator into RTMR1".to_owned()
            });
        }
        if own.has_tpm() != other.has_tpm() {
            differences.push(if own.has_tpm() {
                "the machine has a TPM: the kernel's EFI stub measures into it alone, and GRUB measures at all".to_owned()
            } else {
                "the machine has no TPM: the kernel's EFI stub measures into RTMR2, and GRUB measures nothing".to_owned()
            });
        }
        if own.has_cc() != other.has_cc() {
            differences.push(if own.has_cc() { "the TPM is that of a TD" } else { "the TPM is not that of a TD" }.to_owned());
        }
        if self.failed != expected.failed {
            differences.push(format!(
                "the firmware tried {} boot options before the image, not {}: put its disk first in the boot order",
                self.failed, expected.failed
            ));
        }
        differences
    }

    pub(super) fn to_json(self) -> Value {
        json!({ "fold": self.firmware.name(), "state": self.state, "failed_boot_options": self.failed, "name": self.name() })
    }
}
