//! What became of each vault: for the console, the failure line and the receipt. Names, counts and reasons; never a value.

use ondisk::cmdline::{Distinct, Vaults};
use quorum::{Collector, Fate, Generation};
use serde::Serialize;
use vault::Refused;

use super::Error;
use super::dial::{self, Ready};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days before a key's end at which the console begins to say so.
const EXPIRY_WARNING: u64 = 14;

/// One vault's part in the unlock.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct VaultOutcome {
    /// As the policy writes it.
    address: String,
    /// `served`, `spare`, `asked`, `ready`, `waiting`, `bad share`, `duplicate`, or why it was lost.
    outcome: String,
    /// Hex, once it was verified.
    mrenclave: Option<String>,
    tcb_status: Option<String>,
    advisories: Vec<String>,
    /// When its collateral begins to run out, Unix seconds.
    collateral_expires: Option<u64>,
    /// Its own clock, Unix seconds.
    quote_time: Option<u64>,
    /// When it will forget the key, Unix seconds.
    key_expires: Option<u64>,
    #[serde(skip)]
    last: Last,
    /// Lost for good.
    #[serde(skip)]
    gone: bool,
    /// What makes it this node: key or platform, as policy says.
    #[serde(skip)]
    identity: Option<Vec<u8>>,
}

/// What the last event of a vault was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Unheard,
    Away,
    Denied,
    Expired,
    NotBelieved,
    OwnQuote,
    Spoiled,
    Here,
}

/// The unlock as a whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    handle: String,
    threshold: u8,
    /// Shares that the proof needs: the threshold, or one more where only agreement proves.
    needed: usize,
    /// Hex of the dealing's 16 bytes, once the key was proved.
    generation: Option<String>,
    /// The earliest at which a vault will forget the key, Unix seconds.
    key_expires: Option<u64>,
    vaults: Vec<VaultOutcome>,
    #[serde(skip)]
    shares: usize,
    #[serde(skip)]
    distinct: Distinct,
}

impl Outcome {
    pub(super) fn new(vaults: &Vaults, needed: usize) -> Self {
        let entry = |address: &ondisk::cmdline::VaultAddress| VaultOutcome {
            address: address.to_string(),
            outcome: "waiting".to_owned(),
            ..VaultOutcome::default()
        };
        Self {
            handle: vaults.handle.as_str().to_owned(),
            threshold: vaults.threshold.get(),
            needed,
            generation: None,
            key_expires: None,
            vaults: vaults.addresses.iter().map(entry).collect(),
            shares: 0,
            distinct: vaults.distinct,
        }
    }

    /// Notes a node that proved itself; `false` when it is the same node as another vault of the list.
    pub(super) fn verified(&mut self, index: usize, ready: &Ready) -> bool {
        let Ready { node, key, time } = ready;
        let identity = match self.distinct {
            Distinct::Key => key.to_vec(),
            Distinct::Platform => node.platform().to_vec(),
        };
        let others = self.vaults.iter().enumerate().filter(|(other, _)| *other != index);
        if others.into_iter().any(|(_, vault)| vault.identity.as_ref() == Some(&identity)) {
            return false;
        }
        let Some(vault) = self.vaults.get_mut(index) else { return false };
        vault.identity = Some(identity);
        log::info!("vault {}: verified, tcb {}", vault.address, node.status());
        "ready".clone_into(&mut vault.outcome);
        vault.mrenclave = Some(hex(node.mrenclave()));
        vault.tcb_status = Some(node.status().to_string());
        vault.advisories = node.advisories().to_vec();
        vault.collateral_expires = Some(node.collateral_expires());
        vault.quote_time = Some(time.unix_seconds());
        vault.last = Last::Here;
        true
    }

    pub(super) fn served(&mut self, index: usize, expires_at: u64) {
        self.shares += 1;
        let Some(vault) = self.vaults.get_mut(index) else { return };
        log::info!("vault {}: gave a share", vault.address);
        vault.key_expires = Some(expires_at);
        "share".clone_into(&mut vault.outcome);
    }

    pub(super) fn lost(&mut self, index: usize, error: &dial::Error) {
        let Some(vault) = self.vaults.get_mut(index) else { return };
        vault.outcome = chain(error);
        vault.last = match error {
            dial::Error::Vault(vault::Error::OwnQuote(_)) => Last::OwnQuote,
            dial::Error::Vault(vault::Error::Refused(Refused::Expired)) => Last::Expired,
            dial::Error::Vault(vault::Error::Node(_) | vault::Error::Collateral(_)) => Last::NotBelieved,
            dial::Error::Vault(vault::Error::Protocol(..)) | dial::Error::Share(_) => Last::Spoiled,
            error if dial::is_denial(error) => Last::Denied,
            _ => Last::Away,
        };
        vault.gone = !error.may_pass();
        vault.identity = None;
        let again = if error.may_pass() { "; trying again" } else { "" };
        log::warn!("vault {}: {}{again}", vault.address, vault.outcome);
        if matches!(error, dial::Error::Vault(vault::Error::Refused(Refused::Expired))) {
            log::warn!("vault {}: the key's life is over there: deal a new one", vault.address);
        }
    }

    /// Whether so many vaults are lost for good that waiting cannot help.
    pub(super) fn is_hopeless(&self, collector: &Collector) -> bool {
        let left = self.vaults.iter().filter(|vault| !vault.gone).count();
        let all_answered = collector.shares() == left && left > 0;
        left < self.needed || all_answered
    }

    /// The final word on each vault, from the collector that found the key.
    pub(super) fn proved(&mut self, collector: &Collector, generation: Generation) {
        self.generation = Some(hex(&generation.0));
        for (vault, fate) in self.vaults.iter_mut().zip(collector.fates()) {
            let word = match fate {
                Fate::Lost => continue,
                Fate::Waiting => "waiting",
                Fate::Ready => "ready",
                Fate::Asked => "asked",
                Fate::Served => "served",
                Fate::Spare => "spare",
                Fate::BadShare => "bad share",
                Fate::Duplicate => "duplicate",
            };
            word.clone_into(&mut vault.outcome);
            if matches!(fate, Fate::BadShare | Fate::Duplicate) {
                log::warn!("vault {}: {word}", vault.address);
            }
        }
        let served = self.vaults.iter().filter(|vault| vault.outcome == "served");
        self.key_expires = served.clone().filter_map(|vault| vault.key_expires).min();
        let left = self.key_expires.map(|at| at.saturating_sub(kernel::clock::host_unix_seconds()) / DAY);
        if let Some(days) = left.filter(|days| *days < EXPIRY_WARNING) {
            log::warn!("unlock: the vaults forget this key in {days} days: deal a new one");
        }
        let names: Vec<_> = served.map(|vault| vault.address.as_str()).collect();
        log::info!("unlock: {} of {} shares made the key; served by {}", names.len(), self.vaults.len(), names.join(" "));
    }

    /// `1 of 2 shares; awaited: ...`.
    pub(super) fn progress(&self, collector: &Collector) -> String {
        let awaited = self.vaults.iter().zip(collector.fates()).filter(|(_, fate)| !matches!(fate, Fate::Spare | Fate::Served));
        let awaited: Vec<_> = awaited.map(|(vault, _)| vault.address.as_str()).collect();
        format!("{self}; awaited: {}", awaited.join(" "))
    }

    /// The reason that stands before the others: what would have to change for the unlock to succeed.
    pub(super) fn failure(self, collector: &Collector) -> Error {
        let count = |last: Last| self.vaults.iter().filter(|vault| vault.last == last).count();
        let left = self.vaults.iter().filter(|vault| !vault.gone).count();
        if collector.shares() >= self.needed {
            Error::Unproved(self)
        } else if left < self.needed && count(Last::NotBelieved) > 0 {
            Error::NotBelieved(self)
        } else if left < self.needed && count(Last::Expired) > 0 {
            Error::Expired(self)
        } else if count(Last::OwnQuote) > 0 {
            Error::OwnQuote(self)
        } else if count(Last::Denied) > 0 && count(Last::Denied) + collector.shares() >= self.needed {
            Error::Denied(self)
        } else {
            Error::TooFew(self)
        }
    }
}

impl std::fmt::Display for Outcome {
    /// `1 of 2 shares`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} shares", self.shares, self.needed)
    }
}

/// An error with its causes, `a: b: c`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use ondisk::cmdline::{self, Policy};
    use quorum::{Rule, Threshold};

    use super::*;

    /// Three vaults, two of which are needed.
    fn policy() -> Policy {
        let words = "cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2,10.0.2.2:3 cvm.vault.handle=h \
            cvm.vault.mrenclave=1111111111111111111111111111111111111111111111111111111111111111 \
            cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff";
        cmdline::parse(&format!("roothash={} {words}", "ab".repeat(32))).unwrap()
    }

    fn away() -> dial::Error {
        dial::Error::Connect(std::io::ErrorKind::ConnectionRefused)
    }

    fn denied() -> dial::Error {
        dial::Error::Vault(vault::Error::Refused(Refused::Denied))
    }

    fn expired() -> dial::Error {
        dial::Error::Vault(vault::Error::Refused(Refused::Expired))
    }

    fn not_believed() -> dial::Error {
        dial::Error::Vault(vault::Error::Node(attest::Refusal::Measurement))
    }

    fn no_quote() -> dial::Error {
        dial::Error::Vault(vault::Error::OwnQuote("quoting service".to_owned()))
    }

    fn spoiled() -> dial::Error {
        dial::Error::Vault(vault::Error::Protocol(vault::Step::Request, "answer is no vault's"))
    }

    #[test]
    fn reason_is_what_would_have_to_change() {
        type Lost = fn() -> dial::Error;
        let cases: [(&str, [Lost; 3], bool, u8); 8] = [
            ("all away", [away, away, away], false, 50),
            ("one away, two denied", [away, denied, denied], false, 51),
            ("two away, one denied", [away, away, denied], false, 50),
            ("one away, two of another build", [away, not_believed, not_believed], true, 53),
            ("two away, one of another build", [away, away, not_believed], false, 50),
            ("two expired", [expired, expired, away], true, 56),
            ("no quote", [no_quote, no_quote, away], false, 54),
            ("two that answer nonsense", [spoiled, spoiled, away], true, 50),
        ];
        for (name, errors, hopeless, code) in cases {
            let policy = policy();
            let vaults = &policy.data.as_ref().unwrap().vaults;
            let collector = Collector::new(Threshold::new(2, 3).unwrap(), Rule::Disk);
            let mut outcome = Outcome::new(vaults, collector.needed());
            for (index, error) in errors.iter().enumerate() {
                outcome.lost(index, &error());
            }
            assert_eq!(outcome.is_hopeless(&collector), hopeless, "{name}");
            assert_eq!(outcome.failure(&collector).code(), code, "{name}");
        }
    }

    #[test]
    fn receipt_has_addresses_and_reasons_and_no_state_of_ours() {
        let policy = policy();
        let mut outcome = Outcome::new(&policy.data.as_ref().unwrap().vaults, 2);
        outcome.lost(1, &not_believed());
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(json["vaults"][1]["outcome"], "challenge: node not believed: mrenclave is not on the list");
        assert_eq!(json["vaults"][0]["outcome"], "waiting");
        let mut fields: Vec<&String> = json["vaults"][1].as_object().unwrap().keys().collect();
        fields.sort();
        let want =
            ["address", "advisories", "collateral_expires", "key_expires", "mrenclave", "outcome", "quote_time", "tcb_status"];
        assert_eq!(fields, want);
    }
}
