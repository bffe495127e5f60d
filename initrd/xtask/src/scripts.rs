//! Checks shell scripts: their length, and shellcheck.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::Run;
use crate::project::output;
use crate::{CHILDREN, Error};

/// The most lines of a script: more is written in Rust.
const LINES: usize = 50;
/// The tasks of the tests' guest, one function each: the guest contains no compiler.
const GUEST: &str = "tests/image/mkosi.extra/usr/lib/cvm-tests/task";

pub(crate) fn check(top: &Path) -> Result<(), Error> {
    let listed =
        output(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(top))?;
    let mut run = Run::in_tools_tree(["shellcheck", "--external-sources"]);
    for name in listed.split_terminator('\0') {
        let Ok(text) = fs::read_to_string(top.join(name)) else { continue };
        if is_shell(name, &text) {
            let lines = text.lines().count();
            if lines > LINES && name != GUEST {
                return Err(Error::Artifact(format!("{name} has {lines} lines: expected at most {LINES}")));
            }
            run = run.arg(name);
        }
    }
    let status = CHILDREN.status(&mut run.command(top)).map_err(|e| Error::File(run.program.clone().into(), e))?;
    if status.success() { Ok(()) } else { Err(Error::Command("shellcheck".to_owned(), status)) }
}

fn is_shell(name: &str, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let interpreter = first.strip_prefix("#!").map(|line| line.rsplit(['/', ' ']).next().unwrap_or_default());
    matches!(interpreter, Some("sh" | "bash")) || name.rsplit_once('.').is_some_and(|(_, ending)| ending == "sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_known_by_their_first_line_or_their_ending() {
        for (name, text, want) in [
            ("initrd/fetch", "#!/usr/bin/env bash\n", true),
            ("a", "#!/bin/sh\n", true),
            ("initrd/lib/epoch.sh", "# shellcheck shell=bash\n", true),
            ("a", "#!/usr/bin/python3\n", false),
            ("a.rs", "", false),
        ] {
            assert_eq!(is_shell(name, text), want, "{name}: {text}");
        }
    }
}
