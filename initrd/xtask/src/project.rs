//! What the graph is made from: the checkout, its packages, and the versions of tools.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{CHILDREN, Error};

/// Which of Debian's kernels an initrd and an image are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// That of Debian's backports, the default: it lets a TD extend RTMRs.
    Backports,
    /// That of Debian 13.
    Stable,
}

impl Kernel {
    /// The kernel that `CVM_KERNEL` names.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        match std::env::var("CVM_KERNEL").ok().as_deref() {
            None | Some("" | "backports") => Ok(Self::Backports),
            Some("stable") => Ok(Self::Stable),
            Some(other) => Err(Error::Usage(format!("CVM_KERNEL is {other:?}: expected backports or stable"))),
        }
    }

    /// The suffix of the names of artifacts for this kernel.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Backports => "",
            Self::Stable => "-stable",
        }
    }

    const fn series(self) -> &'static str {
        match self {
            Self::Backports => "7.",
            Self::Stable => "6.",
        }
    }

    /// Its release, such as `6.12.118+deb13-cloud-amd64`: the tools tree has one kernel of each series.
    pub(crate) fn release(self, project: &Project) -> Result<String, Error> {
        let folder = project.top.join("target/tools-tree/usr/lib/modules");
        let entries = fs::read_dir(&folder).map_err(|e| Error::File(folder, e))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut releases: Vec<String> = names.filter(|name| name.starts_with(self.series())).collect();
        match (releases.pop(), releases.is_empty()) {
            (Some(release), true) => Ok(release),
            _ => Err(Error::Kernel(self.series())),
        }
    }
}

/// A Cargo package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the project.
    pub(crate) folder: PathBuf,
    /// The names of its binaries.
    pub(crate) programs: Vec<String>,
    /// The folders of packages that it is compiled with, relative to the project.
    dependencies: Vec<PathBuf>,
}

/// A checkout.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) top: PathBuf,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: String,
    /// What the tools tree was made of and contains, the version of rustc, and what the environment tells cargo.
    pub(crate) tools: String,
    pub(crate) packages: Vec<Package>,
}

impl Project {
    /// The checkout at `top`, which may be a path through symbolic links: cargo names its packages by their real paths.
    pub(crate) fn open(top: &Path) -> Result<Self, Error> {
        let epoch = std::env::var("SOURCE_DATE_EPOCH").map_err(|_| Error::Usage("run initrd/xtask/run".to_owned()))?;
        Self::at(top, epoch)
    }

    fn at(top: &Path, epoch: String) -> Result<Self, Error> {
        let top = top.canonicalize().map_err(|e| Error::File(top.to_owned(), e))?;
        // The manifest lists the versions of the packages: a tree that is made again from the same description can have others.
        let mut tools = String::new();
        for file in ["target/tools-tree.digest", "target/tools-tree.manifest"].map(|file| top.join(file)) {
            tools += &fs::read_to_string(&file).map_err(|e| Error::File(file, e))?;
        }
        tools += &output(Command::new("rustc").arg("-vV").current_dir(&top))?;
        tools += &cargo_environment(std::env::vars_os());
        let packages = packages(&top, "Cargo.toml")?;
        Ok(Self { top, epoch, tools, packages })
    }

    /// The folders of a package and of everything in the workspace that it is compiled with.
    ///
    /// # Errors
    /// No package has this name: a step that reads nothing would be fresh for ever.
    pub(crate) fn closure(&self, name: &'static str) -> Result<Vec<PathBuf>, Error> {
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut queue: Vec<&Package> = self.packages.iter().filter(|package| package.name == name).collect();
        while let Some(package) = queue.pop() {
            if !folders.contains(&package.folder) {
                folders.push(package.folder.clone());
                queue.extend(self.packages.iter().filter(|other| package.dependencies.contains(&other.folder)));
            }
        }
        folders.sort();
        if folders.is_empty() { Err(Error::NoPackage(name)) } else { Ok(folders) }
    }

    /// The folders of all packages.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.packages.iter().map(|package| package.folder.clone()).collect()
    }
}

/// The packages of the workspace whose manifest this is, as `cargo metadata` lists them. `top` has no symbolic links.
pub(crate) fn packages(top: &Path, manifest: &str) -> Result<Vec<Package>, Error> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", manifest]).current_dir(top);
    let listed: Value = serde_json::from_str(&output(&mut command)?).map_err(Error::Json)?;
    let relative = |path: &Value| Path::new(path.as_str()?).strip_prefix(top).ok().map(Path::to_owned);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |value: &Value| {
        let manifest = field(value, "manifest_path");
        let elsewhere = || Error::Elsewhere(text(manifest), top.to_owned());
        let folder = relative(manifest).and_then(|path| Some(path.parent()?.to_owned())).ok_or_else(elsewhere)?;
        let targets = list(value, "targets").filter(|target| list(target, "kind").any(|kind| kind == "bin"));
        let compiled_with = list(value, "dependencies").filter(|dependency| field(dependency, "kind") != "dev");
        Ok(Package {
            name: text(field(value, "name")),
            folder,
            programs: targets.map(|target| text(field(target, "name"))).collect(),
            dependencies: compiled_with.filter_map(|dependency| relative(field(dependency, "path"))).collect(),
        })
    };
    list(&listed, "packages").map(package).collect()
}

/// The variables that change what cargo compiles. Not `CARGO_TARGET_DIR`, which every step sets.
fn cargo_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> String {
    const PREFIXES: [&str; 6] =
        ["RUSTC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUST", "CARGO_PROFILE_", "CARGO_TARGET_"];
    let matters = |name: &OsString| {
        name != "CARGO_TARGET_DIR" && PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    };
    let mut set: Vec<_> = variables.filter(|(name, _)| matters(name)).collect();
    set.sort();
    set.iter().map(|variable| format!("{variable:?}\n")).collect()
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// What a short command prints.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&output_bytes(command)?).into_owned())
}

/// The bytes that a command writes to its standard output.
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = CHILDREN.output(command).map_err(|e| Error::File(name.clone().into(), e))?;
    if output.status.success() { Ok(output.stdout) } else { Err(Error::Command(name, output.status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_this_workspace_and_init_needs_what_it_is_compiled_with() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let packages = packages(top, "Cargo.toml").unwrap();
        let project = Project { top: top.to_owned(), epoch: String::new(), tools: String::new(), packages };
        let closure = project.closure("cvm-init").unwrap();
        assert!(closure.contains(&"init".into()) && closure.contains(&"init/quorum".into()), "{closure:?}");
        assert!(!closure.iter().any(|folder| folder.starts_with("tests") || folder.starts_with("qemu")), "{closure:?}");
        let packer = project.packages.iter().find(|package| package.name == "initrd").unwrap();
        assert_eq!(
            (packer.folder.as_path(), packer.programs.as_slice()),
            (Path::new("initrd"), ["initrd".to_owned()].as_slice())
        );
        assert!(matches!(project.closure("none"), Err(Error::NoPackage("none"))));
    }

    #[test]
    fn checkout_behind_a_symbolic_link_has_the_same_packages() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().canonicalize().unwrap().join("real"), folder.path().join("link"));
        fs::create_dir_all(real.join("src")).unwrap();
        fs::create_dir_all(real.join("target")).unwrap();
        fs::write(real.join("Cargo.toml"), "[package]\nname = \"one\"\nedition = \"2024\"\n[workspace]\n").unwrap();
        fs::write(real.join("src/main.rs"), "fn main() {}\n").unwrap();
        for (file, content) in [("digest", "of the description\n"), ("manifest", "of the packages\n")] {
            fs::write(real.join("target/tools-tree.").with_extension(file), content).unwrap();
        }
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(packages(&link, "Cargo.toml"), Err(Error::Elsewhere(..))), "an input must not be dropped");
        let project = Project::at(&link, String::new()).unwrap();
        assert_eq!((project.top.as_path(), project.packages.len()), (real.as_path(), 1));
        assert!(project.tools.starts_with("of the description\nof the packages\nrustc "), "{}", project.tools);
    }

    #[test]
    fn variables_that_change_what_cargo_compiles_are_tools() {
        let of = |variables: &[(&str, &str)]| {
            cargo_environment(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
        };
        let none = of(&[("PATH", "/bin"), ("CARGO_TARGET_DIR", "target"), ("CARGO_BUILD_JOBS", "2")]);
        assert_eq!(none, "");
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CARGO_BUILD_RUSTFLAGS"] {
            assert_ne!(of(&[(name, "1")]), none, "{name}");
            assert_ne!(of(&[(name, "1")]), of(&[(name, "2")]), "{name}");
        }
        assert_eq!(of(&[("RUSTFLAGS", "1"), ("RUSTC", "2")]), of(&[("RUSTC", "2"), ("RUSTFLAGS", "1")]));
    }
}
