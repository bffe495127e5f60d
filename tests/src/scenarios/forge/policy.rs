//! What `cvmctl measure` prints for a boot: a policy, with conditions on the firmware, or none.

use std::process::Command;

use super::TestContext;
use crate::{Context, Failure};

/// Expects that `cvmctl measure` fails and prints no policy.
pub(super) fn prints_no_policy(context: &TestContext, arguments: &[&str]) -> Result<(), Failure> {
    let output = measure(context, arguments)?;
    if output.status.success() || !output.stdout.is_empty() {
        let printed = String::from_utf8_lossy(&output.stdout);
        return Err(Failure(format!("cvmctl measure {}: expected a refusal, found {printed}", arguments.join(" "))));
    }
    Ok(())
}

/// Expects that `cvmctl measure` prints a policy and names this condition on the firmware.
pub(super) fn has_condition(context: &TestContext, arguments: &[&str], condition: &str) -> Result<(), Failure> {
    let found = conditions(context, arguments)?;
    if found.contains(condition) { Ok(()) } else { Err(Failure(format!("expected the condition {condition}, found {found}"))) }
}

/// Expects that `cvmctl measure` prints a policy without a condition on the firmware.
pub(super) fn has_no_condition(context: &TestContext, arguments: &[&str]) -> Result<(), Failure> {
    let found = conditions(context, arguments)?;
    if found == "[]" { Ok(()) } else { Err(Failure(format!("expected no condition, found {found}"))) }
}

fn conditions(context: &TestContext, arguments: &[&str]) -> Result<String, Failure> {
    let output = measure(context, &[arguments, &["--json"]].concat())?;
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).context(&shown)?;
    Ok(report.get("conditions").map(ToString::to_string).unwrap_or_default())
}

fn measure(context: &TestContext, arguments: &[&str]) -> Result<std::process::Output, Failure> {
    let program = context.artifacts.top.join("target/programs/cvmctl");
    Command::new(program).arg("measure").args(arguments).output().context("running cvmctl")
}
