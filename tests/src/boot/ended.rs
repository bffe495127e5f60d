//! A boot that is over: what its console and its receipt must say.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use failure::{ErrorCode, FailureAction};
use machine::Exit;
use ring::digest::{SHA256, digest};

use crate::vaults::hex;
use crate::{Doing, Failure, schema};

/// A boot that is over.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// Every line of the console.
    pub lines: Vec<String>,
    /// From QEMU's start to its end.
    pub took: Duration,
}

impl Ended {
    /// The first console line that contains `part`.
    ///
    /// # Errors
    /// With the end of the console.
    pub fn line(&self, part: &str) -> Result<&str, Failure> {
        let found = self.lines.iter().find(|line| line.contains(part));
        found.map(String::as_str).ok_or_else(|| Failure(format!("no line with {part:?}; {}", self.tail())))
    }

    /// Expects that nothing on the console contains `part`.
    ///
    /// # Errors
    /// With the line that does.
    pub fn no_line(&self, part: &str) -> Result<(), Failure> {
        match self.lines.iter().find(|line| line.contains(part)) {
            Some(line) => Err(Failure(format!("unexpected line: {line}"))),
            None => Ok(()),
        }
    }

    /// Expects that cvm-init stopped with `code` and powered off.
    ///
    /// # Errors
    /// With the end of the console.
    pub fn powered_off_with(&self, code: u8) -> Result<(), Failure> {
        self.stopped(code, FailureAction::PowerOff)
    }

    /// Expects that cvm-init stopped with `code` and rebooted.
    ///
    /// # Errors
    /// With the end of the console.
    pub fn rebooted_with(&self, code: u8) -> Result<(), Failure> {
        self.stopped(code, FailureAction::Reboot)
    }

    /// Expects that cvm-init stopped with one of `codes`, and that the machine did what the table of error codes says.
    ///
    /// # Errors
    /// With the end of the console.
    pub fn stopped_with_one_of(&self, codes: &[u8]) -> Result<(), Failure> {
        let mut stops =
            codes.iter().flat_map(|code| [FailureAction::PowerOff, FailureAction::Reboot].map(|action| (*code, action)));
        if stops.any(|(code, action)| self.stopped(code, action).is_ok()) {
            return Ok(());
        }
        Err(Failure(format!("stopped with none of {codes:?}; {}", self.tail())))
    }

    /// The scenario names code and action; the table of error codes must allow the action.
    fn stopped(&self, code: u8, action: FailureAction) -> Result<(), Failure> {
        let line = self.line(&format!("cvm-init: E{code} "))?;
        let allowed = ErrorCode::from_number(code).is_some_and(|code| code.action().is_none_or(|always| always == action));
        let exit = if action == FailureAction::Reboot { Exit::Rebooted } else { Exit::PoweredOff };
        if !allowed || !line.contains(&format!("({})", action.announcement())) || self.exit != exit {
            return Err(Failure(format!("{action:?} must follow E{code}; {}", self.tail())));
        }
        self.no_line("cvm-tests: real system reached")
    }

    /// Expects that the real system was reached and did its tasks.
    ///
    /// # Errors
    /// With the end of the console.
    pub fn reached_the_real_system(&self) -> Result<(), Failure> {
        self.line("cvm-tests: real system reached")?;
        self.line("cvm-tests: done")?;
        self.receipt()?; // held against its schema, whatever the scenario is about
        match self.exit {
            Exit::PoweredOff => Ok(()),
            _ => Err(Failure(format!("ended by {:?}; {}", self.exit, self.tail()))),
        }
    }

    /// How long a phase took, in milliseconds.
    ///
    /// # Errors
    /// When it did not end.
    pub fn phase(&self, name: &str) -> Result<u64, Failure> {
        let line = self.line(&format!("cvm-init: phase {name}: "))?;
        let number = line.rsplit_once(": ").and_then(|(_, rest)| rest.strip_suffix(" ms")?.parse().ok());
        number.ok_or_else(|| Failure(format!("no time in {line}")))
    }

    /// The receipt that this boot left.
    ///
    /// # Errors
    /// When it is not JSON, or not what the schema says.
    pub fn receipt(&self) -> Result<serde_json::Value, Failure> {
        let marked = self.lines.iter().filter_map(|line| line.split_once("report| ").map(|(_, text)| text));
        let text: String = marked.collect();
        let receipt = serde_json::from_str(&text).doing("receipt")?;
        schema::hold(&receipt)?;
        Ok(receipt)
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
    /// When it is not there, or not whole.
    pub fn dump(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let sum = self.line(&format!("cvm-tests: dump {name} "))?;
        let sum = sum.rsplit_once(&format!("dump {name} ")).and_then(|(_, rest)| rest.get(..64)).unwrap_or_default();
        let mark = format!("dump {name}| ");
        let parts = self.lines.iter().filter_map(|line| line.split_once(&mark));
        let bytes: Vec<u8> = parts.filter_map(|(_, part)| BASE64.decode(part.trim()).ok()).flatten().collect();
        if hex(digest(&SHA256, &bytes).as_ref()) == sum {
            return Ok(bytes);
        }
        Err(Failure(format!("{name} was not printed whole; {}", self.tail())))
    }

    /// What the task program printed behind `mark`: a number, and hexadecimal digits, a line each.
    ///
    /// # Errors
    /// When a line is not of that form.
    pub fn registers(&self, mark: &str) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
        let lines = self.lines.iter().filter_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
        let register = |line: &str| {
            let (number, digits) = line.split_once(' ')?;
            let (pairs, rest) = digits.trim().as_bytes().as_chunks::<2>();
            let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            Some((number.parse().ok()?, rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()?))
        };
        lines.map(|line| register(line).ok_or_else(|| Failure(format!("no register: {mark}{line}")))).collect()
    }
}
