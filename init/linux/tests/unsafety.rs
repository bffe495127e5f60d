//! Unsafe code of the workspace: only this crate contains any, and each file with unsafe code starts with an `// UNSAFETY:` line.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs;
use std::path::{Path, PathBuf};

/// The directories of the workspace with Rust code.
const PARTS: [&str; 4] = ["init", "initrd", "qemu", "tests"];

/// Collects the Rust files below `directory`.
fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a line outside of comments has an unsafe block, function or implementation.
fn has_unsafe_code(text: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.into_iter().any(|line| ["{", "fn", "impl", "extern"].iter().any(|what| line.contains(&format!("{} {what}", "unsafe"))))
}

#[test]
fn unsafe_code_is_in_this_crate_alone_and_each_file_says_why() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut files = Vec::new();
    for part in PARTS {
        rust_files(&top.join(part), &mut files);
    }
    let found: Vec<_> = files.into_iter().filter(|file| has_unsafe_code(&fs::read_to_string(file).unwrap())).collect();
    assert!(!found.is_empty());
    for file in &found {
        let name = file.strip_prefix(&top).unwrap();
        assert!(name.starts_with("init/linux/src"), "{}: unsafe code belongs into the crate linux", name.display());
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("// UNSAFETY: "), "{}: the first line is not an UNSAFETY line", name.display());
    }
}
