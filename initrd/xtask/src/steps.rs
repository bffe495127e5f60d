//! The steps that compile: C libraries, PID 1, the packer, the other programs, and tools from crates.

use std::path::Path;

use crate::Error;
use crate::process::Run;
use crate::project::Project;
use crate::step::{Action, Kind, Lock, Step};

/// Rust's name of the machine that PID 1 runs on.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Read by every build with cargo.
const WORKSPACE: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];
/// Where the packer of initrds is.
pub(crate) const PACKER: &str = "target/packer/debug/initrd";
/// The name of the step that compiles the programs.
pub(crate) const PROGRAMS: &str = "programs of demo and tests";

/// A step that makes something.
pub(crate) fn build(name: impl Into<String>) -> Step {
    Step::new(name, Kind::Build)
}

/// The static C libraries of PID 1, from pinned sources.
pub(crate) fn c_libraries() -> Step {
    build("static C libraries")
        .reads(["initrd/c-libraries", "initrd/fetch", "initrd/sources/c-libraries", "initrd/sources/cryptsetup-journal.patch"])
        .runs(Run::new("initrd/fetch", ["initrd/sources/c-libraries", "target/cache/sources"]))
        .runs(Run::in_tools_tree(["initrd/c-libraries"]))
        .makes(["target/c-libraries"])
}

/// PID 1.
pub(crate) fn init(project: &Project) -> Result<Step, Error> {
    let top = project.top.display();
    let cargo_home =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo")).unwrap_or_default();
    // icf=all: functions with the same bytes share one address, which makes PID 1 1 % smaller; none of its code compares addresses of
    // functions.
    let flags = format!(
        "-C target-feature=+crt-static -C force-unwind-tables=no -C link-arg=-Wl,--pack-dyn-relocs=relr -C link-arg=-Wl,--icf=all \
         -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,{top}/initrd/no-unwind.ld --remap-path-prefix={top}=/cvm-init \
         --remap-path-prefix={cargo_home}=/cargo"
    );
    let cargo = Run::cargo(["build", "--quiet", "--release", "--target", TARGET, "--package", "cvm-init"]);
    Ok(build("PID 1")
        .reads(WORKSPACE)
        .reads(["initrd/no-unwind.ld", "target/c-libraries"])
        .reads_packages(project.closure("cvm-init")?)
        .runs(cargo.env("RUSTFLAGS", flags))
        .does(Action::Copy(format!("target/cargo/{TARGET}/release/cvm-init").into(), "target/initrd/cvm-init".into()))
        .makes(["target/initrd/cvm-init"]))
}

/// The program that packs initrds, with a target folder of its own: a build of the whole workspace asks for other features of its
/// dependencies, and would link it anew.
pub(crate) fn packer(project: &Project) -> Result<Step, Error> {
    Ok(build("packer of initrds")
        .reads(WORKSPACE)
        .reads_packages(project.closure("initrd")?)
        .runs(Run::cargo(["build", "--quiet", "--package", "initrd", "--target-dir", "target/packer"]))
        .makes([PACKER]))
}

/// Every program of the workspace, in one run: cargo compiles a dependency again for each choice of packages that asks for other features
/// of it. Copies leave cargo's folder, in which any other run of cargo may replace them.
pub(crate) fn programs(project: &Project) -> Step {
    let mut step = build(PROGRAMS)
        .reads(WORKSPACE)
        .reads(["target/c-libraries"])
        .reads_packages(project.folders())
        .runs(Run::cargo(["build", "--quiet", "--workspace"]))
        .locks(Lock::CargoDebug);
    for name in project.packages.iter().flat_map(|package| &package.programs) {
        step = step.does(Action::Copy(format!("target/cargo/debug/{name}").into(), program(name).into())).makes([program(name)]);
    }
    step
}

/// Where a program of the workspace is.
pub(crate) fn program(name: &str) -> String {
    format!("target/programs/{name}")
}

/// Programs that tests call, with their pinned versions.
pub(crate) const TOOLS: [(&str, &str); 3] = [
    ("cargo-deny", "0.20.2"),
    ("cargo-fuzz", "0.13.2"),
    // A vsock device in user space, since the kernels of most hosts have none (tests/src/vsock.rs).
    ("vhost-device-vsock", "0.3.0"),
];

/// The name of the step that installs a tool.
pub(crate) fn tool_name(name: &str) -> String {
    format!("tool {name}")
}

/// Where a tool is.
pub(crate) fn tool_path(name: &str) -> String {
    Path::new("target/tools/bin").join(name).display().to_string()
}

/// Installs a tool. None of them computes much, so they are not optimized; a target folder of its own lets other builds go on.
pub(crate) fn tool((name, version): (&str, &str)) -> Step {
    let folder = format!("target/tools/{name}");
    let install =
        ["install", "--quiet", "--locked", "--debug", "--force", "--version", version, "--root", "target/tools", "--target-dir"];
    build(tool_name(name))
        .runs(Run::cargo(install).arg(&folder).arg(name))
        .does(Action::Empty(folder.into()))
        .makes([tool_path(name)])
}
