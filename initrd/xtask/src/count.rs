//! Counts what test runners report.

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Count {
    /// The count of a runner that printed `text` and succeeded or not. A runner that crashed, that ended without a closing line, or that ran
    /// nothing, counts as one failure.
    pub(crate) fn of_runner(text: &str, succeeded: bool) -> Self {
        let mut lines = text.lines().filter_map(closing_line).peekable();
        let complete = lines.peek().is_some() && succeeded;
        let mut count = lines.fold(Self::default(), |sum, line| sum + line);
        if count.failed == 0 && (!complete || count.passed == 0) {
            count.failed = 1;
        }
        count
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …` or `3 passed, 0 failed`.
fn closing_line(line: &str) -> Option<Count> {
    let counts = match line.strip_prefix("test result: ") {
        Some(result) => result.split_once(". ")?.1,
        None => line,
    };
    let mut fields = counts.split([',', ';']).map(str::trim);
    let passed = fields.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = fields.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some(Count { passed, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_forms_add_up() {
        let harness = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        let text = format!("+ cargo test\n{harness}running 4 tests\n{harness}5 passed, 0 failed\n");
        assert_eq!(Count::of_runner(&text, true), Count { passed: 11, failed: 0 });
        let text = "test result: FAILED. 3 passed; 2 failed; 0 ignored\n";
        assert_eq!(Count::of_runner(text, false), Count { passed: 3, failed: 2 });
    }

    #[test]
    fn runner_that_crashes_or_says_nothing_failed_once() {
        let one = |passed| Count { passed, failed: 1 };
        assert_eq!(Count::of_runner("3 passed, 0 failed\n", false), one(3));
        assert_eq!(Count::of_runner("ok 1.0 s some-scenario\n", false), one(0));
        assert_eq!(Count::of_runner("", true), one(0));
        assert_eq!(Count::of_runner("test result: ok. 0 passed; 0 failed; 9 ignored\n", true), one(0));
        assert_eq!(Count::of_runner("0 passed, 0 failed\n2 passed, 0 failed\n", true), Count { passed: 2, failed: 0 });
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "ok      2 s  3 passed",
            "3 passed",
            "passed, failed",
            "x passed, 0 failed",
            "test result: ok",
            "it says 3 passed, 0 failed",
        ] {
            assert_eq!(closing_line(line), None, "{line}");
        }
    }
}
