//! Checks what was built: sizes, linking, what must not be in it, and that packing it again gives the same bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::initrds::Initrd;
use crate::process::Run;
use crate::project::{Kernel, Project, output, output_bytes};

const INIT: &str = "target/initrd/cvm-init";
const PRODUCTION: &str = "target/initrd/production.zst";
const MIB: usize = 1 << 20;
/// The top level of the repository: folders, files, and names that begin with a dot.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "README.md",
    "LICENSE",
    "init",
    "initrd",
    "mkosi.conf.d",
    "qemu",
    "tests",
];

pub(crate) fn check(project: &Project) -> Result<(), Error> {
    let top = project.top.as_path();
    let expect = |good: bool, message: &str| if good { Ok(()) } else { Err(Error::Artifact(message.to_owned())) };
    let elf = output(&mut Run::in_tools_tree(["readelf", "-hld", INIT]).command(top))?;
    let is_pie = elf.lines().any(|line| line.trim_start().starts_with("Type:") && line.contains("DYN"));
    expect(is_pie && !elf.contains("INTERP") && !elf.contains("NEEDED"), "cvm-init is not a static-pie executable")?;
    let (init, production) = (read(top, INIT)?, read(top, PRODUCTION)?);
    expect(init.len() < 4 * MIB, &format!("cvm-init has {} bytes: expected less than 4 MiB", init.len()))?;
    expect(
        production.len() < 3 * MIB,
        &format!("the production initrd has {} bytes: expected less than 3 MiB", production.len()),
    )?;

    // Only the simulated initrd contains the simulated root: neither its bytes nor its name are in the binary or the production initrd.
    expect(!contains(&init, b"SIMULATED"), "cvm-init contains the name of the simulated root")?;
    expect(!contains(&unpacked(top, PRODUCTION)?, b"SIMULATED"), "the production initrd contains the simulated root")?;
    let simulated = unpacked(top, "target/initrd/simulated.zst")?;
    expect(contains(&simulated, b"SIMULATED not Intel"), "the simulated initrd does not contain the simulated root")?;

    let again = "target/logs/production.zst";
    output_bytes(&mut Initrd::production(Kernel::Backports).run(project, again)?.command(top))?;
    expect(read(top, again)? == production, "packing the production initrd again gives different bytes")?;

    let listed = output(Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(top))?;
    let extra: Vec<&str> = listed.lines().filter(|name| !TOP_LEVEL.contains(name) && !name.starts_with('.')).collect();
    expect(extra.is_empty(), &format!("not for the top level of the repository: {}", extra.join(" ")))
}

fn read(top: &Path, path: &str) -> Result<Vec<u8>, Error> {
    fs::read(top.join(path)).map_err(|e| Error::File(path.into(), e))
}

fn unpacked(top: &Path, path: &str) -> Result<Vec<u8>, Error> {
    output_bytes(&mut Run::in_tools_tree(["zstd", "-dqc", path]).command(top))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
