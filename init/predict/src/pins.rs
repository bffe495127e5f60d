//! Which registers of a policy pin kernel, initrd and command line of an image, against a host that chooses everything else.
//!
//! A policy names register values. The host decides about Secure Boot, about a TPM, and what the firmware starts. So each part is replaced
//! here in each such world: the genuine programs measure what they would measure there, up to the point at which the replaced part has
//! control; from then on the host's code extends whatever it likes. The host succeeds if what was measured up to that point is the beginning
//! of what the policy expects, in every register that the policy names. A part is pinned if no host succeeds.
//!
//! Two more things are played for a unified kernel image: what systemd-stub adds to it from the host (`with_additions`), and an image that
//! the firmware measures and does not start (`without_loader`). Code of the host that the firmware measures before it runs (option ROMs,
//! drivers, other boot options) is an event that no prediction has.
//!
//! MRTD pins the firmware. What a host can do with it depends on the firmware's own abilities, which are conditions on MRTD:
//! [`Condition`].

use crate::{Event, Firmware, Maker, Part, Prediction, firmware};

/// The registers that a policy names, and that the vaults compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one flag for each register")]
pub struct Named {
    /// MRTD: the firmware.
    pub mrtd: bool,
    /// RTMR0: the state of Secure Boot, and the machine.
    pub rtmr0: bool,
    /// RTMR1.
    pub rtmr1: bool,
    /// RTMR2.
    pub rtmr2: bool,
}

impl Named {
    /// What each policy of this project names.
    pub const USUAL: Self = Self { mrtd: true, rtmr0: false, rtmr1: true, rtmr2: true };

    const NONE: Self = Self { mrtd: true, rtmr0: false, rtmr1: false, rtmr2: false };
}

/// A prediction of an image in one state of the firmware's settings, which the host chooses unless the policy names RTMR0.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The state, for operators: "Secure Boot off".
    pub name: &'static str,
    /// The events in that state.
    pub prediction: &'a Prediction,
}

/// What the firmware that MRTD names must not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It has no driver for TPMs.
    NoTpmDriver,
    /// It starts no kernel of the hypervisor that is not a PE image.
    NoLegacyLoader,
}

impl Condition {
    /// Both conditions.
    pub const ALL: [Self; 2] = [Self::NoTpmDriver, Self::NoLegacyLoader];

    /// Returns the name in JSON and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoTpmDriver => "no-tpm-driver",
            Self::NoLegacyLoader => "no-legacy-loader",
        }
    }

    /// Returns a sentence for operators.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoTpmDriver => {
                "MRTD must be that of a firmware without a driver for TPMs: with a TPM the kernel's EFI stub does not extend RTMR2, and a \
                 host could give the kernel its own command line and initrd. edk2's IntelTdxX64 has none; OvmfPkgX64 with TPM2_ENABLE, and so Debian's \
                 OVMF, has one"
            }
            Self::NoLegacyLoader => {
                "MRTD must be that of a firmware that measures every kernel that the hypervisor gives it. One with edk2's \
                 X86QemuLoadImageLib (OvmfPkgX64 and IntelTdxX64 by default) does not: it starts a kernel that is no PE image without \
                 measuring it, and before edk2-stable202511 also one that Secure Boot refuses. One with GenericQemuLoadImageLib does. A \
                 unified kernel image that QEMU gives the firmware (-kernel; `cvmctl measure --kernel`) with Secure Boot on needs no such firmware"
            }
        }
    }
}

/// Why a part is not pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attack {
    /// The part that a host can replace, or that runs before it.
    pub replaced: Part,
    /// The state of the firmware's settings.
    pub state: &'static str,
    /// Whether the host gives the machine a TPM. `None`: no firmware with RTMRs is named at all.
    pub tpm: Option<bool>,
    /// Whether the host starts a kernel of its own by the firmware's legacy loader.
    pub legacy: bool,
}

impl std::fmt::Display for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.replaced.name();
        match (self.tpm, self.legacy) {
            (None, _) => write!(f, "no MRTD is named, or the firmware has no RTMRs: the host chooses what measures"),
            (_, true) => {
                write!(f, "the firmware can start a kernel of the host without measuring it, which then extends the registers")
            }
            (Some(tpm), false) => {
                let tpm = if tpm { "with" } else { "without" };
                write!(
                    f,
                    "{} and {tpm} a TPM, a host can replace the {name} before anything measures it into a named register",
                    self.state
                )
            }
        }
    }
}

/// What pins the parts of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// For each of kernel, initrd and command line: the registers that together pin it, or why nothing does.
    pub parts: Vec<(Part, Result<Vec<u32>, Attack>)>,
    /// The conditions on the firmware under which this holds.
    pub conditions: Vec<Condition>,
}

impl Pins {
    /// Whether each part is pinned, under [`Pins::conditions`].
    #[must_use]
    pub fn all(&self) -> bool {
        self.parts.iter().all(|(_, pinned)| pinned.is_ok())
    }
}

/// Decides what pins the parts of the image that `expected` predicts, in a policy for this firmware. `others` are the predictions of the
/// same image in the other states of the firmware's settings.
#[must_use]
pub fn pins(expected: State<'_>, others: &[State<'_>], firmware: Firmware, named: Named) -> Pins {
    let question =
        |conditions: &[Condition], named| Question { expected, others, firmware, named, conditions: conditions.to_vec() };
    let [no_tpm, no_legacy] = Condition::ALL;
    let sets: [&[Condition]; 4] = [&[], &[no_tpm], &[no_legacy], &Condition::ALL];
    let is_pinned = |set: &&&[Condition]| Part::PINNED.iter().all(|part| question(set, named).attack(*part).is_none());
    // Where nothing helps, the reasons are those that remain with the best firmware.
    let conditions = sets.iter().find(is_pinned).copied();
    let assumed = conditions.unwrap_or(&Condition::ALL);
    let by = |part: Part| match question(assumed, named).attack(part) {
        Some(attack) => Err(attack),
        None => Ok(subsets(named)
            .find(|(_, few)| question(assumed, *few).attack(part).is_none())
            .map_or(Vec::new(), |(list, _)| list)),
    };
    Pins { parts: Part::PINNED.map(|part| (part, by(part))).to_vec(), conditions: conditions.unwrap_or_default().to_vec() }
}

/// The sets of RTMRs that a policy names, the smallest first.
fn subsets(named: Named) -> impl Iterator<Item = (Vec<u32>, Named)> {
    let sets: [&[u32]; 7] = [&[1], &[2], &[0], &[1, 2], &[0, 1], &[0, 2], &[0, 1, 2]];
    sets.into_iter().filter_map(move |set| {
        let has = |number: u32| set.contains(&number);
        let few = Named { rtmr0: has(0), rtmr1: has(1), rtmr2: has(2), ..Named::NONE };
        let fits = (!few.rtmr0 || named.rtmr0) && (!few.rtmr1 || named.rtmr1) && (!few.rtmr2 || named.rtmr2);
        fits.then(|| (set.to_vec(), few))
    })
}

struct Question<'a> {
    expected: State<'a>,
    others: &'a [State<'a>],
    firmware: Firmware,
    named: Named,
    conditions: Vec<Condition>,
}

impl Question<'_> {
    /// Finds a way in which a host replaces the part, or a boot loader before it.
    fn attack(&self, part: Part) -> Option<Attack> {
        let attack = |replaced, state, tpm, legacy| Attack { replaced, state, tpm, legacy };
        if !self.named.mrtd || !self.firmware.has_cc() {
            return Some(attack(part, self.expected.name, None, false));
        }
        let assumes = |condition: Condition| self.conditions.contains(&condition);
        // The firmware's older loader measures nothing, and then starts the host's kernel.
        if !assumes(Condition::NoLegacyLoader) && self.begins(&firmware::begins(), self.firmware, |_| false) {
            return Some(attack(Part::Kernel, self.expected.name, Some(self.firmware.has_tpm()), true));
        }
        // RTMR0 contains the settings, so they are the expected ones.
        let others = if self.named.rtmr0 { &[][..] } else { self.others };
        let states = std::iter::once(&self.expected).chain(others);
        let tpms = [false, true].into_iter().filter(|tpm| !tpm || self.firmware.has_tpm() || !assumes(Condition::NoTpmDriver));
        let worlds = states.flat_map(|state| tpms.clone().map(move |tpm| (state, tpm)));
        for (state, tpm) in worlds {
            let firmware = self.firmware.with_tpm(tpm);
            let events = with_any_initrd(state.prediction);
            // What runs before the part can give it another one.
            for replaced in [Part::Loader, Part::Kernel, part] {
                if self.succeeds(&events, replaced, firmware)
                    || without_loader(&events).is_some_and(|events| self.succeeds(&events, replaced, firmware))
                {
                    return Some(attack(replaced, state.name, Some(tpm), false));
                }
            }
            let is_added = matches!(part, Part::Initrd | Part::CommandLine);
            if is_added && with_additions(&events, part).is_some_and(|events| self.begins(&events, firmware, |_| false)) {
                return Some(attack(part, state.name, Some(tpm), false));
            }
        }
        None
    }

    /// Whether a host that replaces this part reaches the named registers.
    fn succeeds(&self, events: &[Event], replaced: Part, firmware: Firmware) -> bool {
        controls(events, replaced).into_iter().any(|end| {
            let before = events.get(..end).unwrap_or_default();
            let last = before.last().filter(|_| replaced == Part::Loader);
            self.begins(before, firmware, |event| match last {
                Some(last) => std::ptr::eq(event, last),
                None => event.covers.contains(&replaced),
            })
        })
    }

    /// Whether these events, of which some are of a replaced part and so have another digest, are the beginning of what is expected in each
    /// named register.
    fn begins(&self, events: &[Event], firmware: Firmware, is_replaced: impl Fn(&Event) -> bool) -> bool {
        let named = [(1, self.named.rtmr1), (2, self.named.rtmr2)].into_iter().filter(|(_, is_named)| *is_named);
        named.into_iter().all(|(number, _)| {
            let of_register = |event: &&Event| event.rtmr() == Some(number);
            let mut expected =
                self.expected.prediction.0.iter().filter(|event| event.is_in_rtmr(self.firmware)).filter(of_register);
            let mut measured = events.iter().filter(|event| event.is_in_rtmr(firmware)).filter(of_register);
            measured.all(|event| expected.next().is_some_and(|next| next.hashed == event.hashed && !is_replaced(event)))
        })
    }
}

/// The events, and one for an initrd that a host gives a kernel that has none.
fn with_any_initrd(prediction: &Prediction) -> Vec<Event> {
    let mut events = prediction.0.clone();
    if !events.iter().any(|event| event.covers.contains(&Part::Initrd)) {
        let at = events.iter().rposition(|event| event.maker == Maker::KernelStub).map_or(events.len(), |last| last + 1);
        events.insert(at, Event::new(Maker::KernelStub, 9, "an initrd of the host", []).covering(&[Part::Initrd]));
    }
    events
}

/// The events if the hypervisor's unified kernel image is measured and not started, and the kernel inside is started as a boot option of the
/// host, from a disk without a GPT. `None`: it is not possible, or the firmware does not measure that kernel by itself.
///
/// The firmware measures an image before it has memory for it, and goes on with its boot options where the image does not fit. A machine with
/// little memory does that.
///
/// Source: edk2 `MdeModulePkg/Core/Dxe/Image/Image.c`, `CoreLoadImageCommon`; `OvmfPkg/Library/PlatformBootManagerLib/QemuKernel.c`.
fn without_loader(events: &[Event]) -> Option<Vec<Event>> {
    let is_given = events.first().is_some_and(|event| event.covers.contains(&Part::Loader));
    let has_kernel = events.iter().skip(1).any(|event| event.maker == Maker::Firmware && event.covers.contains(&Part::Kernel));
    let mut left: Vec<Event> = events.iter().filter(|event| event.maker != Maker::SystemdStub).cloned().collect();
    // The genuine image, of which nothing runs.
    left.first_mut()?.covers.clear();
    (is_given && has_kernel).then_some(left)
}

/// The events if systemd-stub adds to this part what the host gives it: words of a boot option, add-ons, credentials, extensions. It
/// measures each before it starts the kernel.
///
/// Source: systemd 257, `src/boot/stub.c`, `settle_command_line`, `cmdline_append_and_measure_addons`, `generate_sidecar_initrds`.
fn with_additions(events: &[Event], part: Part) -> Option<Vec<Event>> {
    let last = events.iter().rposition(|event| event.maker == Maker::SystemdStub)?;
    let mut events = events.to_vec();
    events.insert(last + 1, Event::new(Maker::SystemdStub, 12, "words or files of the host", []).covering(&[part]));
    Some(events)
}

/// The numbers of events that come before a replaced part has control.
fn controls(events: &[Event], part: Part) -> Vec<usize> {
    let starts_kernel = |event: &Event| event.maker == Maker::KernelStub || firmware::is_exit(event);
    match part {
        // Each loader has control right after it was measured.
        Part::Loader => (1..).zip(events).filter(|(_, event)| event.covers.contains(&part)).map(|(end, _)| end).collect(),
        Part::Kernel => vec![events.iter().position(starts_kernel).unwrap_or(events.len())],
        Part::Initrd | Part::CommandLine => vec![events.len()],
    }
}
