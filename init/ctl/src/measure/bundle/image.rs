//! What a statement says of an image: its files, its command line, and its events in each state of Secure Boot.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use predict::{Chain, Event, Maker, Part, Prediction};
use ring::digest::{Context, SHA256};

use crate::measure::subject::{States, states_of};
use crate::run::Error;

/// The length of a part of a file that is hashed at once, in bytes.
const BLOCK: usize = 1 << 16;

/// The files that arguments name.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    /// Disk image.
    pub(super) image: Option<&'a Path>,
    /// Kernel or unified kernel image, in place of a disk image.
    pub(super) kernel: Option<&'a Path>,
    /// Initrd for the kernel.
    pub(super) initrd: Option<&'a Path>,
    /// Command line for the kernel.
    pub(super) cmdline: Option<&'a str>,
}

/// What is known of an image.
pub(super) struct Image {
    /// Its boot chain.
    pub(super) chain: Chain,
    /// The name and SHA-256 of each file. A name says what the file is, so that it does not depend on where the file is.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// The kernel's command line.
    pub(super) command_line: String,
    /// The events in each state, the usual one first.
    pub(super) states: States,
}

impl Image {
    /// Reads and predicts.
    ///
    /// # Errors
    /// When a file cannot be read, or contains a part that is not predicted.
    pub(super) fn read(files: Files<'_>) -> Result<Self, Error> {
        let (chain, states) = states_of(files.image, files.kernel, files.initrd, files.cmdline)?;
        let part = |extension: &str| files.image.map(|image| image.with_extension(extension));
        // Kernel and initrd of an image without a boot loader are beside it.
        let (kernel, initrd) = match files.image {
            Some(_) if chain == Chain::Direct => (part("vmlinuz"), part("initrd")),
            _ => (files.kernel.map(PathBuf::from), files.initrd.map(PathBuf::from)),
        };
        let named = [("disk", files.image.map(PathBuf::from)), ("kernel", kernel), ("initrd", initrd)];
        let digest = |(name, path): (&'static str, Option<PathBuf>)| path.map(|path| Ok((name, sha256(&path)?)));
        Ok(Self {
            chain,
            files: named.into_iter().filter_map(digest).collect::<Result<_, Error>>()?,
            command_line: states.iter().find_map(|(_, prediction)| command_line(prediction)).unwrap_or_default(),
            states,
        })
    }
}

/// The command line that the kernel's EFI stub measures: UTF-16, with a NUL or without.
fn command_line(prediction: &Prediction) -> Option<String> {
    let is_command_line = |event: &&Event| event.maker == Maker::KernelStub && event.covers.contains(&Part::CommandLine);
    let event = prediction.0.iter().find(is_command_line)?;
    let (units, _) = event.hashed.as_chunks::<2>();
    let text = char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit))).collect::<Result<String, _>>().ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

/// SHA-256 of a file, which may be larger than the memory; 32 bytes.
fn sha256(path: &Path) -> Result<Vec<u8>, Error> {
    let hash = || -> io::Result<Vec<u8>> {
        let (mut file, mut context, mut block) = (File::open(path)?, Context::new(&SHA256), vec![0; BLOCK]);
        loop {
            match file.read(&mut block)? {
                0 => return Ok(context.finish().as_ref().to_vec()),
                length => context.update(block.get(..length).unwrap_or_default()),
            }
        }
    };
    hash().map_err(|source| Error::File { path: path.to_owned(), source })
}
