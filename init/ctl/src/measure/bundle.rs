//! Publication of measurements: `cvmctl measure --bundle` writes what an image measures as an in-toto statement, and `cvmctl measure verify`
//! compares such a statement with an image that somebody rebuilt from source.
//!
//! The statement has no time, no path and no random number: the same image makes the same bytes, which any tool can sign as a file. This
//! program neither signs nor verifies signatures.

mod compare;
mod image;
mod pins;
pub(crate) mod read;
mod statement;
mod verify;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use encoding::json::canonical;

use crate::args::Measure;
use crate::run::Error;
use crate::show;
use image::{Files, Image};
pub(crate) use verify::verify;

/// The type of the statement.
///
/// Source: in-toto attestation framework 1.1, `spec/v1/statement.md`.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the predicate, without the version at its end. A UUID of this project, since nobody else can define a meaning for it.
const PREDICATE_TYPE: &str = "urn:uuid:0575bad9-56ec-420f-92b9-416afbd26d8c#cvm-init-measurements/v";
/// The version of the predicate: it grows when a field changes its meaning, is added or is removed.
const PREDICATE_VERSION: &str = "1";

/// Writes the statement of an image to `file`, and to stderr which registers pin what.
pub(crate) fn publish(args: &Measure, file: &Path) -> Result<ExitCode, Error> {
    let image = Image::read(Files {
        image: args.image.as_deref(),
        kernel: args.kernel.as_deref(),
        initrd: args.initrd.as_deref(),
        cmdline: args.cmdline.as_deref(),
    })?;
    let firmware = args.firmware.as_deref().map(statement::firmware).transpose()?;
    let text = canonical(&statement::of(&image, firmware.as_ref()));
    fs::write(file, text).map_err(|source| Error::File { path: file.to_owned(), source })?;
    show::problem(&pins::summary(&image))?;
    Ok(ExitCode::SUCCESS)
}
