//! Checks of one profile: which guests it admits, what their certificates must carry, who attests them.

use encoding::hex;
use serde_json::Value;

use super::{Facts, list, text};
use crate::policy::shape::Problem;

/// The OID of the app UUID, the only one in a guest's certificate, so the only one that a policy can demand.
pub const APP_OID: &str = "1.3.6.1.4.1.65230.4.1";
/// TCB statuses that nodes know in a policy; Revoked is never accepted.
const TCB_STATUSES: [&str; 6] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
];
pub(super) fn check(profile: &Value, place: &str, facts: &Facts, problems: &mut Vec<Problem>) {
    let measurements = list(profile.get("measurements"));
    if measurements.is_empty() {
        problems.push(Problem::at(&format!("{place}/measurements"), "empty: no guest matches it"));
    }
    for (index, measurement) in measurements.iter().enumerate() {
        let place = format!("{place}/measurements/{index}");
        if let Some(value) = measurement.get("Mrenclave") {
            check_digest(value, 64, &format!("{place}/Mrenclave"), problems);
        }
        for (name, value) in measurement.get("Tdx").and_then(Value::as_object).into_iter().flatten() {
            check_digest(value, 96, &format!("{place}/Tdx/{name}"), problems);
            problems.extend(zero_register(name, value, &format!("{place}/Tdx/{name}")));
        }
    }
    check_servers(profile, place, problems);
    check_oids(profile, place, facts, problems);
    for (index, status) in list(profile.get("acceptable_tcb_statuses")).iter().enumerate() {
        if !status.as_str().is_some_and(|status| TCB_STATUSES.contains(&status)) {
            let place = format!("{place}/acceptable_tcb_statuses/{index}");
            problems.push(Problem::at(&place, format!("expected one of {}", TCB_STATUSES.join(", "))));
        }
    }
}

/// A register that nothing extended pins nothing: a host's own code can extend it to any value that follows from zero, and a policy that
/// demands zero admits whatever was not measured. A direct boot with a TPM leaves RTMR2 so.
fn zero_register(name: &str, value: &Value, place: &str) -> Option<Problem> {
    let is_zero = value.as_str().is_some_and(|text| !text.is_empty() && text.bytes().all(|digit| digit == b'0'));
    let what = "all zero: nothing was measured into this register, so it pins nothing. Measure the image with a boot chain that extends \
                it (cvmctl measure)";
    (is_zero && matches!(name, "mrtd" | "rtmr1" | "rtmr2")).then(|| Problem::at(place, what))
}

/// The registers of a policy that are all zero.
pub(super) fn zero_registers(policy: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (tee, profile) in list(policy.pointer("/principals/tees")).iter().enumerate() {
        for (index, measurement) in list(profile.pointer("/Tee/measurements")).iter().enumerate() {
            let place = format!("/principals/tees/{tee}/Tee/measurements/{index}/Tdx");
            let registers = measurement.get("Tdx").and_then(Value::as_object).into_iter().flatten();
            problems.extend(registers.filter_map(|(name, value)| zero_register(name, value, &format!("{place}/{name}"))));
        }
    }
    problems
}

fn check_digest(value: &Value, digits: usize, place: &str, problems: &mut Vec<Problem>) {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !value.as_str().is_some_and(|text| text.len() == digits && text.bytes().all(is_digit)) {
        problems.push(Problem::at(place, format!("expected {digits} lower-case hexadecimal digits: nodes compare the text")));
    }
}

fn check_servers(profile: &Value, place: &str, problems: &mut Vec<Problem>) {
    let servers = list(profile.get("attestation_servers"));
    let place = format!("{place}/attestation_servers");
    if servers.is_empty() {
        problems.push(Problem::at(
            &place,
            "empty: nodes accept such a policy and then deny every guest; give --attestation-server https://..",
        ));
    }
    for (index, server) in servers.iter().enumerate() {
        let url = text(server, "url");
        let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
        if host.is_none_or(str::is_empty) || url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            problems.push(Problem::at(
                &format!("{place}/{index}/url"),
                "expected https://HOST..: nodes use no other scheme, and then deny every guest",
            ));
        }
        if let Some(pin) = server.get("pinned_spki_sha256_hex").filter(|pin| !pin.is_null()) {
            check_digest(pin, 64, &format!("{place}/{index}/pinned_spki_sha256_hex"), problems);
        }
    }
}

fn check_oids(profile: &Value, place: &str, facts: &Facts, problems: &mut Vec<Problem>) {
    for (index, required) in list(profile.get("required_oids")).iter().enumerate() {
        let place = format!("{place}/required_oids/{index}");
        let permanent = "nodes never remove a required OID, so a wrong one denies every guest permanently";
        if text(required, "oid") != APP_OID {
            problems.push(Problem::at(
                &format!("{place}/oid"),
                format!("expected {APP_OID}, the only one in a guest's certificate: {permanent}"),
            ));
            continue;
        }
        let what = match facts.app {
            None => format!("expected the guest's app id: give it with --app UUID ({permanent})"),
            Some(app) if text(required, "value") != hex::encode(&app) => {
                format!("expected {}, the 32 digits of --app: {permanent}", hex::encode(&app))
            }
            Some(_) => continue,
        };
        problems.push(Problem::at(&format!("{place}/value"), what));
    }
}
