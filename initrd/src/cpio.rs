//! Reproducible newc archives (cpio): names are sorted; times, owners and inodes are fixed.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

/// A file that is too large for the format.
#[derive(Debug, thiserror::Error)]
#[error("{0} is larger than 4 GiB, the limit of cpio")]
pub struct TooLarge(String);

const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An entry of an archive; its name has no leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub(crate) name: String,
    mode: u32,
    content: Vec<u8>,
    device: (u32, u32),
}

impl Entry {
    /// Creates a regular file with `mode` as permissions.
    #[must_use]
    pub fn file(name: impl Into<String>, mode: u32, content: Vec<u8>) -> Self {
        Self { name: name.into(), mode: FILE | mode, content, device: (0, 0) }
    }

    /// Creates a directory.
    #[must_use]
    pub fn directory(name: impl Into<String>, mode: u32) -> Self {
        Self { name: name.into(), mode: DIRECTORY | mode, content: Vec::new(), device: (0, 0) }
    }

    /// Creates a character device.
    #[must_use]
    pub fn device(name: impl Into<String>, mode: u32, major: u32, minor: u32) -> Self {
        Self { name: name.into(), mode: CHARACTER_DEVICE | mode, content: Vec::new(), device: (major, minor) }
    }
}

/// Writes an archive of `entries`, sorted by name, and adds parent directories that are missing.
///
/// # Errors
/// [`TooLarge`] with the name of the file.
pub fn write(mut entries: Vec<Entry>) -> Result<Vec<u8>, TooLarge> {
    let mut implied: Vec<Entry> = Vec::new();
    for entry in &entries {
        for (at, _) in entry.name.match_indices('/') {
            let parent = entry.name.get(..at).unwrap_or_default();
            if !entries.iter().chain(&implied).any(|other| other.name == parent) {
                implied.push(Entry::directory(parent, 0o755));
            }
        }
    }
    entries.append(&mut implied);
    // A directory's name is a prefix of the names below it, so it comes first.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut archive = Vec::new();
    for (inode, entry) in (1..).zip(&entries) {
        append(&mut archive, inode, entry)?;
    }
    append(&mut archive, 0, &Entry { name: "TRAILER!!!".to_owned(), mode: 0, content: Vec::new(), device: (0, 0) })?;
    Ok(archive)
}

fn append(archive: &mut Vec<u8>, inode: u32, entry: &Entry) -> Result<(), TooLarge> {
    let large = || TooLarge(entry.name.clone());
    let size = u32::try_from(entry.content.len()).map_err(|_| large())?;
    let name = u32::try_from(entry.name.len() + 1).map_err(|_| large())?;
    let (major, minor) = entry.device;
    let links = if entry.mode & DIRECTORY == DIRECTORY && entry.mode & FILE != FILE { 2 } else { 1 };
    let fields = [inode, entry.mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(entry.name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(&entry.content);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = archive;
        while let Some(header) = rest.get(..110) {
            let field =
                |i: usize| usize::from_str_radix(std::str::from_utf8(&header[6 + 8 * i..14 + 8 * i]).unwrap(), 16).unwrap();
            let (size, name) = (field(6), field(11));
            found.push(String::from_utf8(rest[110..110 + name - 1].to_vec()).unwrap());
            rest = &rest[(110 + name).next_multiple_of(4) + size.next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn entries_are_sorted_with_their_parent_directories_and_a_trailer() {
        let entries = vec![
            Entry::file("etc/x/b", 0o444, vec![1; 3]),
            Entry::device("dev/console", 0o600, 5, 1),
            Entry::directory("etc", 0o755),
        ];
        let archive = write(entries.clone()).unwrap();
        assert_eq!(names(&archive), ["dev", "dev/console", "etc", "etc/x", "etc/x/b", "TRAILER!!!"]);
        let reversed: Vec<_> = entries.into_iter().rev().collect();
        assert_eq!(write(reversed).unwrap(), archive, "order of the list does not matter");
    }
}
