//! The documents: links lead somewhere, the README stays short, and former names stay where they are explained.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use regex::Regex;

/// The most lines of the README.
const README_LINES: usize = 150;
/// Names that the project no longer uses (init/docs/glossary.md, "Former names").
const FORMER_NAMES: &str = r"(?i)\b(un)?seal(s|ed|ing)?\b|\blatch|\breceipts?\b|\bforged\b|\bpark(s|ed)?\b|\bnetconf\b|\bbuild ?tree\b|\bpatience\b|cvm\.measured\b|cvm\.vault\.commit\b|cvm\.data\.fs\b|initrd/(within|prepare|cargo)[^-\w]";
/// Where former names are explained.
const HISTORY: [&str; 3] = ["init/docs/glossary.md", "init/docs/decisions/", "init/CHANGELOG.md"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every document of the project as path and text, without those below `target` folders.
fn documents() -> Vec<(PathBuf, String)> {
    let (mut folders, mut found) = (vec![top()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().collect::<io::Result<Vec<_>>>().unwrap() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

/// The text without blocks and spans of code, in which brackets are no links.
fn without_code(text: &str) -> String {
    let prose: Vec<_> = text.split("```").step_by(2).collect();
    Regex::new("`[^`\n]*`").unwrap().replace_all(&prose.concat(), "code").into_owned()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.split("```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|sign| sign.is_alphanumeric() || "-_".contains(*sign)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut broken = Vec::new();
    for (document, text) in documents() {
        let prose = without_code(&text);
        let targets = link.captures_iter(&prose).map(|found| found[1].to_owned());
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let leads = file.exists() && (anchor.is_empty() || anchors(&fs::read_to_string(&file).unwrap()).contains(anchor));
            if !leads {
                broken.push((document.clone(), target));
            }
        }
    }
    assert!(broken.is_empty(), "no such file or heading: {broken:#?}");
}

#[test]
fn readme_is_short() {
    let lines = fs::read_to_string(top().join("README.md")).unwrap().lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines; at most {README_LINES} are allowed: move text to init/docs");
}

#[test]
fn former_names_are_only_where_they_are_explained() {
    let former = Regex::new(FORMER_NAMES).unwrap();
    for (document, text) in documents() {
        let path = document.strip_prefix(top()).unwrap().to_owned();
        if HISTORY.iter().any(|history| path.to_string_lossy().starts_with(history)) {
            continue;
        }
        for (line, number) in text.lines().zip(1..) {
            let name = former.find(line).map(|name| name.as_str());
            assert_eq!(name, None, "{} line {number}: init/docs/glossary.md has the name to use", path.display());
        }
    }
}
