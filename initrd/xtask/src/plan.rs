//! Which steps there are, and how a command brings those that it needs up to date.
#![expect(clippy::print_stderr, reason = "a build tool reports on its console")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::{env, io};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::console::Console;
use crate::graph::{Graph, Runner};
use crate::initrds::Initrd;
use crate::process::{Children, IN_GROUP, Run};
use crate::project::{Kernel, Project};
use crate::step::Step;
use crate::steps;
use crate::{CHILDREN, Error, checks, efi, fuzz, images, initrds, simulation};

/// Every step of the build, in the order in which steps start that are ready at the same time.
fn build_steps(project: &Project) -> Result<Vec<Step>, Error> {
    let own = own(project)?;
    let mut steps = vec![steps::c_libraries(), steps::init(project)?, steps::packer(project)?, steps::programs(project)];
    steps.extend([Initrd::production(Kernel::Backports).step(project)?, simulation::builder_key(), simulation::simulated_root()]);
    steps.extend([simulation::modules(project, Kernel::Backports)?, simulation::test_programs(), images::direct(project)?]);
    steps.extend(initrds::simulated(project, Kernel::Backports)?);
    steps.extend([images::uki(project, true)?, simulation::firmware(), simulation::signed_uki(&own)]);
    steps.extend([efi::cc_firmware(&own), efi::forged_programs()]);
    steps.extend([Initrd::production(Kernel::Stable).step(project)?, simulation::modules(project, Kernel::Stable)?]);
    steps.extend(initrds::simulated(project, Kernel::Stable)?);
    steps.extend(images::others(project)?);
    Ok(steps)
}

/// The steps of the build and the checks but the scenarios.
pub(crate) fn all_steps(project: &Project) -> Result<Vec<Step>, Error> {
    let mut steps = build_steps(project)?;
    steps.extend(steps::TOOLS.map(steps::tool));
    steps.push(fuzz::build(project)?);
    steps.extend(checks::all(&own(project)?));
    Ok(steps)
}

/// What a demo needs: the image for direct boot, its initrds, the driver of its firmware, and the programs.
pub(crate) fn demo_steps() -> Vec<String> {
    ["image direct", "initrd simulated", "initrd production", efi::DRIVER_STEP, steps::PROGRAMS].map(str::to_owned).to_vec()
}

/// This program with the project as its first argument.
pub(crate) fn own(project: &Project) -> Result<Run, Error> {
    let program = env::current_exe().map_err(|e| Error::File("xtask".into(), e))?;
    Ok(Run::new(&program.display().to_string(), [project.top.display().to_string()]).env(IN_GROUP, "1"))
}

/// Brings the named steps up to date, or every step of the build. No other build changes anything while the caller keeps the lock.
pub(crate) fn build(project: &Project, wanted: Option<&[String]>) -> Result<Flock<File>, Error> {
    let lock = lock(project)?;
    let steps = if wanted.is_some() { all_steps(project)? } else { build_steps(project)? };
    if run_steps(project, &Graph::new(steps)?, wanted, &CHILDREN, jobs())? { Ok(lock) } else { Err(Error::Build) }
}

/// Runs a graph until its first failure. Returns whether nothing failed.
pub(crate) fn run_steps(
    project: &Project,
    graph: &Graph,
    wanted: Option<&[String]>,
    children: &Children,
    jobs: usize,
) -> Result<bool, Error> {
    let mut console = Console::new(&project.top);
    let runner = Runner { top: &project.top, tools: &project.tools, children, jobs, keep_going: false };
    let wanted = wanted.map_or_else(|| graph.names(), |names| names.iter().map(String::as_str).collect());
    let good = graph.run(&wanted, &runner, &mut console)?;
    console.close();
    Ok(good)
}

/// How many steps run at a time: one more than there are processors, since mkosi mostly keeps less than one busy.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get() + 1)
}

/// One build at a time: waits for the other.
pub(crate) fn lock(project: &Project) -> Result<Flock<File>, Error> {
    lock_file(&project.top.join("target/build.lock"), &CHILDREN)
}

/// A child waits, so that a signal ends the wait: a call that waits here would go on after the signal's handler.
fn lock_file(path: &Path, children: &Children) -> Result<Flock<File>, Error> {
    let failed = |e: io::Error| Error::File(path.to_owned(), e);
    let mut file = File::create(path).map_err(failed)?;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EAGAIN)) => file,
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        eprintln!("waiting for another build in this folder to end");
        let waited = children.status(Command::new("flock").arg(path).arg("true"));
        if children.is_stopped() {
            return Err(Error::Interrupted);
        }
        match waited.map_err(failed)? {
            status if status.success() => {}
            status => return Err(Error::Command("flock".to_owned(), status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::project::packages;
    use crate::reproducible::second_build;

    /// This checkout's packages in another folder, with a tools tree that contains only the names of two kernels.
    fn project(folder: &Path) -> Project {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for release in ["6.1-cloud-amd64", "7.1-cloud-amd64"] {
            fs::create_dir_all(folder.join("target/tools-tree/usr/lib/modules").join(release)).unwrap();
        }
        fs::create_dir_all(folder.join("tests/fuzz")).unwrap();
        fuzz_targets(folder, "[[bin]]\nname = 'one'\npath = 'one.rs'");
        let (top, packages) = (folder.canonicalize().unwrap(), packages(own, "Cargo.toml").unwrap());
        Project { top, epoch: "0".to_owned(), tools: String::new(), packages }
    }

    fn fuzz_targets(folder: &Path, targets: &str) {
        let manifest = format!("[workspace]\n[package]\nname = 'fuzz'\nedition = '2024'\n{targets}\n");
        fs::write(folder.join("tests/fuzz/Cargo.toml"), manifest).unwrap();
    }

    #[test]
    fn steps_of_each_command_make_a_graph() {
        let folder = tempfile::tempdir().unwrap();
        let project = project(folder.path());
        let mut steps = all_steps(&project).unwrap();
        steps.push(checks::scenarios(&steps));
        let read: Vec<_> = steps.last().unwrap().inputs.iter().map(|input| input.path().display().to_string()).collect();
        let reads = |path: &str| read.iter().any(|read| read == path);
        assert!(reads("target/image/grub/cvm.raw") && reads("target/tools/bin/vhost-device-vsock"), "{read:?}");
        assert!(!reads("target/tools/bin/cargo-deny") && !reads("target/tools/bin/cargo-fuzz"), "{read:?}");
        assert_eq!(checks::needs(&steps, checks::ARTIFACTS), ["initrd production", "initrd simulated"]);
        let needs = checks::needs(&steps, checks::REPRODUCIBLE);
        assert_eq!(needs, ["initrd production", "image direct", "initrd simulated", "image uki", "image grub"]);
        for steps in [steps, build_steps(&project).unwrap(), second_build(&project).unwrap()] {
            Graph::new(steps).unwrap();
        }
        fuzz_targets(folder.path(), "[lib]\npath = 'one.rs'");
        assert!(matches!(all_steps(&project), Err(Error::NoFuzzTargets)));
    }

    #[test]
    fn wait_for_the_lock_ends_with_the_other_build_or_a_signal() {
        let folder = tempfile::tempdir().unwrap();
        let (path, children) = (folder.path().join("lock"), Children::default());
        let other = lock_file(&path, &children).unwrap();
        let wait_until = |end: &mut dyn FnMut()| {
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| lock_file(&path, &children));
                while !children.is_running() {
                    std::thread::yield_now();
                }
                end();
                waiting.join().unwrap()
            })
        };
        let mut other = Some(other);
        let _own = wait_until(&mut || drop(other.take())).unwrap();
        assert!(matches!(wait_until(&mut || children.stop()), Err(Error::Interrupted)));
    }
}
