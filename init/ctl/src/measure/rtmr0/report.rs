//! The account of RTMR0 as text and JSON.

use encoding::hex;
use eventlog::ccel::describe;
use predict::rtmr0::{Account, Explained, Proof, SecureBootState};
use serde_json::{Value, json};

use crate::log::FirmwareRegisters;

/// Where the value is from.
pub(super) enum Source {
    /// A log, which must replay to the RTMR0 of a quote or a TDREPORT.
    Log(FirmwareRegisters),
    /// Inputs alone.
    Prediction,
}

pub(super) struct Report {
    pub(super) account: Account,
    pub(super) source: Source,
}

impl Report {
    fn replays(&self) -> bool {
        match &self.source {
            Source::Log(registers) => self.account.rtmr0.as_deref() == Some(&registers.rtmr0),
            Source::Prediction => true,
        }
    }

    /// The state of Secure Boot, which a log that does not replay does not prove.
    fn secure_boot(&self) -> SecureBootState {
        if self.replays() { self.account.secure_boot } else { SecureBootState::Unknown }
    }

    /// Whether the value may go into a policy.
    pub(super) fn is_usable(&self) -> bool {
        self.replays() && self.account.missing.is_empty() && self.account.rtmr0.is_some()
    }

    fn value(&self) -> String {
        self.account.rtmr0.as_deref().map_or_else(|| "-".to_owned(), hex::encode)
    }

    /// What the operator must read first.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Source::Log(FirmwareRegisters { rtmr0, unsigned, .. }) = &self.source {
            if !self.replays() {
                lines.push(format!(
                    "error: the log replays to RTMR0 {}, and the quote has {}: the log is not of this boot, or was changed. \
                     Nothing below is proved",
                    self.value(),
                    hex::encode(rtmr0)
                ));
            }
            lines.push(if *unsigned {
                "warning: this is a TDREPORT, which is not signed: it proves nothing about a machine".to_owned()
            } else {
                "note: the signature of the quote was not verified: use cvmctl quote verify".to_owned()
            });
        }
        lines.extend(self.account.missing.iter().map(|what| format!("error: the log has no such event as predicted: {what}")));
        lines.extend(self.secure_boot_problem().map(str::to_owned));
        lines.extend(self.account.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines
    }

    fn secure_boot_problem(&self) -> Option<&'static str> {
        match self.secure_boot() {
            SecureBootState::On => None,
            SecureBootState::Off => {
                Some("warning: SECURE BOOT IS OFF: firmware runs any program; RTMR1 and RTMR2 must pin the boot")
            }
            SecureBootState::Absent => {
                Some("warning: THE FIRMWARE HAS NO SECURE BOOT: it runs any program; RTMR1 and RTMR2 must pin the boot")
            }
            SecureBootState::Unknown => Some("warning: THE STATE OF SECURE BOOT IS NOT KNOWN: treat it as off"),
        }
    }

    /// One line for each event, then the value.
    pub(super) fn to_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.account.events.iter().map(|event| self.line(event)).collect();
        lines.push(format!("Secure Boot: {}", state(self.secure_boot())));
        if self.is_usable() {
            if let Source::Log(FirmwareRegisters { mrtd, .. }) = &self.source {
                lines.push(format!("valid only with the firmware of MRTD {}", hex::encode(mrtd)));
            }
            lines.push(format!("RTMR0 {}", self.value()));
        }
        lines
    }

    fn proof(&self, event: &Explained) -> &'static str {
        match event.proof {
            _ if !self.replays() => "not proved",
            Proof::Described => "proved",
            Proof::Predicted => "predicted",
            Proof::Claimed => "digest",
            Proof::NotInterpreted => "unknown",
        }
    }

    fn line(&self, event: &Explained) -> String {
        let digest = hex::encode(&event.digest);
        format!("{:<10} {:<16} {}", self.proof(event), digest.get(..16).unwrap_or(&digest), event.what)
    }

    pub(super) fn to_json(&self) -> Value {
        let event = |event: &Explained| {
            json!({
                "event": describe::kind(event.kind),
                "sha384": hex::encode(&event.digest),
                "pins": event.what,
                "proof": self.proof(event),
            })
        };
        let (source, mrtd, signed) = match &self.source {
            Source::Log(registers) => ("log", Some(hex::encode(&registers.mrtd)), Some(!registers.unsigned)),
            Source::Prediction => ("prediction", None, None),
        };
        json!({
            "rtmr0": self.is_usable().then(|| self.value()),
            "source": source,
            "replays": self.replays(),
            "mrtd": mrtd,
            "signed": signed,
            "signature_verified": signed.map(|_| false),
            "secure_boot": state(self.secure_boot()),
            "events": self.account.events.iter().map(event).collect::<Vec<_>>(),
            "not_found": self.account.missing,
            "warnings": self.account.warnings,
        })
    }
}

const fn state(state: SecureBootState) -> &'static str {
    match state {
        SecureBootState::On => "on",
        SecureBootState::Off => "off",
        SecureBootState::Absent => "absent",
        SecureBootState::Unknown => "unknown",
    }
}
