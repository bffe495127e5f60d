//! The module files of the initrd in load order. Dependencies are resolved here, not at boot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, pipe, read, read_text};

/// A module of the initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) optional: bool,
    /// The group of the module: PID 1 loads it only when the policy needs the group.
    pub(crate) group: Option<String>,
    file: PathBuf,
}

impl Module {
    /// Returns its line in the list that PID 1 reads.
    pub(crate) fn line(&self) -> String {
        let group = self.group.as_ref().map_or(String::new(), |group| format!("{group}: "));
        format!("{group}{}{}.ko\n", if self.optional { "?" } else { "" }, self.name)
    }

    /// Returns the decompressed module with its signature.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = read(&self.file)?;
        match self.file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => pipe("xz", &["--decompress", "--stdout"], &bytes),
            Some("zst") => pipe("zstd", &["--decompress", "--stdout", "--quiet"], &bytes),
            _ => Ok(bytes),
        }
    }
}

/// Parses the list and puts the dependencies of `modules.dep` before each module.
pub(crate) fn resolve(list: &str, path: &Path, kernel: &Path, replace: &[PathBuf]) -> Result<Vec<Module>, Error> {
    let depends = read_dependencies(&read_text(&kernel.join("modules.dep"))?);
    let builtin: BTreeSet<String> = read_text(&kernel.join("modules.builtin"))?.lines().map(name_of).collect();
    let release = kernel.file_name().and_then(|name| name.to_str()).and_then(version_of);
    let release = release.ok_or_else(|| Error::NoVersion(kernel.to_owned()))?;
    let mut order = Vec::new();
    for (number, line) in list.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(" - ").ok_or_else(|| Error::Line(path.to_owned(), number + 1, "no reason"))?;
        if reason.trim().is_empty() {
            return Err(Error::Line(path.to_owned(), number + 1, "no reason"));
        }
        let (group, name) = name.split_once(": ").map_or((None, name), |(group, name)| (Some(group), name));
        let (name, until) = name.split_once(" <").map_or((name, None), |(name, until)| (name, Some(until.trim())));
        let (group, name) = (group.map(str::trim), name.trim());
        if let Some(until) = until {
            let malformed = || Error::Line(path.to_owned(), number + 1, "no version");
            if version_of(until).ok_or_else(malformed)? <= release {
                continue;
            }
        }
        let wanted = plain(name.strip_prefix('?').unwrap_or(name));
        if builtin.contains(&wanted) {
            continue;
        }
        add(&wanted, (name.starts_with('?'), group), &depends, kernel, &mut order)?;
    }
    for file in replace {
        let name = name_of(&file.display().to_string());
        let module = order.iter_mut().find(|module: &&mut Module| plain(&module.name) == name);
        fs::metadata(file).map_err(|e| Error::File(file.clone(), e))?;
        module.ok_or(Error::NoModule(name))?.file.clone_from(file);
    }
    Ok(order)
}

/// Parses major and minor version at the start of a kernel release.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// By module name: the file, and the names of its dependencies, direct ones first.
type Dependencies = BTreeMap<String, (String, Vec<String>)>;

fn read_dependencies(text: &str) -> Dependencies {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(file, needs)| (name_of(file), (file.to_owned(), needs.split_whitespace().map(name_of).collect()))).collect()
}

/// Adds a module after its dependencies. `modules.dep` lists all dependencies, with the first one to load last. A module without a group
/// is not repeated in a group; a module that two groups need is in both.
fn add(
    name: &str,
    (optional, group): (bool, Option<&str>),
    depends: &Dependencies,
    kernel: &Path,
    order: &mut Vec<Module>,
) -> Result<(), Error> {
    let (file, needs) = depends.get(name).ok_or_else(|| Error::NoModule(name.to_owned()))?;
    for need in needs.iter().rev() {
        add(need, (false, group), depends, kernel, order)?;
    }
    let stem = Path::new(file).file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
    let loaded = |module: &Module| module.group.is_none() || module.group.as_deref() == group;
    if !order.iter().any(|module| plain(&module.name) == name && loaded(module)) {
        let group = group.map(str::to_owned);
        order.push(Module { name: stem.unwrap_or(name).to_owned(), optional, group, file: kernel.join(file) });
    }
    Ok(())
}

/// Returns a module's name in the kernel's form: without directory and suffix, with `_` for `-`.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    plain(name.split('.').next().unwrap_or(name))
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_with_a_version_limit_is_left_out_for_later_kernels() {
        let list = "a <6.16 - reason\nb - reason\n";
        let made = |release: &str| {
            let directory = tempfile::tempdir().unwrap();
            let kernel = directory.path().join(release);
            fs::create_dir(&kernel).unwrap();
            fs::write(kernel.join("modules.dep"), "k/a.ko:\nk/b.ko:\n").unwrap();
            fs::write(kernel.join("modules.builtin"), "").unwrap();
            resolve(list, Path::new("list"), &kernel, &[]).map(|order| order.iter().map(Module::line).collect::<String>())
        };
        for (release, want) in [("6.12.118+deb13", "a.ko\nb.ko\n"), ("6.16.0", "b.ko\n"), ("7.3.4+deb13", "b.ko\n")] {
            assert_eq!(made(release).unwrap(), want, "{release}");
        }
        assert!(matches!(made("next"), Err(Error::NoVersion(_))));
    }

    #[test]
    fn dependencies_come_once_and_before_their_dependents() {
        let text = "k/a/dm-verity.ko.xz: k/a/dm-bufio.ko.xz k/a/dm-mod.ko.xz\nk/a/dm-bufio.ko.xz: k/a/dm-mod.ko.xz\n\
            k/a/dm-mod.ko.xz:\nk/a/dm-crypt.ko.xz: k/a/dm-mod.ko.xz\n";
        let depends = read_dependencies(text);
        let mut order = Vec::new();
        for (group, name) in [(None, "dm_crypt"), (Some("a"), "dm_verity"), (Some("b"), "dm_verity")] {
            add(name, (false, group), &depends, Path::new("/m"), &mut order).unwrap();
        }
        let lines: Vec<_> = order.iter().map(Module::line).collect();
        let want = ["dm-mod.ko", "dm-crypt.ko", "a: dm-bufio.ko", "a: dm-verity.ko", "b: dm-bufio.ko", "b: dm-verity.ko"];
        assert_eq!(lines, want.map(|line| format!("{line}\n")));
        let none = add("none", (false, None), &depends, Path::new("/m"), &mut order);
        assert!(matches!(none, Err(Error::NoModule(name)) if name == "none"));
    }
}
