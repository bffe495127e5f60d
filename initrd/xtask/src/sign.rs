//! Signs the UKI in an image for Secure Boot.
//!
//! This is the last step and apart from the build: a signature contains its time, so images are compared before it; the firmware measures
//! the same with and without it. (mkosi's own `SecureBoot=yes` also signs the kernel inside the UKI, and then that signature's time is
//! measured.)

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Error;
use crate::process::Run;
use crate::project::{output, output_bytes};

/// The GPT type of an EFI system partition.
const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const UKI: &str = "::/EFI/BOOT/BOOTX64.EFI";

/// Writes a copy of `image` to `signed`, with its UKI signed by the key (PEM files). All paths are absolute.
pub(crate) fn sign(top: &Path, [key, certificate, image, signed]: [&Path; 4]) -> Result<(), Error> {
    let folder = signed.parent().unwrap_or(top).join(".sign");
    fs::create_dir_all(&folder).map_err(|e| Error::File(folder.clone(), e))?;
    let done = sign_in(top, &folder, [key, certificate, image, signed]);
    let removed = fs::remove_dir_all(&folder).map_err(|e| Error::File(folder.clone(), e));
    done.and(removed)
}

fn sign_in(top: &Path, folder: &Path, [key, certificate, image, signed]: [&Path; 4]) -> Result<(), Error> {
    let text = |path: &Path| path.display().to_string();
    let inside = |arguments: &[&str]| output_bytes(&mut Run::in_tools_tree(arguments.iter().copied()).command(top));
    let (copy, uki, with_signature) = (text(&folder.join("image")), text(&folder.join("uki")), text(&folder.join("signed")));
    inside(&["cp", "--sparse=always", &text(image), &copy])?;
    let table = output(&mut Run::in_tools_tree(["sfdisk", "--json", &copy]).command(top))?;
    let start = esp_offset(&table).ok_or_else(|| Error::NoEsp(image.to_owned()))?;
    let esp = format!("{copy}@@{start}");
    inside(&["mcopy", "-i", &esp, UKI, &uki])?;
    let (key, certificate) = (text(key), text(certificate));
    let sbsign = "/usr/lib/systemd/systemd-sbsign";
    inside(&[sbsign, "sign", "--private-key", &key, "--certificate", &certificate, "--output", &with_signature, &uki])?;
    inside(&["mcopy", "-o", "-i", &esp, &with_signature, UKI])?;
    fs::rename(&copy, signed).map_err(|e| Error::File(signed.to_owned(), e))
}

/// The first byte of the EFI system partition, from the output of `sfdisk --json`.
fn esp_offset(table: &str) -> Option<u64> {
    let table: Value = serde_json::from_str(table).ok()?;
    let table = table.get("partitiontable")?;
    let mut partitions = table.get("partitions")?.as_array()?.iter();
    let esp = partitions.find(|partition| partition.get("type").and_then(Value::as_str) == Some(ESP))?;
    esp.get("start")?.as_u64()?.checked_mul(table.get("sectorsize")?.as_u64()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_is_found_by_its_type() {
        let root = r#"{"node": "i1", "start": 133120, "size": 8, "type": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"}"#;
        let esp = format!(r#"{{"node": "i2", "start": 2048, "size": 131072, "type": "{ESP}"}}"#);
        let table =
            |parts: &str| format!(r#"{{"partitiontable": {{"label": "gpt", "sectorsize": 512, "partitions": [{parts}]}}}}"#);
        assert_eq!(esp_offset(&table(&format!("{root}, {esp}"))), Some(1_048_576));
        assert_eq!(esp_offset(&table(root)), None);
        assert_eq!(esp_offset(""), None);
    }
}
