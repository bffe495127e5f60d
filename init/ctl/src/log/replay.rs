//! Comparison of replayed logs with registers.

use encoding::hex;
use eventlog::register::Hash;
use serde_json::{Value, json};

use super::Held;
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
    /// The command line that firmware must have measured.
    pub(super) command_line: Option<&'a str>,
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
}

/// Whether firmware measured the given command line.
#[derive(Clone, Copy)]
enum CommandLine {
    NotAsked,
    NotMeasured,
    /// The component that measured it.
    Measured(&'static str),
}

impl Asked<'_> {
    fn is_left_out(&self, register: Register) -> bool {
        match register {
            Register::Mrtd => true,
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
                    replayed: logs.replay(register, hash),
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
        let measured_by = |line: &str| {
            let found = Hash::ALL.into_iter().flat_map(|hash| {
                let found = logs.command_line(hash, line).into_iter();
                found.map(move |(register, by)| (register, hash, by))
            });
            let mut proved = found.filter(|(register, hash, _)| is_proved(*register, *hash));
            proved.next().map_or(CommandLine::NotMeasured, |(_, _, by)| CommandLine::Measured(by))
        };
        let command_line = asked.command_line.map_or(CommandLine::NotAsked, measured_by);
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
            compared,
        }
    }

    /// Whether the logs explain all compared registers.
    fn replays(&self) -> bool {
        let agree = !self.compared.is_empty() && self.compared.iter().all(Compared::agrees);
        // An empty log agrees with registers of zeros and proves nothing.
        agree && self.has_events && self.uncompared.is_empty() && self.lies.is_empty() && self.boots <= 1
    }

    /// Whether the logs replay and, if requested, the command line was measured.
    pub(super) fn is_good(&self) -> bool {
        self.replays() && !matches!(self.command_line, CommandLine::NotMeasured)
    }

    pub(super) fn to_lines(&self) -> Vec<String> {
        let lies = self.lies.iter().map(|event| format!("LIES  {event}"));
        let compared = self.compared.iter().map(Compared::to_line);
        let uncompared =
            self.uncompared.iter().map(|register| format!("WRONG {register} has events and was compared with nothing"));
        let left_out = self.left_out.iter().map(|register| format!("-     {register} is not compared: IMA's log is not given"));
        let boots = (self.boots > 1).then(|| format!("WRONG the records are of {} boots", self.boots));
        let command_line = match self.command_line {
            CommandLine::NotAsked => None,
            CommandLine::NotMeasured => Some("WRONG the command line is not in what firmware measured".to_owned()),
            CommandLine::Measured(by) => Some(format!("ok    the command line was measured by {by}")),
        };
        let empty = (!self.has_events).then(|| "WRONG the logs have no event that was measured".to_owned());
        let result = match (self.replays(), self.is_good()) {
            (true, true) => "the logs replay",
            (true, false) => "the logs replay, WITHOUT that command line",
            (false, _) => "the logs do NOT replay",
        };
        lies.chain(compared)
            .chain(uncompared)
            .chain(left_out)
            .chain(boots)
            .chain(empty)
            .chain(command_line)
            .chain([result.to_owned()])
            .collect()
    }

    pub(super) fn to_json(&self, events: &[Value]) -> Value {
        let register = |one: &Compared| {
            json!({
                "register": one.register.to_string(), "hash": one.hash.name(), "value": hex::encode(&one.value),
                "replayed": one.replayed.as_ref().map(|bytes| hex::encode(bytes)), "agrees": one.agrees(),
            })
        };
        let command_line = match self.command_line {
            CommandLine::NotAsked => Value::Null,
            CommandLine::NotMeasured => json!({ "measured": false, "by": null }),
            CommandLine::Measured(by) => json!({ "measured": true, "by": by }),
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
            "command_line": command_line,
            "events": events,
        })
    }
}
