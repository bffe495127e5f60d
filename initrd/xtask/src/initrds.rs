//! Initrds, which the packer (package `initrd`) makes.

use crate::Error;
use crate::process::Run;
use crate::project::{Kernel, Project};
use crate::simulation::ROOT;
use crate::step::Step;
use crate::steps::{PACKER, build};

/// Intel's root certificate.
const INTEL_ROOT: &str = "initrd/anchors/intel-sgx-root.der";

/// What differs between initrds.
pub(crate) struct Initrd<'a> {
    /// Its name below `target/initrd`, without the kernel's suffix.
    pub(crate) name: &'a str,
    pub(crate) kernel: Kernel,
    pub(crate) anchor: &'a str,
    pub(crate) floors: &'a str,
    /// A kernel module that replaces the kernel's own.
    pub(crate) module: Option<&'a str>,
    /// Flags and files that the packer takes in addition: `--collateral FOLDER`, `--node-ca FILE`.
    pub(crate) extra: &'a [(&'a str, String)],
}

impl<'a> Initrd<'a> {
    /// Intel's root and Debian's own modules.
    pub(crate) const fn production(kernel: Kernel) -> Self {
        Self { name: "production", kernel, anchor: INTEL_ROOT, floors: "initrd/floors/intel.json", module: None, extra: &[] }
    }

    /// Another root, and a stand-in for one kernel module.
    pub(crate) const fn simulated(name: &'a str, kernel: Kernel, anchor: &'a str, module: &'a str) -> Self {
        Self { name, kernel, anchor, floors: "initrd/floors/simulated.json", module: Some(module), extra: &[] }
    }

    /// Where it goes.
    pub(crate) fn output(&self) -> String {
        format!("target/initrd/{}{}.zst", self.name, self.kernel.suffix())
    }

    /// The name of its step.
    pub(crate) fn step_name(&self) -> String {
        format!("initrd {}{}", self.name, self.kernel.suffix())
    }

    /// The packer's command, which writes to `output`.
    pub(crate) fn run(&self, project: &Project, output: &str) -> Result<Run, Error> {
        let kernel = format!("target/tools-tree/usr/lib/modules/{}", self.kernel.release(project)?);
        let mut run = Run::in_tools_tree([PACKER, "--files", "initrd/files.list", "--modules", "initrd/modules.list"]);
        let (anchor, floors, epoch) = (self.anchor, self.floors, project.epoch.as_str());
        let flags =
            [("--kernel", kernel.as_str()), ("--init", "target/initrd/cvm-init"), ("--anchor", anchor), ("--floors", floors)];
        let flags = flags.into_iter().chain([("--built", epoch), ("--output", output)]);
        let extra = self.extra.iter().map(|(flag, value)| (*flag, value.as_str()));
        for (flag, value) in flags.chain(extra).chain(self.module.map(|module| ("--replace", module))) {
            run = run.arg(flag).arg(value);
        }
        Ok(run)
    }

    /// The step that packs it.
    pub(crate) fn step(&self, project: &Project) -> Result<Step, Error> {
        let output = self.output();
        Ok(build(self.step_name())
            .reads([PACKER, "initrd/files.list", "initrd/modules.list", "target/initrd/cvm-init"])
            .reads([self.anchor, self.floors])
            .reads(self.module)
            .reads(self.extra.iter().map(|(_, value)| value))
            .runs(self.run(project, &output)?)
            .makes([output]))
    }
}

/// The simulated initrd, and the one with a stand-in for sev-guest.
pub(crate) fn simulated(project: &Project, kernel: Kernel) -> Result<[Step; 2], Error> {
    let module = |name| format!("target/simulation/modules{}/tdx-guest/{name}.ko", kernel.suffix());
    let (tdx, snp) = (module("tdx-guest"), module("sev-guest"));
    Ok([
        Initrd::simulated("simulated", kernel, ROOT, &tdx).step(project)?,
        Initrd::simulated("snp", kernel, ROOT, &snp).step(project)?,
    ])
}
