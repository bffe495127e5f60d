//! Makes PID 1, its initrds and the UKI image once more in another folder, and compares byte for byte.
//!
//! The second build shares only the tools tree, mkosi, the downloads and the simulated hardware with the first. The other images are compared
//! with it by their root hash.

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
    for made in COMPARED {
        let pair = [&project.top, &again.top].map(|top| top.join("target").join(made).display().to_string());
        output(Command::new("cmp").args(pair)).map_err(|_| Error::Artifact(format!("{made} differs in the second build")))?;
    }
    let root_hash = |image: &str| fs::read(top.join("target/image").join(image).join("cvm.roothash")).ok();
    for chain in ["grub", "direct"] {
        if root_hash(chain) != root_hash("uki") {
            return Err(Error::Artifact(format!("the root hash of image {chain} differs from that of image uki")));
        }
    }
    remove(&top.join(FOLDER))
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
