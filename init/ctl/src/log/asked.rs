//! What an operator asks of a log beside a replay: a command line, and a prediction of RTMR2.

use encoding::hex;
use eventlog::register::Hash;
use serde_json::{Value, json};

use super::logs::Logs;
use super::register::Register;
use super::replay::Asked;

/// Whether the digest of the given command line was extended. Root of a machine can extend it too.
#[derive(Clone, Copy)]
pub(super) enum CommandLine {
    NotAsked,
    NotExtended,
    Extended {
        register: Register,
        /// The component that hashes the command line in this encoding.
        form: &'static str,
        /// Whether it is among the events that make RTMR2 equal to a prediction.
        by_boot_chain: bool,
    },
}

/// Comparison of RTMR2 before the cap with predictions.
pub(super) enum Prediction {
    NotAsked,
    Equal,
    /// The value before the cap, if RTMR2 replays.
    Differs(Option<Vec<u8>>),
}

/// What must hold beside an equal RTMR2: equal registers, and that `cvmctl measure` prints a policy for them.
const CONDITIONS: [&str; 3] = ["mrtd", "rtmr1", "policy"];

impl CommandLine {
    pub(super) fn of(logs: &Logs, line: &str, is_proved: impl Fn(Register, Hash) -> bool, is_predicted: bool) -> Self {
        let mut found = Hash::ALL.into_iter().flat_map(|hash| {
            let found = logs.command_line(hash, line).into_iter();
            found.filter(|(register, ..)| is_proved(*register, hash)).collect::<Vec<_>>()
        });
        let predicted = logs.before_cap().map_or(0, |(_, count)| count);
        found.next().map_or(Self::NotExtended, |(register, place, form)| Self::Extended {
            register,
            form,
            by_boot_chain: is_predicted && register == Register::Rtmr(2) && place < predicted,
        })
    }

    pub(super) fn to_line(self) -> Option<String> {
        match self {
            Self::NotAsked => None,
            Self::NotExtended => Some("WRONG no event has the digest of that command line".to_owned()),
            Self::Extended { register, form, by_boot_chain: true } => Some(format!(
                "ok    the command line was measured by the boot chain of the prediction, if MRTD and RTMR1 are the predicted ones too and cvmctl \
                 measure prints a policy with them: {register} contains it (as {form} hashes it)"
            )),
            Self::Extended { register, form, by_boot_chain: false } => Some(format!(
                "ok    the digest of that command line was extended into {register} (as {form} hashes it); by whom is not known"
            )),
        }
    }

    pub(super) fn to_json(self) -> Value {
        match self {
            Self::NotAsked => Value::Null,
            Self::NotExtended => {
                json!({ "extended": false, "register": null, "form": null, "by_boot_chain": false, "by_boot_chain_if": null })
            }
            // Null: a log does not say who extended a digest. RTMR2 alone does not either: a host's own code can extend the predicted events.
            Self::Extended { register, form, by_boot_chain } => json!({
                "extended": true,
                "register": register.to_string(),
                "form": form,
                "by_boot_chain": null,
                "by_boot_chain_if": by_boot_chain.then_some(CONDITIONS),
            }),
        }
    }
}

impl Prediction {
    pub(super) fn of(logs: &Logs, asked: &Asked<'_>, replays: bool) -> Self {
        if asked.predicted.is_empty() {
            return Self::NotAsked;
        }
        match logs.before_cap().filter(|_| replays) {
            Some((value, _)) if asked.predicted.iter().any(|predicted| predicted[..] == value) => Self::Equal,
            before => Self::Differs(before.map(|(value, _)| value)),
        }
    }

    pub(super) fn to_line(&self) -> Option<String> {
        match self {
            Self::NotAsked => None,
            Self::Equal => Some("ok    RTMR2 before the cap is the predicted one".to_owned()),
            Self::Differs(Some(value)) => {
                Some(format!("WRONG RTMR2 before the cap is {}, which is not predicted", hex::encode(value)))
            }
            Self::Differs(None) => Some("WRONG RTMR2 does not replay, so it is not compared with the prediction".to_owned()),
        }
    }
}
