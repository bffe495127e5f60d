//! The commands that make one initrd or image, or boot a machine, with the operator's arguments.
#![expect(clippy::print_stderr, reason = "a build tool reports on its console")]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::graph::Graph;
use crate::initrds::Initrd;
use crate::plan::{build, demo_steps, jobs, lock, run_steps};
use crate::process::Run;
use crate::project::{Kernel, Project};
use crate::steps;
use crate::{CHILDREN, Error, images};

/// Two arguments of production's command line refuse unsigned modules. The firmware of qemu/run has no key for the simulated module's signature.
const ONLY_SIGNED_MODULES: [&str; 2] = ["lockdown=integrity", "module.sig_enforce=1"];

/// Becomes this command, with the operator's terminal. Returns only why it could not.
pub(crate) fn replace(project: &Project, run: &Run) -> Error {
    Error::File(run.program.clone().into(), run.command(&project.top).exec())
}

/// A command in the operator's folder, to which its arguments are relative.
fn in_current_folder(project: &Project, run: &Run) -> Result<Command, Error> {
    let mut command = run.command(&project.top);
    command.current_dir(env::current_dir().map_err(|e| Error::File(".".into(), e))?);
    Ok(command)
}

pub(crate) fn absolute(path: &str) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::File(path.into(), e))
}

fn absolute_text(path: &str) -> Result<String, Error> {
    Ok(absolute(path)?.display().to_string())
}

/// Packs an initrd; the environment says with which kernel, collateral and certificate authority.
pub(crate) fn initrd(project: &Project, arguments: &[&str]) -> Result<(), Error> {
    let kernel = Kernel::from_environment()?;
    let extra = extra(|name| env::var(name).ok())?;
    let initrd = match arguments {
        [] | ["production"] => pack(project, &Initrd { extra: &extra, ..Initrd::production(kernel) })?,
        ["simulated", anchor, module, name @ ..] if name.len() < 2 => {
            let (anchor, module) = (absolute_text(anchor)?, absolute_text(module)?);
            let name = name.first().copied().unwrap_or("simulated");
            pack(project, &Initrd { extra: &extra, ..Initrd::simulated(name, kernel, &anchor, &module) })?
        }
        _ => return Err(Error::Usage("usage: initrd/build [production | simulated ANCHOR MODULE [NAME]]".to_owned())),
    };
    eprintln!("{initrd}");
    Ok(())
}

/// What the environment adds to an initrd. A variable that is empty is not set.
fn extra(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<(&'static str, String)>, Error> {
    let flags = [("--collateral", "CVM_COLLATERAL"), ("--node-ca", "CVM_NODE_CA")].into_iter();
    let set = flags.filter_map(|(flag, name)| Some((flag, variable(name).filter(|path| !path.is_empty())?)));
    set.map(|(flag, path)| Ok((flag, absolute_text(&path)?))).collect()
}

/// Packs one initrd after what it needs: PID 1 and the packer.
fn pack(project: &Project, initrd: &Initrd<'_>) -> Result<String, Error> {
    let _lock = lock(project)?;
    let steps = vec![steps::c_libraries(), steps::init(project)?, steps::packer(project)?, initrd.step(project)?];
    let done = run_steps(project, &Graph::new(steps)?, Some(&[initrd.step_name()]), &CHILDREN, jobs())?;
    if done { Ok(initrd.output()) } else { Err(Error::Build) }
}

pub(crate) fn image(project: &Project, initrd: &str, out: &str, arguments: &[&str]) -> Result<(), Error> {
    let out = absolute(out)?;
    fs::create_dir_all(&out).map_err(|e| Error::File(out.clone(), e))?;
    let run = images::mkosi(project, Kernel::from_environment()?, &absolute(initrd)?, &out, arguments)?;
    let status =
        CHILDREN.status(&mut in_current_folder(project, &run)?).map_err(|e| Error::File(run.program.clone().into(), e))?;
    if status.success() {
        return Ok(());
    }
    if CHILDREN.is_stopped() {
        return Err(Error::Interrupted);
    }
    eprintln!("image: {}", images::ADVICE);
    Err(Error::Command(run.program, status))
}

/// Boots a machine on this terminal; see qemu/run.
pub(crate) fn qemu(project: &Project, arguments: &[&str]) -> Result<Error, Error> {
    let (mut flags, mut name, mut anchor, mut with_image) = (Vec::new(), "simulated", None, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--image" => with_image = true,
            "--production" => (with_image, name) = (true, "production"),
            "--anchor" => {
                let value = rest.next().ok_or_else(|| Error::Usage("--anchor needs a DER file".to_owned()))?;
                (with_image, name, anchor) = (true, "anchored", Some(absolute_text(value)?));
            }
            flag => flags.push(flag),
        }
    }
    build(project, Some(&demo_steps()))?;
    if let Some(anchor) = &anchor {
        let module = "target/simulation/modules/tdx-guest/tdx-guest.ko";
        pack(project, &Initrd::simulated(name, Kernel::Backports, anchor, module))?;
    }
    let mut run = Run::in_tools_tree([project.top.join(steps::program("qemu-run")).display().to_string()]);
    if with_image {
        let path = |path: &str| project.top.join(path).display().to_string();
        let file = path("target/image/direct/cvm.cmdline");
        let text = fs::read_to_string(&file).map_err(|e| Error::File(file.into(), e))?;
        let kept = |argument: &&str| name == "production" || !ONLY_SIGNED_MODULES.contains(argument);
        let arguments: Vec<&str> = text.split_whitespace().filter(kept).collect();
        let (initrd, root) =
            (path(&format!("target/initrd/{name}.zst")), format!("root={},ro", path("target/image/direct/cvm.raw")));
        let image = [
            ("--kernel", path("target/image/direct/cvm.vmlinuz")),
            ("--initrd", initrd),
            ("--disk", root),
            ("--append", arguments.join(" ")),
        ];
        run = image.into_iter().fold(run, |run, (flag, value)| run.arg(flag).arg(value));
    }
    let run = flags.into_iter().fold(run, Run::arg);
    Ok(Error::File(run.program.clone().into(), in_current_folder(project, &run)?.exec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_add_nothing_to_an_initrd() {
        let extra = |collateral: Option<&str>| {
            extra(|name| if name == "CVM_COLLATERAL" { collateral.map(str::to_owned) } else { Some(String::new()) }).unwrap()
        };
        assert_eq!(extra(None), []);
        assert_eq!(extra(Some("")), []);
        assert_eq!(extra(Some("/a")), [("--collateral", "/a".to_owned())]);
    }
}
