//! Makes PID 1, its initrds and the UKI image once more in another folder, and compares byte for byte.
//!
//! The second build shares only the tools tree, mkosi, the downloads and the simulated hardware with the first. The other images are compared
//! with it by their root hash.
#![expect(clippy::print_stdout, reason = "a check reports on its console")]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::initrds::Initrd;
use crate::plan::run_steps;
use crate::process::{Children, Run};
use crate::project::{Kernel, Project, output, output_bytes};
use crate::simulation::ROOT;
use crate::step::Step;
use crate::steps;
use crate::{Error, graph, images};

const FOLDER: &str = "target/again";
const SHARED: [&str; 5] = ["mkosi", "tools-tree", "tools-tree.digest", "cache", "simulation"];
const COMPARED: [&str; 7] = [
    "initrd/cvm-init",
    "initrd/production.zst",
    "initrd/simulated.zst",
    "image/uki/cvm.manifest",
    "image/uki/cvm.roothash",
    "image/uki/cvm.efi",
    "image/uki/cvm.raw",
];

pub(crate) fn check(project: &Project, children: &'static Children) -> Result<(), Error> {
    let top = project.top.as_path();
    remove(&top.join(FOLDER))?;
    let again = Project { top: top.join(FOLDER).join("of/the/same"), ..project.clone() };
    copy_sources(top, &again.top)?;
    if !run_steps(&again, &graph::Graph::new(second_build(&again)?)?, None, children, 1)? {
        return Err(Error::Artifact("the second build failed".to_owned()));
    }
    println!("{}", same_sums(&sums(top)?, &sums(&again.top)?)?);
    let root_hash = |image: &str| fs::read(top.join("target/image").join(image).join("cvm.roothash")).ok();
    for chain in ["grub", "direct"] {
        if root_hash(chain) != root_hash("uki") {
            return Err(Error::Artifact(format!("the root hash of image {chain} differs from that of image uki")));
        }
    }
    remove(&top.join(FOLDER))
}

/// The SHA-256 of each file that is compared: lines of sha256sum.
fn sums(top: &Path) -> Result<String, Error> {
    output(Command::new("sha256sum").args(COMPARED).current_dir(top.join("target")))
}

/// The lines that both builds have; expects that these are all.
fn same_sums<'a>(first: &'a str, second: &str) -> Result<&'a str, Error> {
    match first.lines().zip(second.lines()).find(|(first, second)| first != second) {
        Some((first, second)) => Err(Error::Artifact(format!("a file differs in the second build:\n{first}\n{second}"))),
        None if first.lines().count() == COMPARED.len() && first.len() == second.len() => Ok(first.trim_end()),
        None => Err(Error::Artifact(format!("expected {} lines of sha256sum, not:\n{first}{second}", COMPARED.len()))),
    }
}

pub(crate) fn second_build(again: &Project) -> Result<Vec<Step>, Error> {
    let module = "target/simulation/modules/tdx-guest/tdx-guest.ko";
    Ok(vec![
        steps::c_libraries(),
        steps::init(again)?,
        steps::packer(again)?,
        Initrd::production(Kernel::Backports).step(again)?,
        Initrd::simulated("simulated", Kernel::Backports, ROOT, module).step(again)?,
        images::uki(again, false)?,
    ])
}

fn copy_sources(top: &Path, again: &Path) -> Result<(), Error> {
    let target = again.join("target");
    fs::create_dir_all(&target).map_err(|e| Error::File(target.clone(), e))?;
    let listed =
        output(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(top))?;
    let copy = Run::new("cp", ["--no-dereference", "--parents", "-t"]).arg(again.display().to_string());
    let copy = listed.split_terminator('\0').fold(copy, Run::arg);
    output_bytes(&mut copy.command(top))?;
    for shared in SHARED {
        let link = target.join(shared);
        std::os::unix::fs::symlink(top.join("target").join(shared), &link).map_err(|e| Error::File(link, e))?;
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Error> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(|e| Error::File(folder.to_owned(), e)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_sum_or_a_missing_one_is_an_error() {
        let sums =
            |last: &str| COMPARED.map(|file| format!("{}  {file}\n", if file.ends_with("raw") { last } else { "0" })).concat();
        assert_eq!(same_sums(&sums("1"), &sums("1")).unwrap(), sums("1").trim_end());
        let Err(Error::Artifact(text)) = same_sums(&sums("1"), &sums("2")) else { panic!("the sums differ") };
        assert!(text.contains("1  image/uki/cvm.raw\n2  image/uki/cvm.raw"), "{text}");
        assert!(same_sums("", "").is_err() && same_sums(&sums("1"), "").is_err());
    }
}
