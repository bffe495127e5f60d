//! `cvmctl measure`: predicts the measurements of a machine that boots an image, and prints the policy that admits it, or says why no
//! policy can.

pub(crate) mod bundle;
mod explain;
mod report;
mod rtmr0;
mod subject;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ctl::policy::{Image, key_policy, zero_registers};
use encoding::hex;
use eventlog::cel::CAP;
use eventlog::register::Hash;
use predict::{Named, PageOrder, Pins};
use serde_json::Value;

use crate::args::Measure;
use crate::run::{Error, REFUSED};
use crate::{show, vaults};
pub(crate) use explain::explain;
pub(crate) use rtmr0::rtmr0;
use subject::Subject;

/// What the arguments ask for.
struct Prediction {
    subject: Subject,
    firmware: predict::Firmware,
    /// The MRTD of the policy.
    mrtd: Option<[u8; 48]>,
    /// The MRTD of the firmware file in each order of pages.
    orders: Vec<(PageOrder, [u8; 48])>,
    rtmr0: Option<[u8; 48]>,
    rtmr1: [u8; 48],
    rtmr2: [u8; 48],
    pins: Pins,
}

/// Predicts. The policy goes to stdout, explanations to stderr.
pub(crate) fn predict(args: &Measure) -> Result<ExitCode, Error> {
    if args.markdown {
        show::lines(&[tables()?.trim_end().to_owned()])?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.bundle {
        return bundle::publish(args, file);
    }
    vaults::check_machine(&args.guest)?;
    let predicted = prediction(args)?;
    let (as_json, verbose, registers_only) = (args.json, args.verbose, args.registers_only);
    let refusal = verdict::refusal(&predicted);
    let policy = if registers_only || !refusal.is_empty() { Value::Null } else { policy(&predicted, args) };
    let zeros = zero_registers(&policy);
    if !zeros.is_empty() {
        return Err(ctl::Error::Policy(zeros).into());
    }
    if as_json {
        show::json(&report::object(&predicted, &policy))?;
    } else {
        let mut lines = if verbose { report::explanation(&predicted) } else { Vec::new() };
        lines.extend(report::registers(&predicted));
        if !policy.is_null() {
            lines.extend(verdict::notes(&predicted));
            lines.extend(vaults::warnings(&policy, &args.facts));
        }
        show::problem(&lines)?;
    }
    if registers_only {
        return Ok(ExitCode::SUCCESS);
    }
    if !refusal.is_empty() {
        show::problem(&refusal)?;
        return Ok(ExitCode::from(REFUSED));
    }
    if !as_json {
        show::json(&policy)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The tables of init/docs/predicting.md.
fn tables() -> Result<String, Error> {
    predict::markdown().map_err(|source| Error::Image { path: PathBuf::from("--markdown"), source })
}

fn prediction(args: &Measure) -> Result<Prediction, Error> {
    let subject = subject::read(args)?;
    let firmware = args.fold.firmware();
    let named = Named { rtmr0: names_rtmr0(args), ..Named::USUAL };
    let pins = subject.pins(firmware, named);
    let orders = orders(args)?;
    let chosen = orders.iter().find(|(order, _)| *order == args.page_order.order()).map(|(_, mrtd)| *mrtd);
    Ok(Prediction {
        firmware,
        mrtd: chosen.or(args.mrtd),
        orders,
        rtmr0: args.rtmr0,
        rtmr1: register(&subject.events.rtmr(1, firmware)),
        rtmr2: register(&subject.events.rtmr(2, firmware)),
        subject,
        pins,
    })
}

/// Whether the policy names RTMR0 and the operator says that the vaults compare it; vaults that do not know the field drop it.
fn names_rtmr0(args: &Measure) -> bool {
    args.rtmr0.is_some() && args.facts.nodes_match.iter().any(|name| name == "rtmr0")
}

fn orders(args: &Measure) -> Result<Vec<(PageOrder, [u8; 48])>, Error> {
    let Some(path) = &args.firmware else { return Ok(Vec::new()) };
    let file = bytes(path)?;
    let mrtd = |order| predict::mrtd(&file, order).map(|mrtd| (order, register(&mrtd)));
    PageOrder::ALL
        .into_iter()
        .map(mrtd)
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Firmware { path: path.clone(), source })
}

fn policy(predicted: &Prediction, args: &Measure) -> Value {
    let Prediction { mrtd, rtmr0, rtmr1, rtmr2, .. } = *predicted;
    let image = Image { mrtd: mrtd.unwrap_or([0; 48]), rtmr0, rtmr1, rtmr2 };
    let mut policy = key_policy(&vaults::of_images(vec![image], args.terms.clone(), vaults::owner(args.owner.clone())));
    if mrtd.is_none()
        && let Some(place) = policy.pointer_mut("/principals/tees/0/Tee/measurements/0/Tdx/mrtd")
    {
        // Nodes refuse this placeholder; the operator must replace it.
        *place = Value::Null;
    }
    policy
}

impl Prediction {
    /// The registers by number, 1 and 2; none for firmware without RTMRs.
    fn rtmrs(&self) -> Vec<(u32, [u8; 48])> {
        if self.firmware.has_cc() { vec![(1, self.rtmr1), (2, self.rtmr2)] } else { Vec::new() }
    }

    /// RTMR2 after PID 1 extended the cap into it, before the handoff.
    fn capped(&self) -> Option<String> {
        let capped = || hex::encode(&Hash::Sha384.extend(&self.rtmr2, &Hash::Sha384.digest(CAP.as_bytes())));
        self.firmware.has_cc().then(capped)
    }
}

/// Reads a kernel, an initrd or a firmware. These are the operator's files, so the size is not limited.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: PathBuf::from(path), source })
}

fn register(bytes: &[u8]) -> [u8; 48] {
    let mut register = [0; 48];
    register.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    register
}

#[cfg(test)]
mod tests {
    #[test]
    fn document_contains_the_tables() {
        let stored = include_str!("../../../docs/predicting.md");
        assert!(
            stored.contains(&super::tables().unwrap()),
            "init/docs/predicting.md does not contain the tables of the predictor. Replace them by the output of: \
             initrd/cargo-in-tools-tree run -q -p ctl -- measure --markdown"
        );
    }
}
