//! A list of the checks that a quote passed, for `cvmctl quote verify`.

/// One check and the values that it compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// The compared values: hashes, names, times.
    pub compared: String,
    /// False if policy gives no value to compare with, so that the value is only reported.
    pub compares: bool,
}

/// Records the checks that passed, in order. PID 1 records none.
#[derive(Debug, Default)]
pub struct Checks(Option<Vec<Check>>);

impl Checks {
    /// Records every check.
    #[must_use]
    pub fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Records none: only the result of verification is used.
    #[must_use]
    pub fn ignored() -> Self {
        Self(None)
    }

    /// The recorded checks: passed, or without a value to compare with.
    #[must_use]
    pub fn lines(&self) -> &[Check] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(crate) fn passed(&mut self, name: &'static str, compared: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(Check { name, compared: compared(), compares: true });
        }
    }

    pub(crate) fn skipped(&mut self, name: &'static str, compared: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(Check { name, compared: compared(), compares: false });
        }
    }
}
