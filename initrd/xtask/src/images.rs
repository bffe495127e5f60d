//! Disk images, which mkosi makes.

use std::path::Path;

use crate::Error;
use crate::process::Run;
use crate::project::{Kernel, Project};
use crate::step::{Action, Kind, Lock, Step};

const SIMULATED: &str = "target/initrd/simulated.zst";
/// The operator's way out when a mirror has dropped the kernel's packages.
pub(crate) const ADVICE: &str =
    "if the mirror has no package of this kernel any more: rm target/tools-tree.digest, and run again";

/// mkosi's command for an image with this initrd, in the folder `out`. `arguments` are mkosi's own. Paths are absolute.
pub(crate) fn mkosi(project: &Project, kernel: Kernel, initrd: &Path, out: &Path, arguments: &[&str]) -> Result<Run, Error> {
    let (top, release) = (project.top.display(), kernel.release(project)?);
    let packages = match kernel {
        Kernel::Stable => vec![format!("linux-image-{release}")],
        // Two packages that do not depend on a generator of initrds.
        Kernel::Backports => vec![format!("linux-binary-{release}"), format!("linux-modules-{release}")],
    };
    let tools_tree = format!("{top}/target/tools-tree");
    let run = Run::new("initrd/mkosi", ["--directory", &top.to_string(), "--tools-tree", &tools_tree]);
    let run = packages.into_iter().fold(run, |run, package| run.arg("--package").arg(package));
    let run = run.arg("--initrd").arg(initrd.display().to_string()).arg("--output-dir").arg(out.display().to_string());
    let run = arguments.iter().fold(run, |run, argument| run.arg(*argument));
    Ok(run.arg("--force").arg("build").env("SOURCE_DATE_EPOCH", &project.epoch))
}

/// One image of the tests.
struct Image<'a> {
    /// Its folder below `target/image`.
    name: &'a str,
    kernel: Kernel,
    initrd: &'a str,
    /// The name of its files, and those files that a profile adds to the disk, its command line and its root hash.
    files: (&'a str, &'a [&'a str]),
    /// Folders of configuration that it includes.
    include: &'a [&'a str],
    arguments: &'a [&'a str],
}

impl Image<'_> {
    fn step(&self, project: &Project) -> Result<Step, Error> {
        let out = format!("target/image/{}", self.name);
        let absolute = |path: &str| project.top.join(path).display().to_string();
        let mut arguments: Vec<String> =
            self.include.iter().flat_map(|folder| ["--include".to_owned(), absolute(folder)]).collect();
        arguments.extend(self.arguments.iter().map(|argument| (*argument).to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let run = mkosi(project, self.kernel, &project.top.join(self.initrd), &project.top.join(&out), &arguments)?;
        let (id, more) = self.files;
        Ok(Step::new(format!("image {}", self.name), Kind::Build)
            .reads(["mkosi.conf.d", "initrd/mkosi", "initrd/lib", self.initrd])
            .reads(self.include)
            .does(Action::Empty(out.clone().into()))
            .runs(run)
            .makes(["raw", "cmdline", "roothash", "manifest"].iter().chain(more).map(|kind| format!("{out}/{id}.{kind}")))
            .locks(Lock::Mkosi)
            .advises(ADVICE))
    }

    /// The same with the programs of the tests in it.
    fn with_test_programs(&self, project: &Project) -> Result<Step, Error> {
        let tree = "target/simulation/tree";
        let full = project.top.join(tree).display().to_string();
        let arguments = [["--extra-tree", full.as_str()].as_slice(), self.arguments].concat();
        Ok(Image { arguments: &arguments, ..*self }.step(project)?.reads([tree]))
    }
}

/// The image that the demo and most scenarios boot directly: tests bring their own initrds. It installs the packages anew (a second
/// `--force`); those that come after it begin with its packages.
pub(crate) fn direct(project: &Project) -> Result<Step, Error> {
    Image {
        name: "direct",
        kernel: Kernel::Backports,
        initrd: "target/initrd/production.zst",
        files: ("cvm", &["vmlinuz", "initrd"]),
        include: &["tests/image"],
        arguments: &["--profile", "direct", "--incremental", "yes", "--force"],
    }
    .with_test_programs(project)
}

/// The UKI image: alone, or incremental after the one for direct boot.
pub(crate) fn uki(project: &Project, incremental: bool) -> Result<Step, Error> {
    let arguments: &[&str] = if incremental { &["--incremental", "yes"] } else { &[] };
    let (initrd, include): (_, &[&str]) = (SIMULATED, &["tests/image", "tests/chains"]);
    let image = Image { name: "uki", kernel: Kernel::Backports, initrd, files: ("cvm", &["efi"]), include, arguments };
    Ok(image.with_test_programs(project)?.after(incremental.then_some("image direct")))
}

/// The images besides: shim and GRUB, Debian 13's kernel, and that of another project, which has none of the tests' programs.
pub(crate) fn others(project: &Project) -> Result<[Step; 3], Error> {
    let (example, profile) = (project.top.join("tests/example").display().to_string(), ["--profile", "direct"]);
    let grub = Image {
        name: "grub",
        kernel: Kernel::Backports,
        initrd: SIMULATED,
        files: ("cvm", &[]),
        include: &["tests/image", "tests/chains"],
        arguments: &["--profile", "grub", "--incremental", "yes"],
    };
    let stable = Image {
        name: "direct-stable",
        kernel: Kernel::Stable,
        initrd: "target/initrd/production-stable.zst",
        files: ("cvm", &["vmlinuz", "initrd"]),
        include: &["tests/image"],
        arguments: &profile,
    };
    let other = Image {
        name: "example",
        kernel: Kernel::Backports,
        initrd: "target/initrd/production.zst",
        files: ("example", &["vmlinuz", "initrd"]),
        include: &[],
        arguments: &["--directory", &example, "--profile", "direct"],
    };
    Ok([
        grub.with_test_programs(project)?.after(["image direct"]),
        stable.with_test_programs(project)?,
        other.step(project)?.reads(["tests/example"]),
    ])
}
