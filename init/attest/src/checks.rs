//! The checks that a quote went through, one a line, for whoever wants to see them.

/// One check, with what was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// The values that were held against each other: hashes, names, times.
    pub compared: String,
    /// False when policy says nothing of it, and the value is only shown.
    pub compares: bool,
}

/// Takes down the checks that passed, in order; PID 1 takes down none.
#[derive(Debug, Default)]
pub struct Checks(Option<Vec<Check>>);

impl Checks {
    /// Keeps every check.
    #[must_use]
    pub fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Keeps none: the verdict is all that is wanted.
    #[must_use]
    pub fn ignored() -> Self {
        Self(None)
    }

    /// Those that passed, or were not asked for.
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
