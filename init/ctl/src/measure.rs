//! `cvmctl measure`: predicts the measurements of a machine that boots an image, and prints the policy that admits it.

mod rtmr0;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ctl::policy::{Image, key_policy};
use encoding::hex;
use eventlog::cel::CAP;
use eventlog::register::Hash;
use predict::{Event, Firmware, Prediction, SecureBoot, direct};
use serde_json::{Map, Value, json};

use crate::args::{Fold, Measure, MeasureExplain, SecureBootState};
use crate::run::Error;
use crate::{show, vaults};

pub(crate) use rtmr0::rtmr0;

/// Added by OVMF and TDVF to the command line if the hypervisor passes an initrd.
const INITRD: &str = " initrd=initrd";

/// Predicts. The policy goes to stdout, explanations to stderr.
pub(crate) fn predict(args: Measure) -> Result<ExitCode, Error> {
    vaults::check_machine(&args.guest)?;
    let (how, prediction) = prediction(&args)?;
    let mrtd = match &args.firmware {
        Some(path) => {
            let mrtd = predict::mrtd(&bytes(path)?, predict::PageOrder::Interleaved)
                .map_err(|source| Error::Firmware { path: path.clone(), source })?;
            Some(register(&mrtd))
        }
        None => args.mrtd,
    };
    let firmware = match args.fold {
        Fold::Td => Firmware::Td,
        Fold::TdWithTpm => Firmware::TdWithTpm,
        Fold::Tpm => Firmware::Tpm,
    };
    let image = Image {
        mrtd: mrtd.unwrap_or([0; 48]),
        rtmr0: args.rtmr0,
        rtmr1: register(&prediction.rtmr(1, firmware)),
        rtmr2: register(&prediction.rtmr(2, firmware)),
    };
    let mut policy = key_policy(&vaults::of_images(vec![image], args.terms, vaults::owner(args.owner)));
    if mrtd.is_none()
        && let Some(place) = policy.pointer_mut("/principals/tees/0/Tee/measurements/0/Tdx/mrtd")
    {
        // Nodes refuse this placeholder; the operator must replace it.
        *place = Value::Null;
    }
    if args.json {
        show::json(&report(how, mrtd, &image, &prediction, &policy))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = if args.verbose { explanation(&prediction, firmware) } else { Vec::new() };
    lines.push(format!("{how}: RTMR1 {}", hex::encode(&image.rtmr1)));
    lines.push(format!("{how}: RTMR2 {} (for key policies)", hex::encode(&image.rtmr2)));
    lines.push(format!("{how}: RTMR2 {} (after the cap: in quotes of the running system)", hex::encode(&capped(&image))));
    lines.push(match mrtd {
        Some(mrtd) => format!("{how}: MRTD {}", hex::encode(&mrtd)),
        None => "MRTD depends on the firmware: give --firmware or --mrtd, or write it into the policy".to_owned(),
    });
    lines.push(match args.rtmr0 {
        Some(_) => {
            "RTMR0 is in the policy: read the policy back from each node, since a node that does not know the field drops it"
                .to_owned()
        }
        None => "RTMR0 is not in the policy: memory, CPUs, devices and ACPI tables of the machine are not checked".to_owned(),
    });
    lines.extend(vaults::warnings(&policy, &args.facts));
    show::problem(&lines)?;
    show::json(&policy)?;
    Ok(ExitCode::SUCCESS)
}

/// Compares a machine's log with the prediction.
pub(crate) fn explain(args: &MeasureExplain) -> Result<ExitCode, Error> {
    let _ = (&args.image, &args.kernel, &args.initrd, &args.cmdline, &args.logs, &args.quote, args.json);
    let _ = (args.secure_boot == SecureBootState::On, args.fold == Fold::Td);
    Err(Error::Output(std::io::ErrorKind::Unsupported.into()))
}

fn prediction(args: &Measure) -> Result<(&'static str, Prediction), Error> {
    let failed = |path: &Path, source| Error::Image { path: path.to_owned(), source };
    if let Some(path) = &args.kernel {
        let initrd = args.initrd.as_deref().map_or(Ok(Vec::new()), bytes)?;
        let (kernel, command_line) = (bytes(path)?, args.cmdline.as_deref().unwrap_or_default());
        let boot = direct::Boot { kernel: &kernel, initrd: &initrd, command_line };
        return Ok(("direct boot", boot.predict().map_err(|source| failed(path, source))?));
    }
    let path = args.image.clone().unwrap_or_default();
    let disk = File::open(&path).map_err(|source| Error::File { path: path.clone(), source })?;
    let secure_boot = if args.secure_boot == SecureBootState::Off { SecureBoot::Off } else { SecureBoot::On };
    match predict::image(disk, secure_boot) {
        Ok((chain, prediction)) => Ok((chain.name(), prediction)),
        Err(predict::Error::Esp(0)) => Ok(("direct boot", without_loader(&path)?)),
        Err(source) => Err(failed(&path, source)),
    }
}

/// Predicts an image without a boot loader, with kernel, initrd and command line from the files beside it.
fn without_loader(image: &Path) -> Result<Prediction, Error> {
    let part = |extension: &str| image.with_extension(extension);
    let (kernel, initrd) = (bytes(&part("vmlinuz"))?, bytes(&part("initrd"))?);
    let path = part("cmdline");
    let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
    let command_line = text.trim_end().to_owned() + INITRD;
    let boot = direct::Boot { kernel: &kernel, initrd: &initrd, command_line: &command_line };
    boot.predict().map_err(|source| Error::Image { path: part("vmlinuz"), source })
}

/// Reads a kernel, an initrd or a firmware. These are the operator's files, so the size is not limited.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: PathBuf::from(path), source })
}

/// RTMR2 after PID 1 extended the cap into it, before the handoff.
fn capped(image: &Image) -> Vec<u8> {
    Hash::Sha384.extend(&image.rtmr2, &Hash::Sha384.digest(CAP.as_bytes()))
}

fn register(bytes: &[u8]) -> [u8; 48] {
    let mut register = [0; 48];
    register.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    register
}

fn name(event: &Event) -> String {
    event.rtmr().map_or_else(|| "-".to_owned(), |number| format!("RTMR{number}"))
}

fn explanation(prediction: &Prediction, firmware: Firmware) -> Vec<String> {
    let line = |event: &Event| {
        let digest = hex::encode(&event.digest(Hash::Sha384));
        format!("PCR{:<2} {:<5} {digest} {} ({} bytes)", event.pcr, name(event), event.what, event.hashed.len())
    };
    prediction.events(firmware).map(line).collect()
}

fn report(how: &str, mrtd: Option<[u8; 48]>, image: &Image, prediction: &Prediction, policy: &Value) -> Value {
    let firmware = Firmware::Tpm;
    let bank = |hash: Hash| -> Map<String, Value> {
        let value = |pcr: u32| hex::encode(&prediction.pcr(pcr, hash, firmware)).into();
        prediction.pcrs(firmware).into_iter().map(|pcr| (pcr.to_string(), value(pcr))).collect()
    };
    let event = |event: &Event| {
        json!({
            "pcr": event.pcr,
            "rtmr": event.rtmr(),
            "what": event.what,
            "bytes": event.hashed.len(),
            "by": event.maker.name(),
            "sha256": hex::encode(&event.digest(Hash::Sha256)),
            "sha384": hex::encode(&event.digest(Hash::Sha384)),
        })
    };
    json!({
        "boots": how,
        "mrtd": mrtd.map(|bytes| hex::encode(&bytes)),
        "rtmr0": image.rtmr0.map(|bytes| hex::encode(&bytes)),
        "rtmr1": hex::encode(&image.rtmr1),
        "rtmr2": hex::encode(&image.rtmr2),
        "rtmr2_after_cap": hex::encode(&capped(image)),
        "pcrs": { "sha256": bank(Hash::Sha256), "sha384": bank(Hash::Sha384) },
        "events": prediction.0.iter().map(event).collect::<Vec<_>>(),
        "policy": policy,
    })
}
