//! What boots: the image or kernel of the arguments, and its prediction in each state of Secure Boot.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use predict::direct::{self, KernelSignature};
use predict::{Chain, Firmware, Named, Pins, Prediction, SecureBoot, State, pins};

use super::bytes;
use crate::args::{Measure, Signature};
use crate::run::Error;

/// Added by OVMF and TDVF to the command line if the hypervisor passes an initrd.
const INITRD: &str = " initrd=initrd";
/// Secure Boot on, off, and on with a kernel that it refuses.
const ON: &str = "with Secure Boot on";
const OFF: &str = "with Secure Boot off";
const REFUSES: &str = "with Secure Boot on and a db that does not know the kernel";

/// What boots.
pub(super) struct Subject {
    pub(super) chain: Chain,
    /// The events in the state that the arguments name.
    pub(super) events: Prediction,
    /// That state.
    pub(super) state: &'static str,
    /// The events in the other states.
    others: Vec<(&'static str, Prediction)>,
}

impl Subject {
    pub(super) fn pins(&self, firmware: Firmware, named: Named) -> Pins {
        let others: Vec<State<'_>> = self.others.iter().map(|(name, prediction)| State { name, prediction }).collect();
        pins(State { name: self.state, prediction: &self.events }, &others, firmware, named)
    }

    /// Makes one of the predictions in all states, of which the state `name` is asked for.
    fn of(chain: Chain, name: &'static str, states: Vec<(&'static str, Prediction)>, failed: usize) -> Option<Self> {
        let states = states.into_iter().map(|(name, events)| (name, events.after_failed_boot_options(failed)));
        let (mut own, others): (Vec<_>, Vec<_>) = states.partition(|(state, _)| *state == name);
        let (state, events) = own.pop()?;
        Some(Self { chain, events, state, others })
    }
}

pub(super) fn read(args: &Measure) -> Result<Subject, Error> {
    let state = state(args.secure_boot.state(), args.kernel_signature);
    let path = args.kernel.as_deref().or(args.image.as_deref()).unwrap_or(Path::new(""));
    let (chain, states) =
        states_of(args.image.as_deref(), args.kernel.as_deref(), args.initrd.as_deref(), args.cmdline.as_deref())?;
    // Only a kernel that the hypervisor gives boots although Secure Boot refuses it.
    Subject::of(chain, state, states, args.failed_boot_options).ok_or_else(|| Error::KernelSignature { path: path.to_owned() })
}

/// The name of a state.
pub(super) const fn state(secure_boot: SecureBoot, signature: Signature) -> &'static str {
    match (secure_boot, signature) {
        (SecureBoot::Off, _) => OFF,
        (SecureBoot::On, Signature::Verified) => ON,
        (SecureBoot::On, Signature::NotVerified) => REFUSES,
    }
}

/// Reads an image, or kernel, initrd and command line of a direct boot, and predicts it in all states of Secure Boot.
pub(super) fn states_of(
    image_path: Option<&Path>,
    kernel_path: Option<&Path>,
    initrd: Option<&Path>,
    cmdline: Option<&str>,
) -> Result<(Chain, States), Error> {
    match kernel_path {
        Some(path) => kernel(path, initrd, cmdline),
        None => image(image_path.unwrap_or(Path::new(""))),
    }
}

/// Predictions, with the names of their states.
pub(super) type States = Vec<(&'static str, Prediction)>;

fn image(path: &Path) -> Result<(Chain, States), Error> {
    let open = || File::open(path).map_err(|source| Error::File { path: path.to_owned(), source });
    let failed = |source| Error::Image { path: path.to_owned(), source };
    match predict::image(open()?, SecureBoot::On) {
        Ok((chain, on)) => {
            let (_, off) = predict::image(open()?, SecureBoot::Off).map_err(failed)?;
            Ok((chain, vec![(ON, on), (OFF, off)]))
        }
        Err(predict::Error::Esp(0)) => without_loader(path),
        Err(_) if is_program(path) => Err(Error::ProgramAsImage { path: path.to_owned() }),
        Err(source) => Err(failed(source)),
    }
}

/// Whether the file begins as kernels and unified kernel images do, and no disk with a UEFI boot loader does.
fn is_program(path: &Path) -> bool {
    let mut magic = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"MZ"
}

fn kernel(path: &Path, initrd: Option<&Path>, cmdline: Option<&str>) -> Result<(Chain, States), Error> {
    let kernel = bytes(path)?;
    if direct::is_uki(&kernel) {
        // The image has its own; what the hypervisor gives beside it would be measured too, or is refused by systemd-stub.
        if initrd.is_some() || cmdline.is_some_and(|line| !line.is_empty()) {
            return Err(Error::UkiArguments { path: path.to_owned() });
        }
        let predict =
            |secure_boot| direct::uki(&kernel, secure_boot).map_err(|source| Error::Image { path: path.to_owned(), source });
        let states = vec![(ON, predict(SecureBoot::On)?), (OFF, predict(SecureBoot::Off)?)];
        return Ok((Chain::DirectUki, states));
    }
    let initrd = initrd.map_or(Ok(Vec::new()), bytes)?;
    let command_line = cmdline.ok_or_else(|| Error::NoCmdline { path: path.to_owned() })?;
    states(path, &direct::Boot { kernel: &kernel, initrd: &initrd, command_line })
}

/// Predicts an image without a boot loader, with kernel, initrd and command line from the files beside it.
fn without_loader(image: &Path) -> Result<(Chain, States), Error> {
    let part = |extension: &str| image.with_extension(extension);
    let (kernel, initrd) = (bytes(&part("vmlinuz"))?, bytes(&part("initrd"))?);
    let path = part("cmdline");
    let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
    let command_line = text.trim_end().to_owned() + INITRD;
    states(&part("vmlinuz"), &direct::Boot { kernel: &kernel, initrd: &initrd, command_line: &command_line })
}

fn states(path: &Path, boot: &direct::Boot<'_>) -> Result<(Chain, States), Error> {
    let predict = |signature| boot.predict_with(signature).map_err(|source| Error::Image { path: path.to_owned(), source });
    let verified = predict(KernelSignature::Verified)?;
    let refused = predict(KernelSignature::NotVerified)?;
    Ok((Chain::Direct, vec![(ON, verified.clone()), (OFF, verified), (REFUSES, refused)]))
}
