//! The statement: what it says of an image, as a JSON value. Names of fields are those of in-toto's conventions (lowerCamelCase).

use std::path::Path;

use encoding::hex;
use eventlog::cel::CAP;
use eventlog::register::Hash;
use predict::{Event, Firmware, PageOrder, Prediction, SecureBoot};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::image::Image;
use super::{PREDICATE_TYPE, PREDICATE_VERSION, STATEMENT_TYPE, pins};
use crate::args::Signature;
use crate::measure::bytes;
use crate::measure::subject::state;
use crate::run::Error;

/// Returns the statement of an image; `firmware` is a value of [`firmware`].
pub(super) fn of(image: &Image, firmware: Option<&Value>) -> Value {
    let subject = |(name, digest): &(&str, Vec<u8>)| json!({ "name": name, "digest": { "sha256": hex::encode(digest) } });
    let variants = image.states.iter().map(|(state, prediction)| (name(state).to_owned(), variant(image, state, prediction)));
    json!({
        "_type": STATEMENT_TYPE,
        "subject": image.files.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": format!("{PREDICATE_TYPE}{PREDICATE_VERSION}"),
        "predicate": {
            "tool": { "name": "cvmctl", "version": env!("CARGO_PKG_VERSION") },
            "chain": image.chain.name(),
            "commandLine": image.command_line,
            "rootHash": root_hash(&image.command_line),
            "variants": variants.collect::<Map<_, _>>(),
            "firmware": firmware,
        },
    })
}

/// The name of a state of the firmware's settings in the statement.
pub(super) fn name(of: &str) -> &'static str {
    let states = [
        (SecureBoot::On, Signature::Verified, "secureBootOn"),
        (SecureBoot::Off, Signature::Verified, "secureBootOff"),
        (SecureBoot::On, Signature::NotVerified, "secureBootOnKernelNotInDb"),
    ];
    states
        .into_iter()
        .find(|(secure_boot, signature, _)| state(*secure_boot, *signature) == of)
        .map_or("other", |(.., name)| name)
}

/// Reads a firmware file, and predicts its MRTD for both orders in which hypervisors add its pages.
pub(super) fn firmware(path: &Path) -> Result<Value, Error> {
    let file = bytes(path)?;
    let mrtd = |order: PageOrder| {
        let mrtd = predict::mrtd(&file, order).map_err(|source| Error::Firmware { path: path.to_owned(), source })?;
        Ok((order.name().to_owned(), hex::encode(&mrtd).into()))
    };
    let mrtd = PageOrder::ALL.into_iter().map(mrtd).collect::<Result<Map<_, _>, Error>>()?;
    Ok(json!({ "digest": { "sha256": hex::encode(digest(&SHA256, &file).as_ref()) }, "mrtd": mrtd }))
}

/// The root hash on the command line, if it is there once and well-formed.
fn root_hash(command_line: &str) -> Option<&str> {
    let mut values = command_line.split_ascii_whitespace().filter_map(|parameter| parameter.strip_prefix("roothash="));
    match (values.next(), values.next()) {
        (Some(value), None) => hex::decode::<32>(value).map(|_| value),
        _ => None,
    }
}

fn variant(image: &Image, state: &str, prediction: &Prediction) -> Value {
    let of_firmware = |firmware: Firmware| {
        let mut object = registers(prediction, firmware);
        object.insert("pins".to_owned(), pins::object(image, state, firmware));
        (firmware.name().to_owned(), object.into())
    };
    json!({
        "events": prediction.0.iter().map(event).collect::<Vec<_>>(),
        "firmware": Firmware::ALL.into_iter().map(of_firmware).collect::<Map<_, Value>>(),
    })
}

fn event(event: &Event) -> Value {
    let names = |is_in: &dyn Fn(Firmware) -> bool| -> Value {
        Firmware::ALL.into_iter().filter(|firmware| is_in(*firmware)).map(Firmware::name).collect()
    };
    json!({
        "by": event.maker.name(),
        "what": event.what,
        "covers": event.covers.iter().map(|part| part.name()).collect::<Value>(),
        "digest": { "sha256": hex::encode(&event.digest(Hash::Sha256)), "sha384": hex::encode(&event.digest(Hash::Sha384)) },
        "pcr": { "number": event.pcr, "with": names(&|firmware| event.is_in_pcr(firmware)) },
        "rtmr": { "number": event.rtmr(), "with": names(&|firmware| event.is_in_rtmr(firmware)) },
    })
}

/// The registers with one kind of firmware. A register that no event extends is `null`, not zeros, since any later program could extend it
/// to any value.
fn registers(prediction: &Prediction, firmware: Firmware) -> Map<String, Value> {
    let rtmr = |number: u32| {
        let is_extended = prediction.0.iter().any(|event| event.is_in_rtmr(firmware) && event.rtmr() == Some(number));
        is_extended.then(|| prediction.rtmr(number, firmware))
    };
    let bank = |hash: Hash| -> Map<String, Value> {
        let value = |pcr: u32| hex::encode(&prediction.pcr(pcr, hash, firmware)).into();
        prediction.pcrs(firmware).into_iter().map(|pcr| (pcr.to_string(), value(pcr))).collect()
    };
    let text = |register: Option<Vec<u8>>| -> Value { register.map(|bytes| hex::encode(&bytes)).into() };
    let capped = |register: Vec<u8>| Hash::Sha384.extend(&register, &Hash::Sha384.digest(CAP.as_bytes()));
    let fields = [
        ("rtmr1", text(rtmr(1))),
        ("rtmr2", text(rtmr(2))),
        ("rtmr2AfterCap", text(rtmr(2).map(capped))),
        ("pcrs", json!({ "sha256": bank(Hash::Sha256), "sha384": bank(Hash::Sha384) })),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
