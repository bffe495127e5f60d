//! Comparison of replayed logs with registers.

use std::path::PathBuf;

use encoding::hex;
use eventlog::register::Hash;
use serde_json::{Value, json};

use super::Held;
use super::asked::{CommandLine, Prediction};
use super::logs::{LoggedEvent, Logs, TextProof};
use super::register::Register;

/// The register of the kernel's Integrity Measurement Architecture, which has its own log.
const IMA: Register = Register::Pcr(10);

/// The values with which logs are compared.
pub(super) struct Asked<'a> {
    /// Registers of a quote and a TPM.
    pub(super) registers: Vec<Held>,
    /// RTMRs to compare; empty: all.
    pub(super) rtmrs: &'a [u32],
    /// PCRs to compare; empty: all.
    pub(super) only_pcrs: &'a [u32],
    /// The command line whose digest must have been extended.
    pub(super) command_line: Option<&'a str>,
    /// Predictions of RTMR2 before the cap, of which one must be equal; empty: not compared.
    pub(super) predicted: &'a [[u8; 48]],
    /// Whether a quote or a TDREPORT is the source of the RTMRs.
    pub(super) evidence: Option<Evidence>,
}

/// The source of RTMRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Signed; the signature is not verified here.
    Quote,
    /// Not signed: valid only on the machine that made it, and only as long as nobody changed it.
    TdReport,
}

/// One register and hash function.
struct Compared {
    register: Register,
    hash: Hash,
    value: Vec<u8>,
    replayed: Option<Vec<u8>>,
    /// Whether the logs contain an event of the register.
    has_events: bool,
}

/// The result of a replay.
pub(super) struct ReplayResult {
    compared: Vec<Compared>,
    /// Registers that the logs extend and that were not compared: nothing proves their events.
    uncompared: Vec<Register>,
    /// Registers that were excluded by an option.
    left_out: Vec<Register>,
    lies: Vec<String>,
    /// Whether the logs contain any measured event.
    has_events: bool,
    boots: usize,
    command_line: CommandLine,
    prediction: Prediction,
    evidence: Option<Evidence>,
    /// Number of records that belong to no register of quotes and PCRs.
    skipped: usize,
    /// Files with SHA-1 digests alone.
    of_sha1: Vec<PathBuf>,
}

impl Asked<'_> {
    fn is_left_out(&self, register: Register) -> bool {
        match register {
            Register::Mrtd | Register::NvPcr(_) | Register::Unnamed => true,
            Register::Rtmr(number) => !self.rtmrs.is_empty() && !self.rtmrs.contains(&number),
            Register::Pcr(number) => !self.only_pcrs.is_empty() && !self.only_pcrs.contains(&number),
        }
    }
}

impl Compared {
    fn agrees(&self) -> bool {
        self.replayed.as_ref() == Some(&self.value)
    }

    fn to_line(&self) -> String {
        let (register, hash, value) = (self.register, self.hash.name(), hex::encode(&self.value));
        match &self.replayed {
            Some(replayed) if *replayed == self.value && self.hash == Hash::Sha1 => {
                format!("SHA-1 {register} {hash} {value}: the logs make it, and SHA-1 verifies nothing")
            }
            Some(replayed) if *replayed == self.value => format!("ok    {register} {hash} {value}"),
            Some(_) if !self.has_events => format!("WRONG {register} {hash} is {value}, and the logs have no event of it"),
            Some(replayed) => format!("WRONG {register} {hash} is {value}, the logs make {}", hex::encode(replayed)),
            None => format!("WRONG {register} {hash} is {value}, and the logs have no such digests"),
        }
    }
}

impl ReplayResult {
    pub(super) fn of(logs: &Logs, asked: &Asked<'_>) -> Self {
        let without_log = |register: Register| register == IMA && !logs.has(IMA);
        let compared: Vec<Compared> = (asked.registers.iter())
            .filter(|(register, ..)| !asked.is_left_out(*register) && !without_log(*register))
            .map(|(register, hash, value)| {
                let (register, hash) = (*register, *hash);
                Compared {
                    register,
                    hash,
                    value: value.clone(),
                    replayed: logs.replay(register, hash, value),
                    has_events: logs.has(register),
                }
            })
            .collect();
        // SHA-1 proves nothing.
        let is_proved = |register, hash| {
            compared.iter().any(|one| one.register == register && one.hash == hash && one.hash != Hash::Sha1 && one.agrees())
        };
        let mut uncompared = Vec::new();
        for event in logs.events.iter().filter(|event| event.extended) {
            let compared = compared.iter().any(|one| one.register == event.register && one.hash != Hash::Sha1);
            if !compared && !asked.is_left_out(event.register) && !uncompared.contains(&event.register) {
                uncompared.push(event.register);
            }
        }
        let prediction = Prediction::of(logs, asked, is_proved(Register::Rtmr(2), Hash::Sha384));
        let command_line = asked.command_line.map_or(CommandLine::NotAsked, |line| {
            CommandLine::of(logs, line, is_proved, matches!(prediction, Prediction::Equal))
        });
        Self {
            left_out: asked.registers.iter().map(|(register, ..)| *register).filter(|register| without_log(*register)).collect(),
            uncompared,
            lies: logs
                .events
                .iter()
                .filter(|event| event.text_proof == TextProof::Contradicted)
                .map(LoggedEvent::to_line)
                .collect(),
            has_events: logs.events.iter().any(|event| event.extended),
            boots: logs.boots.len(),
            command_line,
            prediction,
            evidence: asked.evidence,
            skipped: logs.skipped(),
            of_sha1: logs.of_sha1.clone(),
            compared,
        }
    }

    /// Whether the logs explain all compared registers.
    fn replays(&self) -> bool {
        let agree = !self.compared.is_empty() && self.compared.iter().all(Compared::agrees);
        // An empty log agrees with registers of zeros and proves nothing.
        agree && self.has_events && self.uncompared.is_empty() && self.lies.is_empty() && self.boots <= 1
    }

    /// Whether the logs replay and, if requested, the command line was extended and RTMR2 is predicted.
    pub(super) fn is_good(&self) -> bool {
        let is_predicted = !matches!(self.prediction, Prediction::Differs(_));
        self.replays() && is_predicted && !matches!(self.command_line, CommandLine::NotExtended)
    }

    pub(super) fn to_lines(&self) -> Vec<String> {
        let sha1 = self.of_sha1.iter().map(|path| {
            format!("SHA-1 {} has no other digests: its events are UNVERIFIED, whatever it replays to", path.display())
        });
        let lies = self.lies.iter().map(|event| format!("LIES  {event}"));
        let compared = self.compared.iter().map(Compared::to_line);
        let uncompared = self.uncompared.iter().map(|register| {
            let in_sha1 = self.compared.iter().any(|one| one.register == *register);
            let how = if in_sha1 { "in SHA-1 alone" } else { "with nothing" };
            format!("WRONG {register} has events and was compared {how}")
        });
        let left_out = self.left_out.iter().map(|register| format!("-     {register} is not compared: IMA's log is not given"));
        let boots = (self.boots > 1).then(|| format!("WRONG the records are of {} boots", self.boots));
        let empty = (!self.has_events).then(|| "WRONG the logs have no event that was measured".to_owned());
        let skipped = (self.skipped > 0).then(|| {
            format!("-     {} records of NvPCRs or without a register are not compared: quotes and PCRs lack them", self.skipped)
        });
        let unsigned = (self.evidence == Some(Evidence::TdReport))
            .then(|| "-     the RTMRs are of a TDREPORT, which is UNSIGNED: nothing proves that a machine had them".to_owned());
        sha1.chain(lies)
            .chain(compared)
            .chain(uncompared)
            .chain(left_out)
            .chain(boots)
            .chain(empty)
            .chain(skipped)
            .chain(unsigned)
            .chain(self.prediction.to_line())
            .chain(self.command_line.to_line())
            .chain([self.to_result()])
            .collect()
    }

    fn to_result(&self) -> String {
        let evidence = if self.evidence == Some(Evidence::TdReport) { ", to an UNSIGNED TDREPORT" } else { "" };
        // Nothing else is wrong: every register agrees, in a hash function that verifies nothing.
        let is_compared = |register: &Register| self.compared.iter().any(|one| one.register == *register);
        let in_sha1 = self.has_events && self.lies.is_empty() && self.boots <= 1 && !self.uncompared.is_empty();
        if in_sha1 && self.uncompared.iter().all(is_compared) && self.compared.iter().all(Compared::agrees) {
            return "the logs replay in SHA-1 alone: UNVERIFIED".to_owned();
        }
        match (self.replays(), &self.command_line, &self.prediction) {
            (false, ..) => "the logs do NOT replay".to_owned(),
            (true, CommandLine::NotExtended, _) => format!("the logs replay{evidence}, WITHOUT that command line"),
            (true, _, Prediction::Differs(_)) => format!("the logs replay{evidence}, NOT to the predicted RTMR2"),
            (true, ..) => format!("the logs replay{evidence}"),
        }
    }

    pub(super) fn to_json(&self, events: &[Value]) -> Value {
        let register = |one: &Compared| {
            json!({
                "register": one.register.to_string(), "hash": one.hash.name(), "value": hex::encode(&one.value),
                "replayed": one.replayed.as_ref().map(|bytes| hex::encode(bytes)), "agrees": one.agrees(),
            })
        };
        let names = |registers: &[Register]| registers.iter().map(ToString::to_string).collect::<Vec<_>>();
        json!({
            "good": self.is_good(),
            "replays": self.replays(),
            "registers": self.compared.iter().map(register).collect::<Vec<_>>(),
            "uncompared": names(&self.uncompared),
            "left_out": names(&self.left_out),
            "records_that_lie": self.lies.len(),
            "boots": self.boots,
            "command_line": self.command_line.to_json(),
            "predicted_rtmr2": match self.prediction {
                Prediction::NotAsked => None,
                Prediction::Equal => Some(true),
                Prediction::Differs(_) => Some(false),
            },
            // Signatures are not verified here.
            "evidence": self.evidence.map(|evidence| match evidence {
                Evidence::Quote => json!({ "form": "quote", "signed": true }),
                Evidence::TdReport => json!({ "form": "tdreport", "signed": false }),
            }),
            "skipped": self.skipped,
            "sha1_alone": self.of_sha1,
            "events": events,
        })
    }
}
