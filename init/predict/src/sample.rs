//! Small images of each boot chain, from which the documentation's table is made with the predictor itself.

use std::collections::BTreeMap;

use crate::direct::{self, KernelSignature};
use crate::esp::Files;
use crate::{Chain, Error, Prediction, SecureBoot, chain};

/// Files in memory, by their path.
struct Memory(BTreeMap<&'static str, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let name = path.trim_start_matches('/');
        self.0.get(name).cloned().ok_or_else(|| Error::NoFile(name.to_owned()))
    }

    fn names(&self, path: &str) -> Result<Vec<String>, Error> {
        let below = self.0.keys().filter_map(|name| name.strip_prefix(path)?.strip_prefix('/'));
        let mut names: Vec<String> = below.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }
}

/// Predicts a sample of the chain. With Secure Boot, its kernel is signed by a key that the firmware or shim knows, unless `signature` says
/// that it is not; only [`Chain::Direct`] boots then.
///
/// # Errors
/// Never, unless the sample itself is wrong.
pub(crate) fn prediction(chain: Chain, secure_boot: SecureBoot, signature: KernelSignature) -> Result<Prediction, Error> {
    let kernel = pe(&[(".text", b"kernel")]);
    let uki = pe(&[(".osrel", b"ID=x\n"), (".cmdline", b"a b\0"), (".linux", &kernel), (".initrd", b"initrd")]);
    // Sizes of shim's two lists, their offsets, and the beginning of a certificate.
    let vendor = [&[4_u32, 0, 16, 20].map(u32::to_le_bytes).concat()[..], b"\x30\x82\0\0"].concat();
    let files = |files: &[(&'static str, &[u8])]| Memory(files.iter().map(|(name, data)| (*name, data.to_vec())).collect());
    match chain {
        Chain::Direct => direct::Boot { kernel: &kernel, initrd: b"initrd", command_line: "a b" }.predict_with(signature),
        Chain::DirectUki => direct::uki(&uki, secure_boot),
        Chain::Uki => chain::events(b"table".to_vec(), &files(&[(chain::FIRST, &uki)]), secure_boot).map(|(_, events)| events),
        Chain::Grub => {
            let files = files(&[
                (chain::FIRST, &pe(&[(".text", b"shim"), (".vendor_cert", &vendor)])),
                ("EFI/BOOT/grubx64.efi", &pe(&[(".text", b"prefix=/EFI/debian")])),
                ("EFI/debian/grub.cfg", b"linux /vmlinuz a b\ninitrd /initrd\nboot\n"),
                ("vmlinuz", &kernel),
                ("initrd", b"initrd"),
            ]);
            chain::events(b"table".to_vec(), &files, secure_boot).map(|(_, events)| events)
        }
    }
}

/// Offsets in a PE image: the optional header and the section table, after 16 data directories of 8 bytes.
const OPTIONAL: usize = 0x58;
const SECTIONS: usize = OPTIONAL + 112 + 16 * 8;

/// Encodes a PE image with these sections, as small as it can be. Names of more than 8 bytes are in the string table.
pub(crate) fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let word = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let headers = (SECTIONS + 40 * sections.len()).next_multiple_of(512);
    let (mut table, mut strings, mut data) = (Vec::new(), vec![0; 4], Vec::new());
    for (name, bytes) in sections {
        let mut short = if name.len() > 8 { format!("/{}", strings.len()) } else { (*name).to_owned() }.into_bytes();
        if name.len() > 8 {
            strings.extend(name.bytes().chain([0]));
        }
        short.resize(8, 0);
        table.extend(short);
        // Its size in memory and address, its size in the file and offset there, and what loaders do not use.
        table.extend([bytes.len(), 0, bytes.len(), headers + data.len()].map(word).concat());
        table.extend([0; 16]);
        data.extend_from_slice(bytes);
    }
    let mut image = vec![0; headers];
    let symbols = headers + data.len();
    let mut put = |at: usize, bytes: &[u8]| image.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    put(0, b"MZ");
    put(0x3c, &word(0x40));
    put(0x40, b"PE\0\0");
    put(0x46, &word(sections.len()));
    put(0x4c, &word(symbols));
    put(0x54, &[240]);
    put(OPTIONAL, &[0x0b, 0x02]);
    put(OPTIONAL + 60, &word(headers));
    put(OPTIONAL + 108, &word(16));
    put(SECTIONS, &table);
    [image, data, strings].concat()
}
