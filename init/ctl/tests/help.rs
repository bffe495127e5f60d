//! `cvmctl completions` and `cvmctl man`.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap()
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = cvmctl(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && ["provision", "markdown", "passphrase-fd"].iter().all(|name| script.contains(name)),
            "{shell}"
        );
    }
    assert!(!cvmctl(&["completions", "csh"]).status.success());
}

#[test]
fn man_writes_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("man1");
    assert!(cvmctl(&["man", folder.to_str().unwrap()]).status.success());
    for page in ["cvmctl.1", "cvmctl-key-audit.1", "cvmctl-cmdline-explain.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
    let page = std::fs::read_to_string(folder.join("cvmctl-header-save.1")).unwrap();
    assert!(page.contains("Save the header area of a disk"), "{page}");
}
