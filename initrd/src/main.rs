//! Packs the initrd: a zstd-compressed newc archive of the list of files and the list of modules. The output is reproducible.
#![expect(clippy::print_stderr, reason = "a build tool reports on standard error")]

mod files;
mod modules;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::{fs, io};

use clap::Parser;
use initrd::cpio;

/// Packs PID 1, kernel modules and trust anchors into an initrd.
#[derive(Parser)]
struct Arguments {
    /// The list of files.
    #[arg(long)]
    files: PathBuf,
    /// The list of kernel modules.
    #[arg(long)]
    modules: PathBuf,
    /// The directory of the kernel's modules, with modules.dep.
    #[arg(long)]
    kernel: PathBuf,
    /// The binary of PID 1.
    #[arg(long)]
    init: PathBuf,
    /// The root certificate for quotes of vaults (DER).
    #[arg(long)]
    anchor: PathBuf,
    /// The floors (JSON without the field `built`).
    #[arg(long)]
    floors: PathBuf,
    /// The build time in Unix seconds: the time of the commit.
    #[arg(long)]
    built: u64,
    /// A directory of collateral for vaults that staple none (JSON in the form of dcap-qvl, or answers of a PCS).
    #[arg(long)]
    collateral: Option<PathBuf>,
    /// Certificate of a node CA, DER: a vault's leaf must be signed by one of them. Can be repeated; default: any leaf.
    #[arg(long)]
    node_ca: Vec<PathBuf>,
    /// A module file that replaces the kernel's module of the same name. May be given more than once.
    #[arg(long)]
    replace: Vec<PathBuf>,
    /// The path of the initrd to write.
    #[arg(long)]
    output: PathBuf,
}

/// Why the initrd could not be packed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    File(PathBuf, #[source] io::Error),
    #[error("{0}, line {1}: {2}")]
    Line(PathBuf, usize, &'static str),
    #[error("the name of the module directory is not a kernel version: {0}")]
    NoVersion(PathBuf),
    #[error("module {0} is neither built in nor in modules.dep")]
    NoModule(String),
    #[error("{0} ended with {1}")]
    Tool(&'static str, String),
    #[error(transparent)]
    Large(#[from] cpio::TooLarge),
    #[error("the file of --floors is not a JSON object")]
    Floors,
}

fn main() -> ExitCode {
    match pack(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("initrd: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn pack(arguments: &Arguments) -> Result<(), Error> {
    let resolved = modules::resolve(&read_text(&arguments.modules)?, &arguments.modules, &arguments.kernel, &arguments.replace)?;
    let order: String = resolved.iter().map(modules::Module::line).collect();
    let sources = files::Sources {
        init: read(&arguments.init)?,
        anchor: read(&arguments.anchor)?,
        floors: floors(&read_text(&arguments.floors)?, arguments.built)?,
        modules: order.into_bytes(),
    };
    let mut entries = files::entries(&read_text(&arguments.files)?, &arguments.files, &sources)?;
    entries.push(cpio::Entry::directory("lib", 0o755));
    entries.push(cpio::Entry::directory("lib/modules", 0o755));
    let mut packed = BTreeSet::new();
    for module in resolved.iter().filter(|module| packed.insert(&module.name)) {
        entries.push(cpio::Entry::file(format!("lib/modules/{}.ko", module.name), 0o444, module.bytes()?));
    }
    entries.extend(collateral(arguments.collateral.as_deref())?);
    for (number, path) in (1..).zip(&arguments.node_ca) {
        entries.push(cpio::Entry::file(format!("etc/cvm-init/anchors/{}", initrd::node_ca_name(number)), 0o444, read(path)?));
    }
    let archive = cpio::write(entries)?;
    let packed = pipe("zstd", &["-19", "--threads=1", "--quiet", "--stdout"], &archive)?;
    eprintln!("initrd: {} modules, {} bytes, {} packed", resolved.len(), archive.len(), packed.len());
    fs::write(&arguments.output, packed).map_err(|e| Error::File(arguments.output.clone(), e))
}

/// Inserts `built` into the floors as the first field.
fn floors(text: &str, built: u64) -> Result<Vec<u8>, Error> {
    let fields = text.trim().strip_prefix('{').ok_or(Error::Floors)?;
    Ok(format!("{{\"built\": {built}, {fields}\n").into_bytes())
}

/// Packs every file of the directory under its name.
fn collateral(directory: Option<&std::path::Path>) -> Result<Vec<cpio::Entry>, Error> {
    let Some(directory) = directory else { return Ok(Vec::new()) };
    let failed = |e| Error::File(directory.to_owned(), e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = format!("etc/cvm-init/collateral/{}", entry.file_name().to_string_lossy());
        entries.push(cpio::Entry::file(name, 0o444, read(&entry.path())?));
    }
    Ok(entries)
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|e| Error::File(path.to_owned(), e))
}

fn read_text(path: &std::path::Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::File(path.to_owned(), e))
}

/// Runs a tool of the tools tree with `input` and returns its standard output.
fn pipe(tool: &'static str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |e: io::Error| Error::Tool(tool, e.to_string());
    let mut child = Command::new(tool).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().ok_or_else(|| Error::Tool(tool, "no input".to_owned()))?;
    // In a thread of its own: the tool stops reading when its output pipe is full.
    let (written, output) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || io::Write::write_all(&mut stdin, input));
        let output = child.wait_with_output();
        (writer.join(), output)
    });
    let output = output.map_err(failed)?;
    match (output.status.success(), written) {
        (true, Ok(Ok(()))) => Ok(output.stdout),
        (true, _) => Err(Error::Tool(tool, "input refused".to_owned())),
        (false, _) => Err(Error::Tool(tool, output.status.to_string())),
    }
}
