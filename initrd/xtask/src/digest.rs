//! Content digests: the one rule by which a step is fresh.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

/// What a step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A file, or a folder with everything below it.
    Path(PathBuf),
    /// A Cargo package's folder without the packages below it.
    Package(PathBuf),
}

impl Input {
    /// The file or folder, relative to the project.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Package(path) => path,
        }
    }
}

/// SHA-256 over labelled fields, each with its length, so that no two lists of fields give the same bytes.
pub(crate) struct Digest(Context);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds one field.
    pub(crate) fn field(&mut self, label: &str, bytes: &[u8]) {
        for part in [label.as_bytes(), bytes] {
            self.0.update(&part.len().to_le_bytes());
            self.0.update(part);
        }
    }

    /// Adds an input of the project at `top`: names, executable bits, targets of symbolic links and contents. A missing file is a value.
    pub(crate) fn input(&mut self, top: &Path, input: &Input) -> io::Result<()> {
        let stop_at_packages = matches!(input, Input::Package(_));
        self.tree(top, input.path(), stop_at_packages)
    }

    fn tree(&mut self, top: &Path, path: &Path, stop_at_packages: bool) -> io::Result<()> {
        let full = top.join(path);
        let name = path.as_os_str().as_encoded_bytes();
        let Ok(metadata) = fs::symlink_metadata(&full) else {
            self.field("missing", name);
            return Ok(());
        };
        if metadata.is_symlink() {
            self.field("link", name);
            self.field("target", fs::read_link(&full)?.as_os_str().as_encoded_bytes());
        } else if metadata.is_dir() {
            self.field("folder", name);
            for child in sorted(&full)? {
                let child = path.join(child);
                if !(stop_at_packages && top.join(&child).join("Cargo.toml").exists()) {
                    self.tree(top, &child, stop_at_packages)?;
                }
            }
        } else {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            self.field(if executable { "program" } else { "file" }, name);
            self.field("content", content(&full)?.as_ref());
        }
        Ok(())
    }

    /// The digest as 64 hex digits.
    pub(crate) fn hex(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn sorted(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn content(file: &Path) -> io::Result<ring::digest::Digest> {
    let (mut file, mut context, mut buffer) = (fs::File::open(file)?, Context::new(&SHA256), vec![0; 1 << 20]);
    loop {
        let length = file.read(&mut buffer)?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(context.finish()),
            Some(bytes) => context.update(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(top: &Path, input: &Input) -> String {
        let mut digest = Digest::new();
        digest.input(top, input).unwrap();
        digest.hex()
    }

    #[test]
    fn folder_changes_with_content_name_mode_and_link_but_not_with_time() {
        let top = tempfile::tempdir().unwrap();
        let (folder, input) = (top.path().join("a"), Input::Path("a".into()));
        let absent = of(top.path(), &input);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("one"), "1").unwrap();
        let first = of(top.path(), &input);
        assert_ne!(first, absent);
        fs::write(folder.join("one"), "1").unwrap();
        assert_eq!(of(top.path(), &input), first, "written again with the same content");
        fs::write(folder.join("one"), "2").unwrap();
        assert_ne!(of(top.path(), &input), first, "content");
        fs::write(folder.join("one"), "1").unwrap();
        fs::set_permissions(folder.join("one"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(of(top.path(), &input), first, "mode");
        fs::rename(folder.join("one"), folder.join("two")).unwrap();
        assert_ne!(of(top.path(), &input), first, "name");
        fs::remove_file(folder.join("two")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("one")).unwrap();
        assert_ne!(of(top.path(), &input), first, "link");
    }

    #[test]
    fn package_leaves_out_packages_below_it() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a/inner")).unwrap();
        fs::write(top.path().join("a/Cargo.toml"), "").unwrap();
        fs::write(top.path().join("a/inner/Cargo.toml"), "").unwrap();
        let digests = || [Input::Package("a".into()), Input::Path("a".into())].map(|input| of(top.path(), &input));
        let before = digests();
        fs::write(top.path().join("a/inner/lib.rs"), "").unwrap();
        let [package, folder] = digests();
        let [package_before, folder_before] = before;
        assert_eq!(package, package_before);
        assert_ne!(folder, folder_before);
    }
}
