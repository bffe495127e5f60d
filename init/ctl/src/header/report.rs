//! The report of a check, with a line for each rule.

use std::fmt::Display;
use std::process::ExitCode;

use crate::run::{Error, REFUSED};
use crate::show;

#[derive(Default)]
pub(super) struct Report {
    pub(super) lines: Vec<String>,
    pub(super) refused: bool,
}

impl Report {
    pub(super) fn line(&mut self, good: bool, rule: &str, found: impl Display) {
        self.refused |= !good;
        self.lines.push(format!("{}  {rule}: {found}", if good { "ok     " } else { "REFUSED" }));
    }

    pub(super) fn refuse(&mut self, rule: &str, found: impl Display) {
        self.line(false, rule, found);
    }

    pub(super) fn note(&mut self, rule: &str, found: impl Display) {
        self.lines.push(format!("note     {rule}: {found}"));
    }

    pub(super) fn warn(&mut self, rule: &str, found: impl Display) {
        self.lines.push(format!("WARNING  {rule}: {found}"));
    }

    /// Prints the lines so far and clears them.
    pub(super) fn print(&mut self) -> Result<(), Error> {
        show::lines(&std::mem::take(&mut self.lines)).map_err(Error::Output)
    }

    /// Prints the report of a refused command, with `outcome` as the last line.
    pub(super) fn end_refused(mut self, outcome: &str) -> Result<ExitCode, Error> {
        self.lines.push(outcome.to_owned());
        self.print()?;
        Ok(ExitCode::from(REFUSED))
    }
}
