//! Which module files it takes, in load order. Nothing resolves dependencies at boot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, pipe, read, read_text};

/// A module to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) optional: bool,
    file: PathBuf,
}

impl Module {
    /// The module as the kernel loads it, decompressed: its signature is part of it.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = read(&self.file)?;
        match self.file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => pipe("xz", &["--decompress", "--stdout"], &bytes),
            Some("zst") => pipe("zstd", &["--decompress", "--stdout", "--quiet"], &bytes),
            _ => Ok(bytes),
        }
    }
}

/// Reads the list and puts before each module what `modules.dep` says it needs.
pub(crate) fn resolve(list: &str, path: &Path, kernel: &Path, replace: &[PathBuf]) -> Result<Vec<Module>, Error> {
    let depends = read_dependencies(&read_text(&kernel.join("modules.dep"))?);
    let builtin: BTreeSet<String> = read_text(&kernel.join("modules.builtin"))?.lines().map(name_of).collect();
    let mut order = Vec::new();
    for (number, line) in list.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(" - ").ok_or_else(|| Error::Line(path.to_owned(), number + 1, "no reason"))?;
        if reason.trim().is_empty() {
            return Err(Error::Line(path.to_owned(), number + 1, "no reason"));
        }
        let name = name.trim();
        let wanted = plain(name.strip_prefix('?').unwrap_or(name));
        if builtin.contains(&wanted) {
            continue;
        }
        add(&wanted, name.starts_with('?'), &depends, kernel, &mut order)?;
    }
    for file in replace {
        let name = name_of(&file.display().to_string());
        let module = order.iter_mut().find(|module: &&mut Module| plain(&module.name) == name);
        fs::metadata(file).map_err(|e| Error::File(file.clone(), e))?;
        module.ok_or(Error::NoModule(name))?.file.clone_from(file);
    }
    Ok(order)
}

/// By name: the file, and the names of what must be loaded before it, nearest first.
type Dependencies = BTreeMap<String, (String, Vec<String>)>;

fn read_dependencies(text: &str) -> Dependencies {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(file, needs)| (name_of(file), (file.to_owned(), needs.split_whitespace().map(name_of).collect()))).collect()
}

/// modules.dep lists all that a module needs, the last of them first to load.
fn add(name: &str, optional: bool, depends: &Dependencies, kernel: &Path, order: &mut Vec<Module>) -> Result<(), Error> {
    let (file, needs) = depends.get(name).ok_or_else(|| Error::NoModule(name.to_owned()))?;
    for need in needs.iter().rev() {
        add(need, false, depends, kernel, order)?;
    }
    let stem = Path::new(file).file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
    if !order.iter().any(|module| plain(&module.name) == name) {
        order.push(Module { name: stem.unwrap_or(name).to_owned(), optional, file: kernel.join(file) });
    }
    Ok(())
}

/// A module's name as the kernel compares it: without folder and suffix, `-` as `_`.
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
    fn dependencies_come_before_what_needs_them_and_once() {
        let text = "k/a/dm-verity.ko.xz: k/a/dm-bufio.ko.xz k/a/dm-mod.ko.xz\nk/a/dm-bufio.ko.xz: k/a/dm-mod.ko.xz\n\
            k/a/dm-mod.ko.xz:\nk/a/dm-crypt.ko.xz: k/a/dm-mod.ko.xz\n";
        let depends = read_dependencies(text);
        let mut order = Vec::new();
        for name in ["dm_verity", "dm_crypt"] {
            add(name, false, &depends, Path::new("/m"), &mut order).unwrap();
        }
        let names: Vec<_> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["dm-mod", "dm-bufio", "dm-verity", "dm-crypt"]);
        assert!(
            matches!(add("none", false, &depends, Path::new("/m"), &mut order), Err(Error::NoModule(name)) if name == "none")
        );
    }
}
