//! `cvmctl`, the operator's tool. Results go to stdout, explanations and errors to stderr.

mod args;
mod cmdline;
mod explain;
mod header;
mod log;
mod measure;
mod new_file;
mod quote;
mod run;
mod show;
mod vaults;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run::run(args::parse()) {
        Ok(code) => code,
        Err(error) => {
            writeln!(std::io::stderr(), "cvmctl: {}", printable(&failure::chain(&error))).ok();
            ExitCode::FAILURE
        }
    }
}

/// Escapes control characters but newlines: messages quote names and texts of files that others wrote.
fn printable(text: &str) -> String {
    let escape = |character: char| {
        let is_kept = !character.is_control() || character == '\n';
        if is_kept { character.to_string() } else { character.escape_default().to_string() }
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_of_a_file_do_not_reach_the_terminal() {
        let shown = super::printable("the file x\u{1b}]0;y\u{7}\u{9b}2J\nis \u{e4}");
        assert_eq!(shown, "the file x\\u{1b}]0;y\\u{7}\\u{9b}2J\nis \u{e4}");
    }
}
