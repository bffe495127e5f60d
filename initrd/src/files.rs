//! The list of files (`files.list`): type, path, mode, source, reason.

use std::path::Path;

use crate::Error;
use initrd::cpio::Entry;

/// The contents of the sources, which the list names in braces.
pub(crate) struct Sources {
    pub(crate) init: Vec<u8>,
    pub(crate) anchor: Vec<u8>,
    pub(crate) floors: Vec<u8>,
    pub(crate) modules: Vec<u8>,
}

impl Sources {
    fn named(&self, name: &str) -> Option<&Vec<u8>> {
        match name {
            "{init}" => Some(&self.init),
            "{anchor}" => Some(&self.anchor),
            "{floors}" => Some(&self.floors),
            "{modules}" => Some(&self.modules),
            _ => None,
        }
    }
}

/// Parses the list at `path`. Every line must give the reason why the file is in the initrd.
pub(crate) fn entries(list: &str, path: &Path, sources: &Sources) -> Result<Vec<Entry>, Error> {
    let lines = list.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| entry(line, sources).map_err(|what| Error::Line(path.to_owned(), number + 1, what))).collect()
}

fn entry(line: &str, sources: &Sources) -> Result<Entry, &'static str> {
    let (what, reason) = line.split_once(" - ").ok_or("no reason")?;
    if reason.trim().is_empty() {
        return Err("no reason");
    }
    let fields: Vec<&str> = what.split_whitespace().collect();
    let name = |path: &str| path.strip_prefix('/').map(str::to_owned).ok_or("path is not absolute");
    let mode =
        |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or("mode is not octal permissions");
    let number = |text: &str| text.parse::<u32>().map_err(|_| "device number");
    match *fields.as_slice() {
        ["dir", path, permissions] => Ok(Entry::directory(name(path)?, mode(permissions)?)),
        ["node", path, permissions, "c", major, minor] => {
            Ok(Entry::device(name(path)?, mode(permissions)?, number(major)?, number(minor)?))
        }
        ["file", path, permissions, source] => {
            let content = sources.named(source).ok_or("unknown source")?;
            Ok(Entry::file(name(path)?, mode(permissions)?, content.clone()))
        }
        _ => Err("neither dir, node nor file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused_with_their_number() {
        let sources = Sources { init: vec![1], anchor: vec![], floors: vec![], modules: vec![] };
        let read = |line: &str| entries(line, Path::new("l"), &sources).map_err(|e| e.to_string());
        assert_eq!(read("# x\n\nfile /init 0755 {init} - PID 1"), Ok(vec![Entry::file("init", 0o755, vec![1])]));
        let cases = [
            ("dir /dev 0755", "l, line 1: no reason"),
            ("dir dev 0755 - x", "l, line 1: path is not absolute"),
            ("dir /dev 0999 - x", "l, line 1: mode is not octal permissions"),
            ("dir /dev 4755 - x", "l, line 1: mode is not octal permissions"),
            ("file /x 0644 {other} - x", "l, line 1: unknown source"),
            ("link /x /y - x", "l, line 1: neither dir, node nor file"),
        ];
        for (line, want) in cases {
            assert_eq!(read(line), Err(want.to_owned()), "{line}");
        }
    }
}
