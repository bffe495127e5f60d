//! The result of a boot, and the checks of its console and boot report.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use failure::{ErrorCode, FailureAction};
use qemu::{Exit, Register};
use ring::digest::{SHA256, digest};

use crate::{Context, Failure, schema};
use encoding::hex::encode as hex;

/// The result of a boot.
#[derive(Debug)]
pub struct BootResult {
    /// How the machine ended.
    pub exit: Exit,
    /// All lines of the console.
    pub lines: Vec<String>,
    /// From the start of QEMU to its end.
    pub took: Duration,
    /// What the firmware measured as that of a TD, in a boot with [`super::Boot::cc`].
    pub cc: Option<CcRecord>,
}

/// The event log and the registers that firmware of a TD left when boot services ended.
#[derive(Debug, Clone)]
pub struct CcRecord {
    /// The log without padding.
    pub log: Vec<u8>,
    /// RTMR0 to RTMR3.
    pub rtmrs: [Register; 4],
}

impl BootResult {
    /// The first console line that contains `part`.
    ///
    /// # Errors
    /// No line contains it; shows the end of the console.
    pub fn line(&self, part: &str) -> Result<&str, Failure> {
        let found = self.lines.iter().find(|line| line.contains(part));
        found.map(String::as_str).ok_or_else(|| Failure(format!("expected a line with {part:?}; {}", self.tail())))
    }

    /// Expects that no console line contains `part`.
    ///
    /// # Errors
    /// A line contains it.
    pub fn no_line(&self, part: &str) -> Result<(), Failure> {
        match self.lines.iter().find(|line| line.contains(part)) {
            Some(line) => Err(Failure(format!("unexpected line: {line}"))),
            None => Ok(()),
        }
    }

    /// Expects that cvm-init failed with `code` and powered off.
    ///
    /// # Errors
    /// Something else happened.
    pub fn powered_off_with(&self, code: u8) -> Result<(), Failure> {
        self.stopped(code, FailureAction::PowerOff)
    }

    /// Expects that cvm-init failed with `code` and rebooted.
    ///
    /// # Errors
    /// Something else happened.
    pub fn rebooted_with(&self, code: u8) -> Result<(), Failure> {
        self.stopped(code, FailureAction::Reboot)
    }

    /// Expects that cvm-init failed with one of these codes and did what stands beside it.
    ///
    /// # Errors
    /// Something else happened.
    pub fn stopped_with_one_of(&self, stops: &[(u8, FailureAction)]) -> Result<(), Failure> {
        if stops.iter().any(|(code, action)| self.stopped(*code, *action).is_ok()) {
            return Ok(());
        }
        Err(Failure(format!("expected one of {stops:?}; {}", self.tail())))
    }

    /// The scenario names code and action; the table of error codes must allow the action.
    fn stopped(&self, code: u8, action: FailureAction) -> Result<(), Failure> {
        let line = self.line(&format!("cvm-init: E{code} "))?;
        let allowed = ErrorCode::from_number(code).is_some_and(|code| code.action().is_none_or(|always| always == action));
        let exit = if action == FailureAction::Reboot { Exit::Rebooted } else { Exit::PoweredOff };
        if !allowed || !line.contains(&format!("({})", action.announcement())) || self.exit != exit {
            return Err(Failure(format!("expected {action:?} after E{code}; {}", self.tail())));
        }
        self.no_line("cvm-tests: real system reached")
    }

    /// Expects that the real init started, finished its tasks and powered off, and that the boot report is valid.
    ///
    /// # Errors
    /// Something else happened; shows the end of the console.
    pub fn reached_the_real_system(&self) -> Result<(), Failure> {
        self.line("cvm-tests: real system reached")?;
        self.line("cvm-tests: done")?;
        self.boot_report()?; // held against its schema, whatever the scenario is about
        match self.exit {
            Exit::PoweredOff => Ok(()),
            _ => Err(Failure(format!("expected a power-off, the machine ended by {:?}; {}", self.exit, self.tail()))),
        }
    }

    /// What the firmware measured as that of a TD.
    ///
    /// # Errors
    /// The boot was without [`super::Boot::cc`], or boot services did not end.
    pub fn cc(&self) -> Result<&CcRecord, Failure> {
        self.cc
            .as_ref()
            .ok_or_else(|| Failure(format!("the firmware did not measure to the end of boot services; {}", self.tail())))
    }

    /// How long a phase took, in milliseconds.
    ///
    /// # Errors
    /// The phase did not end.
    pub fn phase(&self, name: &str) -> Result<u64, Failure> {
        let line = self.line(&format!("cvm-init: phase {name}: "))?;
        let number = line.rsplit_once(": ").and_then(|(_, rest)| rest.strip_suffix(" ms")?.parse().ok());
        number.ok_or_else(|| Failure(format!("expected milliseconds at the end of {line}")))
    }

    /// The boot report.
    ///
    /// # Errors
    /// It is missing, not JSON, or not valid by its schema.
    pub fn boot_report(&self) -> Result<serde_json::Value, Failure> {
        let marked = self.lines.iter().filter_map(|line| line.split_once("boot-report| ").map(|(_, text)| text));
        let text: String = marked.collect();
        let report = serde_json::from_str(&text).context("parsing the boot report")?;
        schema::validate(&report)?;
        Ok(report)
    }

    fn tail(&self) -> String {
        let from = self.lines.len().saturating_sub(25);
        format!(
            "the machine ended by {:?} after {:?}, the console with\n    {}",
            self.exit,
            self.took,
            self.lines.get(from..).unwrap_or_default().join("\n    ")
        )
    }

    /// A file that the task program printed.
    ///
    /// # Errors
    /// It is missing or incomplete.
    pub fn dump(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let sum = self.line(&format!("cvm-tests: dump {name} "))?;
        let sum = sum.rsplit_once(&format!("dump {name} ")).and_then(|(_, rest)| rest.get(..64)).unwrap_or_default();
        let mark = format!("dump {name}| ");
        let parts = self.lines.iter().filter_map(|line| line.split_once(&mark));
        let bytes: Vec<u8> = parts.filter_map(|(_, part)| BASE64.decode(part.trim()).ok()).flatten().collect();
        if hex(digest(&SHA256, &bytes).as_ref()) == sum {
            return Ok(bytes);
        }
        Err(Failure(format!("the task program did not print {name} whole; {}", self.tail())))
    }

    /// Registers that the task program printed: after `mark` a number and hexadecimal digits on each line.
    ///
    /// # Errors
    /// A line has another form.
    pub fn registers(&self, mark: &str) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
        let lines = self.lines.iter().filter_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
        let register = |line: &str| {
            let (number, digits) = line.split_once(' ')?;
            Some((number.parse().ok()?, encoding::hex::decode_any_case(digits.trim().as_bytes())?))
        };
        lines
            .map(|line| {
                register(line).ok_or_else(|| Failure(format!("expected a number and hexadecimal digits, found {mark}{line}")))
            })
            .collect()
    }
}
